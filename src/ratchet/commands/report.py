"""The report of a run: where it lies, or brought out of the store."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ratchet import files, recorded, tracking
from ratchet.errors import StoreError
from ratchet.project import Project
from ratchet.registry import references
from ratchet.report.page import HTML, MARKDOWN
from ratchet.steps import reports, restore
from ratchet.steps.promote import Decision
from ratchet.steps.train import Leader

FOLDER = "reports"
"""Folder in ``build`` for reports that were brought out of the store."""


@dataclass(frozen=True)
class Report:
    """A report in both forms."""

    label: str
    """Whose it is, for people."""
    html: Path
    """The page."""
    markdown: str
    """The same as Markdown."""


def read(project: Project, reference: str | None = None, *, out: Path | None = None) -> Report:
    """Find a report.

    Parameters
    ----------
    project : Project
        Names the store.
    reference : str or None
        ``RUN_ID``, ``NAME/VERSION`` or ``NAME@ALIAS``; any run of a pipeline stands for the
        training in it. None takes the leader of ``build``.
    out : Path or None
        File to write the page to; None leaves it where it lies.

    Raises
    ------
    RatchetError
        If train has not run, and no run was named.
    StoreError
        If there is no such run or version, it has no report, or the store fails.
    """
    found = _leaders(project) if reference is None else _of_run(project, reference)
    if out is None:
        return found
    files.write_text(out, found.html.read_text(encoding="utf-8"))
    return Report(found.label, out, found.markdown)


def can_open() -> bool:
    """Tell whether there is somebody to show a page to, and a screen."""
    if not sys.stdout.isatty():
        return False
    on_linux = sys.platform.startswith("linux")
    return not on_linux or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _leaders(project: Project) -> Report:
    """Find the leader's: as promote wrote it, or the store has it, or evaluate wrote it."""
    trained = Leader.load(project)
    decision = Decision.load(project)
    if decision is not None and decision.run_id == trained.run_id:
        here = _in_folder(trained.name, project.promoted)
        if here is not None:
            return here
    tracking.connect(project)
    leader = restore.look(project)
    kept = None if leader is None else _on_run(project, leader.run_id, leader.name)
    kept = kept or _in_folder(trained.name, project.evaluated / reports.FOLDER)
    if kept is None:
        raise StoreError(
            f"The leader {trained.name} has no report. {_why_none('Run the step evaluate first')}"
        )
    return kept


def _of_run(project: Project, text: str) -> Report:
    tracking.connect(project)
    named = references.resolve(text)
    run = recorded.training_of(named.run_id)
    found = _on_run(project, run.run_id, named.label)
    if found is None:
        raise StoreError(
            f"There is no report of {named.label}. {_why_none('It was not evaluated')}"
        )
    return found


def _why_none(not_evaluated: str) -> str:
    return (
        f"{not_evaluated}, or evaluate.report was false, or an earlier version of this project"
        " evaluated it. With its parameters, evaluate writes one."
    )


def _in_folder(label: str, folder: Path) -> Report | None:
    page, markdown = folder / HTML, folder / MARKDOWN
    if not page.exists() or not markdown.exists():
        return None
    return Report(label, page, markdown.read_text(encoding="utf-8"))


def _on_run(project: Project, run_id: str, label: str) -> Report | None:
    """Bring the report of a run out of the store."""
    with TemporaryDirectory() as folder:
        page, markdown = (
            recorded.download(run_id, f"{reports.FOLDER}/{name}", Path(folder))
            for name in (HTML, MARKDOWN)
        )
        if page is None or markdown is None:
            return None
        target = project.build / FOLDER / f"{run_id}.html"
        files.write_text(target, page.read_text(encoding="utf-8"))
        return Report(label, target, markdown.read_text(encoding="utf-8"))
