"""Planted leaks are found and named, and honest tables raise no alarm."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet import leakage, project, settings, table
from ratchet.errors import DataError, SettingsError
from ratchet.leakage import WAYS_OUT, Finding, Leak, judge, load, refuse, save, watched
from ratchet.problem import ProblemType
from ratchet.settings import Data, Split, as_yaml, flat, from_mapping
from ratchet.steps import prepare
from ratchet.table import Table

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"

spec = importlib.util.spec_from_file_location("leak_benchmark", ROOT / "benchmarks" / "leakage.py")
assert spec is not None and spec.loader is not None
benchmark = importlib.util.module_from_spec(spec)
sys.modules["leak_benchmark"] = benchmark
spec.loader.exec_module(benchmark)

Task = benchmark.Task
TASKS = {task.name: task for task in benchmark.tasks()}
SMALL = ("iris", "breast_cancer", "wine", "diabetes", "linnerud Pulse", "project", "project tips")
REAL = ("adult", "wine_quality", "wine_quality score", "ames", "taxi")


def task(name):
    if name not in TASKS:
        pytest.skip(f"the table of {name} isn't there: {REAL_DATA} or data/")
    return TASKS[name]


def rows(n=400, seed=0):
    """A quantity that two columns explain in part."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=n), random.normal(size=n)
    return pd.DataFrame({"a": a, "b": b, "y": a * 2 + b + random.normal(size=n)})


def honest(**columns):
    return Task("honest", rows().assign(**columns), Data(source="x", target="y"))


def kinds(report):
    return [(finding.kind, finding.columns) for finding in report.findings]


@pytest.mark.parametrize("name", [*SMALL, "digits", "linnerud Weight", "linnerud Waist", *REAL])
def test_a_clean_table_raises_no_alarm(name):
    for seed in (42, 7):
        assert task(name).look(seed).findings == ()


@pytest.mark.parametrize("name", [*SMALL, "wine_quality", "ames"])
def test_planted_leaks_are_found_in_a_table(name):
    if name not in SMALL:
        task(name)
    leaks = list(benchmark.planted(task(name).smaller()))
    assert {leak.kind for leak in leaks} == set(Leak)
    if len(TASKS[name].frame) < 50:
        # An order with noise in it is no evidence in 20 rows.
        leaks = [leak for leak in leaks if leak.kind is not Leak.ORDERED_ID]
    # One variant of each kind; the benchmark tries all of them.
    for leak in {leak.kind: leak for leak in reversed(leaks)}.values():
        assert leak.found_by(leak.task.look()), f"{leak.kind}, {leak.variant}"


def test_equal_seeds_give_equal_findings():
    leak = honest().with_columns(leak=rows().y * 3)
    assert leak.look(1) == leak.look(1)


def test_a_formula_is_told_with_its_factor_its_shift_and_its_rows():
    frame = rows()
    report = honest(fare=frame.a * 10, total=frame.a * 10 + frame.y * 2 + 7).look()
    assert report.findings == (
        Finding(
            Leak.REBUILT,
            ("fare", "total"),
            "y is -0.5 * ('fare' - 'total') - 3.5 in 320 of 320 rows",
        ),
    )


def test_a_column_with_a_few_wrong_rows_still_rebuilds_the_target_and_a_noisy_one_does_not():
    y = rows().y.to_numpy()
    random = np.random.default_rng(1)
    wrong = np.where(np.arange(400) % 100 == 0, 0, y)
    assert kinds(honest(leak=wrong).look()) == [(Leak.REBUILT, ("leak",))]
    assert honest(near=y + random.normal(0, 0.5, 400)).look().findings == ()


def test_a_mostly_zero_column_does_not_rebuild_a_mostly_zero_target():
    random = np.random.default_rng(3)
    y = np.where(random.random(2000) < 0.95, 0.0, random.uniform(1, 9, 2000))
    x = np.where(random.random(2000) < 0.95, 0.0, random.uniform(1, 9, 2000))
    frame = pd.DataFrame({"x": x, "z": random.normal(size=2000), "y": y})
    assert Task("zeros", frame, Data(source="x", target="y")).look().findings == ()


def test_a_target_that_is_nearly_always_the_same_is_looked_at_without_a_fault():
    y = np.zeros(2344)
    y[:11] = np.arange(11) * 50 + 100.0
    frame = rows(2344)[["a", "b"]].assign(y=y, size=np.where(y > 0, 1.0, 0.0), one=y[::-1] * 0 + y)
    frame.loc[:2, "one"] = 7.0
    Task("rare", frame, Data(source="x", target="y"), problem=ProblemType.REGRESSION).look()


