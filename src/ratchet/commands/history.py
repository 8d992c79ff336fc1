"""What was decided, when, by whom and why; and what served at any moment."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time
from typing import Any

from ratchet import tracking
from ratchet.errors import RatchetError
from ratchet.manifest import Manifest
from ratchet.project import Project
from ratchet.registry import integrity
from ratchet.registry.ledger import Ledger, Line, champion_at
from ratchet.registry.versions import Version
from ratchet.serving import models


@dataclass(frozen=True)
class History:
    """The ledger of a registered model."""

    model: str
    """Name of the registered model."""
    lines: tuple[Line, ...]
    """All decisions, the oldest first."""
    at: datetime | None = None
    """Moment that was asked for."""
    served: Line | None = None
    """Line that had made the champion of that moment."""
    faults: tuple[str, ...] | None = None
    """What was altered or removed; None when that was not asked for."""
    n_signatures: int = 0
    """Signatures that were verified, where ``registry.public_keys`` names keys."""

    def plain(self) -> dict[str, Any]:
        """Give the history as plain values, for JSON."""
        value: dict[str, Any] = {
            "model": self.model,
            "lines": [_plain(line) for line in self.lines],
        }
        if self.at is not None:
            value["at"] = self.at.isoformat()
            value["served"] = _plain(self.served) if self.served else None
        if self.faults is not None:
            value["faults"] = list(self.faults)
            value["signatures"] = self.n_signatures
        return value


def read(project: Project, *, at: str | None = None, verify: bool = False) -> History:
    """Read the ledger of a project's registered model.

    Parameters
    ----------
    project : Project
        Names the registered model and the store.
    at : str or None
        A moment, as ISO 8601. A day without a time means its end, a time
        without a zone is in UTC.
    verify : bool
        Whether to check every line, its evidence, and signatures by keys that are known.

    Raises
    ------
    RatchetError
        If ``at`` or a public key can't be read.
    StoreError
        If the store fails.
    """
    moment = None if at is None else _moment(at)
    tracking.connect(project)
    model = project.settings.model_name
    ledger = Ledger.find(project.settings)
    if ledger is None:
        return History(model, (), moment, None, () if verify else None)
    lines = ledger.lines()
    signed = integrity.verified(project, ledger, lines, _files_of) if verify else None
    return History(
        model=model,
        lines=lines,
        at=moment,
        served=champion_at(lines, moment) if moment else None,
        faults=(*ledger.faults(), *signed.faults) if signed else None,
        n_signatures=signed.n_good if signed else 0,
    )


def _files_of(version: Version) -> Manifest:
    return models.fetch(version).manifest


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RatchetError(
            f"--at must be a day or a moment in ISO 8601, such as 2026-05-01 or"
            f" 2026-05-01T12:00+02:00, got {text!r}."
        ) from None
    if len(text) <= len("2026-05-01"):
        moment = datetime.combine(moment.date(), time.max)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _plain(line: Line) -> dict[str, Any]:
    return {**asdict(line), "champion": line.champion, "digest": line.digest}
