"""A leader stands beside its rivals by the same rows, the same metrics and the same resamples."""

from dataclasses import asdict, replace
from math import nan

import numpy as np
import pytest
from pydantic import TypeAdapter

from ratchet import evaluation, gates, metrics
from ratchet.metrics import Predictions
from ratchet.problem import ProblemType
from ratchet.report import scores as page
from ratchet.report.pieces import NOTHING
from ratchet.rivals import BASELINE, FAMILY, LEADER, MEMBER, RIVAL, Entrant, Scores, compare, few

REGRESSION = metrics.for_problem(ProblemType.REGRESSION)
RMSE = REGRESSION[0]
DRAWN = {"resamples": 200, "confidence": 0.9, "seed": 3}
Y = np.random.default_rng(0).normal(10, 3, 120)


def off(spread, seed=1):
    return Predictions(Y + np.random.default_rng(seed).normal(0, spread, len(Y)))


def compared(leader=None, others=None, baseline=None, **more):
    given = {"honest": 1.15, "calibrated": False, **DRAWN, **more}
    return compare(
        leader or Entrant("a+b", LEADER, off(1.0), None, 2, 100, train=0.6, valid=1.1),
        others
        if others is not None
        else [
            Entrant("line", FAMILY, None, 3, 1, None, 2.1, 2.0),
            Entrant("c", RIVAL, off(2.0, 2), 5, 1, 80, 1.4, 1.5),
            Entrant("a", MEMBER, off(1.0, 7), 1, 3, 100, 0.7, 1.2),
        ],
        baseline
        or Entrant(BASELINE, BASELINE, Predictions(np.full(len(Y), 10.0)), 0, 1, 100, 3.1, 3.1),
        REGRESSION,
        Y,
        **given,
    )


@pytest.fixture(scope="module")
def found() -> Scores:
    return compared()


def told(block):
    return " ".join(block.lines)


def lines(block):
    return [[cell.text for cell in row.cells] for row in block.table.rows]


def test_all_are_scored_as_evaluate_scores_the_leader(found):
    for standing, spread, seed in ((found.leader, 1.0, 1), (found.standings[2], 2.0, 2)):
        alone = evaluation.evaluate(Y, off(spread, seed), REGRESSION, **DRAWN)
        assert [asdict(each) for each in standing.test] == [asdict(each) for each in alone.scores]


def test_a_lead_is_the_paired_difference_from_the_leaders_side(found):
    rival = found.standings[2]
    paired = evaluation.paired_difference(RMSE, Y, off(1.0), off(2.0, 2), **DRAWN)
    assert (rival.lead.gain, rival.lead.low, rival.lead.high) == (
        paired.gain,
        paired.low,
        paired.high,
    )
    assert rival.lead.ahead and not rival.lead.behind
    assert found.leader.lead is None


def test_the_order_is_that_of_validation_between_leader_and_baseline(found):
    assert [each.name for each in found.standings] == ["a+b", "a", "c", "line", "baseline"]
    assert [each.name for each in found.rivals] == ["a", "c"]


def test_metrics_json_gets_the_rivals_scores_by_the_optimised_metric_only(found):
    name = "rivals/c/test/rmse"
    mark = found.standings[2].mark("rmse")
    flat = found.flat()
    assert set(flat) == {
        f"rivals/{each}/test/rmse{end}" for each in ("a", "c") for end in ("", "_low", "_high")
    }
    assert [flat[name + end] for end in ("", "_low", "_high")] == [mark.value, mark.low, mark.high]


def test_the_lost_share_is_that_of_the_gate(found):
    gate = gates.not_overfitted(RMSE, train=0.6, valid=1.1, baseline=3.1, allowed=0.1)
    assert found.lost == pytest.approx(0.2)
    assert "20.000 % of the gain lost" in gate.reason
    assert "20.0 % is lost on validation rows" in told(page.blocks(found)[2])


def test_what_is_not_a_number_is_none_and_survives_json():
    lost = Entrant("x", RIVAL, Predictions(np.full(len(Y), nan)), 4, 1, 80, nan, nan)
    found = compared(others=[lost], honest=nan)
    adapter = TypeAdapter(Scores)
    assert adapter.validate_json(adapter.dump_json(found)) == found
    assert found.honest is None
    assert found.standings[1].valid is None
    assert found.standings[1].mark("rmse").value is None
    assert found.flat() == {}
    assert "not comparable with the next best, x, and better than" in page.verdict(found)


@pytest.mark.parametrize(
    ("ranked", "most", "kept"),
    [
        ("abR", 3, "abR"),
        ("abcR", 3, "abR"),
        ("Rabc", 2, "Ra"),
        ("abc", 2, "ab"),
        ("", 2, ""),
        ("aRS", 1, "R"),
    ],
)
def test_one_that_can_be_read_is_among_the_few(ranked, most, kept):
    assert "".join(few(ranked, most, str.isupper)) == kept


