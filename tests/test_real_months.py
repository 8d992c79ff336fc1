"""The shipped task on three real months of green-taxi trips, with the same params.yaml."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import REAL_DATA, ROOT, Clone, asking

pytestmark = pytest.mark.slow
# One worker runs all that needs the months: making them takes a minute.
of_months = pytest.mark.xdist_group("months")

MONTHS = REAL_DATA / "nyc-green-taxi"
TIME = "lpep_pickup_datetime"
SMALL = (
    "train.search.budget_seconds=null train.search.max_trials=2 train.threads=2"
    " tracking.system_metrics=false evaluate.resamples=100 promote.resamples=200"
)


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """January to March of 2023."""
    found = sorted(MONTHS.glob("green_tripdata_2023-0[123].parquet"))
    if len(found) < 3:
        pytest.skip(f"the real months are not here: {MONTHS} lacks some of 2023-01 to 2023-03")
    return found


@pytest.fixture(scope="module")
def months(fresh_clone, files) -> Clone:
    """A clone in which the real months have taken the simulated ones' place."""
    clone = fresh_clone("months")
    shutil.copy(ROOT / "params.yaml", clone.root)
    (clone.root / "data").mkdir()
    for file in files:
        shutil.copyfile(file, clone.root / "data" / file.name)
    clone.run("dvc", "add", "--quiet", "data")
    return clone


@pytest.fixture(scope="module")
def tried(months: Clone) -> dict[str, dict[str, float]]:
    """What a linear regression scores on the test rows, and then a tree model."""
    found = {}
    for family in ("ridge", "xgboost"):
        months.run("python", "src", "run", "--set", f"{SMALL} train.families=[baseline,{family}]")
        text = (months.root / "build" / "evaluate" / "metrics.json").read_text()
        found[family] = json.loads(text)
    return found


@of_months
def test_training_rows_are_earlier_than_validation_rows_and_those_than_march(months, tried):
    train, valid, test = (
        pd.read_parquet(months.root / "build" / "prepared" / f"{name}.parquet")[TIME]
        for name in ("train", "valid", "test")
    )
    assert train.max() <= valid.min()
    assert valid.max() < pd.Timestamp("2023-03-01") <= test.min()
    assert test.max() < pd.Timestamp("2023-04-01")
    assert min(len(train), len(valid), len(test)) > 10_000


@of_months
def test_trees_beat_a_linear_regression_and_that_beats_the_mean(tried):
    baselines = {scores["baseline/test/rmse"] for scores in tried.values()}
    assert len(baselines) == 1
    assert tried["xgboost"]["test/rmse"] < tried["ridge"]["test/rmse"] < min(baselines)


@of_months
def test_the_better_model_takes_the_champions_place(months, tried):
    client = months.client()
    champion = client.get_model_version_by_alias("green-taxi-duration", "champion")
    assert int(champion.version) == 2
    decisions = [run for run in months.runs() if run.data.tags["ratchet.step"] == "promote"]
    assert [run.data.metrics["promoted"] for run in decisions] == [1, 1]


@of_months
def test_the_data_version_is_the_one_that_dvc_gave_the_months(months, tried):
    pointer = yaml.safe_load((months.root / "data.dvc").read_text())["outs"][0]
    tags = months.last("train").data.tags
    assert pointer["nfiles"] == 3
    assert tags["ratchet.data_version"] == pointer["md5"]
    assert tags["ratchet.data_dirty"] == "false"


def test_month_after_month_is_watched_trained_on_and_served(fresh_clone, files):
    clone = fresh_clone("month-after-month")
    params = clone.root / "params.yaml"
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["split"] |= {"test": "10 days"}
    values["evaluate"] |= {"resamples": 100, "report": False}
    values["tracking"] |= {"system_metrics": False}

    def retrained(family: str, *arguments: str) -> str:
        values["train"] |= {"families": ["baseline", family], "threads": 2}
        values["train"]["search"] |= {"budget_seconds": None, "max_trials": 2}
        params.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        out = clone.run("python", "src", "retrain", "--quiet", *arguments)
        return out.splitlines()[-1]

    (clone.root / "data").mkdir()
    shutil.copyfile(files[0], clone.root / "data" / files[0].name)
    name = "green-taxi-duration"
    assert retrained("ridge").startswith(f"retrained: there is no champion; {name}/1 promoted: ")
    row = pd.read_parquet(files[2])[values["data"]["features"]].iloc[0]
    trip = {
        column: str(row[column]) if column == TIME else float(row[column]) for column in row.index
    }
    client = clone.client()
    with (
        clone.serve("python", "src", "serve", "--refresh", "1", ready="/ping") as address,
        asking(address, trip) as asked,
    ):
        asked.until_it_is(f"{name}/1")
        told = retrained("xgboost", "--data", str(files[1]))
        assert told.startswith(f"retrained: new data ({files[1].name})"), told
        assert f"; {name}/2 promoted: rmse " in told
        asked.until_it_is(f"{name}/2")
        told = retrained("xgboost", "--data", str(files[2]))
        assert told.startswith(f"retrained: new data ({files[2].name})"), told
        champion = client.get_model_version_by_alias(name, "champion").version
        assert (f"; {name}/3 promoted: rmse " in told) == (int(champion) == 3)
        asked.until_it_is(f"{name}/{champion}")
        clone.run("python", "src", "rollback", "--to", "1", "--reason", "to see the server follow")
        asked.until_it_is(f"{name}/1")
    assert asked.failed == []
    pointer = yaml.safe_load((clone.root / "data.dvc").read_text())["outs"][0]
    assert pointer["nfiles"] == 3
    assert retrained("xgboost").startswith("not due: these data were judged already")
