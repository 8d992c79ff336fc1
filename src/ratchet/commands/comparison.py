"""Two trainings beside each other: what changed, what happened, and what to try next."""

import json
from dataclasses import asdict, dataclass

from ratchet import files
from ratchet.advice import Advice
from ratchet.commands.changes import Change
from ratchet.lineage import Between, FileChange
from ratchet.searched import Failed, Tried


@dataclass(frozen=True)
class Side:
    """One of the two."""

    letter: str
    """A for the one that was named first, B for the other."""
    asked: str
    """What was asked for."""
    label: str
    """Short name for people, e.g. ``"taxi/3"``."""
    run_id: str
    """Run that trained it."""
    run_name: str
    """Its name."""
    through: str
    """What the run is that was asked for, if that is another, e.g. ``"evaluate"``; else empty."""
    started: str
    """When the training began, in UTC as ISO 8601."""
    leader: str
    """Backend and family of its leader; empty when the run doesn't say."""
    metric: str
    """Score that it optimised; empty when the run doesn't say."""
    evaluated: str | None
    """Run that judged it on test rows; None when it wasn't judged."""
    test_rows: str | None
    """Digest of the test rows that it was judged on."""
    confidence: str
    """Probability that the intervals of its scores promise."""


@dataclass(frozen=True)
class ColumnChange:
    """A feature column that the two have otherwise."""

    column: str
    """Its name."""
    what: str
    """One of added, removed, type and statistics."""
    old: str
    """What the first one has; empty for one that was added."""
    new: str
    """What the second one has; empty for one that was removed."""


@dataclass(frozen=True)
class DataChanges:
    """What the two have read."""

    same: bool
    """Whether version, rows and columns are the same."""
    facts: tuple[Change, ...]
    """Version, state, target and problem, those that differ."""
    rows: tuple[tuple[str, int | None, int | None], ...]
    """Name of a part and its rows in the first and in the second one; all parts."""
    columns: tuple[ColumnChange, ...]
    """Feature columns that differ."""
    notes: tuple[str, ...]
    """What can't be told, in sentences."""


@dataclass(frozen=True)
class Patch:
    """What a run had that its commit has not."""

    letter: str
    """Whose it is."""
    kept: bool
    """Whether the run holds the patch."""
    files: tuple[FileChange, ...]
    """Files in it."""


@dataclass(frozen=True)
class CodeChanges:
    """The code of the two."""

    old: str | None
    """Commit of the first one."""
    new: str | None
    """Commit of the second one."""
    between: Between | None
    """What lies between them; None where the commits are equal or one is unknown."""
    patches: tuple[Patch, ...]
    """Uncommitted changes of either."""
    same_patch: bool
    """Whether both have the very same uncommitted changes."""
    notes: tuple[str, ...]
    """What can't be told, in sentences."""

    @property
    def same(self) -> bool:
        """Whether both ran the same code for all that is known."""
        return self.old == self.new and self.old is not None and not self._patched

    @property
    def _patched(self) -> bool:
        return bool(self.patches or self.notes) and not self.same_patch


@dataclass(frozen=True)
class EnvironmentChanges:
    """What the two ran in."""

    lock: Change | None
    """The lock, where it differs."""
    libraries: tuple[Change, ...]
    """Versions of installed libraries that differ; the first ones can change a result."""
    n_libraries: int
    """Libraries that either had."""
    machine: tuple[Change, ...]
    """Python, operating system and hardware, those that differ."""


@dataclass(frozen=True)
class ScoreLine:
    """One score of the two."""

    name: str
    """What MLflow calls it, e.g. ``"test/rmse"``."""
    a: float
    """The first one's; NaN where it has none."""
    a_low: float
    """Lower end of its interval; NaN where it has none."""
    a_high: float
    """Upper end of its interval; NaN where it has none."""
    b: float
    """The second one's."""
    b_low: float
    """Lower end of its interval."""
    b_high: float
    """Upper end of its interval."""
    better_by: float
    """What the second one gains, positive when it is better; NaN where no way is the better."""
    overlap: bool | None
    """Whether the intervals have a value in common; None without two intervals."""


