"""Simulated months look like the published ones, and can be learned from like them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from ratchet import taxi
from ratchet.errors import RatchetError

REAL = Path(__file__).parents[2] / "shared" / "data" / "nyc-green-taxi"
SHIPPED = Path(__file__).parents[1] / "data"
TOGETHER = [
    *("store_and_fwd_flag", "RatecodeID", "passenger_count"),
    *("payment_type", "trip_type", "congestion_surcharge"),
]


def frame(month="2023-01", **options):
    table = taxi.simulate_month(month, **options).to_pandas()
    took = table["lpep_dropoff_datetime"] - table["lpep_pickup_datetime"]
    return table.assign(
        minutes=took.dt.total_seconds() / 60,
        hour=table["lpep_pickup_datetime"].dt.hour,
        weekday=table["lpep_pickup_datetime"].dt.day_of_week,
    )


@pytest.fixture(scope="module")
def january():
    return frame("2023-01")


@pytest.fixture(scope="module")
def february():
    return frame("2023-02")


def usual(trips):
    return trips[trips["minutes"].between(1, 60)]


@pytest.mark.parametrize("month", ["2023-01", "2023-02", "2023-03"])
def test_columns_and_types_are_those_of_the_published_file(month):
    path = REAL / f"green_tripdata_{month}.parquet"
    if not path.exists():
        pytest.skip(f"the published month {path} is not here")
    real = pq.read_schema(path).remove_metadata()
    assert taxi.simulate_month(month, rows=50).schema.equals(real)


def test_ids_and_the_empty_fee_change_their_type_in_february_2023():
    january = taxi.simulate_month("2023-01", rows=50).schema
    february = taxi.simulate_month("2023-02", rows=50).schema
    assert len(january) == len(february) == 20
    changed = {f.name: (str(f.type), str(february.field(f.name).type)) for f in january}
    assert {name: types for name, types in changed.items() if types[0] != types[1]} == {
        "VendorID": ("int64", "int32"),
        "PULocationID": ("int64", "int32"),
        "DOLocationID": ("int64", "int32"),
        "ehail_fee": ("null", "double"),
    }


@pytest.mark.parametrize(
    ("share", "low", "high"),
    [
        (lambda t: t["payment_type"].isna().mean(), 0.055, 0.07),
        (lambda t: (t["fare_amount"] < 0).mean(), 0.001, 0.005),
        (lambda t: (t["trip_distance"] == 0).mean(), 0.04, 0.055),
        (lambda t: (t["minutes"] > 1380).mean(), 0.001, 0.004),
        (lambda t: t["minutes"].between(1, 60).mean(), 0.955, 0.975),
        (lambda t: t["minutes"].median(), 10.5, 12.5),
        (lambda t: t["minutes"].quantile(0.95), 32, 38),
        (lambda t: t["trip_distance"].median(), 1.7, 2.2),
        (lambda t: t["fare_amount"].median(), 12, 15),
        (lambda t: (t["trip_distance"] > 100).sum(), 2, 20),
        (lambda t: (t["payment_type"] == 1).mean(), 0.55, 0.65),
        (lambda t: (t["tip_amount"] > 0)[t["payment_type"] == 1].mean(), 0.84, 0.90),
        (lambda t: (t["tip_amount"] > 0)[t["payment_type"] == 2].mean(), 0, 0),
        (lambda t: (t["tip_amount"] < 0).sum(), 0, 0),
        (lambda t: t["ehail_fee"].notna().sum(), 0, 0),
        (lambda t: (t["minutes"] < 0).sum(), 0, 0),
    ],
    ids=[
        *("dispatched", "refunds", "no distance", "a day long", "between 1 and 60 minutes"),
        *("median minutes", "95 % of minutes", "median distance", "median fare"),
        *("absurd distances", "card", "tips by card", "tips in cash", "negative tips"),
        *("e-hail fees", "negative minutes"),
    ],
)
def test_a_month_has_the_shares_and_quantiles_that_are_promised(january, share, low, high):
    assert low <= share(january) <= high


def test_the_busiest_zones_are_the_real_ones(january):
    assert list(january["PULocationID"].value_counts().index[:5]) == [74, 75, 41, 166, 95]
    assert january["PULocationID"].between(1, taxi.ZONES).all()
    assert january["DOLocationID"].between(1, taxi.ZONES).all()


def test_dispatched_trips_miss_six_columns_together_and_count_in_minutes(january):
    missing = january[TOGETHER].isna()
    dispatched = missing["payment_type"]
    only_type = missing["trip_type"] & ~dispatched
    assert (missing.drop(columns="trip_type").nunique(axis=1) == 1).all()
    assert missing["trip_type"][dispatched].all()
    assert (january["RatecodeID"][only_type] == 99).all()
    assert (january["lpep_pickup_datetime"][dispatched].dt.second == 0).all()


def test_a_handful_of_trips_is_dated_outside_the_month(january):
    month = january["lpep_pickup_datetime"].dt.to_period("M").astype(str)
    assert 2 <= (month != "2023-01").sum() <= 15
    assert set(month) <= {"2009-01", "2022-12", "2023-01", "2023-02"}


def test_amounts_add_up(january):
    parts = [
        *("fare_amount", "extra", "mta_tax", "tip_amount", "tolls_amount"),
        *("improvement_surcharge", "congestion_surcharge"),
    ]
    metered = january[january["payment_type"].notna()]
    assert np.allclose(metered[parts].sum(axis=1), metered["total_amount"], atol=0.011)


def test_trips_are_slowest_in_the_rush_hour_and_fastest_at_night(january):
    trips = usual(january).query("0.5 < trip_distance < 50")
    speed = (trips["trip_distance"] / trips["minutes"]).groupby(trips["hour"]).median()
    assert speed.idxmin() in range(14, 19)
    assert speed.idxmax() in range(0, 6)


def test_trees_beat_a_line_and_a_line_beats_the_mean(january, february):
    zones, numbers = ["PULocationID", "DOLocationID"], ["hour", "weekday", "trip_distance"]
    train, test = usual(january), usual(february)
    mean = root_mean_squared_error(test["minutes"], np.full(len(test), train["minutes"].mean()))
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), [*zones, "hour", "weekday"]),
        (FunctionTransformer(lambda miles: miles.clip(upper=50)), ["trip_distance"]),
    )
    line = make_pipeline(columns, LinearRegression()).fit(train, train["minutes"])
    linear = root_mean_squared_error(test["minutes"], line.predict(test))
    trees = HistGradientBoostingRegressor(max_iter=150, random_state=0)
    trees.fit(train[zones + numbers], train["minutes"])
    boosted = root_mean_squared_error(test["minutes"], trees.predict(test[zones + numbers]))
    assert 9 < mean < 10
    assert 5.4 < linear < 7
    assert 4.5 < boosted < 5.3
    assert linear - boosted > 0.6


def test_who_tips_can_be_told_better_than_by_chance_but_not_surely(january, february):
    columns = ["PULocationID", "DOLocationID", "hour", "trip_distance", "RatecodeID"]
    train, test = (trips[trips["payment_type"] == 1] for trips in (january, february))
    trees = HistGradientBoostingClassifier(max_iter=80, max_leaf_nodes=8, random_state=0)
    trees.fit(train[columns], train["tip_amount"] > 0)
    score = roc_auc_score(test["tip_amount"] > 0, trees.predict_proba(test[columns])[:, 1])
    assert 0.68 < score < 0.85


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    first = taxi.write_months(tmp_path / "a", ["2023-01", "2023-02"], rows=500, seed=3)
    again = taxi.write_months(tmp_path / "b", ["2023-01", "2023-02"], rows=500, seed=3)
    assert [p.name for p in first] == [
        "green_tripdata_2023-01.parquet",
        "green_tripdata_2023-02.parquet",
    ]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert first[0].read_bytes() != first[1].read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [p.name for p in first]


def test_another_seed_is_another_city():
    one, two = (taxi.simulate_month(rows=200, seed=seed) for seed in (1, 2))
    assert not one.equals(two)


def test_the_shipped_months_are_what_the_generator_gives():
    paths = [SHIPPED / f"green_tripdata_{month}.parquet" for month in ("2023-01", "2023-02")]
    if not all(path.exists() for path in paths):
        pytest.skip("the sample data is not here; `dvc pull` brings it")
    for path in paths:
        month = path.stem.removeprefix("green_tripdata_")
        if path.stat().st_size > 500_000:
            pytest.skip(f"{path.name} is not the shipped month")
        assert pq.read_table(path).equals(taxi.simulate_month(month))


def test_drift_moves_prices_speeds_and_demand(february):
    moved = usual(frame("2023-02", drift=1.0)).query("0.5 < trip_distance < 50")
    still = usual(february).query("0.5 < trip_distance < 50")
    pace = [(t["minutes"] / t["trip_distance"]).median() for t in (still, moved)]
    price = [(t["fare_amount"] / t["trip_distance"]).median() for t in (still, moved)]
    top = [(t["PULocationID"] == 74).mean() for t in (still, moved)]
    assert pace[1] > 1.1 * pace[0]
    assert price[1] > 1.1 * price[0]
    assert top[1] < 0.7 * top[0]


@pytest.mark.parametrize("rows", [1, 2, 30])
def test_a_month_may_be_tiny(rows):
    assert taxi.simulate_month("2024-02", rows=rows).num_rows == rows


def test_bad_arguments_are_told():
    with pytest.raises(RatchetError) as error:
        taxi.simulate_month("2023-13")
    assert str(error.value) == "A month must look like 2023-01, got '2023-13'."
    with pytest.raises(RatchetError) as error:
        taxi.simulate_month(rows=0, drift=2)
    assert str(error.value) == (
        "A month needs at least 1 row and a drift between 0 and 1, got 0 and 2."
    )


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(RatchetError, match=r"^Can't write .* Make the folder writable\.$"):
        taxi.write_months(tmp_path / "data", ["2023-01"], rows=10)


def test_a_month_reads_with_pandas(tmp_path):
    (path,) = taxi.write_months(tmp_path, ["2023-01"], rows=100)
    assert pd.read_parquet(path).shape == (100, 20)
