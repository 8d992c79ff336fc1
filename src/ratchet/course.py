"""The course that a search took: what a clock decided in it, kept so that it can be replayed."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from ratchet import exact, files
from ratchet.errors import RatchetError
from ratchet.executor.base import Placement, Way
from ratchet.search import Candidate, TrialResult

FORMAT = "ratchet-search-1"
"""What a file of this form says first."""

MOST_STARTS = 5
"""Candidates of an earlier search that the next one begins with."""


class Made(StrEnum):
    """How a candidate that was chosen came into the leader."""

    REFIT = "refit"
    """It was fitted on all rows."""
    FOLDS = "folds"
    """There was no time for that: it is the mean of its folds' models."""
    NOT = "not"
    """Nor were those models there any more: it is left out."""


@dataclass(frozen=True)
class Chosen:
    """A candidate that was chosen to be in the leader, and what the time left of it."""

    trial: int
    """Number of its trial."""
    weight: float
    """Share in the answer that was chosen for it, before any was left out."""
    made: Made
    """How it came into the leader."""
    cut: int | None = None
    """The look at the clock at which the time of its last fit was up; None where it never was."""


@dataclass(frozen=True)
class Course:
    """What was tried, and every decision that a clock has made on the way."""

    n_folds: int
    """Fits of a trial; 1 for a holdout."""
    threads: int
    """Threads that all fits had together."""
    beside: int
    """Trials that were made at the same time."""
    trials: tuple[TrialResult, ...]
    """Every trial, in the order in which they ended, each with where its fits were cut short."""
    chosen: tuple[Chosen, ...]
    """The candidates that were chosen to answer together, the weightiest first."""
    stability_fits: int | None = None
    """Fits on other samples that a clustering was compared with; None where there is a target."""
    sampled: tuple[int, int] | None = None
    """Train and valid rows of the samples that were searched on; None where all rows were."""
    doubts: Mapping[str, str] = field(default_factory=dict)
    """Why a replay may differ, by what it is about; empty where everything is deterministic."""
    placement: Placement = field(default_factory=Placement)
    """Where its trials ran, and why there."""

    def differences(self, other: "Course") -> tuple[str, ...]:
        """Say in clauses how another search that should be the same is not."""
        told = []
        pairs = list(zip(self.trials, other.trials, strict=False))
        scores = [(one.score, two.score) for one, two in pairs if not one.error and not two.error]
        unequal = [abs(one - two) for one, two in scores if one != two]
        failed = sum(bool(two.error) and not one.error for one, two in pairs)
        if unequal:
            told.append(
                f"{_counted(len(unequal), 'trial')} of {len(pairs)} scored differently, by"
                f" {max(unequal):.3g} at most"
            )
        if failed:
            told.append(f"{_counted(failed, 'trial')} failed")
        if [(each.trial, each.weight) for each in self.chosen] != [
            (each.trial, each.weight) for each in other.chosen
        ]:
            told.append("other candidates or weights were chosen")
        elif [each.made for each in self.chosen] != [each.made for each in other.chosen]:
            told.append("other members were fitted on all rows")
        return tuple(told)


@dataclass(frozen=True)
class Start:
    """A candidate that an earlier search found good."""

    candidate: Candidate
    """What was tried."""
    seconds: float = 0.0
    """Wall-clock time that it took then; 0 where that isn't known."""


