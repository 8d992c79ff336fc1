"""All that a report tells of a leader, as plain values, so that it can be written again later."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ratchet import files
from ratchet.dependence import Dependence
from ratchet.errors import RatchetError
from ratchet.explanation import Explanation
from ratchet.importance import Importance
from ratchet.weaknesses import Weaknesses

FILE = "facts.json"
"""File that keeps them, in the report's folder."""


@dataclass(frozen=True)
class Facts:
    """What evaluate has found out about a leader, a part for each section of the page."""

    leader: str
    """Backends and families of the leader."""
    importance: Importance | None = None
    """What the score loses without each column."""
    dependence: Dependence | None = None
    """How the answer depends on the columns that matter most; None for a clustering."""
    explanation: Explanation | None = None
    """Shares of the columns in single answers; None for a clustering, or without ``explain``."""
    weaknesses: Weaknesses | None = None
    """Slices and rows with which the leader has trouble; None for a clustering."""

    def save(self, folder: Path) -> None:
        """Write them to the report's folder."""
        files.write_bytes(folder / FILE, _ADAPTER.dump_json(self, indent=2))

    @classmethod
    def load(cls, folder: Path) -> "Facts | None":
        """Read what evaluate wrote; None where it was told to write no report.

        Raises
        ------
        RatchetError
            If another version of this project wrote them.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            return _ADAPTER.validate_json(path.read_bytes())
        except ValidationError:
            raise RatchetError(
                f"{path} was written by another version of this project."
                " Run the step evaluate again."
            ) from None


_ADAPTER = TypeAdapter(Facts)
