"""Who is the champion, and how another takes its place: the ledger first, the registry after it.

A decision is made when its line stands in the ledger. What the registry shows
follows from the line, by writes that can all be repeated: whoever is
interrupted, the next command finishes.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ratchet.registry import versions
from ratchet.registry.ledger import Kind, Ledger, Line
from ratchet.registry.versions import DIGEST_TAG, PREVIOUS_ALIAS, Version
from ratchet.report.pieces import escaped
from ratchet.settings import Settings

# A process that writes late puts an alias right again by itself; only what stays after this many
# looks, with a pause in seconds between two, was done by other means.
_LOOKS = 8
_PAUSE = 0.5
# Seconds for which whoever has made a line is left to carry it out alone: of two that do so at once
# one may be late, and undo for a moment what a third has decided since. Between two looks, a pause.
_GRACE = 5.0
_MOMENT = 0.1

# A registered model's page has a line for each tag of each version. What the gates said is on the
# decision's run, the model is the page's own, and the leader's run is the version's.
_NOT_ON_VERSIONS = ("ratchet.gate.", "ratchet.model", "ratchet.leader_run")


@dataclass(frozen=True)
class Standing:
    """How things stand between two decisions."""

    ledger: Ledger
    """The ledger."""
    lines: tuple[Line, ...]
    """All its lines."""
    champion: Version | None
    """The version that holds the alias; None when none does."""


def current(settings: Settings) -> Version | None:
    """Return the version that holds the champion's alias, None when none does."""
    return versions.by_alias(settings, settings.registry.alias)


def settle(settings: Settings, experiment_id: str) -> Standing:
    """Finish what an interrupted command has left, and say how things stand.

    An alias that somebody moved by hand is taken as it is, and a line of the
    ledger says so: what serves is the truth, and the ledger tells it. One that
    somebody removed is set again while its version is there. A stage that is
    not the champion's alone follows the alias.

    Parameters
    ----------
    settings : Settings
        Names the registered model, the stage and the alias.
    experiment_id : str
        The project's experiment, for a ledger that is to be begun.

    Raises
    ------
    StoreError
        If the store or the registry fails.
    """
    ledger = Ledger.open(settings, experiment_id)
    looks = 0
    while True:
        lines = ledger.lines()
        moved = last_move(lines)
        if moved is not None and not ledger.is_done(moved):
            if _is_young(moved):
                time.sleep(_MOMENT)
            else:
                carry_out(settings, ledger, moved)
            continue
        holder = current(settings)
        told = moved.champion if moved else None
        if holder is None and moved is not None and _still_there(settings, moved):
            carry_out(settings, ledger, moved)
        elif holder is None or (holder.number == told and versions.alone_in_stage(settings, told)):
            _delete_duplicates(settings, lines)
            return Standing(ledger, lines, holder)
        elif (looks := looks + 1) < _LOOKS:
            time.sleep(_PAUSE)
        elif moved is not None and holder.number == told:
            carry_out(settings, ledger, moved)
        else:
            _observe(settings, ledger, lines, holder)


def last_move(lines: Sequence[Line]) -> Line | None:
    """Return the last line that changed the champion."""
    return next((line for line in reversed(lines) if line.kind.moves), None)


def carry_out(
    settings: Settings,
    ledger: Ledger,
    line: Line,
    sign: Callable[[Version], object] | None = None,
) -> Line:
    """Make the registry show what a line says; repeating it changes nothing.

    The alias moves in one write: it always points at a champion, the old one
    or the new. The stage moves right before it, also in one; MLflow can't do
    both at once, so that for as long as a write takes they differ.

    Parameters
    ----------
    settings : Settings
        Names the registered model, the stage and the alias.
    ledger : Ledger
        The ledger.
    line : Line
        Of that ledger.
    sign : callable, optional
        Signs the version of the line, before anybody looks for it.

    Returns
    -------
    Line
        The line, with the version that was registered for it.

    Raises
    ------
    StoreError
        If the store or the registry fails.
    """
    version = _version(settings, ledger, line)
    if sign is not None:
        sign(version)
    for write in _writes(settings, ledger, line, version):
        if _is_last(ledger, line):
            write()
    ledger.finish(line)
    if not _is_last(ledger, line):
        # Whoever slept between the look and the write may have undone a later decision.
        latest = last_move(ledger.lines())
        if latest is not None:
            carry_out(settings, ledger, latest)
    return replace(line, bound=version.number)