@dataclass(frozen=True)
class Starts:
    """What a search begins with: the best candidates of an earlier one."""

    run_id: str | None = None
    """Run of that search; None where a search begins with the portfolio."""
    n_rows: int = 0
    """Rows that its trials were fitted on; 0 where that isn't known."""
    found: tuple[Start, ...] = ()
    """What it found, the best before the others."""

    @classmethod
    def of(
        cls, record: "Record", loss: Callable[[float], float], seconds: Sequence[float] = ()
    ) -> Self:
        """Choose the best candidates of a search.

        The best trial comes first, then the members of its leader, then the best
        of each other family: of one family the second best is much like the best.
        What a deadline has cut short is none of them: nobody knows how long it
        takes, or how good it is.

        Parameters
        ----------
        record : Record
            The earlier search.
        loss : callable
            Turns a score of its trials into a number to minimise.
        seconds : sequence of float
            Wall-clock time of each trial; empty where it isn't known.
        """
        trials = record.course.trials
        # What was tried on few rows is behind whatever was tried on more.
        ranked = sorted(
            (trial for trial in trials if not trial.error and not trial.cut_short),
            key=lambda trial: (-trial.candidate.share, loss(trial.score)),
        )
        families = {trial.candidate.label: trial for trial in reversed(ranked)}
        members = [trials[each.trial] for each in record.course.chosen]
        members = [trial for trial in members if not trial.cut_short]
        others = [trial for trial in ranked if families[trial.candidate.label] is trial]
        found = {
            trial.candidate.settings: Start(
                replace(trial.candidate, share=1.0),
                seconds[trial.number] / trial.candidate.share if len(seconds) else 0.0,
            )
            for trial in (*ranked[:1], *members, *others)
        }
        return cls(record.run_id, record.n_rows, tuple(found.values())[:MOST_STARTS])

    def affordable(self, n_rows: int, seconds: float | None) -> tuple[Candidate, ...]:
        """Leave out what is likely to take too long: it would be cut short, and end up worse.

        Parameters
        ----------
        n_rows : int
            Rows that it would be fitted on; the time is taken to grow with them.
        seconds : float or None
            The longest that one may take; None sets no limit.
        """
        growth = n_rows / self.n_rows if self.n_rows else 1.0
        return tuple(
            each.candidate
            for each in self.found
            if seconds is None or each.seconds * growth <= seconds
        )

    def plain(self) -> dict[str, Any]:
        """Give them as plain values, for JSON."""
        return {
            "run": self.run_id,
            "n_rows": self.n_rows,
            "found": [
                {
                    "backend": each.candidate.backend,
                    "family": each.candidate.family,
                    "params": exact.pack_all(each.candidate.params),
                    "seconds": each.seconds,
                }
                for each in self.found
            ],
        }

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Self:
        """Build them from what ``plain`` gave.

        Raises
        ------
        RatchetError
            If a hyperparameter could not be written down.
        """
        return cls(
            None if value["run"] is None else str(value["run"]),
            int(value["n_rows"]),
            tuple(
                Start(
                    Candidate(
                        str(each["backend"]), str(each["family"]), exact.unpack_all(each["params"])
                    ),
                    float(each["seconds"]),
                )
                for each in value["found"]
            ),
        )