def test_random_ids_memorise_nothing_and_are_no_finding():
    random = np.random.default_rng(2)
    ids = random.permutation(400) + 5000
    assert honest(number=ids, text=[f"id-{k}" for k in ids]).look().findings == ()


def test_small_tables_of_noise_raise_no_alarm():
    for seed in range(60):
        random = np.random.default_rng(seed)
        n = int(random.integers(5, 60))
        frame = pd.DataFrame(
            {
                "number": np.arange(n) + 5,
                "huge": random.normal(size=n) * 1e300,
                "rare": np.where(random.random(n) < 0.8, np.nan, random.normal(size=n)),
                "when": pd.to_datetime(random.integers(0, 10**9, n), unit="s"),
                "label": random.choice(["a", "b", "c"], n),
                "y": random.integers(0, 30, n) * 1e12 + random.choice([0.0, 0.5], n),
            }
        )
        report = Task("noise", frame, Data(source="x", target="y")).look(seed)
        assert report.findings == (), seed


def test_an_id_in_row_order_is_harmless_where_the_rows_have_none():
    assert honest(number=np.arange(400)).look().findings == ()


def test_groups_are_no_finding_where_the_split_keeps_them_together():
    leak = next(p for p in benchmark.planted(honest()) if p.kind is Leak.GROUPS)
    assert kinds(leak.task.look()) == [(Leak.GROUPS, ("leak",))]
    by_group = replace(leak.task, split=Split(method="group", column="leak"))
    assert by_group.look().findings == ()


def test_gaps_that_say_little_are_no_finding():
    frame = rows()
    often = np.random.default_rng(5).random(400) < 0.8
    hint = np.where((frame.y > 0) & often, 1.0, np.nan)
    hint[::10] = 1.0
    assert honest(hint=hint + frame.a).look().findings == ()


def test_a_few_repeated_rows_are_a_note_with_their_counts():
    repeated = honest().reordered(np.r_[np.arange(400), np.arange(60)])
    report = repeated.look()
    assert report.findings == ()
    (note,) = report.notes
    assert " test rows (" in note and "equal a training row" in note


def test_repeated_rows_of_few_values_are_a_note():
    random = np.random.default_rng(4)
    frame = pd.DataFrame(random.integers(0, 3, (900, 4)), columns=list("abcy"))
    report = Task("few", frame, Data(source="x", target="y")).look()
    assert report.findings == ()
    assert report.notes[0].endswith("as the columns have few different values.")


def test_times_without_a_split_by_time_are_a_note():
    report = honest(sold=pd.date_range("2024-01-01", periods=400)).look()
    assert report.findings == ()
    assert report.notes == (
        "The table has times ('sold') and split.method is random: training knows rows that are"
        " newer than test rows. If the model is to predict what comes next, split by time.",
    )


def test_columns_that_are_no_features_are_watched_but_not_those_of_the_target():
    columns = ["a", "b", "c", "d"]
    assert watched(columns, Data(source="x", target="c", drop=("b",))) == ("b",)
    assert watched(columns, Data(source="x", target="c - d", features=("a",))) == ("b",)


PAIR = Finding(Leak.REBUILT, ("fare", "total"), "y is 'total' - 'fare'")
COPIES = Finding(Leak.REPEATED, (), "9 of 9 test rows equal a training row")


def test_a_pair_is_allowed_only_when_both_columns_are():
    (open_,), notes = judge([PAIR], (("fare", "metered"),))
    assert open_.allowed_because is None
    assert notes == ("data.allow names 'fare', and nothing was found that needs it.",)
    (closed,), notes = judge([PAIR], (("fare", "metered"), ("total", "an estimate")))
    assert closed.allowed_because == "metered; an estimate"
    assert notes == (
        "rebuilt target: y is 'total' - 'fare'. data.allow has it: metered; an estimate.",
    )


def test_a_kind_of_leak_is_allowed_by_its_name():
    (judged, pair), _ = judge([COPIES, PAIR], (("repeated_rows", "measured twice"),))
    assert judged.allowed_because == "measured twice"
    assert pair.allowed_because is None


