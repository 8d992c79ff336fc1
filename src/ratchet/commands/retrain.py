"""Trains anew when that is due, and puts the result forward: what cron and CI call.

What was begun stands in ``build/retrain/retrain.json`` before it is done, so
that the next call finishes what an interrupted one has left.
"""

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Self

from ratchet import files, lineage, retraining, scratch, table, tracking, turns
from ratchet.commands import intake, pipeline, programs
from ratchet.commands.intake import Intake
from ratchet.drift import DriftReport, Verdict
from ratchet.errors import RatchetError
from ratchet.interrupts import terminated_as_interrupt
from ratchet.project import Project
from ratchet.registry import champion
from ratchet.registry.ledger import Kind, Ledger, Line
from ratchet.registry.versions import Version
from ratchet.report.pieces import escaped
from ratchet.retraining import Due, Facts
from ratchet.search import Candidate, TrialResult
from ratchet.steps import monitor, origin
from ratchet.steps.promote import Decision
from ratchet.steps.train import Leader
from ratchet.tracking import File, Score, Tag

logger = logging.getLogger(__name__)

_WHAT = "retraining"
_LOG = "repro.log"
# Decisions that come after a training.
_JUDGED = (Kind.PROMOTE, Kind.REFUSE, Kind.FORCE)


class Door(StrEnum):
    """How the pipeline is started."""

    DVC = "dvc"
    """By ``dvc repro``, which brings dvc.lock up to date and runs what has changed."""
    RUN = "run"
    """In this process, as ``ratchet run`` does."""


class Answer(StrEnum):
    """What came of the call."""

    TRAINED = "trained"
    """It was due, and a leader was judged."""
    DUE = "due"
    """It is due, and nothing was done: a dry run, or one that isn't finished."""
    NOT_DUE = "not_due"
    """Nothing makes it due."""
    BUSY = "busy"
    """Another one is under way."""


Watch = Callable[[Project, Path], DriftReport]


@dataclass(frozen=True)
class Retraining:
    """One call, as ``build/retrain/retrain.json`` keeps it."""

    answer: Answer
    """What came of it."""
    told: str
    """That in one line, with the reasons."""
    began: str
    """When, in UTC."""
    ended: str | None = None
    """When it was finished; None while it goes on, and for ever where it was interrupted."""
    given: str | None = None
    """File or folder that was given, until all of it is in."""
    taken: tuple[str, ...] = ()
    """Files that were copied in."""
    data_version: str | None = None
    """The md5 that DVC gives the data."""
    commit: str | None = None
    """Commit that holds the new version; None where none was asked for, or nothing is new."""
    champion: str | None = None
    """Who held the place when it began."""
    reasons: tuple[str, ...] = ()
    """What made it due."""
    against: tuple[str, ...] = ()
    """What was looked at and is no reason."""
    door: Door | None = None
    """How the pipeline was started; None where it wasn't."""
    forced: bool = False
    """Whether every step runs, although no data have changed."""
    leader_before: str | None = None
    """Run of the leader that lay in ``build/train`` when it began."""
    trained_on: str | None = None
    """Version of the data that the pipeline came to its end with, in this call or before."""
    decision: Mapping[str, Any] | None = None
    """What promote decided, as ``decision.json`` has it."""
    run_id: str | None = None
    """Run in MLflow that says all this."""

    @property
    def promoted(self) -> bool:
        """Whether a new champion came of it."""
        return self.decision is not None and self.decision["outcome"] == "promoted"

    @property
    def is_no(self) -> bool:
        """Whether a training is due, or was, and no new champion came of it."""
        return self.answer in (Answer.DUE, Answer.TRAINED) and not self.promoted

    def plain(self) -> dict[str, Any]:
        """Give it as plain values, for JSON."""
        return files.finite({**asdict(self), "promoted": self.promoted})

    @classmethod
    def load(cls, project: Project) -> Self | None:
        """Read the last one; None where there is none that can be read."""
        path = _folder(project) / "retrain.json"
        if not path.exists():
            return None
        with suppress(RatchetError, TypeError, KeyError, ValueError, AttributeError):
            value = dict(files.read_json(path, made_by="retrain"))
            value.pop("promoted")
            listed = {name: tuple(value[name]) for name in ("taken", "reasons", "against")}
            door = Door(value["door"]) if value["door"] else None
            return cls(**{**value, **listed, "answer": Answer(value["answer"]), "door": door})
        return None

    def save(self, project: Project) -> None:
        """Write it, whole or not at all."""
        files.write_json(_folder(project) / "retrain.json", self.plain())


