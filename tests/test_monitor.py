"""monitor: what it reads and takes, what it leaves in ``build`` and in MLflow, and what it says."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import tiny_table

from ratchet import drift
from ratchet.commands import pipeline
from ratchet.drift import DriftReport, Verdict
from ratchet.errors import DataError, StoreError
from ratchet.project import Project
from ratchet.steps import monitor, prepare, promote
from ratchet.steps.train import PREPARE_TAG, Leader


def new_rows(seed: int = 5, rows: int = 300) -> pd.DataFrame:
    """Rows as those of training."""
    table = tiny_table(rows, seed)
    table.loc[table.index % 10 == 3, "town"] = None
    return table


def written(folder: Path, table: pd.DataFrame, name: str = "new") -> Path:
    path = folder / f"{name}.parquet"
    table.to_parquet(path)
    return path


def run_of(store, report: DriftReport):
    return store.get_run(report.run_id)


@pytest.fixture
def watched(project) -> Project:
    """The linear model as the champion."""
    assert promote.run(project).promoted
    return project


def test_rows_like_those_of_training_are_no_drift(watched, store, tmp_path):
    source = written(tmp_path, new_rows())
    phases: list[str] = []
    report = monitor.run(watched, source, on_phase=phases.append)
    assert (report.verdict, report.reasons) == (Verdict.NONE, ())
    assert (report.model, report.version, report.n_rows) == ("tiny", 1, 300)
    assert phases == ["model", "read", "predict", "compare", "report", "log"]
    test = json.loads((watched.evaluated / "metrics.json").read_text())
    assert report.live.test_score == test["test/rmse"]
    assert report.live.low < report.live.score < report.live.high
    assert not report.live.worse
    assert {each.name for each in report.columns} == {"size", "town", "rooms", "sold"}
    assert DriftReport.load(watched.monitored / "drift.json") == report
    # In MLflow.
    run = run_of(store, report)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "monitor · none · tiny/1"
    assert run.data.tags["ratchet.step"] == "monitor"
    assert run.data.tags["ratchet.drift"] == "none"
    assert run.data.tags["ratchet.monitored"] == "tiny/1"
    assert run.data.tags["mlflow.note.content"].startswith("**No drift**: 300 rows of ")
    (size,) = (each for each in report.columns if each.name == "size")
    assert run.data.metrics["drift/psi/size"] == size.psi
    assert run.data.metrics["drift/distance/size"] == size.distance
    assert run.data.metrics["drift/missing/town"] == pytest.approx(0.1)
    assert run.data.metrics["drift/new_labels/town"] == 0
    assert run.data.metrics["live/rmse"] == report.live.score
    assert run.data.metrics["drift/auc"] == report.together.auc
    assert run.data.metrics["predictions/psi"] == report.predictions.psi
    assert {each.path for each in store.list_artifacts(report.run_id)} >= {
        "drift.json",
        "drift.html",
    }
    (read,) = run.inputs.dataset_inputs
    assert {tag.value for tag in read.tags} == {"monitoring"}


def test_rows_that_moved_are_drift_and_the_command_exits_with_1(watched, call, tmp_path):
    table = new_rows()
    table["size"] += 120
    table["price"] *= 1.5
    source = written(tmp_path, table)
    code, out, err = call("monitor", "--params", watched.params_file, "--data", source)
    assert code == 1, err
    assert "verdict  drift, 300 rows against" in out
    assert "because  'size' moved: distance 0." in out
    assert "surely worse" in out
    code, out, err = call("monitor", "--params", watched.params_file, "--data", source, "--json")
    told = json.loads(out)
    assert (code, told["verdict"]) == (1, "drift")
    assert told["columns"][0]["name"] == "size"
    assert told["live"]["worse"] is True
    page = (watched.monitored / "drift.html").read_text(encoding="utf-8")
    assert "<strong>Drift.</strong>" in page
    assert page.count("<figure") == 2  # the column, and what the model answers


def test_a_hook_is_told_of_drift_and_of_nothing_less(watched, tmp_path):
    heard = tmp_path / "heard.json"
    params = yaml.safe_load(watched.params_file.read_text(encoding="utf-8"))
    params["hooks"] = {"drift": ["tee", str(heard)]}
    watched.params_file.write_text(yaml.safe_dump(params), encoding="utf-8")
    listening = Project.open(watched.params_file)
    monitor.run(listening, written(tmp_path, new_rows()))
    assert not heard.exists()
    moved = new_rows()
    moved["size"] += 120
    report = monitor.run(listening, written(tmp_path, moved, "moved"))
    told = json.loads(heard.read_text(encoding="utf-8"))
    assert (told["event"], told["verdict"], told["version"]) == ("drift", "drift", 1)
    assert told["reasons"] == list(report.reasons)
    assert told["run_id"] == report.run_id


def test_without_labels_there_is_no_live_score_and_quiet_is_a_line(watched, call, tmp_path):
    source = written(tmp_path, new_rows().drop(columns=["price", "dear"]))
    code, out, err = call("monitor", "--params", watched.params_file, "--data", source, "--quiet")
    assert (code, err) == (0, "")
    assert out == "none of tiny/1 on 300 rows\n"
    report = DriftReport.load(watched.monitored / "drift.json")
    assert report.live is None
    assert report.notes == (
        "No live score: the target 'price' needs price, which the rows don't have.",
    )
    code, _, err = call(
        "monitor", "--params", watched.params_file, "--data", source, "--labels", "--version", ""
    )
    assert code == 2
    assert err.splitlines()[-1] == (
        "DataError: --labels asks for a live score, and there are no labels: the target 'price'"
        " needs price, which the rows don't have."
    )
    whole = written(tmp_path, new_rows(), "whole")
    call("monitor", "--params", watched.params_file, "--data", whole, "--no-labels", "--quiet")
    report = DriftReport.load(watched.monitored / "drift.json")
    assert (report.live, report.notes) == (None, ())


def test_rows_of_training_are_known_again(watched):
    report = monitor.run(watched, watched.source)
    assert report.verdict is Verdict.NONE
    assert report.notes[-1] == (
        "80 % of the rows are among those that tiny/1 was fitted on: its score is flattered, and"
        " what is new is diluted. Name a file of new rows."
    )


def test_the_filter_holds_for_new_rows_where_its_columns_are_there(watched, tmp_path):
    filtered = Project.open(watched.params_file, ["data.filter=rooms < 3 and target > 0"])
    table = new_rows()
    report = monitor.run(filtered, written(tmp_path, table))
    assert (report.n_rows, report.n_read) == (int((table["rooms"] < 3).sum()), 300)
    assert report.live.n_rows == report.n_rows
    bare = written(tmp_path, table.drop(columns=["price"]), "bare")
    report = monitor.run(filtered, bare)
    assert report.n_rows == 300
    assert report.notes[0] == (
        "data.filter was not applied, as the rows have not the target: training rows were filtered"
        " by rooms < 3 and target > 0, and what it leaves out may look like drift."
    )
    nothing = Project.open(watched.params_file, ["data.filter=rooms > 99"])
    with pytest.raises(DataError, match="keeps none of the 300 rows"):
        monitor.run(nothing, bare)


def test_data_checks_count_and_say_which_row(watched, tmp_path):
    rules = {
        "columns": {
            "rooms": {"holds": "whole", "max": 3},
            "size": {"max": 20, "on_failure": "warn"},
            "price": {"min": 1e6},  # no column of the model
        }
    }
    (watched.root / "schema.json").write_text(json.dumps(rules))
    checked = Project.open(watched.params_file, ["data.checks=schema.json"])
    report = monitor.run(checked, written(tmp_path, new_rows()), labels=False)
    assert [(each.verdict.value, each.about) for each in report.findings] == [
        ("drift", "data checks"),
        ("watch", "data checks"),
    ]
    assert report.reasons[0].startswith("A data check is broken: 'rooms' must be at most 3, and ")
    assert ": 5 in row 2, 5 in row 4" in report.reasons[0]


def test_a_version_without_a_reference_is_told_and_nothing_is_made(
    watched, store, call, tmp_path, running
):
    prepared = store.get_run(Leader.load(watched).run_id).data.tags[PREPARE_TAG]
    where = Path(store.get_run(prepared).info.artifact_uri.removeprefix("file://"))
    (where / drift.REFERENCE_FILE).unlink()
    source = written(tmp_path, new_rows())
    code, out, err = call("monitor", "--params", watched.params_file, "--data", source)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        f"StoreError: Nothing is kept of the rows that tiny/1 learned from: run {prepared} has no"
        " reference.json. An earlier version of this project has prepared them. Train and promote"
        " again: ratchet run; or name another version with --version."
    )
    assert not watched.monitored.exists()
    assert running() == []


def test_another_version_is_watched_by_its_name(watched, better, tmp_path):
    assert promote.run(better).promoted
    source = written(tmp_path, new_rows())
    found = {monitor.run(watched, source, reference=each).version for each in (None, "tiny/2")}
    assert found == {2}
    old = monitor.run(watched, source, reference="1")
    assert old.version == 1
    assert old.live.score > monitor.run(watched, source).live.score


def test_without_a_champion_there_is_nothing_to_watch(project, tmp_path):
    with pytest.raises(StoreError, match="There is no champion"):
        monitor.run(project, written(tmp_path, new_rows()))


def test_rows_that_the_model_cannot_take_are_told(watched, tmp_path, running):
    source = written(tmp_path, new_rows().drop(columns=["size"]))
    with pytest.raises(DataError, match="Column 'size' is missing, which the model needs"):
        monitor.run(watched, source)
    with pytest.raises(DataError, match="is not there"):
        monitor.run(watched, tmp_path / "nowhere.csv")
    assert running() == []
    assert not watched.monitored.exists()


def test_an_evaluation_that_is_gone_leaves_the_columns(watched, store, tmp_path):
    store.delete_tag(Leader.load(watched).run_id, "ratchet.evaluate_run")
    report = monitor.run(watched, written(tmp_path, new_rows()))
    assert (report.live, report.predictions) == (None, None)
    assert "which this project did not evaluate" in report.notes[0]
    assert len(report.columns) == 4


def test_two_classes_and_names_of_any_kind_go_through(tiny, store, tmp_path):
    """Columns whose names MLflow refuses, and a class that nobody has seen."""
    strange = {"size": "größe in m²/100 %", "rooms": "größe in m²:100 #", "town": ".."}

    def named(table: pd.DataFrame) -> pd.DataFrame:
        return table.drop(columns=["price"]).rename(columns=strange)

    families = ["baseline", "logistic"]
    settings = {"data__target": "dear", "data__drop": [], "train__families": families}
    project = Project.open(tiny(named(tiny_table()), **settings))
    assert pipeline.run(project).promoted
    table = named(new_rows())
    table.loc[:29, "dear"] = "perhaps"
    report = monitor.run(project, written(tmp_path, table))
    assert report.predictions.kind == "number"
    assert report.live.n_rows == 270
    assert report.reasons == (
        "'..' is missing in 10.0 % of the rows, where 0 % were expected.",
        "10.0 % of the labels are none of the classes that tiny/1 knows: 'perhaps'.",
    )
    assert report.verdict is Verdict.DRIFT
    names = {name for name in run_of(store, report).data.metrics if name.startswith("drift/psi/")}
    assert {"drift/psi/größe in m²_100 _", "drift/psi/größe in m²_100 __2", "drift/psi/_"} <= names


def test_clusters_are_watched_by_their_shares(tiny, store, tmp_path):
    rng = np.random.default_rng(0)

    def spots(shares: list[float], n: int) -> pd.DataFrame:
        at = rng.choice(3, n, p=shares)
        return pd.DataFrame({"x": at * 10 + rng.normal(size=n), "y": at * 5 + rng.normal(size=n)})

    settings = {
        "data__target": None,
        "data__drop": [],
        "train__problem": "clustering",
        "train__families": ["kmeans"],
    }
    project = Project.open(tiny(spots([0.4, 0.3, 0.3], 300), **settings))
    assert pipeline.run(project).promoted
    same = monitor.run(project, written(tmp_path, spots([0.4, 0.3, 0.3], 300)))
    assert same.verdict is Verdict.NONE
    assert (same.live, same.predictions.kind) == (None, "category")
    moved = monitor.run(project, written(tmp_path, spots([0.05, 0.05, 0.9], 300)))
    assert moved.predictions.verdict is Verdict.DRIFT
    with pytest.raises(DataError, match="a clustering has none"):
        monitor.run(project, written(tmp_path, spots([0.4, 0.3, 0.3], 300)), labels=True)


def test_rows_by_time_are_scored_by_blocks_and_later_is_no_drift(tiny, store, tmp_path):
    project = Project.open(tiny(split={"method": "time", "column": "sold", "test": 0.2}))
    assert pipeline.run(project).promoted
    table = tiny_table(300, 5)
    table["sold"] += pd.Timedelta(days=190)
    report = monitor.run(project, written(tmp_path, table))
    assert report.verdict is Verdict.NONE, report.reasons
    (sold,) = (each for each in report.columns if each.name == "sold")
    assert "follows time" in sold.note
    assert report.live is not None


def test_of_very_many_rows_the_model_is_asked_about_some(watched, monkeypatch, tmp_path):
    monkeypatch.setattr(monitor, "MAX_ASKED", 100)
    report = monitor.run(watched, written(tmp_path, new_rows()))
    assert (report.n_rows, report.live.n_rows) == (300, 100)
    assert report.notes == ("The model was asked about 100 of the 300 rows, drawn by chance.",)


def test_a_reference_can_do_without_rows(tiny, store, tmp_path):
    project = Project.open(tiny(monitor={"sample_rows": 0}))
    prepare.run(project)
    kept = drift.Reference.load(project.prepared)
    assert (len(kept.sample), kept.n_rows) == (0, 192)
    assert [each.name for each in kept.columns] == ["size", "town", "rooms", "sold"]
    assert [each.name for each in kept.columns if each.grows] == ["sold"]
    values = yaml.safe_load(project.params_file.read_text())
    assert values["data"]["drop"] == ["dear"]
    assert "dear" not in (project.prepared / drift.REFERENCE_FILE).read_text()


def test_a_drift_must_be_more_than_what_is_worth_a_look(tiny, call):
    code, _, err = call("checks", "--params", tiny(monitor={"drift": {"psi": 0.05}}))
    assert code == 2
    assert "monitor.drift.psi must be at least that of watch, 0.1, got 0.05" in err


@pytest.mark.slow
def test_a_drifted_month_is_found_through_mlflow_run(doors, tmp_path):
    """The month that the generator moves, and one that it doesn't, as ``mlflow run`` takes them."""
    clone = doors["mlflow"]
    for name, moved in (("usual", "0"), ("moved", "1")):
        made = (
            "--out",
            str(tmp_path / name),
            "--month",
            "2023-03",
            "--rows",
            "3000",
            "--drift",
            moved,
        )
        clone.run("python", "src", "sample", *made)
    monitor = ("mlflow", "run", ".", "--env-manager", "local", "-e", "monitor", "-P")
    clone.run(*monitor, f"data={tmp_path / 'usual'}")
    usual = DriftReport.load(clone.root / "build" / "monitor" / "drift.json")
    assert usual.verdict is not Verdict.DRIFT, usual.reasons
    clone.run(*monitor, f"data={tmp_path / 'moved'}", fails=True)
    moved = DriftReport.load(clone.root / "build" / "monitor" / "drift.json")
    assert moved.verdict is Verdict.DRIFT
    assert moved.live.worse
    assert {"PULocationID", "all columns", "score"} <= {each.about for each in moved.findings}
    run = clone.last("monitor")
    assert (run.info.run_id, run.data.tags["ratchet.drift"]) == (moved.run_id, "drift")
