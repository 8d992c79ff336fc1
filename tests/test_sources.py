"""The files that a run imports are found without importing them."""

import sys

import pytest

from ratchet import sources


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Write modules into a folder that Python imports from; give their paths inside it."""
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))

    def find(files, *names):
        for name, text in files.items():
            path = tmp_path / "lib" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        found = sources.imported(names, tmp_path)
        assert not [each for each in sys.modules if each.startswith("plug_")]
        return sorted(path.relative_to(tmp_path / "lib").as_posix() for path in found)

    return find


def test_imports_are_followed_from_file_to_file(modules):
    files = {
        "plug_in.py": "import json, numpy\nimport plug_a\n",
        "plug_a.py": "def late():\n    from plug_b import thing\n",
        "plug_b.py": "import plug_in\nraise SystemExit('was run')\n",
        "plug_alone.py": "",
    }
    assert modules(files, "plug_in") == ["plug_a.py", "plug_b.py", "plug_in.py"]


def test_a_module_in_a_package_brings_the_packages_around_it(modules):
    files = {
        "plug_pack/__init__.py": "from . import given\n",
        "plug_pack/given.py": "",
        "plug_pack/other.py": "",
        "plug_pack/deep/__init__.py": "",
        "plug_pack/deep/model.py": (
            "from .. import parts\nfrom .near import x\nfrom ..far.y import z\n"
        ),
        "plug_pack/deep/near.py": "",
        "plug_pack/far/y.py": "",
        "plug_pack/parts/__init__.py": "",
    }
    assert modules(files, "plug_pack.deep.model") == [
        "plug_pack/__init__.py",
        "plug_pack/deep/__init__.py",
        "plug_pack/deep/model.py",
        "plug_pack/deep/near.py",
        "plug_pack/far/y.py",
        "plug_pack/given.py",
        "plug_pack/parts/__init__.py",
    ]


def test_what_is_not_there_broken_or_not_the_users_is_left_out(modules):
    files = {
        "plug_bad.py": "def (\n",
        "site-packages/plug_bought.py": "",
        "plug_c.py": "import x.y",
    }
    sys.path.append(str(next(p for p in sys.path if p.endswith("lib"))) + "/site-packages")
    try:
        found = modules(files, "plug_bad", "plug_bought", "plug_c", "plug_gone", "json", "ratchet")
    finally:
        sys.path.pop()
    assert found == ["plug_bad.py", "plug_c.py"]


def test_files_outside_of_the_folder_are_left_out(modules, tmp_path):
    modules({"plug_here.py": ""}, "plug_here")
    (tmp_path / "elsewhere").mkdir()
    assert sources.imported(["plug_here"], tmp_path / "elsewhere") == frozenset()