@dataclass(frozen=True)
class Record:
    """A course with what it belongs to, as ``build/train/search.json`` keeps it."""

    run_id: str
    """Run of the search."""
    prepared: Mapping[str, str]
    """Digests of what prepare gave it, by name."""
    settings: Mapping[str, Any]
    """Settings that a search depends on, by their dotted names."""
    course: Course
    """What it did."""
    starts: Starts = Starts()
    """What it began with."""
    n_rows: int = 0
    """Rows that its trials were fitted on; 0 where an earlier version of this project wrote it."""

    def save(self, path: Path) -> None:
        """Write it as JSON, a line for each trial.

        Raises
        ------
        RatchetError
            If the file can't be written.
        """
        course = self.course
        head = {
            "format": FORMAT,
            "run": self.run_id,
            "prepared": dict(self.prepared),
            "settings": dict(self.settings),
            "validation": "holdout" if course.n_folds == 1 else "folds",
            "n_folds": course.n_folds,
            "threads": course.threads,
            "beside": course.beside,
            "execution": vars(course.placement),
            "doubts": dict(course.doubts),
            "stability_fits": course.stability_fits,
            "sampled": None if course.sampled is None else list(course.sampled),
            "n_rows": self.n_rows,
            "starts": self.starts.plain(),
        }
        lines = [f"{_text(name)}: {_text(value)}" for name, value in head.items()]
        lines.append(_lines("members", [vars(each) for each in course.chosen]))
        lines.append(_lines("trials", [_packed(trial) for trial in course.trials]))
        files.write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")

    @classmethod
    def load(cls, path: Path) -> "Record":
        """Read what ``save`` wrote.

        Raises
        ------
        RatchetError
            If it can't be read, is no such file, or holds something that can't
            be replayed.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RatchetError(f"Can't read {path}: {error.strerror}.") from None
        except ValueError:  # no JSON, or no text
            value = None
        known = value.get("format") if isinstance(value, dict) else None
        if not isinstance(known, str) or not known.startswith(FORMAT.rstrip("0123456789")):
            raise RatchetError(
                f"{path} is no record of a search. Name the search.json that train has written"
                " to build/train and to its run."
            )
        if known != FORMAT:
            raise RatchetError(
                f"{path} has the form {known}, and this version of the project reads {FORMAT}."
                " Replay it with the code of its run."
            )
        try:
            return cls(
                run_id=str(value["run"]),
                prepared={str(name): str(each) for name, each in value["prepared"].items()},
                settings=dict(value["settings"]),
                course=_course(value),
                # One of before there were any has none.
                starts=Starts.from_plain(value["starts"]) if "starts" in value else Starts(),
                n_rows=int(value.get("n_rows", 0)),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise RatchetError(
                f"{path} is a damaged record of a search ({type(error).__name__}: {error})."
                " Take the search.json of its run."
            ) from None

    def check(self, prepared: Mapping[str, str], settings: Mapping[str, Any]) -> None:
        """Refuse to be replayed on other rows or with other settings.

        Parameters
        ----------
        prepared, settings
            What there is today, like the attributes of these names.

        Raises
        ------
        RatchetError
            If anything differs, with all that does.
        """
        other = [name for name, each in prepared.items() if each != self.prepared.get(name)]
        told = [f"{', '.join(other)} differ"] if other else []
        for name in sorted({*settings, *self.settings}):
            now, then = (json.loads(_text(each.get(name))) for each in (settings, self.settings))
            if now != then:
                told.append(f"{name} is {_text(now)} and was {_text(then)}")
        if told:
            raise RatchetError(
                f"The search of run {self.run_id} can't be replayed here: {'; '.join(told)}."
                " Bring back the data version and the settings that its run names, and run prepare."
            )


def _course(value: Mapping[str, Any]) -> Course:
    stability = value["stability_fits"]
    course = Course(
        n_folds=int(value["n_folds"]),
        threads=int(value["threads"]),
        beside=int(value["beside"]),
        trials=tuple(_unpacked(number, each) for number, each in enumerate(value["trials"])),
        chosen=tuple(
            Chosen(int(each["trial"]), float(each["weight"]), Made(each["made"]), each["cut"])
            for each in value["members"]
        ),
        stability_fits=None if stability is None else int(stability),
        # One of before tables could be larger than memory has none.
        sampled=_sizes(value.get("sampled")),
        doubts={str(name): str(each) for name, each in value["doubts"].items()},
        placement=_placement(value),
    )
    if min(course.n_folds, course.threads, course.beside) < 1:
        raise ValueError("n_folds, threads and beside must be at least 1")
    for each in course.chosen:
        if not 0 <= each.trial < len(course.trials):
            raise IndexError(f"there is no trial {each.trial}")
    return course


def _sizes(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    n_train, n_valid = map(int, value)
    return n_train, n_valid


def _placement(value: Mapping[str, Any]) -> Placement:
    told = value.get("execution")
    if told is None:  # one of before there was a choice
        return Placement(workers=int(value["beside"]))
    return Placement(Way(told["way"]), int(told["workers"]), str(told["why"]))


def _packed(trial: TrialResult) -> dict[str, Any]:
    candidate = trial.candidate
    return {
        "backend": candidate.backend,
        "family": candidate.family,
        "params": exact.pack_all(candidate.params),
        "share": candidate.share,
        "score": None if math.isnan(trial.score) else trial.score,
        "cut_short": trial.cut_short,
        "cuts": list(trial.cuts) if any(cut is not None for cut in trial.cuts) else [],
        "error": trial.error,
    }


def _unpacked(number: int, value: Mapping[str, Any]) -> TrialResult:
    try:
        params = exact.unpack_all(value["params"])
    except RatchetError as error:
        raise RatchetError(
            f"Trial {number + 1} of the search ({value['family']}) can't be replayed: {error}"
        ) from None
    score, cuts = value["score"], value["cuts"]
    if any(cut is not None and type(cut) is not int for cut in cuts):
        raise TypeError(f"cuts must be whole numbers or null, got {cuts}")
    return TrialResult(
        number=number,
        candidate=Candidate(
            str(value["backend"]), str(value["family"]), params, float(value["share"])
        ),
        score=math.nan if score is None else float(score),
        train_score=math.nan,
        seconds=0.0,
        elapsed=0.0,
        error=None if value["error"] is None else str(value["error"]),
        cut_short=bool(value["cut_short"]),
        cuts=tuple(cuts),
    )


def _lines(name: str, values: Sequence[Mapping[str, Any]]) -> str:
    return f"{_text(name)}: [\n" + ",\n".join(_text(each) for each in values) + "\n]"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
