"""Features that the model computes, the same in training and where it is served."""

import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from conftest import tiny_settings, tiny_table

from ratchet import derived, expressions, features, model, settings
from ratchet.errors import DataError, SettingsError
from ratchet.expressions import Definition
from ratchet.features import Preparation
from ratchet.project import Project
from ratchet.schema import Schema
from ratchet.settings import Data
from ratchet.steps import evaluate, prepare, promote, train
from ratchet.table import Table, prepare_table

ROWS = 300


def trips(seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 10**7, ROWS), "s")
    frame = pd.DataFrame(
        {
            "start": start,
            "end": start + pd.to_timedelta(random.integers(60, 7200, ROWS), "s"),
            "km": random.uniform(0.5, 40, ROWS),
            "size": random.normal(size=ROWS),
            "lat1": random.uniform(-90, 90, ROWS),
            "lon1": random.uniform(-180, 180, ROWS),
            "lat2": random.uniform(-90, 90, ROWS),
            "lon2": random.uniform(-180, 180, ROWS),
            "town": random.choice(["a", "b", "c"], ROWS, p=[0.6, 0.3, 0.1]),
            "my col": random.normal(size=ROWS),
        }
    )
    frame["start"] = frame["start"].astype("datetime64[us]")
    frame["end"] = frame["end"].astype("datetime64[us]")
    frame.loc[3, "km"] = np.nan
    frame.loc[5, "size"] = 0.0
    frame.loc[7, "start"] = pd.NaT
    return frame


TIMES = ("start", "end")
FORMULAS = (
    "km / hours(end - start)",
    "minutes(end - start)",
    "seconds(end - start) / 7",
    "days(start - end) / 365.25",
    "haversine(lat1, lon1, lat2, lon2)",
    "km * size + 2",
    "2 - km",
    "1 / size",
    "-size + km",
    "(km + size) / (km - size)",
    "log(size) - log1p(km)",
    "sqrt(abs(size))",
    "round(km * 10) / 10",
    "exp(size) - 3 * km",
    "km ** 2 - km ** -1",
    "col('my col') / km",
)


def definition(formula: str, name: str = "f") -> Definition:
    return Definition.of_expression(name, formula, list(trips().columns))


def computed(formula: str, frame: pd.DataFrame) -> np.ndarray:
    return derived.transformer([definition(formula)], TIMES).fit_transform(frame)[:, 0]


# Expressions


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_model_computes_what_targets_and_filters_compute(formula):
    frame = trips()
    wanted = expressions.evaluate(formula, frame).to_numpy("float64")
    assert np.isfinite(wanted).mean() > 0.4
    np.testing.assert_allclose(computed(formula, frame), wanted, rtol=1e-14)


def test_the_way_between_two_towns_is_known():
    berlin, paris = (52.5200, 13.4050), (48.8566, 2.3522)
    frame = pd.DataFrame([[*berlin, *paris]], columns=["lat1", "lon1", "lat2", "lon2"])
    (km,) = computed("haversine(lat1, lon1, lat2, lon2)", frame)
    assert km == pytest.approx(877.5, abs=0.5)


def test_ten_minutes_are_ten_minutes():
    start = pd.to_datetime(["2024-01-01 10:00", "1999-12-31 23:55"])
    frame = pd.DataFrame({"start": start, "end": start + pd.Timedelta("10min")})
    assert computed("minutes(end - start)", frame).tolist() == [10.0, 10.0]


def test_what_has_no_finite_value_is_missing():
    frame = trips()
    assert np.isnan(computed("km / size", frame)[5])
    assert np.isnan(computed("minutes(end - start)", frame)[7])


