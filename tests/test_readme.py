"""What the README says is so."""

import re
import subprocess
import sys
from importlib import import_module, util
from pathlib import Path

import numpy as np
import pytest
import skops.io
import yaml
from scipy.sparse import csr_matrix

from ratchet import backends
from ratchet.backends import Request, Rows, Task
from ratchet.problem import ProblemType
from ratchet.settings import field_docs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_every_setting_is_in_the_table_as_its_docstring_says():
    spec = util.spec_from_file_location("settings_table", ROOT / ".ci" / "settings_table.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.with_table(README) == README, "run `make docs`"
    for name, _, _ in field_docs():
        assert f"| `{name}` |" in README


def test_every_command_of_ours_exists():
    help_text = subprocess.run(
        [sys.executable, str(ROOT / "src"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    named = set(re.findall(r"python src (\w+)", README))
    assert {"status", "history", "rollback", "promote", "train"} <= named
    for command in named:
        assert re.search(rf"^\s+{command}\b", help_text, re.M), command


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = "\n".join(blocks("sh")) + " ".join(re.findall(r"`(make \w+)", README))
    for target in set(re.findall(r"\bmake (\w+)", text)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_file_that_is_linked_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_exit_code_is_told():
    cli = import_module("ratchet.cli")
    line = next(line for line in README.splitlines() if line.startswith("Exit codes:"))
    assert [int(code) for code in re.findall(r"\b\d+\b", line)] == [code.value for code in cli.Exit]


def test_the_nine_words_of_the_glossary_are_there():
    rows = re.findall(r"^\| (\w+) \| ", README.partition("## Words")[2], re.M)
    assert set(rows) - {"word"} == {
        *("backend", "candidate", "trial", "run", "leader", "gate", "champion", "step", "stage")
    }


# Scaled columns are sparse where a table has labels in words, and few of them at once.
@pytest.mark.parametrize("of_labels", [False, True])
@pytest.mark.parametrize("problem", [ProblemType.REGRESSION, ProblemType.BINARY])
def test_the_example_backend_works_as_it_is(problem, of_labels, monkeypatch):
    monkeypatch.setattr(backends.base, "_SHELF", dict(backends.base._SHELF))
    [example] = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    backend = backends.get("neighbours")
    task = Task(problem, 40, 2, 2 if problem.is_classification else 0)
    [family] = backend.families(task)
    X = np.random.default_rng(0).normal(size=(40, 2))
    fitted = backend.fit(
        Request(
            family=family.name,
            params=family.starts[0],
            task=task,
            train=Rows(csr_matrix(X) if of_labels else X, (X[:, 0] > 0).astype(float)),
            valid=None,
            categorical=np.zeros(2, dtype=bool),
            metric="rmse",
            threads=1,
            seed=0,
        )
    )
    assert np.mean(np.abs(fitted.estimator.predict(X) - (X[:, 0] > 0))) < 0.4
    saved = skops.io.dumps(fitted.estimator)
    assert set(skops.io.get_untrusted_types(data=saved)) <= set(backend.trusted_types)


def test_a_plugin_registers_its_backend(monkeypatch, tmp_path):
    monkeypatch.setattr(backends.base, "_SHELF", dict(backends.base._SHELF))
    [example] = blocks("python")
    (tmp_path / "neighbours_of_mine.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    backends.load(["neighbours_of_mine"])
    assert "neighbours" in backends.available()


def test_a_plugin_that_is_not_there_is_told():
    with pytest.raises(backends.base.RatchetError) as error:
        backends.load(["no_such_module"])
    assert str(error.value) == (
        "train.plugins names 'no_such_module', and there is no such module."
        " A file src/no_such_module.py beside the package would be one."
    )


def test_the_ci_runs_the_test_command_of_the_readme():
    assert "make test" in blocks("sh")[0]
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith("make test")


def test_the_shipped_parameter_files_name_only_settings_of_the_table():
    for path in ("params.yaml", "examples/tips.yaml"):
        values = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
        for section, inner in values.items():
            names = (
                [f"{section}.{name}" for name in inner] if isinstance(inner, dict) else [section]
            )
            for name in names:
                assert any(
                    known == name or known.startswith(f"{name}.") for known, _, _ in field_docs()
                )