@dataclass(frozen=True)
class Paired:
    """The two on the same rows, which neither was trained on."""

    metric: str
    """Score that was compared."""
    a: float
    """The first one's."""
    b: float
    """The second one's."""
    gain: float
    """What the second one gains, positive when it is better."""
    low: float
    """Lower end of the gain's interval; NaN where none can be given."""
    high: float
    """Upper end of the gain's interval; NaN where none can be given."""
    confidence: float
    """Probability that the interval promises."""
    resamples: int
    """Bootstrap resamples behind it."""
    n_rows: int
    """Rows that both were scored on."""
    n_left_out: int
    """Test rows that either was trained on, and that were left out."""


@dataclass(frozen=True)
class SliceLine:
    """The two on a part of those rows."""

    column: str
    """Column that the rows were cut by."""
    label: str
    """What they have in common."""
    n_rows: int
    """How many they are."""
    a: float
    """The first one's score."""
    a_low: float
    """Lower end of its interval."""
    a_high: float
    """Upper end of its interval."""
    b: float
    """The second one's score."""
    b_low: float
    """Lower end of its interval."""
    b_high: float
    """Upper end of its interval."""
    gain: float
    """What the second one gains."""
    low: float
    """Lower end of the gain's interval, corrected for the number of slices."""
    high: float
    """Upper end of the gain's interval, corrected for the number of slices."""
    worst_of: str
    """Whose worst slice it is: A, B, "A and B" or nothing."""


@dataclass(frozen=True)
class Slices:
    """Parts of the rows, the worst of them."""

    columns: tuple[str, ...]
    """Columns that were cut."""
    declared: bool
    """Whether ``promote.slices`` names them; else they are the columns of labels."""
    lines: tuple[SliceLine, ...]
    """Where B gains least and where either is worst, by what B gains."""
    n_slices: int
    """Slices that were compared."""
    n_small: int
    """Slices with too few rows."""
    min_rows: int
    """Rows that a slice needs."""
    confidence: float
    """Probability that the intervals of the two scores promise, each."""
    confidence_all: float
    """Probability that all intervals of gains promise together."""


@dataclass(frozen=True)
class Member:
    """A candidate in a leader."""

    name: str
    """Backend and family."""
    weight: float
    """Its share in the answer."""
    trial: int
    """Number of its trial, from 1."""
    params: str
    """Its hyperparameters, as JSON."""


@dataclass(frozen=True)
class SearchRecord:
    """One search."""

    letter: str
    """Whose it is."""
    trials: int
    """Candidates that were tried."""
    failed: int
    """Those that failed."""
    seconds: float
    """Wall-clock time of search and refit; NaN where the run doesn't say."""
    families: tuple[Tried, ...]
    """What was tried, the best family first."""
    failures: tuple[Failed, ...]
    """Why trials failed, the most frequent reason first."""
    members: tuple[Member, ...]
    """Candidates that answer together."""


@dataclass(frozen=True)
class Verdict:
    """Which one is better."""

    better: str | None
    """A or B; None where that can't be told, or neither is."""
    sure: bool
    """Whether an interval says so."""
    told: str
    """Why, as a sentence with the numbers."""


@dataclass(frozen=True)
class Experiment:
    """What to try next, and how."""

    advice: Advice
    """What and why."""
    of: str
    """From whose search it comes: A or B."""
    command: str
    """The command line that does it."""


@dataclass(frozen=True)
class Comparison:
    """Two trainings beside each other."""

    a: Side
    """The one that was named first."""
    b: Side
    """The other."""
    verdict: Verdict
    """Which one is better."""
    params: tuple[Change, ...]
    """Settings that differ."""
    data: DataChanges
    """What they have read."""
    code: CodeChanges
    """The code that they ran."""
    environment: EnvironmentChanges
    """What they ran in."""
    scores: tuple[ScoreLine, ...]
    """Their scores, the optimised one first."""
    paired: Paired | None
    """Both on the same rows; None where ``not_paired`` says why."""
    not_paired: str
    """Why there is no paired comparison, in a clause; empty where there is one."""
    slices: Slices | None
    """The worst parts of those rows; None where ``not_sliced`` says why."""
    not_sliced: str
    """Why there are no slices, in a clause; empty where there are."""
    searches: tuple[SearchRecord, ...]
    """Their searches, as far as the runs hold them."""
    experiment: Experiment | None
    """What to try next; None where no search says what it was told."""
    notes: tuple[str, ...]
    """What a reader ought to know, in sentences."""

    def as_json(self) -> str:
        """Write it for machines; JSON has no NaN, so such a number is null."""
        value = files.finite(asdict(self))
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