def test_a_share_is_learned_from_training_rows_alone():
    made = derived.transformer([definition("share(town)")], TIMES)
    train = trips().assign(town=["a"] * 150 + ["b"] * 100 + [None] * 50)
    made.fit(train)
    asked = train.head(4).assign(town=["a", "b", None, "never seen"])
    np.testing.assert_allclose(made.transform(asked)[:, 0], [1 / 2, 1 / 3, 1 / 6, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("km > 3", "it may not hold km > 3"),
        ("km", "it is no more than the column 'km'"),
        ("end - start", "'end' is a point in time; write minutes(b - a)"),
        ("minutes(km - size)", "'size' is no point in time"),
        ("hour(start)", "it may not hold hour(start)"),
        ("share(town) + 1", "it may not hold share(town)"),
        ("km // 2", "it may not hold km // 2"),
        ("km / 0", "it divides by 0"),
        ("km ** 0.5", "0.5 is no power that it may hold: whole numbers from 1 to 8"),
    ],
)
def test_what_a_model_can_not_compute_is_refused(formula, reason):
    with pytest.raises(DataError) as caught:
        derived.transformer([definition(formula)], TIMES)
    assert str(caught.value).startswith(
        f"data.derive.f can't be computed inside of a model: {reason}"
    )
    assert str(caught.value).endswith(f"Allowed: {derived.ALLOWED}; or a function of your own.")


def test_a_share_is_no_part_of_a_target_or_a_filter():
    with pytest.raises(DataError, match=r"only data\.derive may use it"):
        expressions.evaluate("share(town)", trips())


# Saved


def test_what_is_saved_is_trusted_by_name_and_gives_the_same_bits_row_by_row():
    frame = trips()
    definitions = [definition(each, f"f{n}") for n, each in enumerate((*FORMULAS, "share(town)"))]
    made = derived.transformer(definitions, TIMES).fit(frame)
    saved = skops.io.dumps(made)
    assert set(skops.io.get_untrusted_types(data=saved)) <= set(derived.TRUSTED_TYPES)
    loaded = skops.io.loads(saved, trusted=list(derived.TRUSTED_TYPES))
    whole = made.transform(frame)
    np.testing.assert_array_equal(loaded.transform(frame), whole)
    rows = [loaded.transform(frame.iloc[[row]]) for row in range(12)]
    np.testing.assert_array_equal(np.vstack(rows), whole[:12])
    assert np.isfinite(whole).mean() > 0.9


def test_times_may_come_in_another_unit():
    frame = trips()
    made = derived.transformer([definition("minutes(end - start)")], TIMES).fit(frame)
    other = frame.assign(
        start=frame["start"].astype("datetime64[ns]"), end=frame["end"].astype("datetime64[s]")
    )
    np.testing.assert_array_equal(made.transform(other), made.transform(frame))


def test_all_that_is_trusted_of_numpy_only_counts():
    functions = [name.removeprefix("numpy.") for name in derived.TRUSTED_TYPES if "numpy" in name]
    assert set(functions) == {
        *("around", "asarray", "diff", "kron", "nan_to_num", "prod", "reshape", "sum", "take"),
    }


# In a preparation


def prepared(**data: object) -> tuple[pd.DataFrame, Schema]:
    frame = trips().assign(y=lambda f: np.arange(ROWS) % 7 + f["lat1"])
    choices = Data.model_validate({"source": "x", "target": "y", **data})
    found = prepare_table(Table(frame, (Path("x.csv"),), (ROWS,)), choices, None)
    return found.frame, found.schema


@pytest.mark.parametrize("kind", [kind for kind in Preparation if kind is not Preparation.RAW])
def test_every_kind_of_model_gets_the_computed_columns(kind):
    plain_frame, plain = prepared()
    frame, schema = prepared(derive={"kmh": "km / hours(end - start)", "common": "share(town)"})
    pd.testing.assert_frame_equal(frame, plain_frame)
    rows = features.as_features(frame, schema).iloc[::-1]
    before = features.preparation(plain, kind)
    after = features.preparation(schema, kind)
    old, new = before.fit_transform(rows), after.fit_transform(rows)
    # A column of gaps goes with what is imputed.
    assert new.shape[1] - old.shape[1] == (3 if kind is Preparation.SCALED else 2)
    old_mask = features.matrix(before, plain, old).categorical
    new_mask = features.matrix(after, schema, new).categorical
    assert new_mask.tolist()[: len(old_mask)] == old_mask.tolist()
    assert not new_mask[len(old_mask) :].any()
    if kind is Preparation.FRAME:
        assert isinstance(new, pd.DataFrame)
        assert new.iloc[:, 0].dtype == "int64"
        np.testing.assert_array_equal(new.iloc[:, 0], old.iloc[:, 0])
    if kind is Preparation.NATIVE:
        np.testing.assert_array_equal(new[:, -2], computed("km / hours(end - start)", rows))


