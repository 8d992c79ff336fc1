"""How this project's pictures look: one palette for light and dark, text that stays text."""

import re
from collections.abc import Iterator
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
"""Width of a picture in inches; matplotlib could find margins by itself, which takes longer than
the drawing."""
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
    return pattern.sub(lambda found: known[found.group().lower()], text.getvalue())


def blank(height: float, left: float, right: float, bottom: float) -> "Figure":
    """Make a figure with margins in inches."""
    # Not pyplot, which keeps every figure and picks a window system.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    figure.subplots_adjust(
        left=left / WIDTH,
        right=1 - right / WIDTH,
        bottom=bottom / height,
        top=1 - 0.4 / height,
    )
    return figure


def axes(height: float = HEIGHT, left: float = 0.85, right: float = 0.3) -> "tuple[Figure, Axes]":
    """Make a figure with one pair of axes; margins in inches."""
    figure = blank(height, left, right, bottom=0.6)
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
    inches = figure.get_figheight()
    figure.text(0.12 / WIDTH, 1 - 0.12 / inches, title, fontsize=10, va="top", weight="bold")


def short(text: str, width: int = 28) -> str:
    """Cut the middle out of a long name: what tells names apart is often at the end."""
    tail = width // 3
    return text if len(text) <= width else f"{text[: width - tail - 1]}…{text[-tail:]}"
