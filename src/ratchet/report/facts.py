"""All that a report tells of a leader, as plain values, so that it can be written again later."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ratchet import files
from ratchet.curves import Performance
from ratchet.dependence import Dependence
from ratchet.errors import RatchetError
from ratchet.explanation import Explanation
from ratchet.importance import Importance
from ratchet.report.data import Data
from ratchet.report.verdict import Won
from ratchet.rivals import Scores
from ratchet.searched import Search
from ratchet.tradeoff import TradeOff
from ratchet.weaknesses import Weaknesses

FILE = "facts.json"
"""File that keeps them, in the report's folder."""


@dataclass(frozen=True)
class Facts:
    """What evaluate has found out about a leader, a part for each section of the page."""

    leader: str
    """Backends and families of the leader."""
    won: Won | None = None
    """Its score, and what it gains over the baseline."""
    data: Data | None = None
    """The columns that it was trained on."""
    scores: Scores | None = None
    """How the leader stands beside its members, other families and the baseline."""
    trade_off: TradeOff | None = None
    """What their scores cost."""
    search: Search | None = None
    """What the search has cost and brought."""
    performance: Performance | None = None
    """How good its answers are, in curves."""
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

        Parameters
        ----------
        folder : Path
            The report's folder.

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
