"""What monitor found, as a page: the verdict, what moved, and pictures of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratchet.drawing import COLORS, FAINT, NARROW, Drawing, axes, finished, short, style
from ratchet.drift import ColumnDrift, DriftReport, Histogram, LiveScore, Verdict
from ratchet.drift.distributions import shown as value_shown
from ratchet.drift.movement import share
from ratchet.gates import decimals
from ratchet.report import pieces
from ratchet.report.pieces import (
    MOST_LINES,
    NOTHING,
    Block,
    Cell,
    Row,
    Section,
    Table,
    counted,
    cut,
    headings,
    interval,
    table,
)
from ratchet.schema import Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Columns that are drawn: what moved, or else the first few, so that it is seen that they didn't.
_DRAWN = 12
_DRAWN_AT_LEAST = 4

_ANSWERS = {
    Verdict.NONE: "No drift",
    Verdict.WATCH: "Watch: something moved, and may move on",
    Verdict.DRIFT: "Drift",
}


@dataclass(frozen=True)
class Page:
    """All that is shown of a comparison of new rows with those of training."""

    title: str
    """What was compared."""
    answer: str
    """The verdict."""
    told: tuple[str, ...]
    """Its reasons, and what a reader ought to know."""
    sections: tuple[Section, ...]
    """What there is to say, in the order of the page."""
    mark: str = '<meta name="ratchet-page" content="drift">'
    """What is in the head of such a page."""


def as_html(task: str, report: DriftReport) -> str:
    """Write a page as one HTML file that needs no other file and runs no script.

    Parameters
    ----------
    task : str
        Name of the project's task.
    report : DriftReport
        What was found.
    """
    return pieces.rendered("drift.html", page=page(task, report))


def page(task: str, report: DriftReport) -> Page:
    """Choose what is shown, and write its numbers for a reader."""
    sections = (
        Section("What moved", tuple(_pictures(report))),
        Section("Every column", (_columns(report),)),
        Section("All columns together", tuple(_together(report))),
        Section("The model", tuple(_model(report))),
        Section("How it was compared", tuple(_compared(report)), folded=True),
    )
    reasons = report.reasons or (
        f"None of {counted(report.n_tests, 'test')} found a movement that is surely no chance and"
        " large enough to matter.",
    )
    return Page(
        title=f"{task}: new rows beside the training rows of version {report.version}",
        answer=_ANSWERS[report.verdict],
        told=(*reasons, *report.notes),
        sections=tuple(each for each in sections if each.blocks),
    )


def _pictures(report: DriftReport) -> Iterator[Block]:
    with_one = [each for each in report.columns if each.histogram is not None]
    moved = [each for each in with_one if each.verdict is not Verdict.NONE]
    chosen = moved[:_DRAWN] or with_one[:_DRAWN_AT_LEAST]
    if not chosen:
        return
    said = (
        "The columns that moved, what moved most first."
        if moved
        else "No column moved. These come nearest to it."
    )
    with style():
        drawings = tuple(_drawn(each, f"column_{place}") for place, each in enumerate(chosen, 1))
    yield Block("", (said,), drawings=drawings)


def _columns(report: DriftReport) -> Block:
    head = headings(
        (
            "column",
            "verdict",
            "PSI",
            "distance",
            "p",
            "missing",
            "before",
            "new labels",
            "expected",
            "note",
        ),
        (2, 3, 4, 5, 6, 7, 8),
    )
    rows = tuple(_line(each) for each in report.columns[:MOST_LINES])
    lines = (
        f"p is corrected for all {counted(report.n_tests, 'test')}: below"
        f" {report.significance:g} a movement is no chance. The distance is the share of rows that"
        " lie elsewhere.",
    )
    return Block("", lines, Table(head, rows, max(0, len(report.columns) - MOST_LINES)))


def _line(column: ColumnDrift) -> Row:
    kinds = {Verdict.NONE: "text", Verdict.WATCH: "no", Verdict.DRIFT: "no"}
    numbers = (
        _number(column.psi),
        _number(column.distance),
        _number(column.p),
        share(column.missing),
        share(column.missing_before),
        NOTHING if column.new_labels is None else share(column.new_labels),
        NOTHING if column.new_labels_before is None else share(column.new_labels_before),
    )
    return Row(
        (
            Cell(cut(column.name)),
            Cell(column.verdict.value, kinds[column.verdict]),
            *(Cell(each, "number") for each in numbers),
            Cell(column.note),
        )
    )


def _number(value: float | None) -> str:
    """Write a size or a probability.

    Examples
    --------
    >>> _number(0.12345), _number(0.0), _number(None)
    ('0.123', '< 0.001', '—')
    """
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _together(report: DriftReport) -> Iterator[Block]:
    found = report.together
    if found is None:
        return
    by = f" It goes most by {pieces.listed([*map(repr, found.by)])}." if found.by else ""
    yield Block(
        "",
        (
            f"A classifier that was asked which of {found.n_new:,} new rows and"
            f" {found.n_reference:,} rows of training is new has AUC {found.auc:.3f} on rows that"
            f" it was not fitted on, where 0.5 is chance (p {_number(found.p)}).{by}",
        ),
    )


def _model(report: DriftReport) -> Iterator[Block]:
    if report.live is not None:
        yield _score(report.live)
    found = report.predictions
    if found is None:
        return
    drawings: tuple[Drawing, ...] = ()
    if found.histogram is not None:
        with style():
            drawings = (_drawn(found, "predictions", before="on the test rows"),)
    yield Block(
        "What it answers",
        (
            f"PSI {_number(found.psi)}, distance {_number(found.distance)}, p {_number(found.p)},"
            " against its answers on the test rows, which it had not seen either.",
        ),
        drawings=drawings,
    )


def _score(live: LiveScore) -> Block:
    places = decimals([live.score, live.test_score], [live.loss or 0.0])
    nan = float("nan")

    def with_ends(value: float | None, low: float | None, high: float | None) -> str:
        a, b, c = (nan if each is None else each for each in (value, low, high))
        return interval(a, b, c, places)

    rows = [
        (f"on {live.n_rows:,} new rows", with_ends(live.score, live.low, live.high)),
        ("on the test rows", with_ends(live.test_score, live.test_low, live.test_high)),
        ("worse by", with_ends(live.loss, live.loss_low, live.loss_high)),
    ]
    if live.lost is not None:
        rows.append(("as a share of its gain over the baseline", f"{100 * live.lost:.1f} %"))
    said = "surely worse, and by enough to matter" if live.worse else "not surely worse"
    if not live.worse and live.loss_low is not None and live.loss_low > 0:
        said = "surely worse, but by too little to matter"
    lines = (f"It is {said}. Intervals are at {100 * live.confidence:g} %.",)
    return Block("Live score", lines, table((live.metric, "score"), rows, numbers=True))


def _compared(report: DriftReport) -> Iterator[Block]:
    rows = [
        ("new rows", f"{report.source}: {report.n_rows:,} of {report.n_read:,} that were read"),
        ("their version", report.data_version),
        (
            "compared with",
            f"{report.n_reference:,} training rows of {report.model}/{report.version}",
        ),
        ("at", report.made.replace("+00:00", " UTC")),
        ("run", report.run_id),
    ]
    yield Block("", (), table(("", ""), rows))


def _drawn(column: ColumnDrift, name: str, before: str = "in training") -> Drawing:
    """Draw both sides of a column as bars beside each other."""
    histogram = column.histogram
    assert histogram is not None  # whoever calls has looked
    figure, on = axes(3.1, 0.75, 0.2, 0.75, NARROW)
    n = len(histogram.reference)
    for shift, shares, color, label in (
        (-0.21, histogram.reference, FAINT, before),
        (0.21, histogram.new, COLORS[1], "new"),
    ):
        on.bar([place + shift for place in range(n)], shares, width=0.42, color=color, label=label)
    on.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    on.set_ylabel("share of the rows")
    on.grid(visible=False, axis="x")
    _name_bars(on, histogram, column.kind)
    on.legend(frameon=False, fontsize=8.5, loc="lower right", bbox_to_anchor=(1.02, 0.98), ncols=2)
    title = short(column.name, 26)
    figure.text(0.03, 0.965, title, fontsize=10, va="top", weight="bold")
    return Drawing(name, f"Column {column.name}", _told(column, before), finished(figure))


def _name_bars(on: "Axes", histogram: Histogram, kind: Kind) -> None:
    n = len(histogram.reference)
    if histogram.edges:
        every = [0, n // 4, n // 2, 3 * n // 4, n]
        on.set_xticks(
            [place - 0.5 for place in every],
            [_edge(histogram.edges[place], kind) for place in every],
            fontsize=8.5,
        )
        return
    many = n > 5 and max(map(len, histogram.labels)) > 2
    # Hours are many, and anybody knows those between.
    shown = range(0, n, 3 if n > 20 else 1)
    on.set_xticks(
        shown,
        [short(histogram.labels[place], 12) for place in shown],
        fontsize=8.5,
        rotation=35 if many else 0,
        ha="right" if many else "center",
    )


def _edge(value: float, kind: Kind) -> str:
    if kind is Kind.DATETIME:
        return value_shown(value, kind)[:10]
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _told(column: ColumnDrift, before: str) -> str:
    """Say what is to be seen: the bar whose share has changed most."""
    histogram = column.histogram
    assert histogram is not None
    places = range(len(histogram.reference))
    place = max(places, key=lambda at: abs(histogram.new[at] - histogram.reference[at]))
    if histogram.edges:
        ends = [_edge(histogram.edges[at], column.kind) for at in (place, place + 1)]
        if place == 0:
            where = f"up to {ends[1]}"
        elif place == len(places) - 1:
            where = f"above {ends[0]}"
        else:
            where = f"from {ends[0]} to {ends[1]}"
    else:
        where = f"{cut(histogram.labels[place])!r}"
    return (
        f"Largest change of {cut(column.name)}: {where}, with {share(histogram.new[place])} of the"
        f" new rows and {share(histogram.reference[place])} {before}."
    )
