"""keygen, sign and verify as commands."""

import json
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from ratchet.commands import signing
from ratchet.errors import RatchetError
from ratchet.registry import integrity
from ratchet.steps import promote


@pytest.fixture(autouse=True)
def without_keys(monkeypatch):
    for name in (integrity.KEY_VARIABLE, integrity.PASSPHRASE_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_a_version_is_signed_and_verified_by_three_commands(
    project, call, tmp_path, monkeypatch, store
):
    promote.run(project)
    key = tmp_path / "key"
    monkeypatch.setenv(integrity.PASSPHRASE_VARIABLE, "correct horse")
    code, out, _ = call("keygen", key, "--json")
    made = json.loads(out)
    assert (code, made["encrypted"], made["public"]) == (0, True, f"{key}.pub")
    given = ("--params", project.params_file)
    code, out, _ = call("sign", "tiny/1", "--key", key, "--json", *given)
    told = json.loads(out)
    assert (code, told["version"], told["key"]) == (0, "tiny/1", made["id"])
    code, out, err = call("sign", "--key", key, "--quiet", *given)
    assert (code, err) == (0, "")
    assert out.startswith(f"sign: tiny/1, {told['files']} files, is signed by key {made['id']} (")
    known = ("--set", f"registry.public_keys=[{key}.pub]")
    code, out, _ = call("verify", *known, *given)
    assert (code, out) == (
        0,
        "verify: tiny/1: the files are those that were promoted, and signed\n",
    )
    code, out, _ = call("verify", "1", "--json", *known, *given)
    assert json.loads(out) == {
        "version": "tiny/1",
        "intact": True,
        "on_record": True,
        "signed": True,
        "fault": "",
    }
    monkeypatch.delenv(integrity.PASSPHRASE_VARIABLE)
    code, _, err = call("sign", "--key", key, *given)
    assert code == 2
    assert "is encrypted, and no passphrase was given" in err
    other = tmp_path / "other"
    call("keygen", other)
    code, out, _ = call("verify", "--set", f"registry.public_keys=[{other}.pub]", *given)
    assert code == 1
    assert "which registry.public_keys doesn't have" in out


def test_a_key_is_not_made_where_a_run_would_record_it(tmp_path, git):
    git(tmp_path, "init", "--quiet")
    with pytest.raises(RatchetError) as caught:
        signing.make_key(tmp_path / "keys" / "release")
    assert str(caught.value) == (
        f"{tmp_path / 'keys' / 'release'} would lie in the git checkout {tmp_path}, which doesn't"
        " ignore it, and what isn't committed is recorded with runs. Name a file elsewhere, such"
        " as ~/.config/ratchet/key, or have git ignore it first."
    )
    (tmp_path / ".gitignore").write_text("keys/\n", encoding="utf-8")
    assert signing.make_key(tmp_path / "keys" / "release").private


def test_the_guide_can_be_followed(project, call, monkeypatch):
    promote.run(project)
    monkeypatch.chdir(project.root)
    text = (ROOT / "docs" / "signing.md").read_text(encoding="utf-8")
    printed = ""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language == "yaml":
            values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
            Path("params.yaml").write_text(yaml.safe_dump(values | yaml.safe_load(block)))
        for line in block.splitlines() if language == "sh" else ():
            code, out, err = call(*line.split()[2:])
            assert code == 0, err
            printed += out
    assert "verify: tiny/1: the files are those that were promoted, and signed" in printed
    assert "1 line checked: none was altered or removed.\n1 signature checked." in printed
