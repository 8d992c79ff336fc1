"""Whether a model is to be trained anew, and why."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ratchet.settings import Retrain

# Files or findings that a reason names: more would hide the other reasons.
_NAMED = 2


@dataclass(frozen=True)
class Facts:
    """What is known of the data and of the champion."""

    champion: str | None
    """Short name of the champion, e.g. ``"taxi/3"``; None where nobody holds the place."""
    has_new_data: bool
    """Whether no leader was judged on the data of today."""
    new_files: tuple[str, ...] = ()
    """Files that the champion was not trained on; empty where that isn't known."""
    new_rows: int | None = None
    """Rows in them; None where they weren't counted."""
    age_days: float | None = None
    """Days since a leader was judged last; None where none ever was."""
    drift: tuple[str, ...] = ()
    """Why monitor speaks of drift, in sentences; empty where it doesn't, or wasn't asked."""
    worse: str = ""
    """How the champion is worse on the new rows than on its test rows; empty where it isn't
    known to be."""
    unknown: str = ""
    """Why monitor could not say anything, in a clause; empty where it did or wasn't asked."""
    asked_for: str = ""
    """Why a person wants it in any case; empty where none does."""
    left_over: tuple[str, ...] = ()
    """Reasons of a retraining on these data that was begun and not finished."""


@dataclass(frozen=True)
class Due:
    """Whether to train anew."""

    reasons: tuple[str, ...]
    """What makes it due, in clauses; empty where nothing does."""
    against: tuple[str, ...]
    """What was looked at and is no reason, in clauses."""

    @property
    def is_due(self) -> bool:
        """Whether anything makes it due."""
        return bool(self.reasons)


def judge(facts: Facts, rules: Retrain) -> Due:
    """Apply the rules of ``params.yaml``.

    Examples
    --------
    >>> judge(Facts("taxi/3", has_new_data=True, new_files=("may.csv",)), Retrain()).reasons
    ('new data (may.csv)',)
    >>> judge(Facts("taxi/3", has_new_data=False, age_days=2.0), Retrain()).against
    ('these data were judged already, and taxi/3 holds',)
    """
    reasons: list[str] = []
    against: list[str] = []
    for reason, holds in _looked_at(facts, rules):
        (reasons if holds else against).append(reason)
    if not reasons:
        # One on which a rule has no say any more was still begun.
        reasons += facts.left_over
    return Due(tuple(reasons), tuple(against))


def _looked_at(facts: Facts, rules: Retrain) -> Iterator[tuple[str, bool]]:
    """Yield what was looked at, and whether it is a reason."""
    if facts.asked_for:
        yield f"asked for: {facts.asked_for}", True
    if facts.champion is None:
        yield "there is no champion", True
    else:
        yield from _of_data(facts, rules)
    if facts.unknown:
        yield f"monitor could not say whether there is drift: {facts.unknown}", False
    if facts.drift:
        # The numbers behind the colon are on monitor's page.
        found = [each.partition(": ")[0].rstrip(".") for each in facts.drift]
        told = f"drift: {named(found, '; ')}"
        yield told if rules.on_drift else f"{told} (retrain.on_drift is false)", rules.on_drift
    if facts.worse:
        off = "" if rules.on_live_score else " (retrain.on_live_score is false)"
        yield f"{facts.worse}{off}", rules.on_live_score
    if rules.max_age_days is not None and facts.age_days is not None:
        days = f"the last training is {_days(facts.age_days)} old"
        old = facts.age_days >= rules.max_age_days
        yield f"{days}, {_days(rules.max_age_days)} are allowed", old


def _of_data(facts: Facts, rules: Retrain) -> Iterator[tuple[str, bool]]:
    if not facts.has_new_data:
        yield f"these data were judged already, and {facts.champion} holds", False
        return
    told = f"new data{_inside(facts)}"
    if not rules.on_new_data:
        yield f"{told} (retrain.on_new_data is false)", False
    elif facts.new_rows is not None and facts.new_rows < rules.min_new_rows:
        yield f"{told}, fewer rows than the {rules.min_new_rows:,} of retrain.min_new_rows", False
    else:
        yield told, True


def _inside(facts: Facts) -> str:
    parts = [] if facts.new_rows is None else [f"{facts.new_rows:,} rows"]
    if facts.new_files:
        parts.append(named(facts.new_files))
    return f" ({' in '.join(parts)})" if parts else ""


def named(names: Sequence[str], between: str = ", ") -> str:
    """Name the first few.

    Examples
    --------
    >>> named(["a", "b"]), named(["a", "b", "c", "d"])
    ('a, b', 'a, b and 2 more')
    """
    more = len(names) - _NAMED
    return between.join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _days(days: float) -> str:
    """Write a span of days.

    Examples
    --------
    >>> _days(1.0), _days(31.4), _days(0.02)
    ('1 day', '31 days', '29 minutes')
    """
    for size, unit in ((1.0, "day"), (1 / 24, "hour")):
        if days >= size:
            n = int(days / size)
            return f"{n} {unit}" if n == 1 else f"{n} {unit}s"
    return f"{round(days * 24 * 60)} minutes"
