"""The scores of the leader and of what it is compared with, as sentences and tables."""

from collections.abc import Iterator

from ratchet.gates import decimals, shown
from ratchet.report.pieces import (
    NOTHING,
    Block,
    Cell,
    Row,
    Table,
    counted,
    headings,
    listed,
    number,
)
from ratchet.rivals import BASELINE, FAMILY, LEADER, MEMBER, RIVAL, Lead, Mark, Scores, Standing

KINDS = {
    LEADER: "the leader",
    MEMBER: "a member, by itself",
    RIVAL: "another family",
    FAMILY: "another family, no model kept",
    BASELINE: "ignores the columns",
}
"""What a model is beside the leader, for people."""

# The share of the gain of training from which a model that loses it has learned rows by heart.
_BY_HEART = 0.5


def blocks(scores: Scores) -> tuple[Block, ...]:
    """Tell how the leader stands beside its rivals, and what is left of its training score."""
    return (
        Block("On the same rows", tuple(_compared(scores)), _standings(scores)),
        Block("Every score that fits", tuple(_intervals(scores)), _every_score(scores)),
        Block("Training, validation, test", tuple(_left(scores)), _parts(scores)),
    )


def verdict(scores: Scores) -> str:
    """Say what won, and by how much over the next best and over the baseline.

    The next best is the one that came next on the validation rows, by which
    the leader was chosen.
    """
    leader, places = scores.leader, _places(scores)
    told = f"{leader.name} won the search: on {counted(scores.n_rows, 'test row')} its"
    told += f" {scores.metric} is {_test(leader, scores, places)}."
    clauses = [
        _clause(each.lead, f"the next best, {each.label},", places)
        for each in scores.rivals[:1]
        if each.lead is not None
    ]
    if scores.baseline.lead is not None:
        clauses.append(_clause(scores.baseline.lead, "the baseline", places))
    return f"{told} It is {', and '.join(clauses)}." if clauses else told


def _compared(scores: Scores) -> Iterator[str]:
    leader, places = scores.leader, _places(scores)
    yield verdict(scores)
    yield (
        "All of them answered the same test rows, and only after the leader had been chosen on"
        " validation rows: nothing here changes that choice."
    )
    ahead = [each for each in scores.rivals if each.lead and (each.lead.gain or 0) < 0]
    if ahead:
        told = "; ".join(f"{each.label} by {_gain(each.lead, places, -1)}" for each in ahead)
        sure = [each.label for each in ahead if each.lead and each.lead.behind]
        end = f" That of {listed(sure)} is more than chance." if sure else " All may be chance."
        yield f"Better than the leader on these rows: {told}.{end}"
    fewer = [each for each in scores.rivals if (each.n_rows or 0) < (leader.n_rows or 0)]
    if fewer:
        told = listed([f"{each.label} on {each.n_rows:,}" for each in fewer])
        yield (
            f"The leader was fitted on {counted(leader.n_rows or 0, 'row')}, {told}: what the other"
            f" rows would have brought {'it' if len(fewer) == 1 else 'them'} is not in"
            f" {'its' if len(fewer) == 1 else 'their'} scores."
        )
    if scores.calibrated and scores.rivals:
        yield (
            "The leader's probabilities are mapped to frequencies; those of its rivals are as their"
            " models give them."
        )


def _intervals(scores: Scores) -> Iterator[str]:
    units = "rows" if scores.n_units == scores.n_rows else "groups of rows"
    yield (
        f"Brackets hold intervals of {100 * scores.confidence:g} %, from"
        f" {scores.resamples:,} bootstrap resamples of {scores.n_units:,} {units}."
    )


def _left(scores: Scores) -> Iterator[str]:
    """Say what of the training score is left on validation, and what of that on test."""
    leader, lost = scores.leader, scores.lost
    if lost is None:
        yield (
            "How much of its training is left can't be told: there is no baseline, or training"
            " brought nothing over it."
        )
    elif lost <= 0:
        yield (
            "On validation rows it is no worse than on those it was fitted on: there is no sign of"
            " overfitting."
        )
    else:
        share = shown(100 * lost, 1)
        end = (
            "much of what it has learned is those rows by heart."
            if lost >= _BY_HEART
            else "the rest holds on rows that it has not seen."
        )
        yield (
            f"Of what it gained over the baseline in training, {share} % is lost on validation"
            f" rows, as the gate not_overfitted counts it: {end}"
        )
    mark = leader.mark(scores.metric)
    if mark is None or mark.low is None or mark.high is None or leader.valid is None:
        return
    if mark.low <= leader.valid <= mark.high:
        yield (
            "The validation score lies in the interval of the test score: having been chosen by it"
            " has not flattered the leader beyond chance."
        )
    elif (leader.valid > mark.high) == scores.maximize:
        yield (
            "Validation is better than the whole interval of the test score: the choice has"
            " flattered the leader, or the test rows are harder."
        )
    else:
        yield (
            "Test is better than validation by more than chance: the test rows are easier, or the"
            " last fit on all rows has helped."
        )


