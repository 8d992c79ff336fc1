"""The gates are set in params.yaml, off by default where they could stop an ordinary first run."""

import pytest
import yaml

from ratchet.errors import SettingsError
from ratchet.settings import (
    Check,
    CheckKind,
    Expect,
    MaxLatency,
    Promote,
    as_yaml,
    field_docs,
    flat,
    from_mapping,
)

LONGER = {
    "name": "longer is not shorter",
    "kind": "direction",
    "rows": 200,
    "change": {"trip_distance": "*1.5"},
    "expect": "not_lower",
    "tolerance": 0.5,
    "max_violations": 0.05,
}
SAME = {
    "name": "the vendor is the same",
    "kind": "invariance",
    "rows": [{"size": 3, "town": "Berlin", "sold": "2024-05-01"}],
    "change": {"vendor": None},
}


def promote(**values):
    task = {"name": "tiny", "data": {"source": "data", "target": "price"}, "promote": values}
    return from_mapping(task, origin="params.yaml")


def problems(**values):
    with pytest.raises(SettingsError) as error:
        promote(**values)
    return str(error.value).split("\n  - ")[1:]


def test_no_number_is_asked_of_a_leader_unless_the_user_asks():
    defaults = promote().promote
    assert defaults == Promote()
    assert defaults.slices.columns is None
    assert defaults.max_latency_ms == MaxLatency(one_row=None, batch=None)
    asked = (
        defaults.required,
        defaults.max_calibration_error,
        defaults.max_size_mb,
        defaults.max_overfit,
        defaults.max_test_uses,
    )
    assert asked == (None,) * 5
    assert defaults.checks == ()
    assert (defaults.dirty_data, defaults.dirty_tree) == ("refuse", "recorded")
    assert not defaults.allow_schema_change


def test_every_gate_can_be_set():
    chosen = promote(
        slices={"columns": ["town"], "quantiles": 5, "min_rows": 50, "max_loss": 0.1},
        max_calibration_error=0.05,
        max_latency_ms={"one_row": 20, "batch": 200.5},
        max_size_mb=10,
        max_overfit=0.5,
        max_test_uses=20,
        min_rows=10,
        allow_schema_change=True,
        dirty_data="allow",
        dirty_tree="clean",
        checks=[LONGER, SAME],
    ).promote
    assert chosen.slices.columns == ("town",)
    assert chosen.max_latency_ms == MaxLatency(one_row=20.0, batch=200.5)
    longer, same = chosen.checks
    assert longer == Check(
        name="longer is not shorter",
        kind=CheckKind.DIRECTION,
        rows=200,
        change={"trip_distance": "*1.5"},
        expect=Expect.NOT_LOWER,
        tolerance=0.5,
        max_violations=0.05,
    )
    assert (same.expect, same.expected) == (None, Expect.SAME)
    assert same.rows == ({"size": 3, "town": "Berlin", "sold": "2024-05-01"},)


def test_a_date_is_written_as_it_is_read():
    rows = yaml.safe_load("[{sold: 2024-05-01, at: 2024-05-01 08:30:00, size: 3}]")
    [check] = promote(checks=[SAME | {"rows": rows}]).promote.checks
    assert check.rows == ({"sold": "2024-05-01", "at": "2024-05-01T08:30:00", "size": 3},)


def test_checks_are_one_setting_that_means_the_same_when_written_again():
    chosen = promote(checks=[LONGER, SAME])
    assert from_mapping(yaml.safe_load(as_yaml(chosen)), origin="x") == chosen
    values = flat(chosen)
    assert list(values) == [name for name, _, _ in field_docs()]
    again = promote(checks=yaml.safe_load(yaml.safe_dump(values["promote.checks"])))
    assert again == chosen


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"slices": None}, "slices must be a section with settings of its own, got null"),
        ({"slices": {"quantiles": 1}}, "slices.quantiles must be at least 2, got 1"),
        ({"slices": {"min_rows": 0}}, "slices.min_rows must be at least 1, got 0"),
        ({"slices": {"max_loss": -1.0}}, "slices.max_loss must be at least 0, got -1.0"),
        ({"max_calibration_error": 2}, "max_calibration_error must be at most 1.0, got 2"),
        (
            {"max_latency_ms": {"one_row": 0}},
            "max_latency_ms.one_row must be a number greater than 0, got 0",
        ),
        (
            {"max_latency_ms": 20},
            "max_latency_ms must be a section with settings of its own, got 20",
        ),
        ({"max_size_mb": 0}, "max_size_mb must be a number greater than 0, got 0"),
        ({"max_overfit": -0.1}, "max_overfit must be at least 0, got -0.1"),
        ({"max_test_uses": 0}, "max_test_uses must be at least 1, got 0"),
        ({"min_rows": 0}, "min_rows must be at least 1, got 0"),
        ({"dirty_data": "no"}, "dirty_data must be 'refuse' or 'allow', got 'no'"),
        (
            {"dirty_tree": True},
            "dirty_tree must be 'clean', 'recorded' or 'allow', got true",
        ),
        ({"allow_schema_change": 1}, "allow_schema_change must be true or false, got 1"),
        ({"checks": 3}, "checks must be a list, got 3"),
        ({"checks": [LONGER, SAME, LONGER]}, None),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(values, problem):
    told = problem or "checks must have names of their own, got 'longer is not shorter' twice"
    assert problems(**values) == [f"promote.{told}"]


NO_ROWS = "must be a number of test rows such as 200, or rows such as [{column: value}], got"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": "isn't"}, None),
        ({"name": ""}, None),
        ({"name": " padded"}, None),
        ({"kind": "fairness"}, "kind must be 'invariance' or 'direction', got 'fairness'"),
        ({"rows": 0}, f"rows {NO_ROWS} 0"),
        ({"rows": True}, f"rows {NO_ROWS} true"),
        ({"rows": []}, f"rows {NO_ROWS} []"),
        ({"rows": "many"}, f"rows {NO_ROWS} 'many'"),
        (
            {"rows": [3]},
            "rows row 1: must be values by column such as {column: value}, got 3",
        ),
        (
            {"rows": [{"size": 3}, {"size": [3]}]},
            "rows row 2: size must be text, a finite number, a date, true, false or null, got [3]",
        ),
        ({"change": {}}, "change must name at least one column, got {}"),
        ({"change": 3}, "change must be values by column such as {column: value}, got 3"),
        (
            {"change": {"size": float("nan")}},
            "change.size must be text, a finite number, a date, true, false or null, got nan",
        ),
        ({"expect": None}, "expect must be not_lower or not_higher with kind direction, got null"),
        (
            {"expect": "same"},
            "expect must be not_lower or not_higher with kind direction, got 'same'",
        ),
        ({"kind": "invariance"}, "expect must be same with kind invariance, got 'not_lower'"),
        ({"tolerance": -1.0}, "tolerance must be at least 0, got -1.0"),
        ({"max_violations": 1.5}, "max_violations must be at most 1.0, got 1.5"),
        ({"tolerence": 1.0}, None),
    ],
)
def test_a_wrong_check_is_told_with_what_is_allowed(change, problem):
    [told] = problems(checks=[LONGER | change])
    [name] = change
    if problem is not None:
        assert told == f"promote.checks.0.{problem}"
    elif name == "name":
        assert told == (
            "promote.checks.0.name must be 1 to 100 letters, digits, spaces, '.', '_' and '-',"
            f" got {change['name']!r}"
        )
    else:
        assert told.startswith("promote.checks.0.tolerence is not a setting")