def run(
    project: Project,
    *,
    given: Path | None = None,
    force_due: str = "",
    dry_run: bool = False,
    commit: bool = False,
    watch: Watch = monitor.run,
    on_trial: Callable[[TrialResult], None] = lambda _: None,
    on_phase: Callable[[str], None] = lambda _: None,
    on_step: Callable[[str], None] = lambda _: None,
    on_start: Callable[[Candidate], None] = lambda _: None,
) -> Retraining:
    """Take in new data, and train where the rules of ``retrain`` say that it is due.

    Doing it twice changes nothing, and of two at once the second does nothing.

    Parameters
    ----------
    project : Project
        Whose model it is.
    given : Path, optional
        New data, a file or a folder of files, to be copied into ``data.source``.
    force_due : str
        Why it is due whatever the rules say; empty asks the rules.
    dry_run : bool
        Say whether it is due, and take in nothing, train nothing and record nothing.
    commit : bool
        Whether to commit to git what DVC has recorded: the pointer of the data
        before the training, ``dvc.lock`` after it.
    watch : callable, optional
        Compares new rows with those of the champion; the step monitor does.
    on_trial, on_phase, on_step, on_start : callable
        As the pipeline takes them, where it runs in this process.

    Raises
    ------
    RatchetError
        If the data can't be taken in, or a step fails; the next call goes on.
    StoreError
        If MLflow's store fails.
    """
    if commit and lineage.ask_git(project.root, "rev-parse", "HEAD") is None:
        raise RatchetError(f"--commit needs a git repository with a commit around {project.root}.")
    on_phase("store")
    tracking.connect(project)
    if dry_run:
        return _dry(project, given, force_due, watch)
    began = _now()
    try:
        with (
            turns.taken(_folder(project) / "turn.json", _WHAT) as turn,
            terminated_as_interrupt(),
        ):
            train = partial(
                pipeline.run, project, on_trial, on_phase, on_step=on_step, on_start=on_start
            )
            call = _Call(project, force_due, commit, watch, train, (turn.handle,))
            return call.run(began, given)
    except turns.BusyError as error:
        return Retraining(Answer.BUSY, f"nothing was done: {error}", began, ended=_now())


