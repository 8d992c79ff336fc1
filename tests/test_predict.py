"""Answers for tables of any size."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, tiny_table

from ratchet import model, tracking
from ratchet.commands import pipeline, predict
from ratchet.commands.predict import Request
from ratchet.conformal import Conformal
from ratchet.errors import DataError, InterruptionError, RatchetError
from ratchet.project import Project
from ratchet.serving import jobs, rows, served
from ratchet.steps import promote

ANSWERS = ["prediction", "prediction_low", "prediction_high", "model_version"]
PLACES = ["source_file", "source_row"]


@pytest.fixture
def champion(project):
    """The linear model, promoted."""
    assert promote.run(project).promoted
    return project


@pytest.fixture
def given(champion):
    """New rows as a client has them: without a target, in another order, with another column."""
    table = tiny_table(500, seed=1)
    frame = table[["town", "sold", "rooms", "size"]].assign(client=[f"c{n}" for n in range(500)])
    frame.loc[frame.index % 10 == 3, "town"] = None
    return frame


@pytest.fixture
def told(champion, given):
    """What the model says of them when it is asked at once."""
    asked = served.load(champion, served.find(champion))
    return model.predict(asked.model, rows.accept(given, asked.schema), asked.schema).values


def score(project, data, out, **more):
    return predict.run(project, Request(data, out, **{"record": False, **more}))


def test_each_row_gets_what_the_model_says_of_it(champion, given, told, tmp_path):
    given.to_parquet(tmp_path / "in.parquet", row_group_size=70)
    done = score(champion, tmp_path / "in.parquet", tmp_path / "out.parquet", rows_at_once=64)
    assert (done.rows, done.files, done.version, done.confidence) == (500, 1, "tiny/1", 0.95)
    out = pd.read_parquet(tmp_path / "out.parquet")
    assert list(out) == [*given, *ANSWERS, *PLACES]
    pd.testing.assert_frame_equal(out[list(given)], given)
    assert np.allclose(out["prediction"], told, rtol=1e-12)
    known = Conformal.load(champion.trained / "conformal.json")
    half = known.half_widths(out["prediction"].to_numpy(), 0.95)
    assert np.allclose(out["prediction_high"] - out["prediction"], half)
    assert np.allclose(out["prediction"] - out["prediction_low"], half)
    assert set(out["model_version"]) == {"tiny/1"}
    assert set(out["source_file"]) == {"in.parquet"}
    assert out["source_row"].tolist() == list(range(1, 501))
    assert sorted(p.name for p in tmp_path.glob(".*")) == [".out.parquet.scored.json"]


def test_text_gets_the_same_answers_and_keeps_its_fields(champion, given, told, tmp_path):
    given.assign(zip="01234").to_csv(tmp_path / "in.csv.gz", index=False)
    score(champion, tmp_path / "in.csv.gz", tmp_path / "out.csv", rows_at_once=64, confidence=0.8)
    out = pd.read_csv(tmp_path / "out.csv", dtype={"zip": str})
    assert set(out["zip"]) == {"01234"}
    assert np.allclose(out["prediction"], told)
    assert out["town"].isna().sum() == given["town"].isna().sum()


def test_a_folder_becomes_a_folder_or_a_file(champion, given, told, tmp_path):
    (tmp_path / "in").mkdir()
    given[:200].astype({"rooms": "int32"}).to_parquet(tmp_path / "in" / "a.parquet")
    given[200:].reset_index(drop=True).to_parquet(tmp_path / "in" / "b.parquet")
    score(champion, tmp_path / "in", tmp_path / "parts", rows_at_once=64)
    parts = [pd.read_parquet(path) for path in sorted((tmp_path / "parts").iterdir())]
    assert [len(part) for part in parts] == [200, 300]
    assert parts[0]["rooms"].dtype == "int32"
    score(champion, tmp_path / "in", tmp_path / "whole.parquet", rows_at_once=64)
    whole = pd.read_parquet(tmp_path / "whole.parquet")
    assert np.allclose(whole["prediction"], told)
    assert whole["source_row"].tolist() == [*range(1, 201), *range(1, 301)]
    pd.testing.assert_frame_equal(
        whole[ANSWERS], pd.concat(parts, ignore_index=True)[ANSWERS], check_dtype=False
    )


def test_the_answers_alone_with_an_id_of_the_clients(champion, given, tmp_path):
    given.to_parquet(tmp_path / "in.parquet")
    score(champion, tmp_path / "in.parquet", tmp_path / "o.parquet", id="client", only_answers=True)
    out = pd.read_parquet(tmp_path / "o.parquet")
    assert list(out) == ["client", *ANSWERS]
    with pytest.raises(DataError, match=r"in.parquet: --id: There is no column 'klient'; did you"):
        score(champion, tmp_path / "in.parquet", tmp_path / "p.parquet", id="klient")


def test_an_earlier_output_can_be_an_input_with_other_names(champion, given, tmp_path):
    given.to_parquet(tmp_path / "in.parquet")
    score(champion, tmp_path / "in.parquet", tmp_path / "once.parquet")
    with pytest.raises(DataError) as caught:
        score(champion, tmp_path / "once.parquet", tmp_path / "twice.parquet")
    assert str(caught.value) == (
        "once.parquet has columns that the answers would be called: prediction, prediction_low,"
        " prediction_high, model_version, source_file, source_row. Call these otherwise, for"
        " example with --prefix ratchet_, or leave the input's columns out with --only-answers."
    )
    score(champion, tmp_path / "once.parquet", tmp_path / "twice.parquet", prefix="new_")
    twice = pd.read_parquet(tmp_path / "twice.parquet")
    assert twice["new_prediction"].equals(twice["prediction"].rename("new_prediction"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"size": ["far" if n == 321 else str(n + 20) for n in range(500)]},
            "Column 'size' must hold finite numbers, and has a value that is not: 'far' in row 322"
            " of in.{kind}.",
        ),
        (
            {"sold": ["2026-02-30" if n == 77 else "2026-02-28" for n in range(500)]},
            "Column 'sold' must hold times, such as 2026-05-01T12:30:00, and has a value that is"
            " not: '2026-02-30' in row 78 of in.{kind}.",
        ),
        (
            {"size": None},
            "in.{kind}: Column 'size' is missing, which the model needs. Given: town, sold, rooms,"
            " client.",
        ),
    ],
    ids=["number", "time", "column"],
)
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_wrong_value_is_told_with_its_row_and_nothing_is_left(
    champion, given, tmp_path, call, kind, changes, told
):
    """Also where pieces before it were done."""
    frame = given.drop(columns=[name for name, each in changes.items() if each is None])
    frame = frame.assign(**{name: each for name, each in changes.items() if each is not None})
    path = tmp_path / f"in.{kind}"
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    options = ("--params", champion.params_file, "--rows-at-once", 50)
    out = tmp_path / "new" / "out.parquet"
    code, stdout, err = call("predict", "--data", path, "--out", out, *options)
    assert (code, stdout) == (2, "")
    assert err.splitlines()[-1] == f"DataError: {told.format(kind=kind)}"
    assert not out.parent.exists() or list(out.parent.iterdir()) == []


def test_labels_that_are_numbers_are_the_same_with_a_point(tiny, store, tmp_path):
    """pandas writes whole numbers of which one is missing so, and another piece may have none."""
    table = tiny_table()
    table["town"] = table["town"].map({"Aachen": 52, "Berlin": 10, "Cottbus": 3})
    project = Project.open(tiny(table, data__categorical=["town"]))
    assert pipeline.run(project).promoted
    new = tiny_table(100, seed=1).assign(town=[52, 10] * 50)[["size", "town", "rooms", "sold"]]
    new.to_csv(tmp_path / "whole.csv", index=False)
    new.astype({"town": float}).to_csv(tmp_path / "points.csv", index=False)
    new.to_parquet(tmp_path / "rows.parquet")
    said = []
    for name in ("whole.csv", "points.csv", "rows.parquet"):
        out = tmp_path / f"out-{name.partition('.')[0]}"
        score(project, tmp_path / name, out, rows_at_once=30)
        [part] = out.iterdir()
        read = pd.read_csv if part.suffix == ".csv" else pd.read_parquet
        said.append(read(part)["prediction"].to_numpy())
    assert np.allclose(said[0], said[1]) and np.allclose(said[0], said[2])
    assert abs(said[0][0] - said[0][1]) > 1


def test_classes_get_a_probability_each_and_the_decision_of_the_model(tiny, store, tmp_path):
    """A threshold that was tuned decides, and one question is enough for both."""
    table = tiny_table()
    unsure = np.random.default_rng(1).random(len(table)) < 0.2
    table["dear"] = table["dear"].where(~unsure, "yes")
    project = Project.open(
        tiny(
            table,
            train__metric="f0.5",
            train__families=["baseline", "logistic"],
            data__target="dear",
            data__drop=["price"],
        )
    )
    assert pipeline.run(project).promoted
    table.to_parquet(tmp_path / "in.parquet")
    done = score(project, tmp_path / "in.parquet", tmp_path / "out.parquet", only_answers=True)
    assert done.confidence is None and done.notes == ()
    out = pd.read_parquet(tmp_path / "out.parquet")
    assert list(out) == ["prediction", "probability_no", "probability_yes", *ANSWERS[3:], *PLACES]
    loaded = tracking.load_model("models:/tiny@champion")
    asked = served.load(project, served.find(project))
    features = rows.accept(table, asked.schema)
    assert out["prediction"].tolist() == list(loaded.predict(features))
    assert np.allclose(out[["probability_no", "probability_yes"]], loaded.predict_proba(features))
    assert (out["prediction"] == "yes").ne(out["probability_yes"] >= 0.5).any()


# Resumed


DIES = """
import os, signal, sys
from ratchet import cli
from ratchet.serving.jobs import Job

