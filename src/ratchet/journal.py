"""Keeps trials as they end, so that a search that was interrupted goes on where it stopped."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ratchet import exact, files
from ratchet.errors import RatchetError
from ratchet.search import Candidate, TrialResult


@dataclass
class Journal:
    """A folder with a line for each trial, and a file with what it said.

    A trial's answer is written before its line, and the line leaves the process
    before the search goes on: whenever the process dies, what the lines name
    is there. Neither waits for the disk, which would cost more than a short
    trial; after a power cut the last few may be tried again.
    """

    folder: Path
    """Where it is kept; made when the first trial ends."""
    _lines: Path = field(init=False)

    def __post_init__(self) -> None:
        self._lines = self.folder / "trials.jsonl"

    def trials(self) -> Sequence[tuple[TrialResult, np.ndarray | None]]:
        """Give the trials that were kept, in their order, with what they said.

        A last line that was cut off by the end of the process is left out.
        """
        return tuple(self._read())

    def keep(self, trial: TrialResult, answer: np.ndarray | None) -> None:
        """Keep a trial that has just ended.

        Parameters
        ----------
        trial : TrialResult
            The trial.
        answer : np.ndarray, optional
            What it said about the scored rows; None for one that failed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if answer is not None:
            path = self._answer(trial.candidate)
            fresh = path.with_suffix(".part.npy")
            fresh.write_bytes(files.as_npy(answer))
            fresh.replace(path)
        line = json.dumps(_packed(trial), default=repr)
        self._end_last_line()
        with self._lines.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def forget(self) -> None:
        """Remove it: the search has ended well, or is to begin anew."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> Iterator[tuple[TrialResult, np.ndarray | None]]:
        if not self._lines.is_file():
            return
        for line in self._lines.read_text(encoding="utf-8").splitlines():
            try:
                trial = _unpacked(json.loads(line))
            except (ValueError, RatchetError):  # cut off, or of a value that can't be written down
                continue
            path = self._answer(trial.candidate)
            if trial.error:
                yield trial, None
            elif path.is_file():
                answer = None
                with suppress(ValueError, EOFError):  # a file that a power cut left unfinished
                    answer = np.load(path, allow_pickle=False)
                if answer is not None:
                    yield trial, answer

    def _end_last_line(self) -> None:
        """Keep a line that was cut off from swallowing the next one."""
        if self._lines.is_file():
            text = self._lines.read_bytes()
            if text and not text.endswith(b"\n"):
                with self._lines.open("ab") as stream:
                    stream.write(b"\n")

    def _answer(self, candidate: Candidate) -> Path:
        return self.folder / f"{candidate.key}.npy"


def _packed(trial: TrialResult) -> dict[str, Any]:
    value = asdict(trial)
    value["candidate"]["params"] = exact.pack_all(trial.candidate.params)
    if trial.refit_params is not None:
        value["refit_params"] = exact.pack_all(trial.refit_params)
    return value


def _unpacked(value: dict[str, Any]) -> TrialResult:
    candidate, found = value["candidate"], value["refit_params"]
    return TrialResult(
        **{
            **value,
            "candidate": Candidate(
                **{**candidate, "params": exact.unpack_all(candidate["params"])}
            ),
            "refit_params": None if found is None else exact.unpack_all(found),
            "curve": tuple(value["curve"]),
            # A journal of before there were any has none.
            "cuts": tuple(value.get("cuts", ())),
        }
    )