def test_a_column_that_is_only_computed_from_is_an_input_and_no_feature():
    frame, schema = prepared(features=["town"], derive={"kmh": "km / hours(end - start)"})
    assert schema.names == ["town", "end", "km", "start"]
    assert schema.seen() == ["town"]
    values = features.preparation(schema, Preparation.NATIVE).fit_transform(frame)
    assert values.shape == (ROWS, 2)
    assert list(frame.columns) == ["town", "end", "km", "start", "y"]


def test_a_schema_with_computed_features_comes_back_the_same(tmp_path):
    _, schema = prepared(derive={"kmh": "km / hours(end - start)"})
    schema.save(tmp_path / "schema.json")
    assert Schema.load(tmp_path / "schema.json") == schema


def test_how_a_feature_is_computed_is_noted_and_what_says_nothing_is_left_out():
    frame = trips().assign(y=np.arange(ROWS) * 1.0, one=1.0)
    choices = Data.model_validate(
        {
            "source": "x",
            "target": "y",
            "derive": {
                "kmh": "km / hours(end - start)",
                "same": "lat1 - lat1",
                "never": "log(-abs(km) - 1)",
                "gone": "km / one",
            },
        }
    )
    found = prepare_table(Table(frame, (Path("x.csv"),), (ROWS,)), choices, None)
    assert [each.name for each in found.schema.derived] == ["kmh"]
    assert "'kmh' is computed by the model: km / hours(end - start)." in found.notes
    assert "'never' can't be computed for any row: left out." in found.notes
    assert "'gone' is left out, as 'one' is." in found.notes


@pytest.mark.parametrize(
    ("derive", "message"),
    [
        ({"f": "kilometres / size"}, "data.derive.f: There is no column 'kilometres'."),
        ({"km": "size * 2"}, "data.derive.km has the name of a column. Choose another."),
        ({"f": "y / km"}, "data.derive.f is computed from the target. Take it out."),
        ({"f": "town * 2"}, "data.derive.f can't be computed inside of a model: 'town' holds text"),
        (
            {"f": {"function": "no_such_module:f", "columns": ["km"]}},
            "data.derive.f can't be computed inside of a model: no_such_module:f can't be imported",
        ),
        (
            {"f": {"function": "my_features:fails", "columns": ["km"]}},
            "data.derive.f: my_features:fails failed with KeyError: 'gone'",
        ),
        (
            {"f": {"function": "my_features:short", "columns": ["km"]}},
            "data.derive.f: my_features:short gave 2 values for 300 rows. It must give a number",
        ),
    ],
)
def test_a_feature_that_can_not_be_computed_is_told(derive, message, my_features):
    with pytest.raises(DataError) as caught:
        prepared(derive=derive)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("derive", "message"),
    [
        ("{f: 'a +'}", None),
        ("{f: 3}", "data.derive.f must be an expression such as b / a, or a function such as"),
        ("{f: {function: os.system, columns: [a]}}", "data.derive.f must be an expression"),
        ("[a]", "data.derive must give an expression or a function by the name of the feature"),
        ("{a__b: a / b}", "data.derive.'a__b' must be the name of a feature, without '__'"),
        ("{f: 'exec(a)'}", "data.derive.f calls exec(), which is not a function"),
    ],
)
def test_a_definition_that_is_none_is_told(tmp_path, derive, message):
    file = tmp_path / "params.yaml"
    values = yaml.safe_dump(tiny_settings())
    file.write_text(values)
    if message is None:  # it may still be the name of a column
        settings.load(file, [f"data.derive={derive}"])
        return
    with pytest.raises(SettingsError) as caught:
        settings.load(file, [f"data.derive={derive}"])
    assert message in str(caught.value)