def test_what_is_not_allowed_is_refused_with_columns_evidence_and_the_way_out():
    refuse([replace(COPIES, allowed_because="measured twice")])
    with pytest.raises(DataError) as refused:
        refuse([PAIR, COPIES])
    assert str(refused.value) == (
        "The table knows the answer, in 2 leaks:\n"
        "  - rebuilt target: y is 'total' - 'fare'. To go on, name one of them in data.drop;"
        " or give a reason: data.allow: {fare: why, total: why}.\n"
        "  - repeated rows: 9 of 9 test rows equal a training row. To go on, write each row once,"
        " or keep copies together with split.method group;"
        " or give a reason: data.allow: {repeated_rows: why}."
    )


def test_every_kind_of_leak_has_a_way_out():
    assert set(WAYS_OUT) == set(Leak)


def test_findings_are_saved_and_loaded(tmp_path):
    findings = (PAIR, replace(COPIES, allowed_because="measured twice"))
    save(findings, tmp_path / "leakage.json")
    assert load(tmp_path / "leakage.json") == findings
    assert json.loads((tmp_path / "leakage.json").read_text())[0] == {
        "kind": "rebuilt_target",
        "columns": ["fare", "total"],
        "evidence": "y is 'total' - 'fare'",
        "allowed_because": None,
    }


def settings_with(allow):
    data = {"source": "data", "target": "y", "allow": allow}
    return from_mapping({"name": "t", "data": data}, origin="params.yaml")


def test_reasons_are_read_kept_frozen_and_written_as_a_mapping(tmp_path):
    chosen = settings_with({"trip_distance": " metered before payment "})
    assert chosen.data.allow == (("trip_distance", "metered before payment"),)
    hash(chosen.data)
    path = tmp_path / "params.yaml"
    path.write_text(as_yaml(chosen), encoding="utf-8")
    assert "trip_distance: metered before payment" in path.read_text()
    assert settings.load(path) == chosen
    assert settings.load(path, ["data.allow={a: b}"]).data.allow == (("a", "b"),)
    assert flat(chosen)["data.allow"] == [["trip_distance", "metered before payment"]]
    assert settings_with({}).data.allow == ()
    schema = settings.Settings.model_json_schema()["$defs"]["Data"]["properties"]["allow"]
    assert schema["type"] == "object"


@pytest.mark.parametrize(
    ("allow", "problem"),
    [
        ({"a": " "}, "data.allow.a must have a reason, got ' '"),
        ({"a": None}, "data.allow.a must have a reason, got null"),
        ({1: "x"}, "data.allow.1 must be the name of a column or of a kind of leak"),
        (
            ["a"],
            "data.allow must give a reason for each column or kind of leak, such as"
            " {column: known in time}, got ['a']",
        ),
    ],
)
def test_a_reason_must_be_given(allow, problem):
    with pytest.raises(SettingsError) as error:
        settings_with(allow)
    assert str(error.value) == f"params.yaml has 1 problem:\n  - {problem}"


def leaky(tiny, **changes):
    random = np.random.default_rng(0)
    size = random.uniform(20, 200, 240)
    price = (size * 3 + random.normal(0, 90, 240)).round(2)
    frame = pd.DataFrame({"size": size, "price": price, "gross": price * 1.19})
    return project.Project.open(tiny(frame, data__drop=[], **changes))


def test_prepare_stops_at_a_leak_and_writes_nothing(tiny):
    opened = leaky(tiny)
    with pytest.raises(DataError, match=r"price is 0.840336 \* 'gross' in 192 of 192 rows"):
        prepare.run(opened)
    assert not opened.prepared.exists()


def test_prepare_goes_on_with_a_reason_and_keeps_the_finding(tiny):
    opened = leaky(tiny, data__allow={"gross": "asked before the sale"})
    outcome = prepare.run(opened)
    (finding,) = load(opened.prepared / "leakage.json")
    assert finding.kind is Leak.REBUILT
    assert finding.allowed_because == "asked before the sale"
    assert any("asked before the sale" in note for note in outcome.notes)


def test_fifty_thousand_rows_are_looked_at_in_seconds():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(50_000, 40)), columns=[f"x{k}" for k in range(40)])
    frame["y"] = frame.x0 + random.normal(size=50_000)
    whole = table.prepare_table(
        Table(frame, (Path("x"),), (50_000,)), Data(source="x", target="y"), None
    )
    parts = leakage.Splits(*np.split(np.arange(50_000), [30_000, 40_000, 50_000]))
    assert leakage.look(whole, parts, Split(), seed=0).findings == ()
