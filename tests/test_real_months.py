"""The shipped task on three real months of green-taxi trips, with the same params.yaml."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from conftest import REAL_DATA, ROOT, Clone

pytestmark = pytest.mark.slow

MONTHS = REAL_DATA / "nyc-green-taxi"
TIME = "lpep_pickup_datetime"
SMALL = (
    "train.search.budget_seconds=null train.search.max_trials=2 train.threads=2"
    " tracking.system_metrics=false evaluate.resamples=100 promote.resamples=200"
)


@pytest.fixture(scope="module")
def months(fresh_clone) -> Clone:
    """A clone in which the real months have taken the simulated ones' place."""
    files = sorted(MONTHS.glob("green_tripdata_2023-0[123].parquet"))
    if len(files) < 3:
        pytest.skip(f"the real months are not here: {MONTHS} lacks some of 2023-01 to 2023-03")
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


def test_training_rows_are_earlier_than_validation_rows_and_those_than_march(months, tried):
    train, valid, test = (
        pd.read_parquet(months.root / "build" / "prepared" / f"{name}.parquet")[TIME]
        for name in ("train", "valid", "test")
    )
    assert train.max() <= valid.min()
    assert valid.max() < pd.Timestamp("2023-03-01") <= test.min()
    assert test.max() < pd.Timestamp("2023-04-01")
    assert min(len(train), len(valid), len(test)) > 10_000


def test_trees_beat_a_linear_regression_and_that_beats_the_mean(tried):
    baselines = {scores["baseline/test/rmse"] for scores in tried.values()}
    assert len(baselines) == 1
    assert tried["xgboost"]["test/rmse"] < tried["ridge"]["test/rmse"] < min(baselines)


def test_the_better_model_takes_the_champions_place(months, tried):
    client = months.client()
    champion = client.get_model_version_by_alias("green-taxi-duration", "champion")
    assert int(champion.version) == 2
    decisions = [run for run in months.runs() if run.data.tags["ratchet.step"] == "promote"]
    assert [run.data.metrics["promoted"] for run in decisions] == [1, 1]


def test_the_data_version_is_the_one_that_dvc_gave_the_months(months, tried):
    pointer = yaml.safe_load((months.root / "data.dvc").read_text())["outs"][0]
    tags = months.last("train").data.tags
    assert pointer["nfiles"] == 3
    assert tags["ratchet.data_version"] == pointer["md5"]
    assert tags["ratchet.data_dirty"] == "false"
