"""Holds new rows against a reference, and comes to a verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ratchet import datachecks
from ratchet.drift import movement, together
from ratchet.drift.base import (
    ColumnDrift,
    DriftReport,
    Finding,
    LiveScore,
    Together,
    Verdict,
)
from ratchet.drift.movement import Aspect, Moved
from ratchet.drift.reference import ColumnReference, Reference
from ratchet.drift.together import Told
from ratchet.expressions import listed
from ratchet.gates import decimals, shown
from ratchet.settings import Monitor

TOGETHER = "all columns"
"""What a finding is about that no single column is."""

# New labels that a report names.
_NAMES = 10


def compare(
    reference: Reference,
    rows: pd.DataFrame,
    limits: Monitor,
    *,
    seed: int,
    answers: tuple[ColumnReference, pd.Series] | None = None,
    live: LiveScore | None = None,
    checks: datachecks.Report | None = None,
) -> DriftReport:
    """Compare every column, all of them together, the answers and the score.

    A column has moved where a test says that it is no chance, corrected by
    Holm's method for the number of all tests, and its size reaches that of
    ``monitor.watch`` or ``monitor.drift``.

    Parameters
    ----------
    reference : Reference
        What training rows were like.
    rows : pd.DataFrame of shape (n_rows, n_columns), n_rows at least 1
        New rows with the types that the model takes.
    limits : Monitor
        From where on a movement counts.
    seed : int
        Of what is drawn: the same seed gives the same report.
    answers : tuple of ColumnReference and pd.Series, optional
        What the model answered on the test rows, and on new ones.
    live : LiveScore, optional
        The score of new rows.
    checks : datachecks.Report, optional
        What came out of the data checks.
    """
    moved = [movement.of(each, rows[each.name]) for each in reference.columns]
    said = None if answers is None else movement.of(*answers)
    told = together.tell(reference.columns, reference.sample, rows, seed=seed)
    everything = [*moved, *([] if said is None else [said])]
    ps = [sign.p for each in everything for sign in each.signs]
    corrected = movement.holm([*ps, *([] if told is None else [told.p])])
    each_p = iter(corrected)
    judged = [_Judged.of(each, [next(each_p) for _ in each.signs], limits) for each in everything]
    columns, said_judged = judged[: len(moved)], judged[len(moved) :]
    findings = [finding for each in judged for finding in each.findings]
    whole = None
    if told is not None:
        whole = Together(told.auc, next(each_p), told.n_reference, told.n_new, told.by)
        findings += _of_all(told, whole, limits)
    findings += _of_score(live, limits)
    findings += _of_checks(checks)
    findings.sort(key=lambda each: -each.verdict.rank)
    return DriftReport(
        verdict=Verdict.worst(*(each.verdict for each in findings)),
        reasons=tuple(each.told for each in findings),
        n_rows=len(rows),
        live=live,
        n_reference=reference.n_rows,
        significance=limits.significance,
        n_tests=len(corrected),
        findings=tuple(findings),
        columns=tuple(each.column for each in sorted(columns, key=_Judged.movement, reverse=True)),
        together=whole,
        predictions=said_judged[0].column if said_judged else None,
        notes=() if told is not None else (_no_sample(reference, len(rows)),),
    )


@dataclass(frozen=True)
class _Judged:
    """A column with its verdict."""

    column: ColumnDrift
    findings: tuple[Finding, ...]
    reach: float
    """Its largest movement as a multiple of the size that is worth a look."""

    @classmethod
    def of(cls, moved: Moved, corrected: Sequence[float], limits: Monitor) -> "_Judged":
        signs = dict(zip(moved.signs, corrected, strict=True))
        name = moved.reference.name
        findings = tuple(
            Finding(verdict, name, sign.told)
            for sign, p in signs.items()
            if (verdict := _verdict(sign.sizes, p, limits)) is not Verdict.NONE
        )
        main = next((each for each in map(moved.sign, _MAIN) if each is not None), None)
        reach = max(
            (value / getattr(limits.watch, size) for sign in signs for size, value in sign.sizes),
            default=0.0,
        )
        column = ColumnDrift(
            name=name,
            kind=moved.reference.kind,
            verdict=Verdict.worst(*(each.verdict for each in findings)),
            missing=moved.missing,
            missing_before=moved.reference.missing / moved.reference.n,
            psi=None if main is None else main.size("psi"),
            distance=None if main is None else main.size("distance"),
            test="" if main is None else main.test,
            p=None if main is None else signs[main],
            new_labels=moved.new_labels,
            new_labels_before=moved.new_labels_before,
            names=moved.names[:_NAMES],
            note=moved.note,
            histogram=moved.histogram,
        )
        return cls(column, findings, reach)

    def movement(self) -> tuple[int, float]:
        """Order columns by verdict, then by how far they moved."""
        return self.column.verdict.rank, self.reach


# What stands for a column in a table.
_MAIN = (Aspect.VALUES, Aspect.HOUR, Aspect.WEEKDAY)


def _verdict(sizes: Sequence[tuple[str, float]], p: float, limits: Monitor) -> Verdict:
    if p >= limits.significance:
        return Verdict.NONE
    for verdict, levels in ((Verdict.DRIFT, limits.drift), (Verdict.WATCH, limits.watch)):
        if any(size >= getattr(levels, name) for name, size in sizes):
            return verdict
    return Verdict.NONE


def _of_all(told: Told, whole: Together, limits: Monitor) -> Iterator[Finding]:
    verdict = _verdict((("auc", told.auc),), whole.p, limits)
    if verdict is not Verdict.NONE:
        by = f", most by {listed([*map(repr, told.by)])}" if told.by else ""
        yield Finding(
            verdict,
            TOGETHER,
            "A classifier tells new rows from those of training by all columns with AUC"
            f" {told.auc:.3f}, where 0.5 is chance{by}.",
        )


def _of_score(live: LiveScore | None, limits: Monitor) -> Iterator[Finding]:
    if live is None or not live.worse:
        return
    places = decimals([live.score, live.test_score])
    ends = [
        f" [{shown(low, places)}, {shown(high, places)}]"
        for low, high in ((live.low, live.high), (live.test_low, live.test_high))
        if low is not None and high is not None
    ]
    now, before = ends if len(ends) == 2 else ("", "")
    share = (
        "" if live.lost is None else f", by {100 * live.lost:.0f} % of its gain over the baseline"
    )
    drifted = live.lost is None or live.lost >= limits.drift.loss
    yield Finding(
        Verdict.DRIFT if drifted else Verdict.WATCH,
        "score",
        f"{live.metric} is {shown(live.score, places)}{now} on {live.n_rows:,} new rows and was"
        f" {shown(live.test_score, places)}{before} on the test rows: surely worse{share}.",
    )


def _of_checks(checks: datachecks.Report | None) -> Iterator[Finding]:
    for each in () if checks is None else checks.failures:
        verdict = Verdict.DRIFT if each.on_failure == "fail" else Verdict.WATCH
        yield Finding(verdict, "data checks", f"A data check is broken: {each.told}.")


def _no_sample(reference: Reference, n: int) -> str:
    if not len(reference.sample):
        return (
            "All columns together were not compared: no rows of training are kept with this"
            " version (monitor.sample_rows)."
        )
    return (
        "All columns together were not compared: that takes"
        f" {together.MIN_ROWS} rows on either side and a column, and there are {n:,} new rows."
    )


def with_finding(report: DriftReport, finding: Finding) -> DriftReport:
    """Add a finding to a report, and let it count."""
    found = sorted((*report.findings, finding), key=lambda each: -each.verdict.rank)
    return replace(
        report,
        verdict=Verdict.worst(report.verdict, finding.verdict),
        reasons=tuple(each.told for each in found),
        findings=tuple(found),
    )
