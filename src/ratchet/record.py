"""What a run that trained a model has on record, as far as it takes to make it again."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from ratchet import tracking
from ratchet.errors import StoreError

# From a promotion to the pipeline, to the training: no way is longer.
_HOPS = 4


@dataclass(frozen=True)
class Record:
    """A training run: its tags, its scores, and copies of its files."""

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
    def read(cls, run_id: str, into: Path) -> "Record":
        """Read what a run says.

        Parameters
        ----------
        run_id : str
            A run that trained a model.
        into : Path
            Folder for copies of its files.

        Raises
        ------
        StoreError
            If the store fails.
        """
        origin = tracking.origin_of(run_id)
        tags = dict(origin.tags) if origin else {}
        place = tags.get("ratchet.params_file", "params.yaml")
        name = PurePosixPath(place).name
        leader = _json(tracking.fetch(run_id, "leader.json", into))
        search = tracking.fetch(run_id, "search.json", into)
        pins = _text(tracking.fetch(run_id, "lineage/environment.txt", into))
        return cls(
            run_id=run_id,
            tags=tags,
            scores=tracking.scores_of(run_id),
            params_file=place,
            params=_settings(_text(tracking.fetch(run_id, f"lineage/{name}", into))),
            patch=tracking.fetch(run_id, "lineage/dirty.patch", into),
            search=search,
            doubts=_mapping(_json(search).get("doubts")),
            pins=tuple(line.strip() for line in (pins or "").splitlines() if line.strip()),
            metric=leader.get("metric"),
            n_trials=leader.get("n_trials"),
            validation=origin.params.get("leader.validation") if origin else None,
            rows=tracking.load_array(run_id, "rows.npy"),
            judged=dict(_evaluations(run_id, tags)),
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


def training_of(run_id: str) -> str:
    """Find the run that trained the model which a run is about.

    A pipeline, an evaluation and a decision name it, a trial lies below it.
    The answer is the run itself where this project did not make it.

    Raises
    ------
    StoreError
        If the run is about no model, such as that of prepare.
    """
    here = run_id
    for _ in range(_HOPS):
        origin = tracking.origin_of(here)
        if origin is None:
            raise StoreError(f"Run {run_id} is about run {here}, which the store has not got.")
        step = origin.tags.get(tracking.STEP_TAG)
        if step == "train":
            return here
        named = origin.tags.get(tracking.LEADER_TAG)
        if named is None and step in ("trial", "promote"):
            named = origin.tags.get(tracking.PARENT_TAG)
        if named is None:
            below = {tracking.PARENT_TAG: here, tracking.STEP_TAG: "train"}
            named = next(iter(tracking.neighbours(here, below)), None)
        if named is None and step is None:
            return here
        if named is None:
            raise StoreError(
                f"Run {here} is the run of {step}, which trained no model. Name a run of train,"
                " or one that comes after it."
            )
        here = named
    raise StoreError(f"Run {run_id} names no run that trained a model.")


def _evaluations(run_id: str, tags: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Yield digests of test rows and the scores on them, the last evaluation at the end."""
    wanted = {tracking.LEADER_TAG: run_id, tracking.STEP_TAG: "evaluate"}
    found = tracking.neighbours(run_id, wanted)[::-1]
    # `mlflow run` may have put the last one into another experiment.
    last = tags.get("ratchet.evaluate_run")
    for each in [*found, *([last] if last and last not in found else [])]:
        origin = tracking.origin_of(each)
        digest = origin.tags.get(tracking.TEST_TAG) if origin else None
        if digest:
            yield digest, tracking.scores_of(each)


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
