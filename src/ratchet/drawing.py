"""How this project's pictures look: one palette for light and dark, text that stays text."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Told apart by people with any colour vision (Okabe and Ito 2008); without its yellow, too pale
on white, and its black, which is what a picture is about."""

INK = "#1C2024"
"""Lines and words that a picture is about."""
FAINT = "#767676"
"""What only helps to read it."""
GRID = "#E4E4E4"
"""Lines behind everything."""
PAPER = "#FFFFFF"
"""What lies behind the picture, and the rim of a mark."""

WIDTH = 8.0
"""Usual width of a picture in inches; matplotlib could find margins by itself, which takes longer
than the drawing."""
NARROW = 4.4
"""Width of a picture that stands beside another one, and whose words can be read on a phone."""
HEIGHT = 4.2
"""Usual height in inches."""
CHARACTER = 0.08
"""Width of a character of a label in inches."""

# A page that has a dark side sets these properties; by itself a file has the colours above.
_ROLES = {
    INK: "--ink",
    FAINT: "--quiet",
    GRID: "--rule",
    PAPER: "--paper",
    **{color: f"--figure-{place}" for place, color in enumerate(COLORS, start=1)},
}


# Attributes of an SVG file that say where something lies, in points, and digits nobody can see.
_PLACES = re.compile(r' (?:d|x|y|transform|points)="[^"]*"')
_MORE_DIGITS = re.compile(r"(\.\d\d)\d+")


@dataclass(frozen=True)
class Drawing:
    """A picture, and what it shows in words."""

    name: str
    """Stem of its file, such as ``"roc"``."""
    title: str
    """What is shown, in a few words."""
    told: str
    """What is to be seen on it, in a sentence, for those who can't."""
    svg: str
    """The picture: an SVG file whose colours a page may change (``drawing.INK`` is ``--ink``)."""


@contextmanager
def style() -> Iterator[None]:
    """Have matplotlib write text as text, and the same file for the same picture."""
    # Matplotlib is slow to import, and not every command draws.
    import matplotlib

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        # Names of columns are text, whatever dollars they hold.
        "text.parse_math": False,
        "svg.hashsalt": "ratchet",
        "font.sans-serif": ["DejaVu Sans", "system-ui", "sans-serif"],
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "figure.facecolor": PAPER,
        "axes.facecolor": "none",
    }
    with matplotlib.rc_context(settings):
        yield


def finished(figure: "Figure") -> str:
    """Write a figure as SVG whose colours are properties that a page can set."""
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    pattern = re.compile("|".join(map(re.escape, _ROLES)), re.IGNORECASE)
    known = {color.lower(): f"var({role}, {color})" for color, role in _ROLES.items()}
    colored = pattern.sub(lambda found: known[found.group().lower()], text.getvalue())
    # A page has many pictures, and each would have a figure_1.
    anonymous = re.sub(r'<g id="[^"]*"', "<g", colored)
    return _PLACES.sub(lambda found: _MORE_DIGITS.sub(r"\1", found.group()), anonymous)


def blank(
    height: float, left: float, right: float, bottom: float, width: float = WIDTH
) -> "Figure":
    """Make a figure with margins in inches."""
    # Not pyplot, which keeps every figure and picks a window system.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - 0.4 / height,
    )
    return figure


def axes(
    height: float = HEIGHT,
    left: float = 0.85,
    right: float = 0.3,
    bottom: float = 0.6,
    width: float = WIDTH,
) -> "tuple[Figure, Axes]":
    """Make a figure with one pair of axes; margins in inches."""
    figure = blank(height, left, right, bottom, width)
    made = figure.subplots()
    bare(made)
    return figure, made


def bare(of: "Axes") -> None:
    """Take from axes what isn't needed to read them."""
    for side in ("top", "right"):
        of.spines[side].set_visible(False)
    of.grid(color=GRID, linewidth=0.7)
    of.set_axisbelow(True)


def titled(figure: "Figure", title: str) -> None:
    """Write a title at the upper left."""
    wide, tall = figure.get_size_inches()
    figure.text(0.12 / wide, 1 - 0.12 / tall, title, fontsize=10, va="top", weight="bold")


def dots(on: "Axes", x: Sequence[float], y: Sequence[float], color: str, size: float = 3.4) -> None:
    """Draw many marks as one path, which takes a quarter of the bytes of a mark each.

    Parameters
    ----------
    on : Axes
        Where to.
    x, y : sequences of n floats
        Places of the marks.
    color : str
        One of this module's.
    size : float
        Their diameter in points.
    """
    from matplotlib.path import Path

    # A line from a point to itself is seen by its round ends.
    places = [(a, b) for a, b in zip(x, y, strict=True) for _ in range(2)]
    outline = Path(places, [Path.MOVETO, Path.LINETO] * len(x))
    _one_path(on, outline, facecolor="none", edgecolor=color, linewidth=size, capstyle="round")


def squares(
    on: "Axes",
    x: Sequence[float],
    y: Sequence[float],
    width: float,
    height: float,
    color: str,
    alpha: float,
) -> None:
    """Fill many rectangles of one size as one path.

    Parameters
    ----------
    on : Axes
        Where to.
    x, y : sequences of n floats
        Their lower left corners.
    width, height : float
        Their size.
    color : str
        One of this module's.
    alpha : float
        How dense the colour is, 0 to 1.
    """
    from matplotlib.path import Path

    corners = ((0, 0), (width, 0), (width, height), (0, height), (0, 0))
    places = [(a + i, b + j) for a, b in zip(x, y, strict=True) for i, j in corners]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(x)
    _one_path(on, Path(places, codes), facecolor=color, edgecolor="none", alpha=alpha)


def _one_path(on: "Axes", outline: Any, **look: Any) -> None:
    from matplotlib.patches import PathPatch

    # Matplotlib would leave out what doesn't move.
    outline.should_simplify = False
    on.add_patch(PathPatch(outline, clip_on=False, zorder=3, **look))


def short(text: str, width: int = 28) -> str:
    """Cut the middle out of a long name: what tells names apart is often at the end."""
    tail = width // 3
    return text if len(text) <= width else f"{text[: width - tail - 1]}…{text[-tail:]}"
