"""A report as a page: which sections it has, in which order, as HTML and as Markdown."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TypeVar

from ratchet import files
from ratchet.drawing import Drawing
from ratchet.report import (
    data,
    failures,
    made,
    performance,
    pieces,
    reasons,
    scores,
    searched,
    tradeoff,
    verdict,
)
from ratchet.report.facts import Facts
from ratchet.report.made import Made
from ratchet.report.pieces import Block, Section
from ratchet.report.verdict import Decided

HTML = "report.html"
"""The page, in one file."""

MARKDOWN = "report.md"
"""The same without pictures."""

FIGURES = "figures"
"""Folder of the pictures, a file each."""

T = TypeVar("T")

# A comment on a pull request takes 65,536 characters: longer tables are cut to as many lines.
_MOST_LINES = 15


@dataclass(frozen=True)
class Page:
    """All that is shown of a leader."""

    title: str
    """Whose page it is."""
    answer: str
    """The verdict in a few words."""
    told: tuple[str, ...]
    """The verdict's numbers and reasons."""
    sections: tuple[Section, ...]
    """What there is to say, in the order of the page."""
    key: str = ""
    """Which decision it tells, see ``Decided.key``; empty before there is one."""

    @property
    def mark(self) -> str:
        """What is in the HTML of a page of this decision, and of no other."""
        return mark(self.key)

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """All its pictures."""
        return tuple(
            drawing
            for section in self.sections
            for block in section.blocks
            for drawing in block.drawings
        )


def of(
    task: str,
    leader: str,
    facts: Facts | None,
    decided: Decided | None,
    run: Made,
    trained: Path | None = None,
) -> Page:
    """Choose what is shown of a leader.

    Parameters
    ----------
    task : str
        Name of the project's task.
    leader : str
        What the model is, for people.
    facts : Facts or None
        What evaluate has found out; None for a model that this project did not evaluate.
    decided : Decided or None
        What promote has decided; None before it has.
    run : Made
        How the model was made.
    trained : Path or None
        Folder of what train has written, whose pictures are shown; None shows none.
    """
    won = facts.won if facts else None
    sections = tuple(each for each in _sections(facts, decided, run, trained) if each.blocks)
    return Page(
        title=f"{task}: {leader}",
        answer=verdict.answer(leader, decided),
        told=tuple(verdict.told(won, decided)),
        sections=sections,
        key=decided.key if decided else "",
    )


def mark(key: str) -> str:
    """Give what the HTML of a page holds that tells of a decision, see ``Decided.key``."""
    return f'<meta name="ratchet-decision" content="{escape(key)}">'


def as_html(page: Page) -> str:
    """Write a page as one HTML file that needs no other file and runs no script."""
    return pieces.rendered("report.html", page=page)


def as_markdown(page: Page) -> str:
    """Write a page as Markdown, for a pull request."""
    return pieces.rendered("report.md", page=page, most=_MOST_LINES)


def save(page: Page, folder: Path) -> None:
    """Write a page in both forms into a folder."""
    files.write_text(folder / MARKDOWN, as_markdown(page))
    files.write_text(folder / HTML, as_html(page))


def save_figures(page: Page, folder: Path) -> None:
    """Write the pictures of a page into a folder in there, a file each."""
    for drawing in page.drawings:
        files.write_text(folder / FIGURES / f"{drawing.name}.svg", drawing.svg)


def _sections(
    facts: Facts | None, decided: Decided | None, run: Made, trained: Path | None
) -> Iterator[Section]:
    """Yield every section in its place; one without blocks isn't shown."""
    if facts is None:
        facts = Facts("")
    pictures = None if trained is None else trained / FIGURES
    rival = verdict.against(decided.rival if decided else None)
    yield Section("Gates", verdict.gates(decided))
    yield Section("Scores", (*_of(facts.scores, scores.blocks), *rival))
    yield Section(
        "How good it is", _of(facts.performance, lambda each: performance.blocks(each, trained))
    )
    yield Section("What drives it", _reasons(facts))
    yield Section("Where it fails", _of(facts.weaknesses, failures.blocks))
    yield Section("The search", _of(facts.search, lambda each: searched.blocks(each, pictures)))
    yield Section("The trade-off", _of(facts.trade_off, tradeoff.blocks))
    yield Section("The data", _of(facts.data, data.blocks), folded=True)
    yield Section("How it was made", made.blocks(run), folded=True)


def _reasons(facts: Facts) -> tuple[Block, ...]:
    if facts.importance is None:
        return ()
    return reasons.blocks(facts.importance, facts.dependence, facts.explanation)


def _of(part: T | None, blocks: Callable[[T], tuple[Block, ...]]) -> tuple[Block, ...]:
    """Lay out a part of the facts, where there is one."""
    return () if part is None else blocks(part)