class _Call:
    """One call, from what is given to what is told."""

    def __init__(
        self,
        project: Project,
        force_due: str,
        commit: bool,
        watch: Watch,
        train: Callable[[], Decision],
        held: tuple[int, ...],
    ) -> None:
        self._project = project
        self._force_due = force_due
        self._commit = commit
        self._watch = watch
        self._run_here = train
        self._held = held

    def run(self, began: str, given: Path | None) -> Retraining:
        before = Retraining.load(self._project)
        left = before if before is not None and before.ended is None else None
        if given is None and left is not None and left.given is not None:
            given = Path(left.given) if Path(left.given).exists() else None
        state = replace(
            left
            or Retraining(Answer.DUE, "", began, trained_on=before.trained_on if before else None),
            given=None if given is None else str(given.expanduser().absolute()),
            leader_before=left.leader_before if left else _leader(self._project),
        )
        state.save(self._project)
        taken = self._take(state, given)
        state = replace(
            state,
            given=None,
            taken=(*state.taken, *taken.taken),
            data_version=taken.state.version,
            commit=self._committed(taken, state) or state.commit,
        )
        state.save(self._project)  # monitor may take a while, and be interrupted
        standing = _Standing.of(self._project)
        facts = _facts(
            self._project,
            standing,
            taken.state.version,
            force_due=self._force_due,
            watch=self._watch,
            last=before,
        )
        due = retraining.judge(facts, self._project.settings.retrain)
        state = replace(
            state,
            champion=facts.champion,
            reasons=due.reasons,
            against=due.against,
            told=_due(due),
        )
        if due.is_due:
            state = self._train(state, forced=not facts.has_new_data)
        else:
            state = replace(state, answer=Answer.NOT_DUE)
        return self._finish(state, taken)

    def _take(self, state: Retraining, given: Path | None) -> Intake:
        try:
            taken = intake.take(self._project, given, logger.debug, self._held)
        except RatchetError:
            # A mistake in what was given is not one of the next call.
            replace(state, given=None).save(self._project)
            raise
        if taken.taken:
            logger.info("retrain: took in %s", retraining.named(taken.taken))
        return taken

    def _committed(self, taken: Intake, state: Retraining) -> str | None:
        """Commit the pointer of the data, before a run looks which commit it comes from."""
        if not self._commit or taken.pointer is None:
            return None
        is_new = not lineage.ask_git(self._project.root, "ls-files", "--", str(taken.pointer))
        ignored = [taken.pointer.with_name(".gitignore")] if is_new else []
        names = retraining.named(sorted({*state.taken, *taken.taken})) or taken.pointer.stem
        return programs.commit(
            self._project.root,
            f"Data: {names}\n\nTaken in by ratchet retrain, as version {taken.state.version}.",
            [taken.pointer, *(path for path in ignored if path.exists())],
        )

    def _train(self, state: Retraining, *, forced: bool) -> Retraining:
        """Run the pipeline, and read what it has decided."""
        project = self._project
        door = Door.DVC if _has_dvc(project) else Door.RUN
        # A leader that this retraining has made before it was interrupted isn't made twice.
        forced = forced and _leader(project) == state.leader_before
        state = replace(state, door=door, forced=forced)
        state.save(project)
        logger.info("retrain: %s", state.told)
        if door is Door.DVC:
            self._repro(forced)
            decision = Decision.load(project)
            if decision is None:
                raise RatchetError(
                    "The stages of dvc.yaml have made no decision: one of them must be"
                    " `python src promote`."
                )
        else:
            decision = self._run_here()
        if _leader(project) == state.leader_before:
            came = "no new candidate, since the rows of the training are the same"
        else:
            came = _decided(decision, state.champion)
        return replace(
            state,
            answer=Answer.TRAINED,
            told=f"retrained: {', '.join(state.reasons)}; {came}",
            trained_on=state.data_version,
            decision=decision.plain(),
        )

    def _repro(self, forced: bool) -> None:
        """Have DVC run what has changed; with ``forced`` all of it, for other trials."""
        log = _folder(self._project) / _LOG
        log.unlink(missing_ok=True)

        def tell(line: str) -> None:
            logger.info("  %s", line)
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")

        environment = {
            name: value
            for name, value in scratch.beside(os.environ).items()
            # Each step has a run of its own.
            if name not in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")
        }
        try:
            programs.dvc(
                self._project.root,
                "repro",
                *(["--force"] if forced else []),
                "dvc.yaml",
                environment=environment,
                tell=tell,
                held=self._held,
            )
        except RatchetError as error:
            raise RatchetError(f"{error} All that it printed is in {log}.") from None

    def _finish(self, state: Retraining, taken: Intake) -> Retraining:
        """Put it on record, in MLflow and here."""
        project = self._project
        trained = state.answer is Answer.TRAINED
        lock = project.root / "dvc.lock"
        if self._commit and trained and state.door is Door.DVC and _is_for_git(lock):
            programs.commit(project.root, f"Retrained\n\n{state.told}", [lock])
        state = replace(state, ended=_now())
        name = f"retrain · {state.answer.replace('_', ' ')}"
        with tracking.run(project, "retrain", name=name) as run_id:
            state = replace(state, run_id=run_id)
            origin.record(run_id, project, origin.of(project, taken.state))
            decision = state.decision or {}
            tracking.write(
                run_id,
                [
                    Score("retrain/due", float(trained)),
                    Score("promoted", float(state.promoted)),
                    Tag("ratchet.retrain", state.answer),
                    Tag("ratchet.reason", "; ".join(state.reasons or state.against)),
                    Tag("ratchet.decision_run", str(decision.get("decision_run") or "")),
                    Tag(tracking.LEADER_TAG, str(decision.get("run_id") or "")),
                    Tag(tracking.NOTE_TAG, escaped(state.told)),
                ],
            )
            state.save(project)
            tracking.write(run_id, [File(_folder(project) / "retrain.json")])
        return state


@dataclass(frozen=True)
class _Standing:
    """Who holds the place, and what was decided before."""

    reigning: Version | None
    ledger: Ledger | None
    lines: tuple[Line, ...]

    @classmethod
    def of(cls, project: Project) -> Self:
        ledger = Ledger.find(project.settings)
        reigning = champion.current(project.settings)
        return cls(reigning, ledger, ledger.lines() if ledger else ())

    def has_judged(self, version: str) -> bool:
        return self.ledger is not None and self.ledger.has_judged(version)

    @property
    def age_days(self) -> float | None:
        """Days since a leader was judged; one that lost was a training, too."""
        judged = [line for line in self.lines if line.kind in _JUDGED]
        if not judged:
            return None
        latest = max(datetime.fromisoformat(each.at) for each in judged)
        return (datetime.now(UTC) - latest).total_seconds() / 86_400


def _dry(project: Project, given: Path | None, force_due: str, watch: Watch) -> Retraining:
    """Say whether it would be due; what is given is looked at where it lies."""
    project.require_own("data.source", project.source)
    pairs = intake.copies(project, given) if given is not None else ()
    standing = _Standing.of(project)
    if project.source.exists():
        version = lineage.data_version(project.source, cache=project.build / "hashes.json")
    else:
        pointer = lineage.tracked_version(project.source)
        version = "" if pointer is None else pointer.version
    facts = _facts(
        project,
        standing,
        version,
        force_due=force_due,
        watch=watch,
        last=Retraining.load(project),
        given=tuple(path for path, _ in pairs),
    )
    due = retraining.judge(facts, project.settings.retrain)
    return Retraining(
        Answer.DUE if due.is_due else Answer.NOT_DUE,
        _due(due),
        _now(),
        data_version=None if pairs else version,
        champion=facts.champion,
        reasons=due.reasons,
        against=due.against,
    )


