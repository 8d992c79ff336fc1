"""What a terminal can show, and what a pipe, a log or a narrow window gets instead."""

import codecs
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ratchet.masking import harmless

# What this project's own sentences hold beside ASCII, for streams that can't write it.
_PLAIN = {"·": "-", "→": "->", "…": "..."}
_READABLE = "ratchet.readable"
# Blanks between two columns, and the least room in which a column of sentences can be read.
_GAP = 2
_SENTENCE = 24


def console(*, stderr: bool = False) -> Console:
    """Give what writes to stdout or stderr, in colour where the user wants it.

    ``NO_COLOR``, ``FORCE_COLOR`` and ``TERM`` are honoured. Only a real terminal
    is drawn upon: a CI system that asks for colours still reads a log.

    Parameters
    ----------
    stderr : bool
        Whether to write to stderr rather than stdout.
    """
    alive = _is_terminal(sys.stderr if stderr else sys.stdout)
    return Console(
        stderr=stderr,
        highlight=False,
        emoji=False,
        force_interactive=alive and os.environ.get("TERM", "").lower() not in ("dumb", "unknown"),
    )


def make_readable() -> None:
    """Let stdout and stderr write any text, whatever their encoding can't.

    Of what ASCII lacks, this project's own signs get a stand-in, and a user's
    names an escape that stays distinct.
    """
    codecs.register_error(_READABLE, _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if not _takes_all(stream):
            with suppress(AttributeError, ValueError):  # replaced by one that isn't a file
                stream.reconfigure(errors=_READABLE)  # type: ignore[union-attr]


def takes_all_letters() -> bool:
    """Tell whether stdout can write every letter there is."""
    return _takes_all(sys.stdout)


@contextmanager
def nothing_on_stdout(*, told: bool = True) -> Iterator[None]:
    """Keep stdout for what comes after: what a library or a user's model prints goes to stderr.

    Parameters
    ----------
    told : bool
        Whether it is shown there; else it goes nowhere.
    """
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        sys.stdout.flush()
        kept = os.dup(1)
        # What is written in C, or by another program, asks for the number of the file.
        os.dup2(2 if told else nowhere.fileno(), 1)
        try:
            with redirect_stdout(sys.stderr if told else nowhere):
                yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def show_table(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: int = 0
) -> None:
    """Print rows in columns, or below each other where the columns have no room.

    Parameters
    ----------
    console : Console
        Where to print.
    headings : sequence of str
        One for each column.
    rows : sequence of sequence of str
        The cells, as many as headings. They are printed as they are.
    right : int
        How many of the last columns hold numbers, which stand at the right.
    """
    rows = [[harmless(cell) for cell in row] for row in rows]
    sentences = right == 0  # what stands at the end may be folded
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    needed = _GAP * (len(headings) - 1)
    for place, heading in enumerate(headings):
        cells = [len(row[place]) for row in rows]
        if sentences and place == len(headings) - 1:
            table.add_column(heading, overflow="fold")
            needed += min(max(cells, default=0), _SENTENCE)
        else:
            number = place >= len(headings) - right
            words = heading.split() if number else [heading]
            width = max([*cells, *map(len, words)])
            table.add_column(heading, justify="right" if number else "left", min_width=width)
            needed += width
    for row in rows:
        table.add_row(*map(Text, row))
    if needed <= console.width:
        console.print(table)
        return
    for first, *others in rows:
        console.print(Text(first, "bold"), overflow="fold")
        told = [f"{name} {cell}" for name, cell in zip(headings[1:], others, strict=True) if cell]
        console.print(Padding(Text(" · ".join(told), overflow="fold"), (0, 0, 0, 2)))


def show_facts(
    console: Console,
    facts: Sequence[tuple[str, str]],
    width: int,
    commands: Collection[str] = (),
) -> None:
    """Print names with what there is to say of each; a pipe gets a line each, whole.

    Parameters
    ----------
    console : Console
        Where to print.
    facts : sequence of (str, str)
        Names and texts. A text without a name continues the one before.
    width : int
        Room for a name.
    commands : collection of str
        Names of texts that a person copies: these are never broken.
    """
    for name, told in facts:
        text = harmless(told)
        if not console.is_interactive or name in commands:
            line = Text.assemble((f"{name:<{width}} ", "bold"), text)
            console.print(line, soft_wrap=True)
            continue
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(style="bold", min_width=width, no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row(Text(name), Text(text))
        console.print(table)


def _is_terminal(stream: object) -> bool:
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return False


def _takes_all(stream: object) -> bool:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name.startswith("utf")


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    told = [
        _PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode("ascii")
        for sign in text
    ]
    return "".join(told), error.end
