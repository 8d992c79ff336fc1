"""What a run that trained a model has on record, as far as it takes to make it again."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from ratchet import recorded, tracking
from ratchet.recorded import Record


@dataclass(frozen=True)
class Recipe:
    """What is on record of a training run: its tags, its scores, and copies of its files."""

    run_id: str
    """The run."""
    tags: Mapping[str, str]
    """Its tags."""
    scores: Mapping[str, float]
    """Its scores, those on the test rows included once it was evaluated."""
    params_file: str
    """Where the parameter file lies in the checkout."""
    params: Mapping[str, Any] | None
    """All settings, overrides included; None where the run doesn't say."""
    patch: Path | None
    """What the tree had besides the commit; None where there is no such file."""
    search: Path | None
    """The course of the search, to be replayed; None where the run has none."""
    doubts: Mapping[str, str]
    """Why a replay of the search may differ, by what it is about, e.g. a family."""
    pins: tuple[str, ...]
    """Everything that was installed, such as ``numpy==2.4.6``; empty where the run doesn't say."""
    metric: str | None
    """Score that was optimised."""
    n_trials: int | None
    """Trials that the search came to."""
    validation: str | None
    """How trials were scored, such as ``holdout`` or ``5 folds``."""
    rows: np.ndarray | None
    """Hashes of the rows that the model was fitted on, sorted; None where it doesn't say."""
    judged: Mapping[str, Mapping[str, float]]
    """Scores of its evaluations, by the digest of their test rows."""

    @classmethod
    def read(cls, run: Record, into: Path) -> "Recipe":
        """Read what a run says.

        Parameters
        ----------
        run : Record
            A run that trained a model.
        into : Path
            Folder for copies of its files.

        Raises
        ------
        StoreError
            If the store fails.
        """
        run_id, place = run.run_id, run.tags.get("ratchet.params_file", "params.yaml")
        name = PurePosixPath(place).name
        leader = _json(recorded.download(run_id, "leader.json", into))
        search = recorded.download(run_id, "search.json", into)
        pins = _text(recorded.download(run_id, "lineage/environment.txt", into))
        return cls(
            run_id=run_id,
            tags=run.tags,
            scores=run.metrics,
            params_file=place,
            params=_settings(_text(recorded.download(run_id, f"lineage/{name}", into))),
            patch=recorded.download(run_id, "lineage/dirty.patch", into),
            search=search,
            doubts=_mapping(_json(search).get("doubts")),
            pins=tuple(line.strip() for line in (pins or "").splitlines() if line.strip()),
            metric=leader.get("metric"),
            n_trials=leader.get("n_trials"),
            validation=run.params.get("leader.validation"),
            rows=tracking.load_array(run_id, "rows.npy"),
            judged=dict(_evaluations(run)),
        )

    @property
    def commit(self) -> str | None:
        """The commit; None where the run doesn't say."""
        return self.tags.get("mlflow.source.git.commit")

    @property
    def data_version(self) -> str | None:
        """The md5 that DVC gives the data; None where the run doesn't say."""
        return self.tags.get("ratchet.data_version")

    def setting(self, name: str) -> Any:
        """Give the value of a setting by its dotted name; None where there is none."""
        value: Any = self.params
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value


def _evaluations(run: Record) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Yield digests of test rows and the scores on them, the last evaluation at the end."""
    wanted = {tracking.LEADER_TAG: run.run_id, tracking.STEP_TAG: "evaluate"}
    found = recorded.neighbours(run.run_id, wanted)[::-1]
    # `mlflow run` may have put the last one into another experiment.
    last = run.tags.get("ratchet.evaluate_run")
    for each in [*found, *([last] if last and last not in found else [])]:
        evaluation = recorded.read(each)
        digest = evaluation.tags.get(tracking.TEST_TAG) if evaluation else None
        if evaluation and digest:
            yield digest, evaluation.metrics


def _text(path: Path | None) -> str | None:
    return None if path is None else path.read_text(encoding="utf-8", errors="replace")


def _json(path: Path | None) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(_text(path) or ""))
    except ValueError:
        return {}


def _settings(text: str | None) -> Mapping[str, Any] | None:
    try:
        value = yaml.safe_load(text or "")
    except yaml.YAMLError:
        return None
    return value if isinstance(value, dict) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