def _facts(
    project: Project,
    standing: _Standing,
    version: str,
    *,
    force_due: str,
    watch: Watch,
    last: Retraining | None,
    given: tuple[Path, ...] = (),
) -> Facts:
    """Find out what the rules ask for; what costs time only where a rule asks for it."""
    rules, reigning = project.settings.retrain, standing.reigning
    # Data of which a filter leaves nothing new come to no decision: here they are known as well.
    is_known = version == (last.trained_on if last else None) or standing.has_judged(version)
    is_new = bool(given) or not is_known
    begun = last is not None and last.ended is None and last.data_version == version
    facts = Facts(
        champion=None if reigning is None else reigning.label,
        has_new_data=is_new,
        age_days=standing.age_days,
        asked_for=force_due,
        left_over=last.reasons if last and begun else (),
    )
    if reigning is None or not is_new:
        return facts
    fresh = _new_files(project, reigning, given)
    names = tuple(path.name for path in fresh)
    if rules.min_new_rows > 1 and fresh:
        counted = sum(len(table.read_table(path).frame) for path in fresh)
        facts = replace(facts, new_rows=counted)
    facts = replace(facts, new_files=names)
    if rules.on_drift or rules.on_live_score:
        facts = _watched(project, facts, fresh, watch)
    return facts


def _new_files(project: Project, reigning: Version, given: tuple[Path, ...]) -> tuple[Path, ...]:
    """Find the files that the champion was not trained on; none where that isn't known."""
    trained = tracking.origin_of(reigning.run_id)
    trained_on = trained.tags.get("ratchet.data_version") if trained else None
    since: tuple[str, ...] | None = None
    if trained_on and project.source.exists():
        since = lineage.files_since(project.source, trained_on, project.build / "hashes.json")
    inside = [project.source / name for name in since or () if "/" not in name]
    return (*given, *inside)


def _watched(project: Project, facts: Facts, fresh: tuple[Path, ...], watch: Watch) -> Facts:
    """Ask monitor about the new rows, or about all where it isn't known which are new."""
    rows = project.source
    gathered = _folder(project) / "new"
    shutil.rmtree(gathered, ignore_errors=True)
    if len(fresh) == 1:
        [rows] = fresh
    elif fresh:
        gathered.mkdir(parents=True)
        for path in fresh:
            (gathered / path.name).symlink_to(path.absolute())
        rows = gathered
    try:
        found = watch(project, rows)
    except RatchetError as error:
        # It may know too little of an old champion, and a training would mend that.
        logger.warning("retrain: monitor could not say whether there is drift: %s", error)
        return replace(facts, unknown=str(error).rstrip("."))
    finally:
        shutil.rmtree(gathered, ignore_errors=True)
    worse = ""
    if found.live is not None and found.live.worse:
        worse = f"the live score {found.live.score:.4g} is worse than {found.live.test_score:.4g}"
    drift = found.reasons if found.verdict == Verdict.DRIFT else ()
    return replace(facts, drift=drift, worse=worse)


def _has_dvc(project: Project) -> bool:
    """Tell whether the stages of ``dvc.yaml`` run just this: overrides are nothing to them."""
    has_stages = (project.root / "dvc.yaml").is_file() and bool(lineage.dvc_root(project.root))
    return has_stages and project.params_file.name == "params.yaml" and not project.overrides


def _is_for_git(path: Path) -> bool:
    return path.is_file() and not lineage.ask_git(path.parent, "check-ignore", "--", path.name)


def _leader(project: Project) -> str | None:
    try:
        return Leader.load(project).run_id
    except RatchetError:
        return None


def _due(due: Due) -> str:
    if due.is_due:
        return f"due: {', '.join(due.reasons)}"
    return f"not due: {', '.join(due.against) or 'no rule of retrain asks for anything'}"


def _decided(decision: Decision, champion_before: str | None) -> str:
    """Say in a clause what came of it."""
    if decision.promoted:
        return f"{decision.model}/{decision.version} promoted: {decision.reason}"
    stays = f"{champion_before} stays" if champion_before else "there is still no champion"
    return f"not promoted, {stays}: {decision.reason}"


def _folder(project: Project) -> Path:
    return project.build / "retrain"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
