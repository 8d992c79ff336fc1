"""The report of a leader: written by evaluate and promote, on its run, and shown by a command."""

import json
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import mlflow
import pytest
import yaml
from conftest import copied, tiny_settings
from mlflow.tracking._tracking_service import utils

from ratchet import cost, gates, tracking
from ratchet.commands import rollback
from ratchet.errors import InterruptionError
from ratchet.project import Project
from ratchet.report.facts import Facts
from ratchet.steps import evaluate, judgement, promote, reports
from ratchet.steps.train import Leader


@pytest.fixture(autouse=True)
def own_artifacts():
    """Have MLflow ask the store where a run's artifacts are: here every copy has its own."""
    utils._artifact_repos_cache.clear()
    yield
    utils._artifact_repos_cache.clear()


def opened(folder: Path, name: str = "params.yaml") -> Project:
    found = Project.open(folder / name)
    tracking.connect(found)
    return found


def disconnect() -> None:
    """Let the store of the next test be found."""
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.fixture(scope="module")
def evaluated_once(made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The leaders of ``made_once``, with reports."""
    root = tmp_path_factory.mktemp("reports")
    folder = copied(made_once, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
        for name, family in (("params.yaml", "ridge"), ("better.yaml", "xgboost")):
            values = tiny_settings(train__families=["baseline", family], evaluate__report=True)
            (folder / name).write_text(yaml.safe_dump(values), encoding="utf-8")
            evaluate.run(opened(folder, name))
    disconnect()
    return root


@pytest.fixture(scope="module")
def decided_once(evaluated_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The linear model promoted, and the trees in its place."""
    root = tmp_path_factory.mktemp("decided")
    folder = copied(evaluated_once, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
        patch.setattr(cost, "_SECONDS", 0.01)
        for name in ("params.yaml", "better.yaml"):
            promote.run(opened(folder, name))
    disconnect()
    return root


@pytest.fixture
def project(evaluated_once, store, tmp_path, monkeypatch) -> Project:
    """A linear model with a report, which nobody has judged yet."""
    monkeypatch.setattr(cost, "_SECONDS", 0.01)
    return opened(copied(evaluated_once, tmp_path))


@pytest.fixture
def decided(decided_once, store, monkeypatch) -> Project:
    """Trees that have taken the linear model's place; only to be looked at."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{decided_once / 'mlflow.db'}")
    return opened(decided_once / "project", "better.yaml")


def numbers(project: Project) -> dict[str, float]:
    return json.loads((project.evaluated / "metrics.json").read_text())


def written(project: Project, folder: str = "promote") -> str:
    place = {"promote": project.promoted, "evaluate": project.evaluated / "report"}[folder]
    return (place / "report.html").read_text(encoding="utf-8")


def client() -> mlflow.MlflowClient:
    """Give a client of the store that is connected now."""
    return mlflow.MlflowClient()


def untimed(project: Project) -> Facts:
    """Give what evaluate has found out, but for how long answers took, which is never the same."""
    found = Facts.load(project.evaluated / "report")
    return replace(found, trade_off=None)


def on_run(run_id: str, name: str = "report.html") -> str:
    path = client().download_artifacts(run_id, f"report/{name}")
    return Path(path).read_text(encoding="utf-8")


class Tables(HTMLParser):
    """Collects the tables of a page by their captions, a list of fields for each line."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._field: list[str] | None = None
        self._caption = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td", "caption"):
            self._field = []

    def handle_endtag(self, tag):
        if tag == "table":
            self.found[self._caption] = self._rows
        elif tag in ("th", "td", "caption") and self._field is not None:
            text = "".join(self._field).strip()
            self._field = None
            if tag == "caption":
                self._caption = text
            else:
                self._rows[-1].append(text)

    def handle_data(self, text):
        if self._field is not None:
            self._field.append(text)


def as_shown(text: str, *values: float | None) -> bool:
    """Tell whether a field says these numbers, rounded to the decimals that it shows."""
    said = re.findall(r"-?\d+(?:,\d{3})*(?:\.\d+)?", text)
    if len(said) != len(values):
        return text == "—" and all(value is None for value in values)
    return all(
        each == gates.shown(value, len(each.partition(".")[2]))
        for each, value in zip(said, values, strict=True)
    )


# What evaluate writes


def test_evaluate_writes_a_report_and_puts_it_on_the_leader_s_run(project):
    leader = Leader.load(project)
    folder = project.evaluated / "report"
    assert {path.name for path in folder.iterdir()} >= {"report.html", "report.md", "facts.json"}
    for name in ("report.html", "report.md", "facts.json"):
        assert on_run(leader.run_id, name) == (folder / name).read_text(encoding="utf-8")
    run = client().get_run(leader.run_id)
    assert run.data.tags["ratchet.report"] == "evaluated"
    text = written(project, "evaluate")
    assert "sklearn/ridge won the search." in text
    assert "it had not been put forward yet" in text
    assert f"python src reproduce {leader.run_id}" in text
    assert run.data.tags["ratchet.evaluate_run"] in text
    found = Facts.load(folder)
    assert found.won.score == numbers(project)["test/rmse"] == run.data.metrics["test/rmse"]
    assert found.won.baseline == numbers(project)["baseline/test/rmse"]


def test_the_numbers_of_the_verdict_are_those_of_metrics_json(project):
    found = numbers(project)
    [told] = re.findall(r"On 48 test rows its rmse is (.*?) at 95 %", written(project, "evaluate"))
    names = ("test/rmse", "test/rmse_low", "test/rmse_high")
    assert as_shown(told, *(found[name] for name in names))


def test_evaluating_again_finds_out_the_same(project):
    before = untimed(project)
    evaluate.run(project)
    assert untimed(project) == before


def test_none_is_written_where_none_is_wanted(project):
    silent = Project.open(project.params_file, ["evaluate.report=false"])
    promote.run(project)
    evaluate.run(silent)
    for name in ("report.html", "report.md", "facts.json"):
        assert not (silent.evaluated / "report" / name).exists()
    promote.run(silent, force=True, reason="to see")
    assert not (silent.promoted / "report.html").exists()
    assert "report.html" not in client().get_model_version("tiny", "1").description


# What promote makes of it


def test_promote_puts_the_decision_in_its_place(decided):
    leader = Leader.load(decided)
    text = written(decided)
    assert "xgboost was promoted by the gates, as version 2 of tiny." in text
    assert "had not been put forward" not in text
    for name in ("report.html", "report.md"):
        kept = (decided.promoted / name).read_text(encoding="utf-8")
        assert on_run(leader.run_id, name) == kept
    decision = json.loads((decided.promoted / "decision.json").read_text())
    tag = client().get_run(leader.run_id).data.tags["ratchet.report"]
    assert tag == decision["decision_run"]
    assert f'content="{tag}"' in text


def test_the_gates_are_those_of_the_decision_and_of_mlflow(decided):
    decision = json.loads((decided.promoted / "decision.json").read_text())
    tags = client().get_run(decision["decision_run"]).data.tags
    [_, *rows] = Tables(written(decided)).found["Gates"]
    assert len(rows) == len(decision["gates"]) > 5
    for row, gate in zip(rows, decision["gates"], strict=True):
        assert row == [gate["name"], "yes" if gate["passed"] else "no", gate["reason"]]
        assert tags[f"ratchet.gate.{gate['name']}"] == f"passed: {gate['reason']}"


def test_the_scores_of_leader_and_champion_are_those_of_metrics_json_and_mlflow(decided):
    found = numbers(decided)
    [run] = client().search_runs(
        ["1"], f"tags.`mlflow.parentRunId` = '{Leader.load(decided).run_id}' and"
        " tags.`ratchet.step` = 'promote'",
    )  # fmt: skip
    beaten = numbers(Project.open(decided.root / "params.yaml"))
    [_, *rows] = Tables(written(decided)).found["Against the champion"]
    assert [row[0] for row in rows][:2] == ["rmse", "mse"]
    assert len(rows) == len([n for n in found if n.startswith("test/") and n.endswith("_low")])
    for name, ours, theirs, *_ in rows:
        names = [f"test/{name}{end}" for end in ("", "_low", "_high")]
        assert as_shown(ours, *(found[each] for each in names))
        assert as_shown(theirs, *(beaten[each] for each in names))
        logged = [run.data.metrics.get(f"champion/{each}") for each in names]
        assert logged == [beaten[each] for each in names]


def test_rows_that_one_of_them_has_seen_are_left_out_of_both(project, monkeypatch):
    promote.run(project)
    better = opened(project.root, "better.yaml")
    known = judgement.trained_on

    def saw_more(rows, run_id):
        seen = known(rows, run_id)
        seen[:10] = True
        return seen

    monkeypatch.setattr(judgement, "trained_on", saw_more)
    decision = promote.run(better)
    assert "on the same 38 test rows; 10 rows that one of them was trained on" in written(better)
    [run] = client().search_runs(
        ["1"], f"tags.`ratchet.decision_run` = '{decision.decision_run}'"
    )  # fmt: skip
    [_, first, *_] = Tables(written(better)).found["Against the champion"]
    ends = ("", "_low", "_high")
    assert as_shown(first[1], *(run.data.metrics[f"test_fair/rmse{end}"] for end in ends))
    assert as_shown(first[2], *(run.data.metrics[f"champion/test/rmse{end}"] for end in ends))
    assert run.data.metrics["test_fair/rmse"] != numbers(better)["test/rmse"]


def state(project: Project) -> tuple:
    run_id = Leader.load(project).run_id
    files = [project.promoted / name for name in ("report.html", "report.md")]
    there = Path(client().download_artifacts(run_id, "report/report.html"))
    return (
        [(path.read_bytes(), path.stat().st_mtime_ns) for path in files],
        (there.read_bytes(), there.stat().st_mtime_ns),
        client().get_run(run_id).data.tags,
    )


def test_no_new_candidate_changes_nothing(project):
    promote.run(project)
    before = state(project)
    assert not promote.run(project).is_new
    assert state(project) == before


def test_an_evaluation_that_is_done_again_does_not_hide_the_decision(project):
    promote.run(project)
    before, leader = written(project), Leader.load(project)
    evaluate.run(project)
    assert "had not been put forward" in on_run(leader.run_id)
    assert not promote.run(project).is_new
    assert "was promoted by the gates, as version 1" in on_run(leader.run_id)
    again = client().get_run(leader.run_id).data.tags["ratchet.evaluate_run"]
    former = re.search(r"run of evaluate</th>.*?>(\w{32})<", before, re.DOTALL)[1]
    parts = (text.split('<section id="the-trade-off"') for text in (written(project), before))
    (start, end), (start_before, end_before) = parts
    assert start == start_before
    rest, rest_before = (text.split("</section>", 1)[1] for text in (end, end_before))
    assert rest == rest_before.replace(former, again)


def test_who_is_killed_after_the_decision_gets_the_report_the_next_time(project, monkeypatch):
    write = reports.decided

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(reports, "decided", killed)
    with pytest.raises(InterruptionError):
        promote.run(project)
    assert not (project.promoted / "report.html").exists()
    monkeypatch.setattr(reports, "decided", write)
    assert not promote.run(project).is_new
    assert "as version 1 of tiny" in written(project)
    assert on_run(Leader.load(project).run_id) == written(project)


def test_a_refusal_is_told_with_its_reason(project):
    promote.run(opened(project.root, "better.yaml"))
    decision = promote.run(project)
    text = written(project)
    assert "sklearn/ridge was not promoted: version 1 stays the champion." in text
    assert f"It was not promoted because of this: {decision.reason}." in text


def test_what_was_rolled_back_says_so_at_the_next_promotion(project):
    promote.run(project)
    better = opened(project.root, "better.yaml")
    promote.run(better)
    described = client().get_model_version("tiny", "2").description
    rollback.run(better, reason="too dear")
    assert not promote.run(better).is_new
    assert re.search(
        r"Since then, version 2 was rolled back on [\d-]+: too dear\.", written(better)
    )
    assert on_run(Leader.load(better).run_id) == written(better)
    assert client().get_model_version("tiny", "2").description == described


def test_a_run_that_is_put_forward_keeps_what_was_found_out_about_it(project):
    linear = Leader.load(project)
    better = opened(project.root, "better.yaml")
    promote.run(better, run_id=linear.run_id)
    text = written(better)
    assert "as version 1 of tiny" in text
    assert "On 48 test rows its rmse is" in text
    assert f"python src reproduce {linear.run_id}" in text
    assert on_run(linear.run_id) == text
    assert "had not been put forward" in on_run(Leader.load(better).run_id)


def test_an_evaluation_of_another_leader_is_not_taken_for_this_one_s(project):
    path = project.evaluated / "run.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "about": "0" * 32}))
    promote.run(project)
    assert "as version 1 of tiny" in written(project)
    assert "The data" not in written(project)


# In another store


def test_a_store_that_lacks_the_run_gets_its_report_with_its_own_ids(
    project, empty_store, tmp_path, monkeypatch
):
    before = {path: path.read_bytes() for path in project.evaluated.rglob("*") if path.is_file()}
    shutil.copy(empty_store, tmp_path / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    there = opened(project.root)
    challenger = judgement.challenger_of(there, None)
    first = Leader.load(there).run_id
    assert challenger.run_id != first
    text = on_run(challenger.run_id)
    assert f"python src reproduce {challenger.run_id}" in text
    assert f">{first}</td>" in text  # as the run that it was logged again from
    assert on_run(challenger.run_id, "facts.json") == on_run_file(there)
    assert before == {
        path: path.read_bytes() for path in there.evaluated.rglob("*") if path.is_file()
    }
    promote.run(there)
    assert "as version 1 of tiny" in on_run(challenger.run_id)


def on_run_file(project: Project) -> str:
    return (project.evaluated / "report" / "facts.json").read_text(encoding="utf-8")


# The description of a version


def test_a_version_s_description_sums_the_report_up_and_leads_to_it(decided):
    version = client().get_model_version("tiny", "2")
    found = numbers(decided)
    first, scores, made, link = version.description.split("\n\n")
    decision = json.loads((decided.promoted / "decision.json").read_text())
    assert first == f"xgboost: {decision['reason']}"
    [rmse] = re.findall(r"On the test rows: rmse (.*?\]),", scores)
    assert as_shown(rmse, *(found[f"test/rmse{end}"] for end in ("", "_low", "_high")))
    assert scores.endswith(" at 95 %.") and "mae " in scores
    tags = client().get_run(version.run_id).data.tags
    assert f"Data version {tags['ratchet.data_version']}, not recorded." in made
    [path] = re.findall(
        rf"\[The report\]\(#/experiments/1/runs/{version.run_id}/artifacts/(.*)\)", link
    )
    assert Path(client().download_artifacts(version.run_id, path)).is_file()


def test_a_forced_promotion_says_by_whom_and_against_what(project):
    promote.run(opened(project.root, "better.yaml"))
    promote.run(project, force=True, reason="the law has changed")
    version = client().get_model_version("tiny", "2")
    assert re.match(
        r"sklearn/ridge, forced by \S+@\S+ on [\d-]+: the law has changed\n\n", version.description
    )
    assert "Gates that did not pass: better_than_champion." in version.description
    assert "A person promoted it and said: the law has changed." in written(project)


# The command


def test_the_command_says_where_the_report_lies(decided, call, monkeypatch, tmp_path):
    monkeypatch.chdir(decided.root)
    code, out, err = call("report", "--params", "better.yaml", "--no-open")
    assert (code, err) == (0, "")
    assert out.strip() == str(decided.promoted / "report.html")
    code, out, _ = call("report", "--params", "better.yaml", "--md")
    assert (code, out) == (0, (decided.promoted / "report.md").read_text(encoding="utf-8"))
    target = tmp_path / "deep" / "report.html"
    code, out, _ = call("report", "--params", "better.yaml", "--out", target)
    assert (code, out.strip()) == (0, str(target))
    assert target.read_text(encoding="utf-8") == written(decided)


def test_the_command_brings_the_report_of_any_run_out_of_the_store(decided, call, monkeypatch):
    monkeypatch.chdir(decided.root)
    first = Leader.load(Project.open(decided.root / "params.yaml")).run_id
    evaluation = client().get_run(first).data.tags["ratchet.evaluate_run"]
    for asked in ("tiny/1", "models:/tiny/1", "tiny@previous", first, evaluation):
        code, out, err = call("report", asked, "--no-open")
        assert (code, err) == (0, "")
        found = Path(out.strip())
        assert found == decided.root / "build" / "reports" / f"{first}.html"
        assert "sklearn/ridge was promoted by the gates, as version 1" in found.read_text("utf-8")


def test_the_leader_has_one_before_it_is_put_forward(project, call, monkeypatch):
    monkeypatch.chdir(project.root)
    code, out, _ = call("report", "--md")
    assert code == 0
    assert out.startswith("# tiny: sklearn/ridge\n\n**sklearn/ridge won the search.**\n")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("tiny/9", "The registry has no tiny/9. Versions of tiny: 1, 2;"),
        ("0" * 32, "has no run"),
        ("nonsense", "'nonsense' names no run and no version."),
    ],
)
def test_what_is_not_there_is_a_mistake(decided, call, monkeypatch, asked, message):
    monkeypatch.chdir(decided.root)
    code, out, err = call("report", asked)
    assert (code, out) == (2, "")
    assert err.startswith("StoreError: ") and message in err


def test_a_run_without_a_report_is_told_with_the_way_out(evaluated, call, monkeypatch):
    monkeypatch.chdir(evaluated.parent)
    run_id = Leader.load(Project.open(evaluated)).run_id
    why = (
        "or evaluate.report was false, or an earlier version of this project evaluated it. With"
        " its parameters, evaluate writes one.\n"
    )
    code, out, err = call("report", run_id)
    assert (code, out) == (2, "")
    assert err == f"StoreError: There is no report of run {run_id[:8]}. It was not evaluated, {why}"
    code, out, err = call("report")
    assert (code, out) == (2, "")
    assert err == (
        f"StoreError: The leader sklearn/ridge has no report. Run the step evaluate first, {why}"
    )


@pytest.mark.parametrize(("terminal", "display"), [(True, True), (True, False), (False, True)])
def test_a_browser_is_opened_where_there_is_somebody_to_look(
    decided, call, monkeypatch, terminal, display
):
    shown = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":0" if display else "")
    monkeypatch.chdir(decided.root)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    call("report", "--params", "better.yaml")
    page = (decided.promoted / "report.html").as_uri()
    assert shown == ([page] if terminal and display else [])
    call("report", "--params", "better.yaml", "--no-open")
    call("report", "--params", "better.yaml", "--md")
    assert shown == ([page] if terminal and display else [])