def _kind(standing: Standing) -> str:
    # So few are asked that the test rows' part of the report stays quick.
    left_out = standing.kind == RIVAL and not standing.test
    return f"{KINDS[standing.kind]}{', not asked' if left_out else ''}"


def _standings(scores: Scores) -> Table:
    places = _places(scores)
    rows = [
        Row(
            (
                Cell(each.name),
                Cell(_kind(each)),
                Cell(_fitted_on(each), "number"),
                Cell(number(each.valid, places), "number"),
                Cell(_test(each, scores, places), "number"),
                _lead(each, places),
            )
        )
        for each in scores.standings
    ]
    better = "larger" if scores.maximize else "smaller"
    head = (
        "model",
        "what it is",
        "fitted on",
        f"validation {scores.metric}, {better} is better",
        f"test {scores.metric}",
        "leader better by",
    )
    return Table(headings(head, range(2, 6)), tuple(rows))


def _every_score(scores: Scores) -> Table:
    asked = [each for each in scores.standings if each.test]
    rows = []
    for mark in scores.leader.test:
        marks = [each.mark(mark.metric) for each in asked]
        places = decimals(each.value for each in marks if each and each.value is not None)
        told = (NOTHING if each is None else _interval(each, places) for each in marks)
        rows.append(Row((Cell(mark.metric), *(Cell(each, "number") for each in told))))
    head = headings(("score", *(each.label for each in asked)), range(1, len(asked) + 1))
    return Table(head, tuple(rows))


def _parts(scores: Scores) -> Table:
    places = _places(scores)
    lines = [
        (scores.leader, number(scores.honest, places)),
        (scores.baseline, NOTHING),
    ]
    rows = [
        Row(
            (
                Cell(each.label),
                Cell(number(each.train, places), "number"),
                Cell(number(each.valid, places), "number"),
                Cell(honest, "number"),
                Cell(_test(each, scores, places), "number"),
            )
        )
        for each, honest in lines
    ]
    head = (
        scores.metric,
        "training rows",
        "validation rows",
        "those its members were not chosen with",
        "test rows",
    )
    return Table(headings(head, range(1, 5)), tuple(rows))


def _clause(lead: Lead, rival: str, places: int) -> str:
    """Say in a clause how the leader compares with another model."""
    if lead.gain is None:
        return f"not comparable with {rival.removesuffix(',')}"
    if lead.gain == 0:
        return f"as good as {rival.removesuffix(',')}"
    better = lead.gain > 0
    told = f"{'better' if better else 'worse'} than {rival} by"
    told += f" {_gain(lead, places, 1 if better else -1)}"
    return told if lead.ahead or lead.behind else f"{told}, which may be chance"


def _lead(standing: Standing, places: int) -> Cell:
    lead = standing.lead
    if lead is None:
        return Cell(NOTHING, "number")
    kind = "better" if lead.ahead else "worse" if lead.behind else "number"
    return Cell(_gain(lead, places, 1), kind)


def _gain(lead: Lead | None, places: int, sign: int) -> str:
    """Write a gain with its interval; seen from the other side it is mirrored."""
    if lead is None or lead.gain is None:
        return NOTHING
    if lead.low is None or lead.high is None:
        return shown(sign * lead.gain, places)
    low, high = sorted((sign * lead.low, sign * lead.high))
    return f"{shown(sign * lead.gain, places)} [{shown(low, places)}, {shown(high, places)}]"


def _test(standing: Standing, scores: Scores, places: int) -> str:
    mark = standing.mark(scores.metric)
    return NOTHING if mark is None else _interval(mark, places)


def _interval(mark: Mark, places: int) -> str:
    if mark.value is None:
        return NOTHING
    if mark.low is None or mark.high is None:
        return shown(mark.value, places)
    return f"{shown(mark.value, places)} [{shown(mark.low, places)}, {shown(mark.high, places)}]"


def _fitted_on(standing: Standing) -> str:
    if standing.n_rows is None:
        return NOTHING
    rows = counted(standing.n_rows, "row")
    # That the leader is made of several is in its name.
    alone = standing.kind == LEADER or standing.n_models == 1
    return rows if alone else f"{standing.n_models} fits of {rows}"


def _places(scores: Scores) -> int:
    """Choose decimals that tell the scores, and the leads, apart."""
    values = [each.valid for each in scores.standings]
    values += [mark.value for each in scores.standings if (mark := each.mark(scores.metric))]
    leads = [each.lead.gain for each in scores.standings if each.lead]
    return decimals(
        [value for value in values if value is not None],
        [gain for gain in leads if gain is not None],
    )
