"""What pages are made of: sections with sentences, tables and drawings, as Markdown and as HTML."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from math import isnan

from jinja2 import Environment, PackageLoader, StrictUndefined

from ratchet.drawing import Drawing
from ratchet.gates import shown
from ratchet.masking import harmless
from ratchet.report import inline

MOST_LINES = 40
"""Lines of a table that a reader still looks at; JSON has all of them."""
# Characters of a value or an error: longer ones are cut.
LONGEST = 300

# Characters that a phone shows in a line, with the gaps between columns.
SLIM = 44

# A place in a picture of intervals, in percent of its length: marks at its ends are seen whole.
_FROM, _SPAN = 4, 92

NOTHING = "—"
"""What a field says that has nothing to say."""


@dataclass(frozen=True)
class Cell:
    """One field of a table."""

    text: str
    """What it says."""
    kind: str = "text"
    """text, number, or better and worse for what B surely gains and loses; yes and no for words
    that say whether something is as it should be."""
    href: str = ""
    """Where it leads; empty for nowhere."""


@dataclass(frozen=True)
class Strip:
    """Two intervals on a common scale, in percent of its length."""

    a: tuple[float, float, float]
    """Lower end, value and upper end of the first one."""
    b: tuple[float, float, float]
    """Lower end, value and upper end of the second one."""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    cells: tuple[Cell, ...]
    """Its fields."""
    strip: Strip | None = None
    """A picture of its two intervals."""


@dataclass(frozen=True)
class Table:
    """A table under a heading."""

    head: tuple[Cell, ...]
    """Headings; those of numbers have their kind."""
    rows: tuple[Row, ...]
    """Its lines."""
    more: int = 0
    """Lines that were left out."""
    sides: tuple[str, str] = ("A", "B")
    """Whose intervals the pictures of its lines show."""

    @property
    def drawn(self) -> bool:
        """Whether a line has a picture."""
        return any(row.strip for row in self.rows)

    @property
    def slim(self) -> bool:
        """Whether it fits on a phone beside itself, rather than line by line."""
        lines = [self.head, *(row.cells for row in self.rows)]
        widths = [max(len(cell.text) for cell in column) for column in zip(*lines, strict=True)]
        return sum(widths) + 3 * len(widths) <= SLIM


@dataclass(frozen=True)
class Block:
    """A part of a section."""

    title: str
    """Its heading; empty for none."""
    lines: tuple[str, ...] = ()
    """Sentences before the table."""
    table: Table | None = None
    """Its table."""
    drawings: tuple[Drawing, ...] = ()
    """Its pictures, after the table."""
    code: str = ""
    """A command to copy, at its end; empty for none."""

    @property
    def fence(self) -> str:
        """More backticks than the command has in a row."""
        return fence(self.code)


@dataclass(frozen=True)
class Section:
    """A chapter of the page."""

    title: str
    """Its heading."""
    blocks: tuple[Block, ...]
    """What it holds."""
    folded: bool = False
    """Whether Markdown shows no more than its heading until a reader opens it."""

    @property
    def anchor(self) -> str:
        """What a link to it ends with.

        Examples
        --------
        >>> Section("What drives it", ()).anchor
        'what-drives-it'
        """
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


def rendered(template: str, **given: object) -> str:
    """Fill in a template of this package, ``NAME.html`` or ``NAME.md``."""
    environment = Environment(
        loader=PackageLoader("ratchet", "templates"),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = escaped
    environment.filters["width"] = inline.width
    numbers = count(1)
    # A number each: drawings of one page would share the ids that matplotlib gives to all.
    environment.filters["inline"] = lambda drawing, caption: inline.svg(
        drawing, f"f{next(numbers)}-", caption
    )
    return environment.get_template(template).render(**given)


def escaped(text: str) -> str:
    r"""Write text so that Markdown shows it as it is, in a table too.

    Examples
    --------
    >>> escaped("a|b <script> *c* max_depth _d_")
    'a&#124;b &lt;script&gt; \\*c\\* max_depth \\_d\\_'
    """
    text = harmless(" ".join(text.split()))
    # Brackets mean something only with what may follow them, and intervals are full of them.
    text = re.sub(r"([\\`*~$]|\](?=[(\[:]))", r"\\\1", text)
    # Within a word an underscore means nothing, and a name is easier to read without backslashes.
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)
    return html.escape(text, quote=False).replace("|", "&#124;")


def fence(text: str) -> str:
    """Give more backticks than a text has in a row, to put before and after it.

    Examples
    --------
    >>> fence("python src run"), fence("name=````")
    ('```', '`````')
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(3, longest + 1)


def headings(names: Sequence[str], numbers: Iterable[int] = ()) -> tuple[Cell, ...]:
    """Lay out headings; those of the columns at these places stand on the right."""
    right = set(numbers)
    return tuple(Cell(name, "number" if at in right else "text") for at, name in enumerate(names))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False) -> Table:
    """Lay out text; with ``numbers``, all columns but the first stand on the right."""
    kind = "number" if numbers else "text"
    lines = [
        Row((Cell(cut(first)), *(Cell(cut(each), kind) for each in others)))
        for first, *others in rows[:MOST_LINES]
    ]
    right = range(1, len(head)) if numbers else ()
    return Table(headings(head, right), tuple(lines), max(0, len(rows) - MOST_LINES))


def number(value: float | None, places: int) -> str:
    """Write a number, if there is one."""
    return NOTHING if value is None else shown(value, places)


def interval(value: float, low: float, high: float, places: int) -> str:
    """Write a number with its interval, if it has one.

    Examples
    --------
    >>> interval(4.5, 4.25, 4.75, 2), interval(4.5, float("nan"), float("nan"), 2)
    ('4.50 [4.25, 4.75]', '4.50')
    """
    if isnan(value):
        return NOTHING
    if isnan(low) or isnan(high):
        return shown(value, places)
    return f"{shown(value, places)} [{shown(low, places)}, {shown(high, places)}]"


def strip(a: tuple[float, float, float], b: tuple[float, float, float]) -> Strip | None:
    """Put two intervals, each as lower end, value and upper end, on a common scale.

    Returns
    -------
    Strip or None
        None where a number is NaN, or all are the same.
    """
    numbers = (*a, *b)
    if any(map(isnan, numbers)) or max(numbers) == min(numbers):
        return None
    low, span = min(numbers), max(numbers) - min(numbers)
    x, y = ([round(_FROM + _SPAN * (each - low) / span, 1) for each in side] for side in (a, b))
    return Strip((x[0], x[1], x[2]), (y[0], y[1], y[2]))


def cut(text: str) -> str:
    """Cut the end off what is too long for a field."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def listed(names: Sequence[str]) -> str:
    """Write several names as a part of a sentence.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def counted(n: int, one: str) -> str:
    """Say how many there are.

    Examples
    --------
    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"
