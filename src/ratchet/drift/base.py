"""What comes out of holding new rows against a reference."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from ratchet import files
from ratchet.schema import Kind

FILE = "drift.json"
"""Name of the file in ``build/monitor``."""


class Verdict(StrEnum):
    """How far rows have moved."""

    NONE = "none"
    """Nothing moved that could not be chance, or not far enough to matter."""
    WATCH = "watch"
    """Something moved, and may move on."""
    DRIFT = "drift"
    """The model is asked about other rows than those it learned from, or is surely worse."""

    @property
    def rank(self) -> int:
        """0 for none, 1 for watch, 2 for drift."""
        return list(Verdict).index(self)

    @classmethod
    def worst(cls, *verdicts: "Verdict") -> "Verdict":
        """Give the one that says most; none of none."""
        return max(verdicts, key=lambda each: each.rank, default=cls.NONE)


@dataclass(frozen=True)
class Finding:
    """One thing that moved."""

    verdict: Verdict
    """watch or drift."""
    about: str
    """The column; or predictions, all columns, score, classes or data checks."""
    told: str
    """What moved, how far, and what was expected, as a sentence."""


@dataclass(frozen=True)
class LiveScore:
    """The score on new rows whose labels are known, beside that on the test rows."""

    score: float
    """The live score, in the metric's own direction."""
    low: float | None
    """Lower end of its interval; None where none can be given."""
    high: float | None
    """Upper end."""
    test_score: float
    """The score on the test rows."""
    worse: bool
    """Whether the live score is surely worse, by enough for a verdict of watch."""
    metric: str = ""
    """Name of the score."""
    test_low: float | None = None
    """Lower end of the interval on the test rows."""
    test_high: float | None = None
    """Upper end."""
    loss: float | None = None
    """How much worse it is, in the metric's unit; negative where it is better."""
    loss_low: float | None = None
    """Lower end of the interval of that loss: above 0 it is surely worse."""
    loss_high: float | None = None
    """Upper end."""
    lost: float | None = None
    """The loss as a share of what the test score gains over the baseline."""
    confidence: float = 0.95
    """Probability that each interval promises."""
    n_rows: int = 0
    """Rows with a label."""


@dataclass(frozen=True)
class Histogram:
    """Shares of training rows and of new ones, side by side."""

    edges: tuple[float, ...] = ()
    """Of numbers and times (in seconds since 1970) the n + 1 ends of the bins; what lies beyond
    is in the first and the last one."""
    labels: tuple[str, ...] = ()
    """Of labels the n of them."""
    reference: tuple[float, ...] = ()
    """Share of the training rows in each."""
    new: tuple[float, ...] = ()
    """Share of the new rows."""


@dataclass(frozen=True)
class ColumnDrift:
    """What became of a column."""

    name: str
    """Its name."""
    kind: Kind
    """What it holds."""
    verdict: Verdict
    """The worst of what was found in it."""
    missing: float
    """Share of the new rows without a value, 0 to 1."""
    missing_before: float
    """Share of the training rows without one."""
    psi: float | None = None
    """Population stability index; None where its values are not compared."""
    distance: float | None = None
    """Share of the rows that lie elsewhere: the Kolmogorov-Smirnov distance, or half the sum of
    the differences of the labels' shares."""
    test: str = ""
    """Which test was asked: Kolmogorov-Smirnov, chi-squared or Fisher; empty for none."""
    p: float | None = None
    """Probability of so large a difference by chance, corrected for the number of tests."""
    new_labels: float | None = None
    """Share of the new rows with a label that no training row has; None for what has no labels."""
    new_labels_before: float | None = None
    """Such a share as training rows let expect."""
    names: tuple[str, ...] = ()
    """Some of those labels."""
    note: str = ""
    """Why its values are not compared, or how."""
    histogram: Histogram | None = None
    """What it looked like and looks like now."""


@dataclass(frozen=True)
class Together:
    """How well a classifier tells new rows from those of training by all columns."""

    auc: float
    """Area under the ROC curve on rows that it was not fitted on; 0.5 is chance."""
    p: float
    """Probability of so large an area by chance, corrected for the number of tests."""
    n_reference: int
    """Rows of training that were looked at."""
    n_new: int
    """New rows that were looked at."""
    by: tuple[str, ...] = ()
    """Columns that tell them apart, the strongest first."""


@dataclass(frozen=True)
class DriftReport:
    """What ``ratchet monitor`` found, as ``drift.json`` keeps it."""

    verdict: Verdict
    """The worst of all findings."""
    reasons: tuple[str, ...]
    """A sentence for each finding, the worst first."""
    n_rows: int
    """New rows that were compared: those that ``data.filter`` keeps."""
    live: LiveScore | None = None
    """The live score; None without labels."""
    model: str = ""
    """Name of the registered model."""
    version: int = 0
    """Its version."""
    run_id: str = ""
    """The run that logged this."""
    made: str = ""
    """When, in UTC as ISO 8601."""
    source: str = ""
    """The new rows' file or folder."""
    data_version: str = ""
    """The md5 that DVC would give it."""
    n_read: int = 0
    """Rows that were read."""
    n_reference: int = 0
    """Training rows that they were compared with."""
    significance: float = 0.01
    """Chance of a false alarm over all tests together."""
    n_tests: int = 0
    """Tests that were corrected for."""
    findings: tuple[Finding, ...] = ()
    """What moved, the worst first."""
    columns: tuple[ColumnDrift, ...] = ()
    """Every column of the model, what moved most first."""
    together: Together | None = None
    """All columns at once; None where no training rows are kept, or too few are there."""
    predictions: ColumnDrift | None = None
    """The model's answers; None where those on the test rows aren't known."""
    notes: tuple[str, ...] = ()
    """What a reader ought to know, in sentences."""

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        files.write_json(path, self.plain())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote.

        Raises
        ------
        RatchetError
            If it isn't there, or another version of this project wrote it.
        """
        return files.read_as(path, TypeAdapter(cls).validate_python, made_by="monitor")

    def plain(self) -> dict[str, Any]:
        """Give it as plain values, for JSON."""
        value: dict[str, Any] = files.finite(asdict(self))
        return value
