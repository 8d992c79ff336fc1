"""What a step, or the whole pipeline, came to: a line for people, an object for machines."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ratchet import files, metrics, table, tracking
from ratchet.commands.status import Tried, tried_in
from ratchet.gates import decimals, shown
from ratchet.project import Project, tracking_uri
from ratchet.runfile import RunFile
from ratchet.schema import Schema
from ratchet.steps import origin, prepare, restore
from ratchet.steps.promote import Decision
from ratchet.steps.train import Leader

STEPS = ("prepare", "train", "evaluate", "promote")
"""The steps in their order, each of which knows what those before it have made."""


@dataclass(frozen=True)
class Number:
    """A score, as far as it has been judged."""

    score: float
    """Its value, in the metric's own direction."""
    low: float | None = None
    """Lower end of its interval; None where it has none."""
    high: float | None = None
    """Upper end."""
    baseline: float | None = None
    """What the constant answer scores; None where that was left out."""


@dataclass(frozen=True)
class Outcome:
    """What was made; None or empty is what the steps so far have not made."""

    step: str
    """The step, or ``"run"`` for all of them."""
    runs: Mapping[str, str]
    """Ids of the runs in this store, by their step."""
    data_version: str | None
    """The md5 that DVC would give the bytes that were read."""
    rows: Mapping[str, int]
    """Rows of train, valid and test."""
    leader: Leader | None
    """What won, with the ids that it has in this store."""
    tried: tuple[Tried, ...]
    """What was tried, the best family first."""
    scores: Mapping[str, Number]
    """Of the leader, by their names in MLflow, such as ``valid/rmse`` and ``test/rmse``."""
    decision: Decision | None
    """The verdict on the leader."""
    paths: Mapping[str, str]
    """What lies where, relative to the folder of the parameter file."""
    store: str
    """Where the runs are, without credentials."""

    def plain(self) -> dict[str, Any]:
        """Give the outcome as plain values, for JSON, which has no NaN: null stands for it."""
        value = asdict(self)
        if self.decision is not None:
            value["decision"] = {
                **self.decision.plain(),
                "promoted": self.decision.promoted,
                "is_new": self.decision.is_new,
            }
        return files.finite(value)

    def line(self) -> str:
        """Say it in one line."""
        return f"{self.step}: {'; '.join(self._told())}"

    def _told(self) -> Iterator[str]:
        leader, decision = self.leader, self.decision
        if leader is None:
            parts = ", ".join(f"{name} {count:,}" for name, count in self.rows.items())
            yield f"{sum(self.rows.values()):,} rows: {parts}"
            return
        if self.step == "train":
            failed = f" ({leader.n_failed} failed)" if leader.n_failed else ""
            yield f"{leader.name} won of {leader.n_trials} trials{failed}"
        if self.step != "promote":
            split = "valid" if self.step == "train" else "test"
            yield self._scored(leader, f"{split}/{leader.metric}")
        if decision is None:
            return
        if not decision.is_new:
            yield f"no new candidate: {decision.reason}"
        elif decision.promoted and decision.version is not None:
            yield f"promoted as version {decision.version} of {decision.model}: {decision.reason}"
        elif decision.promoted:
            yield f"would be promoted: {decision.reason}"
        else:
            yield f"not promoted: {decision.reason}"

    def _scored(self, leader: Leader, name: str) -> str:
        number = self.scores[name]
        known = [each for each in (number.score, number.baseline) if each is not None]
        places = decimals(known)
        text = f"{name} {shown(number.score, places)}"
        if number.low is not None and number.high is not None:
            text += f" [{shown(number.low, places)}, {shown(number.high, places)}]"
        if number.baseline is not None:
            text += f", baseline {shown(number.baseline, places)}"
        return text if self.step == "train" else f"{leader.name} {text}"


def of(project: Project, step: str, decision: Decision | None = None) -> Outcome:
    """Read what a step that has just ended, and those before it, have made.

    Parameters
    ----------
    project : Project
        Whose steps they are.
    step : str
        Its name, or ``"run"`` for all.
    decision : Decision, optional
        What promote decided.

    Raises
    ------
    RatchetError
        If a file of the steps is gone or can't be read.
    StoreError
        If MLflow's store fails.
    """
    done = STEPS[: STEPS.index(step) + 1] if step in STEPS else STEPS
    schema = Schema.load(project.prepared / "schema.json")
    leader = None
    tried: tuple[Tried, ...] = ()
    scores: dict[str, Number] = {}
    if "train" in done:
        leader = restore.look(project) or Leader.load(project)
        trials = table.read_parquet(project.trained / "trials.parquet", made_by="train")
        tried = tried_in(trials, metrics.named(leader.metric_reference, schema.problem))
        scores |= _of_training(leader)
    if "evaluate" in done:
        scores |= _on_test_rows(project)
    return Outcome(
        step=step,
        runs=dict(_runs(project, done, leader, decision)),
        data_version=origin.read_data(project).version,
        rows=_rows(project),
        leader=leader,
        tried=tried,
        scores=scores,
        decision=decision,
        paths=dict(_paths(project, done)),
        store=tracking.masked(tracking_uri(project)),
    )


def _rows(project: Project) -> dict[str, int]:
    """Give what the run of prepare has counted: to read all rows again would take long."""
    kept = RunFile.load(project.prepared, made_by="prepare")
    counted = {score.name: int(score.value) for score in kept.scores} if kept else {}
    return {name: counted[f"rows/{name}"] for name in prepare.PARTS if f"rows/{name}" in counted}


def _runs(
    project: Project, done: tuple[str, ...], leader: Leader | None, decision: Decision | None
) -> Iterator[tuple[str, str]]:
    folders = {"prepare": project.prepared, "evaluate": project.evaluated}
    for step in done:
        if step == "train" and leader is not None:
            yield step, leader.run_id
        elif step in folders:
            kept = RunFile.load(folders[step], made_by=step)
            if kept is not None:
                yield step, kept.run_id
    if decision is not None and decision.decision_run is not None:
        yield "decision", decision.decision_run


def _of_training(leader: Leader) -> Iterator[tuple[str, Number]]:
    baseline = leader.baseline_score
    yield f"valid/{leader.metric}", Number(leader.score, baseline=baseline)
    yield f"train/{leader.metric}", Number(leader.train_score)


def _on_test_rows(project: Project) -> Iterator[tuple[str, Number]]:
    """Read the scores of ``metrics.json``, each with what belongs to it."""
    path = project.evaluated / "metrics.json"
    numbers: dict[str, float | None] = files.read_json(path, made_by="evaluate")
    for name, score in numbers.items():
        if name.startswith("test") and f"{name}_low" in numbers:
            yield (
                name,
                Number(
                    float("nan") if score is None else score,
                    numbers[f"{name}_low"],
                    numbers[f"{name}_high"],
                    numbers.get(f"baseline/{name}"),
                ),
            )


def _paths(project: Project, done: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    made = {
        "prepare": {"schema": "schema.json", "profile": "profile.html"},
        "train": {"leader": "leader.json", "trials": "trials.parquet", "model": "model"},
        "evaluate": {"metrics": "metrics.json", "report": "report/report.html"},
        "promote": {"decision": "decision.json", "report": "report.html"},
    }
    folders = (project.prepared, project.trained, project.evaluated, project.promoted)
    for step, folder in zip(STEPS, folders, strict=True):
        for name, file in made[step].items():
            path = folder / file
            if step in done and path.exists():
                yield name, path.relative_to(project.root).as_posix()
