"""The guides can be followed from start to end: every block of them runs."""

import doctest
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
import yaml
from conftest import COMMITTER, ROOT, tiny_table
from test_guide_notebook import Nearly

import ratchet
from ratchet import backends
from ratchet.registry.ledger import Line
from ratchet.settings import from_mapping

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A guide trains for a minute; what its commands do shows in seconds.
SMALL = (
    "train.search.budget_seconds=null train.search.max_trials=3 train.validation=holdout"
    " train.ensemble=none evaluate.resamples=100 evaluate.report=false promote.resamples=200"
    " tracking.system_metrics=false"
)
TAKES_SETTINGS = ("prepare", "run", "checks")
GUIDES = ROOT / "docs"


def blocks(name: str) -> list[tuple[str, str]]:
    return BLOCK.findall((GUIDES / name).read_text(encoding="utf-8"))


def run_here(call, line: str) -> str:
    """Run a line of a guide, ours in this process; give what it printed."""
    command, _, comment = line.partition("#")
    expected = int((re.findall(r"exits with (\d)", comment) or ["0"])[0])
    program, *arguments = shlex.split(command)
    if (program, arguments[:1]) != ("python", ["src"]):
        done = subprocess.run([program, *arguments], capture_output=True, text=True)
        assert done.returncode == expected, done.stdout + done.stderr
        return done.stdout
    small = ["--set", SMALL] if arguments[1] in TAKES_SETTINGS else []
    code, out, err = call(*arguments[1:], *small)
    assert code == expected, f"{line}\n{out}{err}"
    return out + err