def _writes(
    settings: Settings, ledger: Ledger, line: Line, version: Version
) -> Iterator[Callable[[], None]]:
    """Yield the writes that make the registry show a line, in their order."""
    evidence = ledger.evidence_of(line)
    tags = _tags(evidence, line)
    # What is said of a version stays when it comes back, and when somebody else put it there.
    told = _description(line, evidence) if "name" in evidence else None
    yield lambda: versions.describe(version, tags, told)
    if line.kind is Kind.OBSERVE:
        yield lambda: versions.hold_stage(settings, version)
        return
    before = line.before
    if before is not None and before != version.number and versions.exists(settings, before):
        replaced = versions.get(settings, before)
        yield lambda: versions.hold_alias(replaced, PREVIOUS_ALIAS)

    def move() -> None:
        # No look at the ledger in between: the two are to differ as briefly as they can.
        versions.hold_stage(settings, version)
        versions.hold_alias(version, settings.registry.alias)

    yield move


def _description(line: Line, evidence: Mapping[str, Any]) -> str:
    """Say what a version is and why it is there; what is said stays true when it goes."""
    how = f", forced by {line.who} on {line.at[:10]}" if line.kind is Kind.FORCE else ""
    told = escaped(f"{evidence['name']}{how}: {line.reason}")
    # Decisions of earlier versions of this project have none.
    return "\n\n".join(filter(None, (told, evidence.get("summary"))))


def _tags(evidence: Mapping[str, Any], line: Line) -> dict[str, str]:
    """Say of a version what was decided about it, and on what grounds."""
    tags = {
        str(name): str(value)
        for name, value in evidence.get("tags", {}).items()
        if not str(name).startswith(_NOT_ON_VERSIONS)
    }
    if line.files:
        tags[DIGEST_TAG] = line.files
    return tags | {"ratchet.decision": line.kind, "ratchet.decision_run": line.decision_run}


def _is_last(ledger: Ledger, line: Line) -> bool:
    latest = last_move(ledger.lines())
    return latest is None or latest.number <= line.number


def _is_young(line: Line) -> bool:
    """Tell whether whoever has made a line may be carrying it out.

    It was made by the clock of another machine: one that goes wrong costs the grace, no more.
    """
    age = (datetime.now(UTC) - datetime.fromisoformat(line.at)).total_seconds()
    return 0 <= age < _GRACE


def _version(settings: Settings, ledger: Ledger, line: Line) -> Version:
    """Find the version of a line, or register it; two that try at once keep one."""
    if line.champion is not None:
        return versions.get(settings, line.champion)
    standing = versions.of_run(settings, line.run_id)
    made = standing or _registered(settings, ledger, line)
    number = ledger.bind(line, made.number)
    if number == made.number:
        return made
    if standing is None:
        versions.delete(made)
    return versions.get(settings, number)


def _registered(settings: Settings, ledger: Ledger, line: Line) -> Version:
    # It says which model that is, and lies where others may write.
    evidence = ledger.evidence_of(line, exact=True)
    return versions.register(
        settings,
        run_id=line.run_id,
        model_uri=evidence["model_uri"],
        tags=_tags(evidence, line),
    )


def _delete_duplicates(settings: Settings, lines: Sequence[Line]) -> None:
    """Take back what was registered for a line beside the version that the line has got.

    Two that carry out the same line at once both register its model, and one of
    them may be killed before it has taken its own version back.
    """
    numbers = {line.champion for line in lines}
    waiting = {line.run_id for line in lines if line.kind.moves and line.champion is None}
    runs = {line.run_id for line in lines if line.champion is not None} - waiting
    for version in versions.idle_of_runs(settings, runs):
        if version.number not in numbers:
            versions.delete(version)


def _observe(settings: Settings, ledger: Ledger, lines: tuple[Line, ...], holder: Version) -> None:
    moved = last_move(lines)
    before = moved.champion if moved else None
    alias = settings.registry.alias
    line = ledger.begin(
        kind=Kind.OBSERVE,
        after=lines,
        run_id=holder.run_id,
        before=before,
        version=holder.number,
        reason=(
            f"the alias {alias!r} was found at version {holder.number},"
            f" {'where the ledger knew of none' if before is None else f'not at {before}'}:"
            " somebody moved it by other means"
        ),
        basis="",
        evidence={"alias": alias, "found": holder.number, "expected": before},
        tags={},
    )
    if line is not None:
        carry_out(settings, ledger, line)


def _still_there(settings: Settings, line: Line) -> bool:
    return line.champion is not None and versions.exists(settings, line.champion)
