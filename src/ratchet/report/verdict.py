"""The answer of a report: what won, by how much, and what became of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan

from ratchet.evaluation import Score
from ratchet.gates import GateResult, decimals, shown
from ratchet.report.pieces import (
    Block,
    Cell,
    Row,
    Table,
    counted,
    cut,
    escaped,
    headings,
    interval,
    strip,
)
from ratchet.rivals import Scores

# Scores in the description of a version, beside the one that was optimised.
_IN_SHORT = 5


@dataclass(frozen=True)
class Won:
    """A leader's score on the test rows, beside that of the constant answer."""

    metric: str
    """Score that was optimised."""
    score: float | None
    """That score of the leader."""
    low: float | None
    """Lower end of its interval; None where none can be given."""
    high: float | None
    """Upper end of its interval; None where none can be given."""
    baseline: float | None
    """That score of the constant answer."""
    gain: float | None
    """What the leader gains over it, in the metric's unit; positive when it is better."""
    gain_low: float | None
    """Lower end of the gain's interval; None where none can be given."""
    gain_high: float | None
    """Upper end of the gain's interval; None where none can be given."""
    confidence: float
    """Probability that each interval promises."""
    n_rows: int
    """Test rows that were scored."""
    test: str
    """Digest of the test rows."""

    @classmethod
    def of(cls, scores: Scores, test: str) -> "Won":
        """Take a leader's score, and what it gains over the baseline, out of its scores."""
        ours, base = (each.mark(scores.metric) for each in (scores.leader, scores.baseline))
        lead = scores.baseline.lead
        return cls(
            metric=scores.metric,
            score=ours.value if ours else None,
            low=ours.low if ours else None,
            high=ours.high if ours else None,
            baseline=base.value if base else None,
            gain=lead.gain if lead else None,
            gain_low=lead.low if lead else None,
            gain_high=lead.high if lead else None,
            confidence=scores.confidence,
            n_rows=scores.n_rows,
            test=test,
        )


@dataclass(frozen=True)
class RivalScore:
    """One score of the challenger and of the champion on the same rows."""

    metric: str
    """Name of the metric."""
    ours: float | None
    """The challenger's."""
    ours_low: float | None
    """Lower end of its interval; None where none can be given."""
    ours_high: float | None
    """Upper end of its interval; None where none can be given."""
    theirs: float | None
    """The champion's."""
    theirs_low: float | None
    """Lower end of its interval; None where none can be given."""
    theirs_high: float | None
    """Upper end of its interval; None where none can be given."""

    @classmethod
    def of(cls, ours: Score, theirs: Score) -> "RivalScore":
        """Put the same score of both beside each other."""
        numbers = (ours.value, ours.low, ours.high, theirs.value, theirs.low, theirs.high)
        return cls(ours.metric, *map(_known, numbers))


@dataclass(frozen=True)
class Rival:
    """The champion of that time, by every score that fits the problem."""

    version: int
    """Its version."""
    n_rows: int
    """Test rows that both were scored on: neither was trained on them."""
    n_left_out: int
    """Test rows that one of them was trained on, and that were left out."""
    confidence: float
    """Probability that each interval promises."""
    scores: tuple[RivalScore, ...]
    """The one that the gates compare first."""

    def flat(self) -> dict[str, float]:
        """Give the numbers under the names that runs use; NaN where there is none.

        The challenger's are those of all test rows unless some were left out.
        """
        found: dict[str, float | None] = {}
        for each in self.scores:
            name = f"champion/test/{each.metric}"
            found |= {
                name: each.theirs,
                f"{name}_low": each.theirs_low,
                f"{name}_high": each.theirs_high,
            }
            if self.n_left_out:
                name = f"test_fair/{each.metric}"
                found |= {
                    name: each.ours,
                    f"{name}_low": each.ours_low,
                    f"{name}_high": each.ours_high,
                }
        return {name: _number(value) for name, value in found.items()}


@dataclass(frozen=True)
class Decided:
    """What promote decided on a leader."""

    kind: str
    """promote, refuse or force."""
    reason: str
    """Why, in a sentence."""
    model: str
    """Name of the registered model."""
    version: int | None
    """Version that the leader was registered as; None when it was not."""
    champion: int | None
    """Version that was the champion before; None when nobody was."""
    metric: str
    """Score that the gates compare."""
    score: float | None
    """That score of the leader, on the test rows."""
    gates: tuple[GateResult, ...]
    """What each gate said."""
    at: str
    """When, in UTC."""
    line: int
    """Line of the ledger."""
    run: str
    """Run that holds the evidence."""
    test: str
    """Digest of the test rows of the judgement."""
    rival: Rival | None = None
    """The champion on the same rows; None where there was none, or it could not be compared."""
    undone: str = ""
    """That it was rolled back since, in a clause; empty when it wasn't."""

    @property
    def failed(self) -> tuple[GateResult, ...]:
        """The gates that did not pass."""
        return tuple(gate for gate in self.gates if not gate.passed)

    @property
    def key(self) -> str:
        """Tell this state of affairs from any other: what a page about it carries."""
        return f"{self.run} undone" if self.undone else self.run


def answer(leader: str, decided: Decided | None) -> str:
    """Say in a few words what came out."""
    if decided is None:
        return f"{leader} won the search"
    if decided.kind == "refuse":
        held = (
            "nobody is the champion"
            if decided.champion is None
            else f"version {decided.champion} stays the champion"
        )
        return f"{leader} was not promoted: {held}"
    how = "against the gates" if decided.kind == "force" else "by the gates"
    return f"{leader} was promoted {how}, as version {decided.version} of {decided.model}"


