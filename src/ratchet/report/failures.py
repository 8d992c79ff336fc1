"""Where a leader fails: slices on which it is surely worse, and its worst answers."""

from collections.abc import Sequence

from ratchet import drawing
from ratchet.drawing import COLORS, FAINT, INK, PAPER, Drawing
from ratchet.evaluation import MIN_BLOCKS
from ratchet.gates import decimals, shown
from ratchet.problem import ProblemType
from ratchet.report.pieces import NOTHING, Block, Cell, Row, Table, counted, headings, number
from ratchet.weaknesses import MIN_ROWS, QUANTILES, BadRow, Slice, Weaknesses

# Characters of a line beside the picture.
_LABEL = 34


def blocks(found: Weaknesses) -> tuple[Block, ...]:
    """Tell where a leader fails."""
    return (_slices(found), _rows(found))


def _slices(found: Weaknesses) -> Block:
    lines = [_how(found), *_finding(found)]
    if not found.slices:
        return Block("Slices", tuple(lines))
    with_bias = any(each.bias is not None for each in found.slices)
    heads = ["slice", "rows", found.metric, "elsewhere", "worse by"]
    heads += ["answers too high by"] if with_bias else []
    rows = tuple(_slice(each, with_bias=with_bias) for each in found.slices)
    table = Table(headings(heads, range(1, len(heads))), rows)
    return Block("Slices", tuple(lines), table, (_strips(found),))


def _how(found: Weaknesses) -> str:
    of = f" of {found.n_of:,}" if found.n_rows < found.n_of else ""
    crossed = ""
    if found.crossed:
        crossed = f" and by any two of {', '.join(found.crossed)}"
    told = (
        f"{found.n_rows:,}{of} test rows, cut by {counted(found.n_columns, 'column')}{crossed}:"
        f" labels one by one, numbers and dates in {QUANTILES} parts."
        f" {counted(found.n_slices, 'slice')} of {MIN_ROWS} rows or more"
        f" {'was' if found.n_slices == 1 else 'were'} compared with all other rows; the intervals"
        f" of all of them hold together at {100 * found.confidence:g} %."
    )
    if found.n_small:
        told += f" {found.n_small:,} had, or left, fewer rows."
    if found.n_unknown:
        few = f"they hold, or leave, fewer than {MIN_BLOCKS} groups or times, or "
        told += (
            f" {found.n_unknown:,} had no interval: {few if found.clustered else ''}{found.metric}"
            " is not always defined there."
        )
    return told


def _finding(found: Weaknesses) -> list[str]:
    if not found.slices:
        if found.n_slices > found.n_unknown:
            return ["On none of them is the leader worse than elsewhere."]
        return ["No slice has enough rows to say where the leader is worse."]
    if not found.n_sure:
        return [
            "On none of them is the leader surely worse than elsewhere. Shown are those of which"
            " that is least sure."
        ]
    worst = found.slices[0]
    places = _places(worst)
    lines = [
        f"On {found.n_sure:,} of them the leader is surely worse. Worst is {_named(worst)}:"
        f" {found.metric} {number(worst.score, places)} on {counted(worst.n_rows, 'row')},"
        f" {number(worst.others, places)} elsewhere."
    ]
    listed = sum(each.sure for each in found.slices)
    if found.n_sure > listed:
        lines.append("Slices that are worse only by rows of those listed are left out.")
    return lines


def _slice(each: Slice, *, with_bias: bool) -> Row:
    places = _places(each)
    kind = "worse" if each.sure else "number"
    cells = [
        Cell(_named(each)),
        Cell(f"{each.n_rows:,}", "number"),
        Cell(number(each.score, places), "number"),
        Cell(number(each.others, places), "number"),
        Cell(
            f"{shown(each.worse_by, places)}"
            f" [{shown(each.low, places)}, {shown(each.high, places)}]",
            kind,
        ),
    ]
    if with_bias:
        cells.append(Cell(_signed(each.bias, places), "number"))
    return Row(tuple(cells))


def _strips(found: Weaknesses) -> Drawing:
    names = [_label(each) for each in found.slices]
    longest = max(len(line) for name in names for line in name.split("\n"))
    with drawing.style():
        figure, axes = drawing.axes(
            height=1.1 + 0.4 * len(names), left=0.35 + drawing.CHARACTER * longest
        )
        for at, each in enumerate(found.slices):
            color = COLORS[1] if each.sure else FAINT
            axes.plot([each.low, each.high], [at, at], color=color, linewidth=2)
            axes.plot([each.worse_by], [at], "o", color=color, markersize=6, markeredgecolor=PAPER)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(names)), names, fontsize=8.5)
        axes.tick_params(axis="x", labelsize=8.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        axes.locator_params(axis="x", nbins=7)
        axes.set_xlabel(f"{found.metric} worse than on all other rows by", fontsize=9)
        drawing.titled(figure, "where the leader is worse; surely so where coloured")
        svg = drawing.finished(figure)
    told = "; ".join(_strip_told(each) for each in found.slices[:5])
    return Drawing("slices", "Where the leader is worse than elsewhere", f"{told}.", svg)


def _label(each: Slice) -> str:
    """Name a slice beside the picture, a line for each column."""
    lines = [
        drawing.short(f"{name} = {label}", _LABEL)
        for name, label in zip(each.names, each.labels, strict=True)
    ]
    return "\n".join([*lines[:-1], f"{lines[-1]} ({each.n_rows:,})"])


def _strip_told(each: Slice) -> str:
    places = _places(each)
    sure = "surely worse by" if each.sure else "not surely worse, by"
    return (
        f"{_named(each)}: {sure} {shown(each.worse_by, places)}"
        f" [{shown(each.low, places)}, {shown(each.high, places)}]"
    )


def _rows(found: Weaknesses) -> Block:
    if not found.rows:
        return Block("Worst answers", ("The leader is right about every test row.",))
    quantity = found.problem == ProblemType.REGRESSION
    columns = [name for name, _ in found.rows[0].values]
    off = "off by" if quantity else "probability of the actual class"
    heads = ["test row", "actual", "answer", off, *columns]
    numbers = (0, 1, 2, 3) if quantity else (0, 3)
    places = decimals([row.loss for row in found.rows])
    rows = tuple(_row(row, places, quantity=quantity) for row in found.rows)
    which = (
        "The answers that are farthest from the truth"
        if quantity
        else "The answers that gave the actual class least"
    )
    line = f"{which}, of {found.n_of:,} test rows, with the columns that matter most."
    return Block("Worst answers", (line,), Table(headings(heads, numbers), rows))


def _row(row: BadRow, places: int, *, quantity: bool) -> Row:
    kind = "number" if quantity else "text"
    return Row(
        (
            Cell(str(row.number), "number"),
            Cell(row.actual, kind),
            Cell(row.predicted, kind),
            Cell(shown(row.loss, places), "number"),
            *(Cell(value) for _, value in row.values),
        )
    )


def _named(each: Slice) -> str:
    pairs: Sequence[tuple[str, str]] = tuple(zip(each.names, each.labels, strict=True))
    return ", ".join(f"{name} = {label}" for name, label in pairs)


def _places(each: Slice) -> int:
    scores = [score for score in (each.score, each.others) if score is not None]
    return decimals(scores, [each.worse_by])


def _signed(value: float | None, places: int) -> str:
    if value is None:
        return NOTHING
    return f"{'+' if value > 0 else ''}{shown(value, places)}"