# The page


def test_the_verdict_says_what_won_and_by_how_much_over_whom(found):
    mark = found.leader.mark("rmse")
    next_best, trivial = found.standings[1].lead, found.baseline.lead
    verdict = page.verdict(found)
    assert verdict.startswith(
        f"a+b won the search: on 120 test rows its rmse is {mark.value:.4f}"
        f" [{mark.low:.4f}, {mark.high:.4f}]. It is "
    )
    assert f"the next best, a alone, by {abs(next_best.gain):.4f} [" in verdict
    assert verdict.endswith(
        f"and better than the baseline by {trivial.gain:.4f}"
        f" [{trivial.low:.4f}, {trivial.high:.4f}]."
    )


def test_a_tie_may_be_chance_and_a_worse_rival_is_surely_worse(found):
    assert found.standings[1].lead.low < 0 < found.standings[1].lead.high
    assert ", which may be chance, and better than the baseline" in page.verdict(found)
    table = page.blocks(found)[0].table
    assert [row.cells[-1].kind for row in table.rows] == [
        "number",
        "number",
        "better",
        "number",
        "better",
    ]


def test_a_rival_that_is_better_on_test_is_named_and_changes_nothing():
    better = Entrant("c", RIVAL, off(0.5, 2), 5, 1, 80, 1.4, 1.5)
    found = compared(others=[better])
    assert found.leader.name == "a+b"
    said = told(page.blocks(found)[0])
    gain = -found.standings[1].lead.gain
    assert "It is worse than the next best, c, by" in said
    assert f"Better than the leader on these rows: c by {gain:.4f} [" in said
    assert "That of c is more than chance." in said
    assert "nothing here changes that choice" in said


def test_the_table_has_every_number_and_no_other(found):
    rows = lines(page.blocks(found)[0])
    places = 4

    def marked(standing):
        mark = standing.mark("rmse")
        return f"{mark.value:.{places}f} [{mark.low:.{places}f}, {mark.high:.{places}f}]"

    for row, standing in zip(rows, found.standings, strict=True):
        assert row[0] == standing.name
        assert row[3] == f"{standing.valid:.{places}f}"
        assert row[4] == (marked(standing) if standing.test else NOTHING)
    fitted = [row[2] for row in rows]
    assert fitted == ["100 rows", "3 fits of 100 rows", "80 rows", NOTHING, "100 rows"]
    assert [row[1] for row in rows] == [page.KINDS[each.kind] for each in found.standings]


def test_every_metric_is_told_of_all_that_were_asked(found):
    table = page.blocks(found)[1].table
    heads = [cell.text for cell in table.head]
    assert heads == ["score", "the leader", "a alone", "c", "the baseline"]
    assert [row.cells[0].text for row in table.rows] == [each.name for each in REGRESSION]
    r2 = next(row for row in table.rows if row.cells[0].text == "r2")
    assert r2.cells[3].text.startswith(f"{found.standings[2].mark('r2').value:.4f} [")


def test_fewer_rows_of_a_rival_are_told(found):
    assert (
        "The leader was fitted on 100 rows, c on 80: what the other rows would have brought it is"
        " not in its scores."
    ) in page.blocks(found)[0].lines


@pytest.mark.parametrize(
    ("valid", "said"),
    [
        (0.85, "lies in the interval of the test score"),
        (0.5, "Validation is better than the whole interval"),
        (2.0, "Test is better than validation"),
    ],
)
def test_validation_is_held_against_the_interval_of_test(found, valid, said):
    leader = replace(found.leader, valid=valid)
    changed = replace(found, standings=(leader, *found.standings[1:]))
    assert said in told(page.blocks(changed)[2])
    upside_down = replace(changed, maximize=True)
    mirrored = {"Validation": "Test is better", "Test": "Validation is better"}
    assert mirrored.get(said.split()[0], said) in told(page.blocks(upside_down)[2])


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (None, "can't be told"),
        (-0.1, "there is no sign of overfitting"),
        (
            0.123,
            "12.3 % is lost on validation rows, as the gate not_overfitted counts it: the",
        ),
        (0.7, "much of what it has learned is those rows by heart"),
    ],
)
def test_overfitting_is_told_by_the_lost_share(found, lost, said):
    assert said in told(page.blocks(replace(found, lost=lost))[2])


def test_calibration_of_the_leader_alone_is_told(found):
    said = "probabilities are mapped to frequencies"
    assert said in told(page.blocks(replace(found, calibrated=True))[0])
    assert said not in told(page.blocks(found)[0])


def test_without_rivals_the_baseline_is_all_there_is():
    found = compared(others=[])
    assert "next best" not in page.verdict(found)
    assert "better than the baseline by" in page.verdict(found)
    assert [row[0] for row in lines(page.blocks(found)[0])] == ["a+b", "baseline"]