def test_definitions_come_back_the_same_from_yaml(tmp_path):
    file = tmp_path / "params.yaml"
    derive = {"kmh": "km / hours(b - a)", "f": {"function": "m:f", "columns": ["a"]}}
    file.write_text(yaml.safe_dump(tiny_settings(data__derive=derive)))
    found = settings.load(file)
    file.write_text(settings.as_yaml(found))
    assert settings.load(file) == found
    assert yaml.safe_load(settings.as_yaml(found))["data"]["derive"] == derive


def test_a_column_that_is_dropped_and_computed_from_is_told():
    frame = trips().assign(y=np.arange(ROWS) * 1.0)
    choices = Data.model_validate(
        {
            "source": "x",
            "target": "y",
            "drop": ["end"],
            "derive": {"kmh": "km / hours(end - start)"},
        }
    )
    found = prepare_table(Table(frame, (Path("x.csv"),), (ROWS,)), choices, None)
    assert "end" not in found.schema.seen()
    assert (
        "'end' is in data.drop, and the model gets it all the same, to compute features from."
        in found.notes
    )


def test_a_computed_feature_that_is_the_target_in_another_form_is_found(tiny, store):
    table = tiny_table()
    table["a"], table["b"] = table["price"] / table["size"], table["size"] ** 2 + table["rooms"]
    params = tiny(table, data__features=["town"], data__derive={"same": "a * sqrt(b - rooms)"})
    with pytest.raises(DataError, match="'same'"):
        prepare.run(Project.open(params))


# From prepare to the served model

MY_FEATURES = '''\
"""Features of our own."""

import pandas as pd


def per_room(rows: pd.DataFrame) -> pd.Series:
    return rows["size"] / rows["rooms"]


def fails(rows):
    return rows["gone"]


def short(rows):
    return [1.0, 2.0]
'''


@pytest.fixture
def my_features(tmp_path, monkeypatch):
    """A module of the user's own, beside the package."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "my_features.py").write_text(MY_FEATURES)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("my_features", None)


@pytest.mark.slow
def test_a_served_model_computes_from_raw_columns_what_training_computed(
    tiny, store, my_features, monkeypatch
):
    table = tiny_table()
    table["built"] = table["sold"] - pd.to_timedelta(np.arange(240) % 50 * 37, "D")
    table.loc[4, "built"] = pd.NaT
    params = tiny(
        table,
        data__features=["size", "town"],
        data__derive={
            "age": "days(sold - built) / 365.25",
            "area": "log(size) * rooms",
            "common": "share(town)",
            "per_room": {"function": "my_features:per_room", "columns": ["size", "rooms"]},
        },
        train__families=["baseline", "ridge", "xgboost"],
        train__search__max_trials=4,
        train__ensemble="voting",
    )
    project = Project.open(params)
    outcome = prepare.run(project)
    assert "'age' is computed by the model: days(sold - built) / 365.25." in outcome.notes
    train.run(project)
    evaluate.run(project)
    assert promote.run(project).promoted
    schema = Schema.load(project.prepared / "schema.json")
    assert schema.names == ["size", "town", "built", "sold", "rooms"]
    served = mlflow.pyfunc.load_model("models:/tiny@champion")
    asked = [column.name for column in served.metadata.get_input_schema().inputs]
    assert asked == schema.names
    test = prepare.read_part(project, "test")
    raw = table.set_index("size").loc[test["size"]].reset_index()[schema.names]
    answers = served.predict(raw.astype({"rooms": "float64"}))
    known = pd.read_csv(project.evaluated / "predictions.csv")
    np.testing.assert_allclose(np.sort(answers), np.sort(known["predicted"]), atol=1e-4)
    own = model.predict(mlflow.sklearn.load_model("models:/tiny@champion"), test, schema).values
    np.testing.assert_allclose(answers, own, rtol=1e-12)
