"""What drives a leader: importance, dependence, and reasons for single answers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ratchet import drawing
from ratchet.association import CLOSE
from ratchet.dependence import BAND, Curve, Dependence, Panel, Point
from ratchet.drawing import COLORS, FAINT, INK, PAPER, Drawing
from ratchet.explanation import SAID, Explanation, Player, Reasons
from ratchet.gates import decimals, shown
from ratchet.importance import REPEATS, ColumnLoss, Importance, Loss
from ratchet.report.pieces import NOTHING, Block, Cell, Row, Table, counted, headings, listed
from ratchet.schema import Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Lines of the picture: the table has more.
_BARS = 15
# Columns whose share in a single answer is told.
_SHARES = 4
# Names that fit in a sentence.
_NAMED = 5
_LABEL = 24
_TICK_LABEL = 13


def blocks(
    importance: Importance,
    dependence: Dependence | None,
    explanation: Explanation | None,
) -> tuple[Block, ...]:
    """Tell what drives a leader.

    Parameters
    ----------
    importance : Importance
        What the score loses without each column.
    dependence : Dependence or None
        How the answer depends on the most important columns; None for a clustering.
    explanation : Explanation or None
        Shares of the columns in single answers; None without the extra ``explain``.
    """
    told = [_importance(importance)]
    if dependence is not None and dependence.panels:
        told.append(_dependence(dependence))
    if not importance.of_clusters:
        told.append(_explanation(explanation) if explanation else _without())
    return tuple(told)


def _importance(found: Importance) -> Block:
    places = _places(found)
    shown_columns = [column for column in found.columns if column.test is not None]
    lines = [*_how(found), *_finding(found, places), *_together(found, places)]
    more = len(found.columns) - len(shown_columns)
    if more:
        highest = max((column.valid.value or 0.0) for column in found.columns[len(shown_columns) :])
        lines.append(
            f"{counted(more, 'more column')} seemed to matter less and"
            f" {'was' if more == 1 else 'were'} shuffled once, which cost at most"
            f" {shown(highest, places)}."
        )
    head = headings(("column", "validation rows", "test rows"), (1, 2))
    rows = tuple(
        Row(
            (
                Cell(column.name),
                Cell(_loss(column.valid, places), "number"),
                Cell(_loss(column.test, places) if column.test else NOTHING, "number"),
            )
        )
        for column in shown_columns
    )
    return Block(
        "Columns, by how much worse the leader is without them",
        tuple(lines),
        Table(head, rows, more),
        (_bars(found, shown_columns[:_BARS], places),),
    )


def _how(found: Importance) -> list[str]:
    rows = f"{found.n_valid:,} validation and {found.n_test:,} test rows"
    if found.of_clusters:
        return [
            f"Each column was shuffled {REPEATS} times among {rows}: how far the clusters that rows"
            " are put into then differ, as 1 less the adjusted Rand index. 0 is not at all, about"
            " 1 is as by chance."
        ]
    lines = [
        f"Each column was shuffled {REPEATS} times among {rows}: how much worse {found.metric} gets"
        f" by it. Intervals hold for each column by itself at {100 * found.confidence:g} %, over"
        " rows and shuffles."
    ]
    if found.seen:
        lines.append(
            "The leader was fitted on the validation rows, too, so that what it has learned by"
            " heart counts there; it has not seen the test rows."
        )
    else:
        lines.append("The leader was fitted neither on the validation nor on the test rows.")
    return lines


def _finding(found: Importance, places: int) -> list[str]:
    best = found.columns[0] if found.columns else None
    if best is None or not best.valid.value or best.valid.value <= 0:
        return ["No column matters on the validation rows: the leader's answers do not need them."]
    if found.of_clusters:
        return [f"{best.name} matters most: without it they differ by {_plain(best, places)}."]
    lines = [
        f"{best.name} matters most: without it {found.metric} is worse by {_plain(best, places)}."
    ]
    unsure = [column.name for column in found.columns if column.test and not column.test.sure]
    by_heart = [
        column.name
        for column in found.columns
        if column.test and column.valid.sure and not column.test.sure
    ]
    if found.seen and by_heart:
        lines.append(
            f"{_few(by_heart)} {'matters' if len(by_heart) == 1 else 'matter'} surely on the"
            " validation rows, but not surely on the test rows."
        )
    idle = [name for name in unsure if name not in by_heart]
    if idle:
        lines.append(f"Not surely of use: {_few(idle)}.")
    return lines


def _together(found: Importance, places: int) -> list[str]:
    return [
        f"{listed(group.names)} say much the same (association of {CLOSE:g} or"
        f" more), and each can stand in for the others: shuffled together they cost"
        f" {_loss(group.valid, places)}."
        for group in found.groups
    ]


def _bars(found: Importance, columns: Sequence[ColumnLoss], places: int) -> Drawing:
    names = [drawing.short(column.name, _LABEL) for column in columns]
    with drawing.style():
        figure, axes = drawing.axes(
            height=1.5 + 0.34 * len(columns),
            left=0.35 + drawing.CHARACTER * max(map(len, names)),
        )
        for at, column in enumerate(columns):
            _lane(axes, at, column, first=at == 0)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(names)), names, fontsize=9)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        axes.locator_params(axis="x", nbins=7)
        axes.tick_params(axis="x", labelsize=8.5)
        axes.set_xlabel(_axis(found), fontsize=9)
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.5 / (0.34 * len(columns) + 0.5)),
            ncols=3,
            frameon=False,
            fontsize=8.5,
        )
        figure.subplots_adjust(bottom=0.95 / figure.get_figheight())
        drawing.titled(figure, "what the leader owes to its columns")
        svg = drawing.finished(figure)
    told = "; ".join(
        f"{column.name} {_loss(column.valid, places)}"
        + (f", on test rows {_loss(column.test, places)}" if column.test else "")
        for column in columns[:_NAMED]
    )
    return Drawing("importance", "How much worse the score is without each column", f"{told}.", svg)


def _axis(found: Importance) -> str:
    what = "clusters that differ" if found.of_clusters else f"{found.metric} worse by"
    return f"{what}, when the column is shuffled"


def _lane(axes: "Axes", at: int, column: ColumnLoss, *, first: bool) -> None:
    """Draw one column: a bar with its shuffles, and a ring for rows that were not seen."""
    valid, test = column.valid, column.test
    if valid.value is not None:
        axes.barh(
            at - 0.12,
            valid.value,
            height=0.36,
            color=COLORS[4],
            label="validation rows" if first else None,
        )
    axes.plot(
        valid.repeats,
        [at - 0.12] * len(valid.repeats),
        "|",
        color=INK,
        markersize=6,
        markeredgewidth=0.8,
        label=("each shuffle" if valid.low is None else "each shuffle, and the interval")
        if first
        else None,
    )
    if valid.low is not None and valid.high is not None:
        axes.plot([valid.low, valid.high], [at - 0.12] * 2, color=INK, linewidth=1.1)
    if test is None or test.value is None:
        return
    if test.low is not None and test.high is not None:
        axes.plot([test.low, test.high], [at + 0.24] * 2, color=COLORS[1], linewidth=1.1)
    axes.plot(
        [test.value],
        [at + 0.24],
        "o",
        color=COLORS[1],
        markerfacecolor=PAPER,
        markersize=5,
        label="test rows" if first else None,
    )


def _dependence(found: Dependence) -> Block:
    several = any(len(panel.curves) > 1 for panel in found.panels)
    what = "probability of each class" if several else _answer(found, found.panels[0].curves[0])
    share = 100 * (BAND[1] - BAND[0])
    places = _answer_places(found)
    lines = (
        f"Mean {what} about {found.n_rows:,} validation rows, of which one column was set to one"
        f" value after the other. In the band lie {share:g} % of the rows' own curves, each moved"
        " to the same mean: where it is wide, other columns decide what this one does.",
        "Where columns are tied to each other this asks about rows that there may not be.",
    )
    rows = tuple(
        Row(
            (
                Cell(panel.name),
                *([Cell(curve.of)] if several else []),
                Cell(shown(low.mean, places), "number"),
                Cell(low.label),
                Cell(shown(high.mean, places), "number"),
                Cell(high.label),
            )
        )
        for panel in found.panels
        for curve in panel.curves
        for low, high in [_ends(curve)]
    )
    heads = ("column", *(["class"] if several else []), "lowest", "at", "highest", "at")
    head = headings(heads, (2, 4) if several else (1, 3))
    return Block(
        "How the answer depends on them", lines, Table(head, rows), (_panels(found, what),)
    )


def _panels(found: Dependence, what: str) -> Drawing:
    n = len(found.panels)
    columns = min(2, n)
    n_rows = -(-n // columns)
    places = _answer_places(found)
    with drawing.style():
        slanted = any(map(_slanted, found.panels))
        height = 2.6 if slanted else 2.3
        figure = drawing.blank(0.6 + height * n_rows, left=0.8, right=0.2, bottom=0.9)
        figure.subplots_adjust(hspace=0.65 if slanted else 0.4, wspace=0.1)
        grid = figure.subplots(n_rows, columns, squeeze=False, sharey=True)
        for at, axes in enumerate(grid.flat):
            if at >= n:
                figure.delaxes(axes)
                continue
            drawing.bare(axes)
            _panel(axes, found.panels[at])
            axes.tick_params(labelsize=8)
            if at % columns == 0:
                axes.set_ylabel(drawing.short(what, 34), fontsize=8.5)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        if len(found.panels[0].curves) > 1:
            figure.legend(
                *grid.flat[0].get_legend_handles_labels(),
                loc="upper right",
                ncols=len(found.panels[0].curves),
                frameon=False,
                fontsize=8.5,
            )
        drawing.titled(figure, "the mean answer, where a column has one value in all rows")
        svg = drawing.finished(figure)
    told = "; ".join(_course(panel, places) for panel in found.panels)
    return Drawing("dependence", f"Mean {what} against the columns", f"{told}.", svg)


def _panel(axes: "Axes", panel: Panel) -> None:
    for place, curve in enumerate(panel.curves):
        color = COLORS[place]
        name = drawing.short(curve.of, _LABEL)
        if panel.kind in (Kind.NUMBER, Kind.DATETIME):
            _line(axes, curve, color, name)
        else:
            shift = 0.16 * (place - (len(panel.curves) - 1) / 2)
            _dots(axes, curve.points, color, name, shift)
    if panel.ticks:
        _rug(axes, panel)
    axes.set_xlabel(drawing.short(panel.name, 40), fontsize=9)


def _line(axes: "Axes", curve: Curve, color: str, name: str) -> None:
    points = [point for point in curve.points if point.at is not None]
    at = [point.at for point in points if point.at is not None]
    axes.fill_between(
        at,
        [point.low for point in points],
        [point.high for point in points],
        color=color,
        alpha=0.18,
        linewidth=0,
    )
    marker = "o" if len(points) < 10 else ""
    means = [point.mean for point in points]
    axes.plot(at, means, color=color, linewidth=1.6, marker=marker, markersize=4, label=name)
    for point in curve.points:
        if point.at is None:  # a gap
            axes.axhline(point.mean, color=color, linestyle=":", linewidth=1.2)
            axes.text(
                0.99,
                point.mean,
                point.label,
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="bottom",
                fontsize=8,
                color=INK,
            )


def _dots(axes: "Axes", points: Sequence[Point], color: str, name: str, shift: float) -> None:
    at = np.arange(len(points)) + shift
    axes.vlines(
        at,
        [point.low for point in points],
        [point.high for point in points],
        color=color,
        alpha=0.5,
    )
    axes.plot(at, [point.mean for point in points], "o", color=color, markersize=5, label=name)
    labels = [drawing.short(point.label, _TICK_LABEL) for point in points]
    axes.set_xticks(range(len(points)), labels)
    axes.set_xlim(-0.6, len(points) - 0.4)
    if _crowded(labels):
        for label in axes.get_xticklabels():
            label.set(rotation=35, ha="right", rotation_mode="anchor")


def _slanted(panel: Panel) -> bool:
    """Tell whether the labels of a panel need more room than they have beside each other."""
    if panel.kind in (Kind.NUMBER, Kind.DATETIME):
        return False
    return _crowded([drawing.short(each.label, _TICK_LABEL) for each in panel.curves[0].points])


def _crowded(labels: Sequence[str]) -> bool:
    return sum(map(len, labels)) + 2 * len(labels) > 54


def _rug(axes: "Axes", panel: Panel) -> None:
    axes.vlines(
        panel.ticks, 0, 0.04, color=FAINT, linewidth=0.7, transform=axes.get_xaxis_transform()
    )
    if panel.kind == Kind.DATETIME:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(minticks=3, maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.xaxis.get_offset_text().set_fontsize(8)
    else:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.6g}")
        axes.locator_params(axis="x", nbins=6)


def _course(panel: Panel, places: int) -> str:
    """Tell the ends of a panel's first curve."""
    curve = max(panel.curves, key=lambda each: each.span)
    low, high = _ends(curve)
    of = f" for {curve.of}" if len(panel.curves) > 1 else ""
    return (
        f"{panel.name}{of}: from {shown(low.mean, places)} at {low.label} to"
        f" {shown(high.mean, places)} at {high.label}"
    )


