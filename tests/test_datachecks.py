"""The checks of a table: the meaning of its columns counts, and all failures are told at once."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from conftest import REAL_DATA, ROOT, tiny_table

from ratchet import datachecks
from ratchet.datachecks import ColumnRules, Rules, check, infer
from ratchet.errors import DataError, SettingsError
from ratchet.project import Project
from ratchet.steps import prepare
from ratchet.table import read_table


def told(frame: pd.DataFrame, **columns: object) -> list[str]:
    """What a table is told of rules for its columns."""
    rules = Rules.model_validate({"columns": columns, "others": "allow"})
    return [each.told for each in check(frame, rules).failures]


# Each rule


@pytest.mark.parametrize(
    ("values", "rules", "message"),
    [
        (
            [1.0, -2.0, None, -3.0],
            {"holds": "number", "min": 0},
            "'x' must be at least 0, and 2 of 4 rows (50.0%) are not: -2 in row 2, -3 in row 4",
        ),
        (
            [1, 2, 9, 8, 7, 6],
            {"max": 5},
            "'x' must be at most 5, and 4 of 6 rows (66.7%) are not: 9 in row 3, 8 in row 4, 7 in"
            " row 5, …",
        ),
        (
            ["a", "c", None],
            {"values": ["a", "b"]},
            "'x' must be one of a, b, and 1 of 3 rows (33.3%) are not: 'c' in row 2",
        ),
        (
            [1.0, None, None, 2.0],
            {"missing": 0.25},
            "'x' may be missing in at most 25.0% of the rows, and is in 2 of 4 rows (50.0%): row 2,"
            " row 3",
        ),
        (
            ["a", "b", "a", None, None],
            {"unique": True},
            "'x' must hold no value twice, and 1 of 5 rows (20.0%) repeat one: 'a' in row 3",
        ),
        (
            [1.0, 2.5],
            {"holds": "whole"},
            "'x' must hold whole numbers, and 1 of 2 rows (50.0%) do not: 2.5 in row 2",
        ),
        (
            ["1", "many", "3"],
            {"holds": "number"},
            "'x' must hold numbers, and 1 of 3 rows (33.3%) do not: 'many' in row 2",
        ),
        (
            ["1", "2"],
            {"holds": "whole", "min": 0},
            "'x' must hold whole numbers, and 2 of 2 rows (100.0%) do not: '1' in row 1, '2' in"
            " row 2",
        ),
        (
            [7, 8],
            {"holds": "text", "values": ["07", "08"]},
            "'x' must hold text, and 2 of 2 rows (100.0%) do not: 7 in row 1, 8 in row 2",
        ),
        (
            [True, False],
            {"holds": "number"},
            "'x' must hold numbers, and 2 of 2 rows (100.0%) do not: True in row 1, False in row 2",
        ),
        (
            pd.to_datetime(["2024-01-01", "1970-01-01"]),
            {"holds": "datetime", "min": "2023-12-31"},
            "'x' must be at least 2023-12-31, and 1 of 2 rows (50.0%) are not: '1970-01-01"
            " 00:00:00' in row 2",
        ),
    ],
)
def test_a_broken_rule_names_what_is_asked_how_many_rows_break_it_and_the_first(
    values, rules, message
):
    assert told(pd.DataFrame({"x": values}), x=rules) == [message]


def test_a_column_must_be_there_unless_it_need_not():
    frame = pd.DataFrame({"x": [1]})
    assert told(frame, y={}) == ["'y' must be there, and is not"]
    assert told(frame, y={"required": False, "holds": "text"}) == []


def test_few_rows_may_lie_outside_where_outliers_are_allowed():
    frame = pd.DataFrame({"x": [*range(99), 10_000]})
    assert told(frame, x={"max": 100, "outliers": 0.01}) == []
    assert told(frame * 1000, x={"max": 100, "outliers": 0.01}) == [
        "'x' must be at most 100 but for 1.0% of the rows, and 99 of 100 rows (99.0%) are not:"
        " 1000 in row 2, 2000 in row 3, 3000 in row 4, …"
    ]


def test_the_number_of_rows_and_columns_without_rules_are_told():
    rules = Rules.model_validate({"rows": {"min": 5, "max": 9}, "columns": {"x": {}}})
    few = check(pd.DataFrame({"x": [1], "new": [1]}), rules)
    assert [(each.told, each.on_failure) for each in few.failures] == [
        ("There must be at least 5 rows, and there are 1", "fail"),
        ("No rule names the column new", "warn"),
    ]
    many = check(pd.DataFrame({"x": range(10)}), rules)
    assert [each.told for each in many.failures] == [
        "There must be at most 9 rows, and there are 10"
    ]
    assert check(pd.DataFrame({"x": []}), rules).failures[0].told.endswith("there are 0")


def test_all_failures_are_reported_at_once_with_their_counts():
    table = tiny_table()
    rules = infer(table)
    assert check(table, rules).failures == ()
    spoiled = table.assign(size=table["size"] * 1000, rooms=table["rooms"].astype(str), fee=1.0)
    spoiled.loc[3, "town"] = "Dresden"
    spoiled.loc[:100, "price"] = np.nan
    report = check(spoiled.drop(columns="dear").head(110), rules)
    assert [(each.column, each.rule, each.count) for each in report.failures] == [
        (None, "rows.min", 0),
        ("dear", "required", 0),
        ("size", "max", 110),
        ("town", "values", 1),
        ("rooms", "holds", 110),
        ("price", "missing", 101),
        (None, "others", 0),
    ]
    (example,) = report.failures[3].examples
    assert (example.place, example.value) == ("row 4", "Dresden")


def test_a_rule_may_warn_where_others_fail():
    frame = pd.DataFrame({"x": [-1.0, None], "y": [1, 1]})
    rules = Rules.model_validate(
        {
            "on_failure": "warn",
            "columns": {
                "x": {"min": 0, "missing": 0, "on_failure": {"min": "fail"}},
                "y": {"unique": True, "on_failure": "fail"},
            },
        }
    )
    report = check(frame, rules)
    assert [(each.column, each.rule) for each in report.failed] == [("x", "min"), ("y", "unique")]
    assert [(each.column, each.rule) for each in report.warnings] == [("x", "missing")]


def test_rows_to_predict_are_checked_without_target_or_number():
    rules = infer(tiny_table())
    rows = tiny_table().drop(columns=["price", "dear"]).head(2)
    features = ["size", "town", "rooms", "sold"]
    assert check(rows, rules, only=features).failures == ()
    (failure,) = check(rows.assign(size=-5.0), rules, only=features).failures
    assert (failure.column, failure.count) == ("size", 2)


# What means the same


SAME = {
    "ids of another width": ([1, 2, 3], pd.array([1, 2, 3], dtype="int32")),
    "whole numbers that became floats for a gap": ([1, 2, 3], [1.0, 2.0, None]),
    "whole numbers with pandas' own gap": ([1, 2, 3], pd.array([1, None, 3], dtype="Int64")),
    "truth with a gap": ([True, False, True], pd.array([True, None, False], dtype="boolean")),
    "truth among objects": ([True, False, True], np.array([True, None, False], dtype=object)),
    "an empty column of objects": ([1.5, 2.5, 3.5], np.array([None] * 3, dtype=object)),
    "an empty column of floats": (["a", "b", "a"], [np.nan] * 3),
    "text as categories": (["a", "b", "a"], pd.Categorical(["a", "b", "b"])),
    "text as objects": (["a", "b", "a"], np.array(["a", None, "b"], dtype=object)),
    "times of another unit": (
        pd.to_datetime(["2024-01-01", "2024-02-01", "2024-03-01"]).astype("datetime64[us]"),
        pd.to_datetime(["2024-01-01", None, "2024-03-01"]).astype("datetime64[ns]"),
    ),
    "times with a zone": (
        pd.to_datetime(["2024-01-01", "2024-02-01", "2024-03-01"]),
        pd.to_datetime(["2024-01-01", "2024-02-01", "2024-03-01"]).tz_localize("UTC"),
    ),
}


@pytest.mark.parametrize("kind", SAME)
def test_values_that_are_stored_in_another_way_mean_the_same(kind):
    before, after = SAME[kind]
    rules = infer(pd.DataFrame({"x": before}))
    loose = rules.columns["x"].model_copy(update={"missing": 1.0})
    assert loose.holds is not None
    rules = Rules(columns={"x": loose})
    assert check(pd.DataFrame({"x": after}), rules).failures == ()


MONTHS = pd.DataFrame(
    {
        "id": np.arange(300),
        "zone": np.resize([7, 8, 9], 300),
        "km": np.linspace(0.5, 30, 300),
        "kind": np.resize(["card", "cash"], 300),
        "fee": [np.nan] * 300,
    }
)
HARMLESS = {
    "ids changed from int64 to int32": {"id": np.arange(300, 600, dtype="int32")},
    "an empty column changed from object to float": {"fee": [0.5] * 300},
    "an empty column stayed empty": {"fee": np.array([None] * 300, dtype=object)},
}
MEANING = {
    "numbers became text": ({"km": [f"{km} km" for km in MONTHS["km"]]}, "km", "holds"),
    "the unit changed by 1000": ({"km": MONTHS["km"] * 1000}, "km", "max"),
    "a new label appeared": ({"kind": np.resize(["card", "app"], 300)}, "kind", "values"),
    "labels became numbers": ({"kind": np.resize([1, 2], 300)}, "kind", "holds"),
    "ids repeat": ({"id": np.resize(np.arange(150), 300)}, "id", "unique"),
    "a column was not filled": ({"km": [np.nan] * 200 + [1.0] * 100}, "km", "missing"),
    "zones became another list": ({"zone": MONTHS["zone"] + 100}, "zone", "values"),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_a_month_that_is_stored_otherwise_passes(change):
    rules = infer(MONTHS, categorical=["zone"])
    assert check(MONTHS.assign(**HARMLESS[change]), rules).failures == ()


@pytest.mark.parametrize("change", MEANING)
def test_a_month_whose_meaning_changed_does_not_pass(change):
    changes, column, rule = MEANING[change]
    report = check(MONTHS.assign(**changes), infer(MONTHS, categorical=["zone"]))
    assert [(each.column, each.rule) for each in report.failed] == [(column, rule)]


def test_one_bad_month_among_many_is_found_and_named(tmp_path):
    for number in range(1, 61):
        size = np.linspace(1, 40, 50) * (1609.34 if number == 7 else 1)
        pd.DataFrame({"size": size}).to_csv(tmp_path / f"{number:02}.csv", index=False)
    table = read_table(tmp_path)
    rules = Rules.model_validate({"columns": {"size": {"max": 60, "outliers": 0.05}}})
    parts = {
        file.name: np.arange(50 * place, 50 * (place + 1)) for place, file in enumerate(table.files)
    }
    assert check(table.frame, rules, place=table.place).failures == ()
    (failure,) = check(table.frame, rules, place=table.place, parts=parts).failures
    assert failure.told == (
        "In 07.csv, 'size' must be at most 60 but for 5.0% of the rows, and 50 of 50 rows (100.0%)"
        " are not: 1609.34 in row 1 of 07.csv, 2890.243265 in row 2 of 07.csv, 4171.146531 in row"
        " 3 of 07.csv, …"
    )


# The file


def test_a_file_of_rules_has_a_line_for_each_column_and_comes_back_the_same(tmp_path):
    rules = infer(tiny_table())
    rules.save(tmp_path / "schema.json")
    lines = (tmp_path / "schema.json").read_text(encoding="utf-8").splitlines()
    assert '    "town": {"holds": "text", "values": ["Aachen", "Berlin", "Cottbus"],' in "\n".join(
        lines
    )
    assert len(lines) == 6 + len(tiny_table().columns)
    assert Rules.load(tmp_path / "schema.json") == rules


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "{path} is not there, and data.checks names it. Write it with `ratchet checks"),
        ("{", "{path} is not valid JSON: Expecting property name"),
        ('{"colums": {}}', "{path}: colums is no rule; did you mean columns? Rules: on_failure,"),
        (
            '{"columns": {"x": {"maxx": 1}}}',
            "{path}: columns.x.maxx is no rule; did you mean max? Rules: holds, min, max,",
        ),
        (
            '{"columns": {"x": {"holds": "integer"}}}',
            "{path}: columns.x.holds must be 'number', 'whole', 'text', 'boolean' or 'datetime',"
            " got 'integer'.",
        ),
        (
            '{"columns": {"x": {"holds": "datetime", "min": 3}}}',
            "{path}: columns.x.min must be a point in time such as 2024-01-31, got 3.",
        ),
        (
            '{"columns": {"x": {"holds": "text", "max": 3}}}',
            "{path}: columns.x.max suits numbers and points in time, got 3.",
        ),
        (
            '{"rows": {"min": -1}, "columns": {"x": {"missing": 2}}}',
            "{path} has 2 problems:\n  - rows.min: should be greater than or equal to 0, got -1\n"
            "  - columns.x.missing: should be less than or equal to 1, got 2",
        ),
    ],
)
def test_a_wrong_file_of_rules_is_told(tmp_path, content, message):
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        Rules.load(path)
    assert str(caught.value).startswith(message.format(path=path))


def test_rules_are_written_for_values_that_leave_no_room():
    frame = pd.DataFrame(
        {
            "far": pd.Series(["0001-01-01", "9999-12-31"] * 5, dtype="datetime64[us]"),
            "huge": [1e308, -1e308] * 5,
            "nothing": [None] * 10,
        }
    )
    rules = infer(frame)
    assert rules.columns["far"].min == "0001-01-01"
    assert (rules.columns["huge"].min, rules.columns["nothing"]) == (None, ColumnRules())
    assert check(frame, rules).failures == ()


def test_rules_that_are_written_for_a_constant_ask_for_its_type_only():
    assert infer(pd.DataFrame({"x": ["same"] * 50})).columns["x"] == ColumnRules(
        holds="text", missing=0.02
    )


# In prepare


@pytest.fixture
def checked(tiny):
    """A project whose table has rules that it keeps."""
    params = tiny(data__checks="schema.json")
    infer(tiny_table().drop(columns="dear")).save(params.parent / "schema.json")
    return params


def test_what_the_checks_found_is_recorded_with_the_rules(checked, store):
    rules = json.loads((checked.parent / "schema.json").read_text())
    rules["columns"]["rooms"] |= {"max": 4, "outliers": 0, "on_failure": "warn"}
    (checked.parent / "schema.json").write_text(json.dumps(rules))
    outcome = prepare.run(Project.open(checked))
    assert outcome.notes[0].startswith("'rooms' must be at most 4, and ")
    run = store.get_run(outcome.run_id)
    assert outcome.notes[0] in run.data.tags["mlflow.note.content"]
    assert run.data.metrics["checks/warned"] == 1
    assert run.data.metrics["checks/made"] > 15
    names = {each.path for each in store.list_artifacts(outcome.run_id)}
    assert "data_checks.json" in names
    found = json.loads((checked.parent / "build" / "prepared" / "data_checks.json").read_text())
    assert [each["rule"] for each in found["failures"]] == ["max"]
    assert found["rules"]["columns"]["rooms"]["max"] == 4
    assert set(found["rules"]["columns"]) == set(rules["columns"])


def test_a_table_that_fails_its_checks_stops_prepare_with_all_of_them(checked, store):
    worse = tiny_table().assign(size=lambda table: table["size"] * 1000)
    worse["rooms"] = worse["rooms"].astype(str)
    worse.to_parquet(checked.parent / "data" / "rows.parquet")
    with pytest.raises(DataError) as caught:
        prepare.run(Project.open(checked))
    first, *failures, last = str(caught.value).split("\n")
    assert first.startswith("The table fails 2 of the ")
    assert [failure.split("'")[1] for failure in failures] == ["size", "rooms"]
    assert last == "Mend the table, or edit schema.json if the table is right."
    assert not (checked.parent / "build" / "prepared").exists()


def test_rows_that_the_filter_drops_are_not_checked_and_the_others_keep_their_place(tiny):
    table = tiny_table()
    table.loc[:2, "size"] = -1.0
    params = tiny(table, data__checks="schema.json", data__filter="size > 0")
    rules = Rules(columns={"size": ColumnRules(min=0), "town": ColumnRules(values=("Berlin",))})
    rules.save(params.parent / "schema.json")
    project = Project.open(params)
    raw = read_table(project.source, drop=project.settings.data.drop)
    report = prepare.check_table(project, raw, Rules.load(params.parent / "schema.json"))
    assert report.n_rows == len(table) - 3
    (failure,) = report.failed
    first = next(n for n in range(3, 240) if table.loc[n, "town"] != "Berlin")
    assert failure.examples[0].place == f"row {first + 1}"


def test_rules_for_a_dropped_column_are_not_asked(checked, store):
    rules = json.loads((checked.parent / "schema.json").read_text())
    rules["columns"]["dear"] = {"holds": "number"}
    (checked.parent / "schema.json").write_text(json.dumps(rules))
    prepare.run(Project.open(checked))


# The command


def test_the_command_writes_rules_and_then_checks_them(tiny, call):
    params = tiny()
    (params.parent / "dvc.yaml").write_text("stages: {}\n")
    file = params.parent / "schema.json"
    code, out, _ = call("checks", "--params", params)
    assert code == 2
    code, out, _ = call("checks", "--params", params, "--write")
    assert (code, out.splitlines()) == (
        0,
        [
            f"{file} has rules for 5 columns.",
            "Set data.checks to schema.json in params.yaml.",
            "Add schema.json to the deps of prepare in dvc.yaml.",
        ],
    )
    code, out, _ = call("checks", "--params", params, "--set", "data.checks=schema.json")
    assert (code, out) == (
        0,
        "25 of 25 checks in schema.json hold for 240 rows; 0 fail, 0 warn.\n",
    )
    tiny_table().assign(size=-5.0).to_parquet(params.parent / "data" / "rows.parquet")
    code, out, _ = call("checks", "--params", params, "--set", "data.checks=schema.json")
    assert code == 1
    assert "'size' must be at least 0 but for 1.0% of the rows, and 240 of 240 rows" in out
    code, out, _ = call("checks", "--params", params, "--set", "data.checks=schema.json", "--json")
    assert code == 1
    assert json.loads(out)["report"]["failures"][0]["count"] == 240


def test_the_command_replaces_edited_rules_only_when_forced(tiny, call):
    params = tiny(data__checks="schema.json")
    file = params.parent / "schema.json"
    file.write_text("{}")
    code, _, err = call("checks", "--params", params, "--write")
    assert code == 2
    assert f"{file} is there already. Edit it, or write it anew with --force" in err
    code, _, _ = call("checks", "--params", params, "--write", "--force")
    assert code == 0
    assert (params.parent / "schema.json.bak").read_text() == "{}"
    assert "town" in file.read_text()


# Tables


def test_the_shipped_rules_hold_for_the_sample_and_for_the_real_months():
    rules = Rules.load(ROOT / "schema.json")
    project = Project.open(ROOT / "params.yaml")
    real = REAL_DATA / "nyc-green-taxi"
    sources = [each for each in (ROOT / "data", real) if each.is_dir()]
    if not sources:
        pytest.skip(f"neither the sample nor the real months are here: {real}")
    for source in sources:
        assert prepare.check_table(project, read_table(source), rules).failures == ()


def test_rules_from_one_real_month_hold_for_the_next(tmp_path):
    months = sorted((REAL_DATA / "nyc-green-taxi").glob("*.parquet"))
    if len(months) < 2:
        pytest.skip("the real months are not here")
    for month in months:
        (tmp_path / month.stem).mkdir()
        shutil.copy(month, tmp_path / month.stem)
    frames = [read_table(tmp_path / month.stem).frame for month in months]
    rules = infer(frames[0])
    for frame in frames[1:]:
        assert datachecks.check(frame, rules).failed == ()


def test_pieces_are_judged_as_the_whole_is():
    """However they are cut, and not by their own shares."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "size": random.uniform(0, 100, 200),
            "town": random.choice(["a", "b", "c"], 200),
            "id": np.zeros(200),
        }
    )
    table.loc[:20, "size"] = np.nan
    rules = Rules.model_validate(
        {
            "rows": {"min": 1000},
            "columns": {
                "size": {"holds": "number", "max": 50, "outliers": 0.9, "missing": 0.1},
                "town": {"values": ["a", "b"], "on_failure": "warn"},
                "id": {"unique": True},
                "gone": {"required": True},
            },
        }
    )
    only = ["size", "town", "gone"]
    whole = datachecks.check(table, rules, only=only)
    assert {(each.column, each.rule) for each in whole.failures} == {
        ("size", "missing"),
        ("town", "values"),
        ("gone", "required"),
    }
    for rows in (7, 60, 200):
        tally = datachecks.Tally()
        for first in range(0, 200, rows):
            piece = table[first : first + rows]
            tally += datachecks.Tally.of(
                piece, rules, only=only, place=lambda row, first=first: f"row {first + row + 1:,}"
            )
        found = datachecks.Tally.from_plain(json.loads(json.dumps(asdict(tally)))).report(
            rules, only=only
        )
        assert set(found.failures) == set(whole.failures)
        assert (found.n_rows, found.n_checks) == (whole.n_rows, whole.n_checks)
