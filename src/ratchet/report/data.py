"""The table that a leader was trained on, a line a column."""

from dataclasses import dataclass

from ratchet.profile import ColumnProfile
from ratchet.report.pieces import MOST_LINES, NOTHING, Block, Cell, Row, Table, cut, headings


@dataclass(frozen=True)
class Data:
    """The columns of the training rows, and how many rows each part has."""

    rows: tuple[tuple[str, int], ...]
    """Rows of train, valid and test."""
    target: ColumnProfile | None
    """What is predicted; None for clustering."""
    columns: tuple[ColumnProfile, ...]
    """The features in their order, not more than a report shows."""
    n_columns: int
    """How many features there are."""

    @classmethod
    def of(
        cls,
        rows: tuple[tuple[str, int], ...],
        columns: tuple[ColumnProfile, ...],
        target: ColumnProfile | None,
    ) -> "Data":
        """Keep what a report shows."""
        return cls(rows, target, columns[:MOST_LINES], len(columns))


def blocks(data: Data) -> tuple[Block, ...]:
    """Lay out the parts and the columns."""
    counts = ", ".join(f"{part} {count:,}" for part, count in data.rows)
    lines = (
        f"Rows: {counts}. The columns are those of the training rows."
        " profile.html of the run of prepare draws each, and what goes with what.",
    )
    head = headings(("column", "holds", "missing", "distinct", "values"), (2, 3))
    columns = [*([data.target] if data.target else []), *data.columns]
    rows = tuple(_row(each, is_target=each is data.target) for each in columns)
    return (Block("", lines, Table(head, rows, data.n_columns - len(data.columns))),)


def _row(column: ColumnProfile, *, is_target: bool) -> Row:
    return Row(
        (
            Cell(cut(column.name)),
            Cell(f"{column.kind}, the target" if is_target else column.kind),
            Cell(_share(column.missing), "number"),
            Cell(f"{column.distinct:,}", "number"),
            Cell(cut(column.values) or NOTHING),
        )
    )


def _share(missing: float) -> str:
    """Write a share in percent; one that is not nothing does not look like it.

    Examples
    --------
    >>> _share(0.0), _share(0.00004), _share(0.25)
    ('0 %', '< 0.1 %', '25.0 %')
    """
    if missing == 0:
        return "0 %"
    return "< 0.1 %" if missing < 0.001 else f"{100 * missing:.1f} %"
