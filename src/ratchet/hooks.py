"""Tells people what was decided: a command of their own, and whoever a server's webhooks name.

It is told after the decision stands, and no failure here changes one.
"""

import contextlib
import json
import logging
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ratchet import files, scratch, tracking
from ratchet.errors import StoreError
from ratchet.project import Project, tracking_uri
from ratchet.registry import ledger, webhooks
from ratchet.settings import Event

__all__ = ["Event", "fire"]

logger = logging.getLogger(__name__)


def fire(project: Project, event: Event, told: Mapping[str, Any]) -> None:
    """Tell of an event whoever ``params.yaml`` and the server's webhooks name.

    Parameters
    ----------
    project : Project
        Whose settings name the command.
    event : Event
        What has happened.
    told : mapping
        What is to be said of it, as plain values; NaN becomes null. What every
        message has comes before it: ``event``, ``name`` of the task, ``model``,
        ``at`` in UTC, ``who`` and ``store``.
    """
    message = files.finite(
        {
            "event": event.value,
            "name": project.settings.name,
            "model": project.settings.model_name,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "who": ledger.who(),
            "store": tracking.masked(tracking_uri(project)),
            **told,
        }
    )
    command = project.settings.hooks.command(event)
    if command is not None:
        _run(project, event, command, message)
    try:
        webhooks.mark(project.settings, event, message)
    except StoreError as error:
        logger.warning("hooks: the server's webhooks were not told of %s: %s", event, error)


def _run(
    project: Project, event: Event, command: tuple[str, ...], message: Mapping[str, Any]
) -> None:
    """Give a command the message, and wait for it as long as it may take."""
    started = time.monotonic()
    shown = tracking.masked(f"hooks.{event} ({shlex.join(command)})")
    try:
        process = subprocess.Popen(
            command,
            cwd=project.root,
            env=scratch.beside(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # What it has started itself ends with it, and Ctrl-C is for us.
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        logger.warning("%s can't be started: %s; the decision stands", shown, reason)
        return
    text = json.dumps(message, ensure_ascii=False) + "\n"
    limit = project.settings.hooks.timeout_seconds
    try:
        printed, _ = process.communicate(text.encode(), timeout=limit)
    except subprocess.TimeoutExpired:
        _end(process)
        logger.warning("%s was ended after %g s; the decision stands", shown, limit)
        return
    except BaseException:
        _end(process)
        raise
    lines = [line for line in printed.decode(errors="replace").splitlines() if line.strip()]
    if process.returncode:
        last = f": {lines[-1].strip()}" if lines else ""
        logger.warning(
            "%s failed with exit code %d%s; the decision stands", shown, process.returncode, last
        )
        return
    for line in lines:
        logger.info("hooks: %s", line)
    logger.info("hooks: %s was told, in %.1f s", shown, time.monotonic() - started)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a command and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