def _ends(curve: Curve) -> tuple[Point, Point]:
    low = min(curve.points, key=lambda point: point.mean)
    return low, max(curve.points, key=lambda point: point.mean)


def _answer(found: Dependence, curve: Curve) -> str:
    return f"probability of {curve.of}" if curve.of else found.target


def _answer_places(found: Dependence) -> int:
    means = [
        point.mean for panel in found.panels for curve in panel.curves for point in curve.points
    ]
    return decimals(means)


def _without() -> Block:
    return Block(
        "Reasons for single answers",
        (
            "What each column adds to the answer about a row is told where the extra explain is"
            ' installed: pip install "ratchet[explain]", then evaluate again.',
        ),
    )


def _explanation(found: Explanation) -> Block:
    n = len(found.players[0].dots)
    lines = (
        f"What each column adds to the answer ({found.of}), by SHAP: its mean share over the orders"
        f" in which columns can be made known. A column that is not known has the values of"
        f" {found.n_background} validation rows. The picture has {n} test rows; the table those"
        " that the leader is most wrong about, then some with a low, a middle and a high answer"
        " that is about right.",
    )
    rows = tuple(_reasons(each, with_class=found.of == SAID) for each in found.rows)
    head = headings(("test row", "actual", "answer", "mean answer", "because of"), (0, 2, 3))
    return Block(
        "Reasons for single answers", lines, Table(head, rows), (_swarm(found.players, found.of),)
    )