keep, kept = Job.keep, []

def dies(*arguments):
    keep(*arguments)
    kept.append(arguments)
    if len(kept) == 4:
        os.kill(os.getpid(), signal.SIGKILL)

Job.keep = dies
cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("out", ["out.parquet", "out"])
def test_after_a_kill_the_same_command_goes_on(champion, better, given, tmp_path, caplog, out):
    """With the version that it began with, although another one is the champion by then."""
    (tmp_path / "in").mkdir()
    given[:200].to_parquet(tmp_path / "in" / "a.parquet")
    given[200:].reset_index(drop=True).to_parquet(tmp_path / "in" / "b.parquet")
    score(champion, tmp_path / "in", tmp_path / f"straight-{out}", rows_at_once=64)
    arguments = ["predict", "--data", "in", "--out", out, "--rows-at-once", "64", "--no-record"]
    killed = subprocess.run(
        [sys.executable, "-c", DIES, *arguments, "--params", str(champion.params_file)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / out).exists()
    assert promote.run(better).promoted
    done = score(champion, tmp_path / "in", tmp_path / out)
    assert "going on with tiny/1, with which it was begun; tiny/2 is the champion" in caplog.text
    # The first file was whole, and the program died with its last piece.
    assert (done.version, done.rows, done.resumed) == ("tiny/1", 500, 200)
    read = pd.read_parquet
    pd.testing.assert_frame_equal(read(tmp_path / out), read(tmp_path / f"straight-{out}"))
    with pytest.raises(RatchetError, match="otherwise: tiny/1 answered, and now tiny/2 would"):
        score(champion, tmp_path / "in", tmp_path / out)


def test_ctrl_c_keeps_what_is_done(champion, given, tmp_path):
    given.to_parquet(tmp_path / "in.parquet")
    asked = Request(tmp_path / "in.parquet", tmp_path / "out.parquet", rows_at_once=100)
    seen = []

    def interrupt(n_rows, share):
        seen.append((n_rows, round(share, 3)))
        if n_rows == 300:
            raise KeyboardInterrupt

    with pytest.raises(InterruptionError) as caught:
        predict.run(champion, asked, interrupt)
    assert str(caught.value) == (
        "predict was interrupted after 300 rows; the same command goes on from there."
    )
    assert seen == [(100, 0.2), (200, 0.4), (300, 0.6)]
    assert not asked.out.exists()
    done = predict.run(champion, asked)
    assert done.rows == 500 and done.resumed in (100, 200, 300)


def test_done_is_done(champion, given, tmp_path, call):
    given.to_parquet(tmp_path / "in.parquet")
    arguments = ("predict", "--data", tmp_path / "in.parquet", "--out", tmp_path / "out.parquet")
    arguments += ("--params", champion.params_file, "--no-record")
    assert call(*arguments)[0] == 0
    made = (tmp_path / "out.parquet").stat().st_mtime_ns
    code, out, _ = call(*arguments, "--quiet")
    assert (code, out) == (
        0,
        f"predict: nothing to do: {tmp_path / 'out.parquet'} has the answers of tiny/1 to 500 rows"
        " already\n",
    )
    assert (tmp_path / "out.parquet").stat().st_mtime_ns == made
    code, _, err = call(*arguments, "--confidence", "0.8")
    assert code == 2
    assert "made otherwise: --confidence was 0.95 and is 0.8. Replace it with --force" in err
    given[:100].to_parquet(tmp_path / "in.parquet")
    code, _, err = call(*arguments)
    assert code == 2 and "in.parquet has changed" in err
    code, out, _ = call(*arguments, "--force", "--json")
    assert (code, json.loads(out)["rows"]) == (0, 100)
    assert len(pd.read_parquet(tmp_path / "out.parquet")) == 100


def test_what_others_have_written_is_not_replaced(champion, given, tmp_path):
    given.to_parquet(tmp_path / "in.parquet")
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(RatchetError, match=r"out.csv is there already. Replace it with --force"):
        score(champion, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"
    with pytest.raises(RatchetError, match="is the input, too"):
        score(champion, tmp_path / "in.parquet", tmp_path / "in.parquet", force=True)
    with pytest.raises(
        RatchetError, match=r"a file's name must end in \.parquet, \.csv, \.csv\.gz;"
    ):
        score(champion, tmp_path / "in.parquet", tmp_path / "out.xlsx")


def test_an_interrupted_output_is_not_gone_on_with_otherwise(champion, given, tmp_path):
    given.to_parquet(tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(InterruptionError):
        predict.run(champion, Request(tmp_path / "in.parquet", out, rows_at_once=100), interrupt)
    with pytest.raises(RatchetError, match=r"was begun otherwise: --prefix was '' and is 'x_'"):
        score(champion, tmp_path / "in.parquet", out, prefix="x_")
    done = score(champion, tmp_path / "in.parquet", out, prefix="x_", force=True)
    assert (done.rows, done.resumed) == (500, 0)


def test_two_at_once_do_not_write_one_output(champion, given, tmp_path):
    given.to_parquet(tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    with jobs.alone(out), pytest.raises(RatchetError, match="Another `ratchet predict` is writing"):
        score(champion, tmp_path / "in.parquet", out)
    assert score(champion, tmp_path / "in.parquet", out).rows == 500


def test_a_piece_that_is_not_whole_is_answered_again(champion, given, tmp_path):
    given.to_parquet(tmp_path / "in.parquet")
    asked = Request(tmp_path / "in.parquet", tmp_path / "out.parquet", rows_at_once=100)

    def interrupt(n_rows, _share):
        if n_rows == 400:
            raise KeyboardInterrupt

    with pytest.raises(InterruptionError):
        predict.run(champion, asked, interrupt)
    first = next(iter(sorted((tmp_path / ".out.parquet.unfinished").glob("*.arrow"))))
    first.write_bytes(first.read_bytes()[:100])
    done = predict.run(champion, asked)
    assert (done.rows, done.resumed) == (500, 0)
    assert len(pd.read_parquet(asked.out)) == 500


# Rules


RULES = {
    "rows": {"min": 10_000},
    "columns": {
        "size": {"holds": "number", "max": 150, "outliers": 0.01},
        "town": {"values": ["Aachen", "Berlin"], "missing": 0.5},
        "rooms": {"holds": "whole", "unique": True, "on_failure": "warn"},
        "price": {"holds": "number"},
    },
}


@pytest.fixture
def checked(champion):
    """The champion's project, with rules that some rows break."""
    (champion.root / "schema.json").write_text(json.dumps(RULES))
    return Project.open(champion.params_file, ["data.checks=schema.json"])


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_rules_are_asked_of_all_rows_together(checked, given, tmp_path, call, kind):
    """Not of pieces, which hold another share, no row twice, and few rows."""
    path = tmp_path / f"in.{kind}"
    given.to_csv(path, index=False) if kind == "csv" else given.to_parquet(path)
    done = score(checked, path, tmp_path / "out.parquet", rows_at_once=37)
    large = given["size"] > 150
    strange = given["town"] == "Cottbus"
    first = [int(place) + 1 for place in np.flatnonzero(strange)[:3]]
    assert done.broken == (
        f"'size' must be at most 150 but for 1.0% of the rows, and {large.sum()} of 500 rows"
        f" ({large.mean():.1%}) are not: "
        + ", ".join(
            f"{given['size'][place]:.10g} in row {place + 1} of in.{kind}"
            for place in np.flatnonzero(large)[:3]
        )
        + ", …",
        f"'town' must be one of Aachen, Berlin, and {strange.sum()} of 500 rows"
        f" ({strange.mean():.1%}) are not: "
        + ", ".join(f"'Cottbus' in row {row} of in.{kind}" for row in first)
        + ", …",
    )


def test_strict_rules_refuse_before_anything_is_written(checked, given, tmp_path, call, caplog):
    given.to_parquet(tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    arguments = ("predict", "--data", tmp_path / "in.parquet", "--out", out, "--no-record")
    arguments += ("--params", checked.params_file, "--set", "data.checks=schema.json")
    code, _, err = call(*arguments, "--strict-data")
    assert code == 2 and not out.exists()
    assert "DataError: The table fails 2 of the 8 checks in schema.json:" in err
    code, _, err = call(*arguments, "--strict-data", "--no-checks")
    assert code == 2 and "Choose one" in err
    assert call(*arguments)[0] == 0
    assert "predict: 'size' must be at most 150" in caplog.text
    caplog.clear()
    assert call(*arguments, "--no-checks", "--force")[0] == 0
    assert "must be" not in caplog.text


# Record


def test_the_work_is_on_record_and_does_not_depend_on_that(
    champion, given, tmp_path, store, caplog
):
    given.to_parquet(tmp_path / "in.parquet")
    done = score(champion, tmp_path / "in.parquet", tmp_path / "out.parquet", record=True)
    run = store.get_run(done.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["ratchet.step"] == "predict"
    assert run.data.tags["ratchet.version"] == "tiny/1"
    assert len(run.data.tags["ratchet.data_version"]) == 32
    assert run.data.params["version"] == "tiny/1"
    assert run.data.metrics["predict/rows"] == 500
    store.delete_experiment(run.info.experiment_id)
    again = score(champion, tmp_path / "in.parquet", tmp_path / "again.parquet", record=True)
    assert (again.rows, again.run_id) == (500, None)
    assert "predict: it is not on record: The experiment 'tiny' was deleted." in caplog.text


def test_a_version_without_a_record_of_its_errors_has_no_interval(
    champion, given, tmp_path, store, call
):
    version = served.find(champion)
    artifacts = store.get_run(version.run_id).info.artifact_uri.removeprefix("file://")
    os.unlink(f"{artifacts}/conformal.json")  # noqa: PTH108
    given.to_parquet(tmp_path / "in.parquet")
    done = score(champion, tmp_path / "in.parquet", tmp_path / "out.parquet", only_answers=True)
    assert done.notes == (
        "there are no intervals: the training of tiny/1 has not recorded how far off it was",
    )
    assert list(pd.read_parquet(tmp_path / "out.parquet")) == [
        "prediction",
        "model_version",
        *PLACES,
    ]


def test_arguments_that_lack_something_are_told(call, champion, given, tmp_path):
    assert call("predict")[0] == 2
    given.to_parquet(tmp_path / "in.parquet")
    arguments = ("predict", "--data", tmp_path / "in.parquet", "--out", tmp_path / "o.parquet")
    code, _, err = call(*arguments, "--confidence", "95")
    assert code == 2 and "must lie between 0 and 1, such as 0.95; got 95" in err
    code, _, err = call(*arguments, "--params", champion.params_file, "--confidence", "0.999")
    assert code == 2 and "Intervals of 0.999 need more rows than" in err
    code, _, err = call("predict", "--data", tmp_path / "none", "--out", "o.csv", *arguments[5:])
    assert code == 2 and "none is not there. Check --data, or fetch" in err


def test_lists_that_go_through_are_kept_but_not_as_text(champion, given, tmp_path):
    table = pa.Table.from_pandas(given, preserve_index=False)
    table = table.append_column("tags", pa.array([["a"]] * len(given)))
    pq.write_table(table, tmp_path / "in.parquet")
    score(champion, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["tags"][0].as_py() == ["a"]
    with pytest.raises(DataError, match="A CSV file can't hold columns of lists and records: tags"):
        score(champion, tmp_path / "in.parquet", tmp_path / "out.csv")
