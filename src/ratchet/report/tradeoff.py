"""What a better score costs, as sentences, a table and a picture."""

from collections.abc import Sequence
from typing import Any

from ratchet import drawing
from ratchet.drawing import Drawing
from ratchet.gates import decimals, shown
from ratchet.report.pieces import NOTHING, Block, Cell, Row, Table, headings, listed
from ratchet.rivals import BASELINE, LEADER
from ratchet.tradeoff import Option, TradeOff

CLASSES = {
    "read": "read it: a coefficient a column, or a constant",
    "inspect": "inspect it: importances, splits",
    "ask": "ask it: change a row and see",
}
"""How a person finds out why a model answers as it does."""

_MARKERS = ("o", "s", "D", "^", "v", "P", "X")


def blocks(found: TradeOff) -> tuple[Block, ...]:
    """Tell what each model costs, and which of them no other beats."""
    scored = [option for option in found.options if option.score is not None]
    drawn = (_drawing(found, scored),) if len(scored) > 1 else ()
    return (Block("", _told(found), _table(found), drawn),)


def _told(found: TradeOff) -> tuple[str, ...]:
    front = found.front
    lines = []
    if front:
        lines.append(
            f"On the front of {found.metric} against the time for one row, where no other is as"
            f" good and as fast: {listed([each.label for each in front])}."
        )
    unbeaten = [each.label for each in found.options if each.unbeaten]
    if len(unbeaten) == len(found.options):
        lines.append("Counting size, throughput, training and what can be read, each has its use.")
    elif unbeaten:
        lines.append(
            "Counting size, throughput, training and what can be read as well, nobody beats"
            f" {listed(unbeaten)}."
        )
    leader = next((each for each in found.options if each.kind == LEADER), None)
    faster = [
        each
        for each in front
        if leader and each.one_row_ms < leader.one_row_ms and each.kind != BASELINE
    ]
    if leader is not None and leader.score is not None and faster:
        near = faster[-1]
        if near.score is not None:
            places = decimals([leader.score, near.score], [leader.score - near.score])
            lines.append(
                f"{near.label} answers one row in {_ms(near.one_row_ms)} ms instead of"
                f" {_ms(leader.one_row_ms)} ms, with {found.metric} {shown(near.score, places)}"
                f" instead of {shown(leader.score, places)}."
            )
    lines.append(
        "Times were measured by this evaluation on its own machine, one call after the other; of"
        " times and sizes two digits are compared. Training counts the trial and the fit on all"
        " rows, of a leader those of all its members."
    )
    return tuple(lines)


def _table(found: TradeOff) -> Table:
    scores = [each.score for each in found.options if each.score is not None]
    places = decimals(scores)
    rows = [
        Row(
            (
                Cell(each.label),
                Cell(NOTHING if each.score is None else shown(each.score, places), "number"),
                Cell(_ms(each.one_row_ms), "number"),
                Cell(_ms(each.one_row_p95_ms), "number"),
                Cell(f"{_digits(each.rows_per_second):,.0f}", "number"),
                Cell(f"{each.size_mb:.3g}", "number"),
                Cell(
                    NOTHING if each.train_seconds is None else f"{each.train_seconds:.2f}",
                    "number",
                ),
                Cell(each.interpretability),
                Cell(_marks(each)),
            )
        )
        for each in found.options
    ]
    batch = max((each.batch_rows for each in found.options), default=0)
    head = (
        "model",
        f"test {found.metric}",
        "1 row, ms",
        "95 % within, ms",
        f"rows/s, by {batch:,}",
        "MB",
        "training, s",
        "to understand it",
        "unbeaten in",
    )
    return Table(headings(head, range(1, 7)), tuple(rows))


def _marks(option: Option) -> str:
    if option.on_front:
        return "score and speed"
    return "all together" if option.unbeaten else NOTHING


def _drawing(found: TradeOff, options: Sequence[Option]) -> Drawing:
    """Draw scores against the time for one row, and the front."""
    names = [drawing.short(each.label) for each in options]
    longest = max(map(len, names))
    low, high = _limits(found, options)
    with drawing.style():
        figure, axes = drawing.axes(right=0.6 + drawing.CHARACTER * (longest + 2))
        axes.set_xscale("log")
        front = [each for each in found.front if each.score is not None]
        slowest = max(each.one_row_ms for each in options)
        axes.step(
            [*(each.one_row_ms for each in front), slowest],
            [*(_clipped(each.score, low, high) for each in front)]
            + [_clipped(front[-1].score, low, high)] * bool(front),
            where="post",
            color=drawing.INK,
            linewidth=1.0,
            linestyle="--",
            label="the front",
        )
        for place, (each, name) in enumerate(zip(options, names, strict=True)):
            color = drawing.FAINT if each.kind == BASELINE else _color(place)
            height = _clipped(each.score, low, high)
            if each.low is not None and each.high is not None:
                ends = [_clipped(end, low, high) for end in (each.low, each.high)]
                axes.plot([each.one_row_ms] * 2, ends, color=color, linewidth=1.2, zorder=2)
            axes.plot(
                each.one_row_ms,
                height,
                linestyle="none",
                marker=_MARKERS[place % len(_MARKERS)],
                markersize=9 if each.kind == LEADER else 7,
                color=color if each.on_front else drawing.PAPER,
                markeredgecolor=color,
                markeredgewidth=1.6,
                label=name + (" (far off)" if height != each.score else ""),
                zorder=3,
                clip_on=False,
            )
        _finish(axes, found, low, high)
        drawing.titled(
            figure, "score with its interval against the time for one row; the front is filled"
        )
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=9)
        svg = drawing.finished(figure)
    return Drawing("trade_off", "Score against speed", _seen(found, options), svg)


def _seen(found: TradeOff, options: Sequence[Option]) -> str:
    places = decimals([each.score for each in options if each.score is not None])
    told = "; ".join(
        f"{each.label} {shown(each.score or 0.0, places)} in {_ms(each.one_row_ms)} ms"
        + (", on the front" if each.on_front else "")
        for each in sorted(options, key=lambda each: each.one_row_ms)
    )
    return f"Test {found.metric} and the time for one row, the fastest first: {told}."


def _finish(axes: Any, found: TradeOff, low: float, high: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    margin = 0.08 * (high - low) or 0.05 * abs(high) or 0.5
    axes.set_ylim(low - margin, high + margin)
    places = decimals([low, high], [high - low])
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, places))
    axes.yaxis.get_major_locator().set_params(nbins=6)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=9))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("milliseconds for one row, the median")
    better = "larger" if found.maximize else "smaller"
    axes.set_ylabel(f"test {found.metric} ({better} is better)")


def _limits(found: TradeOff, options: Sequence[Option]) -> tuple[float, float]:
    """Give the ends of the axis of scores: the baseline must not squeeze the rest."""
    near = [each for each in options if each.kind != BASELINE]
    shown_ = near if len(near) > 1 else options
    ends = [end for each in shown_ for end in (each.score, each.low, each.high) if end is not None]
    return min(ends), max(ends)


def _clipped(value: float | None, low: float, high: float) -> float:
    return min(max(value or 0.0, low), high)


def _color(place: int) -> str:
    return drawing.COLORS[place % len(drawing.COLORS)]


def _ms(value: float) -> str:
    return f"{value:.3g}"


def _digits(value: float) -> float:
    """Keep three digits: more can't be measured."""
    return float(f"{value:.3g}")