def _reasons(row: Reasons, *, with_class: bool) -> Row:
    places = decimals([row.answer, row.base])
    told = "; ".join(
        f"{share.name}{f' = {share.value}' if share.value else ''}:"
        f" {'+' if share.by > 0 else ''}{shown(share.by, places)}"
        for share in row.shares[:_SHARES]
    )
    of = f"{row.of}: " if with_class else ""
    return Row(
        (
            Cell(str(row.number), "number"),
            Cell(row.actual),
            Cell(f"{of}{shown(row.answer, places)}", "number"),
            Cell(shown(row.base, places), "number"),
            Cell(told),
        )
    )


def _swarm(players: Sequence[Player], of: str) -> Drawing:
    names = [drawing.short(player.name, _LABEL) for player in players]
    styles = {
        0: (COLORS[0], "low value"),
        1: (FAINT, "middle"),
        2: (COLORS[1], "high value"),
        None: (COLORS[2], "label, text or several columns"),
    }
    with drawing.style():
        figure, axes = drawing.axes(
            height=1.5 + 0.36 * len(players), left=0.35 + drawing.CHARACTER * max(map(len, names))
        )
        # Steps of the golden ratio: close ones lie apart, and the same rows give the same file.
        for at, player in enumerate(players):
            spread = 0.6 * (np.arange(1, len(player.dots) + 1) * 0.618034 % 1 - 0.5)
            for level, (color, _) in styles.items():
                chosen = [place for place, dot in enumerate(player.dots) if dot.level == level]
                axes.plot(
                    [player.dots[place].by for place in chosen],
                    at + spread[chosen],
                    "o",
                    color=color,
                    markersize=4,
                    markeredgewidth=0.4,
                    markeredgecolor=PAPER,
                )
        levels = {dot.level for player in players for dot in player.dots}
        for level, (color, name) in styles.items():
            if level in levels:
                axes.plot([], [], "o", color=color, markersize=5, label=name)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(names)), names, fontsize=9)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        axes.tick_params(axis="x", labelsize=8.5)
        axes.set_xlabel(drawing.short(f"added to the answer ({of})", 70), fontsize=9)
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.5 / (0.36 * len(players) + 0.5)),
            ncols=4,
            frameon=False,
            fontsize=8.5,
            handletextpad=0.2,
        )
        figure.subplots_adjust(bottom=0.95 / figure.get_figheight())
        drawing.titled(figure, "what columns add to single answers, a dot for each row")
        svg = drawing.finished(figure)
    places = decimals([player.size for player in players])
    told = ", ".join(f"{player.name} {shown(player.size, places)}" for player in players[:_NAMED])
    return Drawing("shap", "Shares of the columns", f"Mean size of the shares: {told}.", svg)


def _places(found: Importance) -> int:
    values = [column.valid.value or 0.0 for column in found.columns[:1]]
    return decimals([1.0 if found.score is None else found.score], values)


def _loss(loss: Loss, places: int) -> str:
    if loss.value is None:
        return NOTHING
    told = shown(loss.value, places)
    if loss.low is None or loss.high is None:
        return told
    return f"{told} [{shown(loss.low, places)}, {shown(loss.high, places)}]"


def _plain(column: ColumnLoss, places: int) -> str:
    told = _loss(column.valid, places)
    return f"{told}, on test rows {_loss(column.test, places)}" if column.test else told


def _few(names: Sequence[str]) -> str:
    """Write the first of several names as a part of a sentence.

    Examples
    --------
    >>> _few(["a"]), _few(["a", "b"]), _few(["a", "b", "c", "d", "e", "f"])
    ('a', 'a and b', 'a, b, c, d, e and 1 more')
    """
    more = len(names) - _NAMED
    return listed([*names[:_NAMED], f"{more} more"] if more > 0 else names)
