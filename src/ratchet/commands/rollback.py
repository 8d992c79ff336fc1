"""Bring an earlier champion back, in one command and on the record."""

import logging

from ratchet import hooks, tracking
from ratchet import settings as settings_module
from ratchet.errors import RatchetError
from ratchet.project import Project
from ratchet.registry import champion, versions
from ratchet.registry.ledger import Kind, Line
from ratchet.registry.versions import PREVIOUS_ALIAS, Version

logger = logging.getLogger(__name__)


def run(project: Project, *, reason: str, to: int | None = None) -> Version:
    """Make an earlier version the champion again.

    Parameters
    ----------
    project : Project
        Names the registered model and the store.
    reason : str
        Why, for the ledger.
    to : int or None
        The version; None takes the one that was the champion before.

    Returns
    -------
    Version
        The champion now.

    Raises
    ------
    RatchetError
        If there is no champion, no earlier one, or the version holds the place already.
    StoreError
        If the store fails, or has no such version.
    """
    if not reason.strip():
        raise RatchetError("A rollback needs a reason for the ledger: --reason 'what went wrong'.")
    tracking.connect(project)
    settings = project.settings
    while True:
        standing = champion.settle(settings, tracking.experiment(project))
        reigning = standing.champion
        if reigning is None:
            raise RatchetError(
                f"{settings.model_name} has no champion, so there is nothing to roll back."
            )
        target = versions.get(settings, to) if to is not None else _previous(project, standing)
        if target.number == reigning.number:
            raise RatchetError(f"Version {target.number} is the champion already.")
        line = standing.ledger.begin(
            kind=Kind.ROLLBACK,
            after=standing.lines,
            run_id=target.run_id,
            before=reigning.number,
            version=target.number,
            reason=reason,
            basis="",
            evidence={
                "from": reigning.number,
                "to": target.number,
                "reason": reason,
                "params": settings_module.flat(settings),
            },
            tags={"ratchet.model": settings.model_name},
        )
        if line is not None:
            break
    champion.carry_out(settings, standing.ledger, line)
    logger.info(
        "rollback: version %d of %s is the champion again, %d was: %s",
        target.number,
        settings.model_name,
        reigning.number,
        reason,
    )
    hooks.fire(
        project,
        hooks.Event.ROLLED_BACK,
        {
            "version": target.number,
            "champion": reigning.number,
            "reason": reason,
            "run_id": target.run_id,
            "line": line.number,
            "decision_run": line.decision_run,
            "decided_at": line.at,
        },
    )
    return target


def _previous(project: Project, standing: champion.Standing) -> Version:
    """Find the champion that the one of today replaced."""
    settings = project.settings
    replaced = replaced_by_today(standing.lines)
    if replaced is not None and versions.exists(settings, replaced):
        return versions.get(settings, replaced)
    # An alias from before the ledger counts; one that the ledger has set may point at
    # whoever was rolled back.
    marked = versions.by_alias(settings, PREVIOUS_ALIAS)
    if marked is None or marked.number in {line.champion for line in standing.lines}:
        raise RatchetError(
            f"{settings.model_name} had no champion before version"
            f" {standing.champion.number if standing.champion else '?'}."
            " Name the version to go to with --to."
        )
    return marked


def replaced_by_today(lines: tuple[Line, ...]) -> int | None:
    """Return the version that the champion of today took the place from.

    Rolling back twice goes two champions back, not forth and back: a rollback
    undoes the line that made the champion, so what counts is whom the restored
    version had replaced.

    Examples
    --------
    >>> replaced_by_today(())
    """
    stack: list[int] = []
    for line in lines:
        if not line.kind.moves or line.champion is None:
            continue
        if line.kind is Kind.ROLLBACK and line.champion in stack:
            while stack[-1] != line.champion:
                stack.pop()
        elif stack[-1:] != [line.champion]:  # who is forced again replaces nobody
            stack.append(line.champion)
    return stack[-2] if len(stack) > 1 else None