def told(won: Won | None, decided: Decided | None) -> Iterator[str]:
    """Yield the sentences that explain the answer."""
    if won is not None:
        # The gates have an interval of this gain too, from resamples of their own.
        yield f"{_score_told(won)} {_gain_told(won) if decided is None else ''}".rstrip()
    elif decided is not None:
        score = _number(decided.score)
        yield f"On the test rows its {decided.metric} is {shown(score, decimals([score]))}."
    if decided is None:
        yield (
            "When this was written, it had not been put forward yet: `python src promote` asks"
            " the gates."
        )
        return
    yield from (
        f"Against the baseline, which looks at no column: {gate.reason}."
        for gate in decided.gates
        if gate.name == "better_than_baseline" and (gate.passed or decided.kind != "refuse")
    )
    yield _decision_told(decided)
    if decided.undone:
        yield f"Since then, {decided.undone}."
    yield f"Decided {decided.at[:19].replace('T', ' ')} UTC, line {decided.line} of the ledger."
    if won is not None and won.test != decided.test:
        yield (
            "The gates saw other test rows than the rest of this page, which tells of the"
            " evaluation of that time."
        )


def gates(decided: Decided | None) -> tuple[Block, ...]:
    """Lay out what every gate said."""
    if decided is None:
        lines = ("They have not been asked yet. Without recording anything, this asks them:",)
        return (Block("", lines, code="python src promote --dry-run"),)
    n = len(decided.failed)
    line = "All passed." if not n else f"{n} of {len(decided.gates)} did not pass."
    rows = tuple(
        Row((Cell(gate.name), _passed(gate), Cell(cut(gate.reason)))) for gate in decided.gates
    )
    return (Block("", (line,), Table(headings(("gate", "passed", "because")), rows)),)


def against(rival: Rival | None) -> tuple[Block, ...]:
    """Lay out the scores of leader and champion on the same rows."""
    if rival is None:
        return ()
    left = (
        f"; {counted(rival.n_left_out, 'row')} that one of them was trained on were left out"
        if rival.n_left_out
        else ""
    )
    line = (
        f"Version {rival.version}, the champion of that time, and the leader on the same"
        f" {counted(rival.n_rows, 'test row')}{left}. Intervals are at"
        f" {100 * rival.confidence:g} %, each for itself: whether the leader is surely better is"
        " said by the gate better_than_champion, which compares row by row."
    )
    table = Table(
        headings(("score", "leader", "champion"), (1, 2)),
        tuple(map(_rival_row, rival.scores)),
        sides=("leader", "champion"),
    )
    return (Block("Against the champion", (line,), table),)


def summary(
    scores: Sequence[Score], confidence: float, decided: Sequence[GateResult], made: str, link: str
) -> str:
    """Sum a report up for the description of a version, in Markdown.

    Parameters
    ----------
    scores : sequence of Score
        Of the leader on the test rows, the one that was optimised first.
    confidence : float
        Probability that their intervals promise.
    decided : sequence of GateResult
        What every gate said.
    made : str
        Where it comes from, in a sentence.
    link : str
        Where the report is; empty where there is none.
    """
    paragraphs = []
    if scores:
        numbers = ", ".join(_in_short(each) for each in scores[: 1 + _IN_SHORT])
        paragraphs.append(f"On the test rows: {numbers} at {100 * confidence:g} %.")
    failed = [gate.name for gate in decided if not gate.passed]
    if failed:
        paragraphs.append(f"Gates that did not pass: {', '.join(failed)}.")
    paragraphs.append(made)
    text = [escaped(each) for each in paragraphs]
    if link:
        text.append(f"[The report]({link}) has the rest.")
    return "\n\n".join(text)


def _score_told(won: Won) -> str:
    score = _number(won.score)
    places = decimals([score, _number(won.baseline)])
    named = interval(score, _number(won.low), _number(won.high), places)
    rows = counted(won.n_rows, "test row")
    return f"On {rows} its {won.metric} is {named} at {100 * won.confidence:g} %."


def _gain_told(won: Won) -> str:
    baseline, gain, low = map(_number, (won.baseline, won.gain, won.gain_low))
    places = decimals([_number(won.score), baseline], [gain, low])
    gained = interval(gain, low, _number(won.gain_high), places)
    return (
        f"The baseline, which looks at no column, has {shown(baseline, places)}: a gain of"
        f" {gained}."
    )


def _decision_told(decided: Decided) -> str:
    reason = decided.reason.rstrip(".")
    if decided.kind == "refuse":
        return f"It was not promoted because of this: {reason}."
    if decided.kind == "force":
        names = ", ".join(gate.name for gate in decided.failed)
        fell = f"Gates that did not pass: {names}." if names else "Every gate had passed."
        return f"A person promoted it and said: {reason}. {fell}"
    return f"It was promoted because every gate passed: {reason}."


def _passed(gate: GateResult) -> Cell:
    return Cell("yes", "yes") if gate.passed else Cell("no", "no")


def _rival_row(each: RivalScore) -> Row:
    ours, low, high, theirs, their_low, their_high = map(
        _number,
        (
            *(each.ours, each.ours_low, each.ours_high),
            *(each.theirs, each.theirs_low, each.theirs_high),
        ),
    )
    places = decimals([ours, theirs], [ours - theirs])
    return Row(
        (
            Cell(each.metric),
            Cell(interval(ours, low, high, places), "number"),
            Cell(interval(theirs, their_low, their_high, places), "number"),
        ),
        strip((low, ours, high), (their_low, theirs, their_high)),
    )


def _in_short(score: Score) -> str:
    places = decimals([score.value])
    return f"{score.metric} {interval(score.value, score.low, score.high, places)}"


def _number(value: float | None) -> float:
    """Give NaN for a number that there isn't."""
    return nan if value is None else value


def _known(value: float) -> float | None:
    """Give None for NaN, which JSON hasn't got."""
    return None if isnan(value) else value