@pytest.fixture
def follow(tmp_path, store, call, git, monkeypatch):
    """Run every block of a guide in a folder of its own; give what its commands printed."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, value in COMMITTER.items():
        monkeypatch.setenv(name, value)
    # dvc is there also where the environment isn't active in the shell.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    def through(guide: str) -> list[str]:
        printed = []
        for language, text in blocks(guide):
            match language:
                case "yaml":
                    Path("params.yaml").write_text(text, encoding="utf-8")
                case "python":
                    exec(compile(text, guide, "exec"), {})
                case "sh":
                    printed += [run_here(call, line) for line in text.splitlines()]
        return printed

    return through


@pytest.mark.slow
def test_imbalanced_classes(follow):
    table, weighed = follow("imbalanced.md")
    assert "test/average_precision" in table
    assert "test/f2" in weighed
    metrics = json.loads(Path("build/evaluate/metrics.json").read_text())
    assert metrics["test/f2"] > metrics["baseline/test/f2"]


@pytest.mark.slow
def test_monthly_files(follow, git):
    git(Path(), "init", "--quiet")
    subprocess.run(["dvc", "init", "--quiet"], check=True)
    printed = "\n".join(follow("monthly-files.md"))
    assert "version 1" in printed
    history = [line for line in printed.splitlines() if "promot" in line]
    assert history
    # The sentence of the guide, with the numbers of this run.
    (told,) = re.findall(r"  - ('trip_distance' must be at most .*) and [\d,]+ of", printed)
    assert re.search(r"'trip_distance' must be at most [\d.]+ but for 1.0% of the rows,", told)
    assert "green_tripdata_2023-04.parquet" in printed
    assert printed.rstrip().splitlines()[-1].endswith("0 fail, 0 warn.")


@pytest.mark.slow
def test_backends_of_the_readme_and_of_the_guide_go_all_the_way_to_a_champion(
    tiny, store, call, monkeypatch
):
    monkeypatch.setattr(backends.base, "_SHELF", dict(backends.base._SHELF))
    table = tiny_table()
    # So many labels in words that the scaled columns are sparse.
    table["street"] = [f"street {n % 40}" for n in range(len(table))]
    params = tiny(
        table,
        data={"source": "data", "target": "dear", "drop": ["price"]},
        train__families=["baseline", "neighbours", "lasso"],
        train__plugins=["neighbours", "lasso"],
        train__ensemble="voting",
    )
    (params.parent / "src").mkdir()
    (neighbours,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (lasso,) = (text for _, text in blocks("backends.md") if "class Lasso" in text)
    for name, code in {"neighbours": neighbours, "lasso": lasso}.items():
        (params.parent / "src" / f"{name}.py").write_text(code, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(params.parent / "src")
    monkeypatch.chdir(params.parent)
    code, out, err = call("run")
    assert code == 0, out + err
    assert re.search(r"^won +(neighbours\+lasso|lasso\+neighbours)", out, re.M)
    assert "promoted   yes, as version 1 of tiny" in out
    model = mlflow.sklearn.load_model("models:/tiny@champion")
    rows = table.drop(columns=["price", "dear"]).head(3)
    assert set(model.predict(rows)) <= {"yes", "no"}


@pytest.mark.slow
def test_the_ledger(evaluated, store, call, monkeypatch):
    monkeypatch.chdir(evaluated.parent)
    for params in (evaluated, evaluated.with_name("better.yaml")):
        values = yaml.safe_load(params.read_text(encoding="utf-8"))
        params.write_text(yaml.safe_dump({**values, "registry": {"model": "flats"}}))
    names: dict = {}
    told, shown, printed = doctest.DocTestParser(), [], []
    runner = doctest.DocTestRunner(checker=Nearly())
    for at, (language, text) in enumerate(blocks("ledger.md")):
        if language == "python":
            cell = told.get_doctest(text, names, f"ledger-{at}", "docs/ledger.md", 0)
            names |= cell.globs
            cell.globs = names
            runner.run(cell, out=sys.stderr.write, clear_globs=False)
        elif language == "sh":
            printed += [run_here(call, line) for line in text.splitlines()]
        else:
            shown += text.splitlines()
    assert runner.summarize(verbose=False).failed == 0
    said = [plain(line) for text in printed for line in text.splitlines()]
    assert len(shown) > 10
    for line in shown:
        assert any(Nearly().check_output(plain(line), each, 0) for each in said), line


def plain(line: str) -> str:
    """Write a line without what is another each time: moments, people and how wide it is."""
    line = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00)?", "TIME", line)
    return " ".join(re.sub(r"\S+@\S+", "WHO", line).split())


def test_every_fault_of_a_ledger_is_in_the_guide():
    page = (GUIDES / "ledger.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(line .*?)`(?: \(or `(was .*?)`\))?", page, re.M)
    told = {each for each, _ in rows}
    told |= {f"{each[: each.rindex(' was ')]} {other}" for each, other in rows if other}
    source = (ROOT / "src" / "ratchet" / "registry" / "ledger.py").read_text(encoding="utf-8")
    code = source.partition("def _faults_of_line")[2].partition("def _evidence(")[0]
    code = re.sub(r'"\s*f"', "", code).replace("{EVIDENCE}", "decision.json")
    found = set(re.findall(r'f?"(line .*?)(?:: \{run.*)?"', code))
    number = re.compile(r"\{[^}]*\}|\d+|…")
    assert {number.sub("#", each) for each in found} == {number.sub("#", each) for each in told}


def shown_in(page: str, beginning: str) -> str:
    """Give the block of a page that begins with a word."""
    (text,) = (text for language, text in blocks(page) if not language and beginning in text)
    return text


def test_what_a_new_version_says_of_settings_and_of_an_older_store(
    tiny, empty_store, tmp_path, call, monkeypatch
):
    params = tiny(train__ensembel="none")
    monkeypatch.chdir(params.parent)
    assert call("status") == (2, "", shown_in("upgrade.md", "SettingsError"))
    tiny()
    place = tmp_path / "older.db"
    shutil.copy(empty_store, place)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}")
    with closing(sqlite3.connect(place)) as opened, opened:
        opened.execute("UPDATE alembic_version SET version_num = '1bd49d398cd23'")
    code, out, err = call("history")
    assert (code, out) == (2, "")
    revision = re.compile(r"(version|expected) \w+|sqlite:\S+|\s+")
    assert revision.sub(" ", err) == revision.sub(" ", shown_in("upgrade.md", "out-of-date"))


# What version 0.1.0 wrote: its text and digest stay, and every later version reads it.
LINE = (
    '{"at":"2026-11-26T03:38:18.921+00:00","basis":"eef271c964de1da8","before":null,"decision_run":'
    '"29d71cda6a4c4d6c81bf46cd6607dfc5","evidence":"1936fb309b76c3742e480fc1dbb1913b20878abdb4d83e2'
    'f66958340c9cd8a21","kind":"promote","number":1,"previous":"","reason":"rmse 78.530, no champio'
    'n yet","run_id":"1c6963d41df8479f901e8eac867f24f3","version":null,"who":"root@vm"}'
)


def test_a_line_of_the_first_version_is_read_and_keeps_its_digest():
    line = Line.parse(LINE, "1")
    assert (line.kind, line.champion, line.who) == ("promote", 1, "root@vm")
    assert line.text == LINE
    assert line.digest == "2b0cab0e173e1f9f5cf485e1885a76da9bf852007c3ffeffec55567e0c7f11a3"


def test_the_newest_version_has_a_part_in_the_changelog():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[?([\w.]+)", text, re.M)[0] in (ratchet.__version__, "Unreleased")


def test_the_rules_in_the_page_on_checks_are_rules(monkeypatch, capsys):
    from ratchet.datachecks import ColumnRules, Rules

    found = blocks("checks.md")
    (example,) = (text for language, text in found if language == "json")
    rules = Rules.model_validate(json.loads(example))
    assert set(rules.columns) <= set(Rules.load(ROOT / "schema.json").columns)
    page = (GUIDES / "checks.md").read_text(encoding="utf-8")
    table = page.partition("| rule | asks |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (.*?) \|", table, re.M)))) == set(
        ColumnRules.model_fields
    )
    monkeypatch.chdir(ROOT)
    (code,) = (text for language, text in found if language == "python")
    exec(compile(code, "checks.md", "exec"), {})
    assert capsys.readouterr().out.startswith("'trip_distance' must be at least 0")


def test_the_features_in_the_page_on_features_are_definitions():
    (example,) = (text for language, text in blocks("features.md") if language == "yaml")
    data = yaml.safe_load(example)["data"]
    given = {"name": "x", "data": {"source": "x", "target": "y", **data}}
    derive = from_mapping(given, origin="the page").data.derive
    assert [name for name, _ in derive] == ["kmh", "age", "way", "common", "density"]


@pytest.mark.parametrize(
    "page", ["checks", "features", "imbalanced", "ledger", "monthly-files", "upgrade"]
)
def test_every_page_that_a_guide_links_to_exists(page):
    text = (GUIDES / f"{page}.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (GUIDES / target).exists(), target
