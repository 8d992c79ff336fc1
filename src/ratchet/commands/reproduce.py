"""Makes the model of a run again from its own record, and says whether it is the same."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ratchet import files, likeness, lineage, recorded, scratch, tracking
from ratchet.errors import AlteredError, DataError, InterruptionError, RatchetError, StoreError
from ratchet.interrupts import terminated_as_interrupt
from ratchet.likeness import Distance
from ratchet.metrics import Predictions
from ratchet.project import Project
from ratchet.recipe import Recipe
from ratchet.registry import integrity, references
from ratchet.registry.references import Reference
from ratchet.registry.versions import Version
from ratchet.scratch import Interpreter, StepError
from ratchet.steps import parts, prepare
from ratchet.steps.origin import LIBRARIES
from ratchet.table import Stored

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Difference that still counts as the same model: far above what another order of adding up
changes, far below what any user of a prediction would see."""

# Scores of the same answers differ by rounding, as their sums are taken in another order.
_ROUNDING = 1e-9
_VERSION_TAG = "ratchet.version."
# Libraries that a line names; the others are counted.
_NAMED = 6

# What the recorded code is asked, with what was recorded of it: neither may be today's.
_ASK = """
import sys
from pathlib import Path
import numpy as np
from ratchet import model, splits, table, tracking
from ratchet.project import Project
from ratchet.schema import Schema
params, prepared, out, *folders = map(Path, sys.argv[1:])
try:
    from ratchet.serving import models
except ImportError:  # older code asks no settings
    load = tracking.load_model
else:
    def load(folder):
        return models.load(Project.open(params), folder)
schema = Schema.load(prepared / "schema.json")
if hasattr(table, "Stored"):
    stored = table.Stored.open(prepared / "test.parquet", "prepare")
    rows = stored.rows(splits.sample(stored.n_rows, 200_000, 0))
else:  # older code reads all rows
    rows = table.read_parquet(prepared / "test.parquet", made_by="prepare")
for name, folder in zip(("before", "after"), folders):
    said = model.predict(load(str(folder)), rows, schema)
    parts = {"values": said.values}
    if said.probabilities is not None:
        parts["probabilities"] = said.probabilities
    np.savez(out / name, **parts)
"""


class Answer(StrEnum):
    """Whether the model could be made again."""

    IDENTICAL = "identical"
    """It answers the same on every test row, bit for bit."""
    WITHIN = "within_tolerance"
    """Its answers and its test score differ by no more than the tolerance."""
    DIFFERENT = "different"
    """They differ by more, or it can't be made again."""


class Kind(StrEnum):
    """What is not as it was, those first without which nothing can be made."""

    NO_RECORD = "no_record"
    """The run doesn't say what it takes; mostly since this project didn't make it."""
    NO_MODEL = "no_model"
    """The store has not got the model any more."""
    ALTERED = "altered"
    """The version's files are not those that were promoted."""
    COMMIT_GONE = "commit_gone"
    """The repository has not got the commit."""
    PATCH = "patch"
    """What the tree had besides the commit is not on record, or not whole."""
    DATA_GONE = "data_gone"
    """Neither DVC nor git nor the checkout has the data of that version."""
    CODE = "code"
    """The recorded code does not run to its end."""
    ROWS = "rows"
    """The rows that prepare made are others."""
    SEARCH = "search"
    """A clock ended the search, and the run doesn't say what it decided."""
    NONDETERMINISTIC = "nondeterministic"
    """A backend that the search used does not give the same model twice."""
    LOCK = "lock"
    """The environment of the recorded lock was not there and could not be built."""
    PYTHON = "python"
    """Another version of Python."""
    LIBRARY = "library"
    """Other versions of libraries."""
    CPU = "cpu"
    """Another processor."""
    CORES = "cores"
    """Another number of cores."""
    GPU = "gpu"
    """Another graphics processor."""
    OS = "os"
    """Another operating system."""
    SCORE = "score"
    """The test score on record is not what the model scores."""
    UNEXPLAINED = "unexplained"
    """Everything on record is as it was."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was."""

    kind: Kind
    """Which."""
    text: str
    """How, in a clause."""


@dataclass(frozen=True)
class Scores:
    """The score on the test rows, before and after."""

    name: str
    """Such as ``test/rmse``."""
    recorded: float
    """What the run has."""
    again: float
    """What the model made again has."""

    @property
    def relative(self) -> float:
        """The difference as a share of what was recorded."""
        apart = abs(self.again - self.recorded)
        return apart / abs(self.recorded) if self.recorded else apart


@dataclass(frozen=True)
class Reproduction:
    """What came of making a model again."""

    reference: str
    """What was asked for."""
    label: str
    """Its name for people, such as ``taxi/3``."""
    model: str | None
    """Name of the registered model; None when a run was named."""
    version: int | None
    """Its version; None when a run was named."""
    run_id: str
    """Run that trained it."""
    answer: Answer
    """Whether it is the same."""
    differences: tuple[Difference, ...]
    """What is not as it was: where the answer is "different", the reasons for it."""
    predictions: Distance | None
    """How far the answers on the test rows lie apart; None where they could not be had."""
    score: Scores | None
    """The test score; None where the run has none, or none could be had."""
    tolerance: float
    """What the answer allows."""
    environment: str
    """``present``, or ``built`` where uv has built that of the recorded lock."""
    seconds: float
    """Time that it took."""
    kept: Path | None
    """The scratch folder, if it was kept."""

    def plain(self) -> dict[str, Any]:
        """Give it as plain values, for JSON."""
        value = asdict(self)
        value["kept"] = str(self.kept) if self.kept else None
        if self.score:
            value["score"]["relative"] = self.score.relative
        return {name: files.finite(each) for name, each in value.items()}


def run(
    project: Project, text: str, *, tolerance: float = TOLERANCE, keep: Path | None = None
) -> Reproduction:
    """Make the model of a run or a version again, in a folder apart, and compare.

    The checkout, the store, the registry and DVC's cache stay as they are.

    Parameters
    ----------
    project : Project
        Names the store, and the checkout that has the history.
    text : str
        ``RUN_ID``, ``NAME/VERSION`` or ``NAME@ALIAS``.
    tolerance : float
        Largest relative difference of a prediction and of the test score that
        still counts as the same.
    keep : Path or None
        Folder to do it in, which stays; None takes one that is removed.

    Raises
    ------
    StoreError
        If there is no such run or version, or the store fails.
    InterruptionError
        In place of Ctrl-C and SIGTERM.
    """
    started = time.monotonic()
    if not tolerance >= 0:
        raise RatchetError(f"--tolerance must be a number of at least 0, got {tolerance}.")
    tracking.connect(project)
    found = references.resolve(text)
    trained = recorded.training_of(found.run_id)
    try:
        with (
            terminated_as_interrupt(),
            scratch.folder(keep, project.home) as folder,
        ):
            attempt = _Attempt(project.home, Recipe.read(trained, folder / "record"), folder)
            attempt.make(found)
    except KeyboardInterrupt:
        left = f"what it had made is in {keep}" if keep else "nothing of it is left"
        raise InterruptionError(f"reproduce was interrupted; {left}.") from None
    answer, differences = _verdict(attempt, tolerance)
    seconds = time.monotonic() - started
    logger.info("reproduce: %s, in %.0f s", answer.replace("_", " "), seconds)
    return Reproduction(
        reference=found.text,
        label=found.label,
        model=found.model,
        version=found.version,
        run_id=trained.run_id,
        answer=answer,
        differences=differences,
        predictions=attempt.predictions,
        score=attempt.score,
        tolerance=tolerance,
        environment="built" if attempt.built else "present",
        seconds=seconds,
        kept=keep.resolve() if keep else None,
    )


def fit_for_here(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Give recorded settings without the cluster of then, which may be gone.

    A replay is the same wherever its trials run.

    Examples
    --------
    >>> there = {"engine": "dask", "address": "tcp://10.0.0.5:8786", "workers": 50}
    >>> fit_for_here({"seed": 1, "execution": there})["execution"]
    {'engine': 'local', 'address': None, 'workers': 50}
    """
    values = dict(recorded)
    execution = values.get("execution")
    if isinstance(execution, Mapping):
        values["execution"] = {**execution, "engine": "local", "address": None}
    return values


def _verdict(attempt: "_Attempt", tolerance: float) -> tuple[Answer, tuple[Difference, ...]]:
    """Say whether it is the same model, and put what differs in order."""
    apart, score, told = attempt.predictions, attempt.score, list(attempt.differences)
    off = score.relative if score else 0.0
    if apart is None or any(each.kind is Kind.ROWS for each in told):
        answer = Answer.DIFFERENT
    elif apart.identical and off <= _ROUNDING:
        answer = Answer.IDENTICAL
    elif apart.within(tolerance) and off <= tolerance:
        answer = Answer.WITHIN
    else:
        answer = Answer.DIFFERENT
        if apart.within(tolerance) and score:
            told.append(
                Difference(
                    Kind.SCORE,
                    f"its answers agree, but they score {score.name} {score.again:.6g} where"
                    f" {score.recorded:.6g} is on record",
                )
            )
    if answer is Answer.DIFFERENT and not told:
        told.append(
            Difference(
                Kind.UNEXPLAINED,
                "nothing on record explains it: the code is not deterministic, or it reads what"
                " is not recorded, such as a file outside of the repository, a service or the time",
            )
        )
    order = list(Kind)
    return answer, tuple(sorted(told, key=lambda each: order.index(each.kind)))


class _Attempt:
    """Making one model again, and all that is found out on the way."""

    def __init__(self, home: Path, recipe: Recipe, folder: Path) -> None:
        self.differences: list[Difference] = []
        self.predictions: Distance | None = None
        self.score: Scores | None = None
        self.built = False
        # Data outside of the checkout, which only a command line may name.
        self._elsewhere = ""
        self._home = home
        self._recipe = recipe
        self._folder = folder
        self._checkout = folder / "checkout"

    def make(self, found: Reference) -> None:
        """Go as far as the record leads; what is missing is all told before anything runs."""
        if tracking.STEP_TAG not in self._recipe.tags:
            self._tell(Kind.NO_RECORD, f"run {self._recipe.run_id} was not made by this project")
            return
        self._name_unrecorded()
        params, source, model = self._code(), self._data(), self._model(found)
        ready = params if source and model and self._recipe.params else None
        interpreter = self._interpreter(ready)
        self._compare_machine(interpreter)
        if ready is None or source is None or model is None:
            return
        self._write_settings(ready, source)
        built = ready.parent / "build" / ("" if ready.name == "params.yaml" else ready.name)
        try:
            if self._run_steps(interpreter, ready, built):
                self._ask(interpreter, ready, built, model)
        except RatchetError as error:  # a step's, or of what it should have written
            self._tell(Kind.CODE, str(error))

    def _tell(self, kind: Kind, text: str) -> None:
        self.differences.append(Difference(kind, text))

    def _name_unrecorded(self) -> None:
        """Name what the run doesn't say."""
        recipe, tags = self._recipe, self._recipe.tags
        reason = tags.get("ratchet.code_reason")
        needed = {
            f"the commit{f' ({reason})' if reason else ''}": recipe.commit,
            "the data version": recipe.data_version,
            f"its settings (lineage/{Path(recipe.params_file).name})": recipe.params,
        }
        missing = [name for name, value in needed.items() if not value]
        if missing:
            self._tell(Kind.NO_RECORD, f"its run does not say: {', '.join(missing)}")

    def _code(self) -> Path | None:
        """Make the recorded tree; give the path of its parameter file, None if it can't be had."""
        commit, patch = self._recipe.commit, self._recipe.patch
        if commit is None:
            return None
        logger.info("reproduce: the code of commit %s", commit[:12])
        try:
            scratch.check_out(self._home, commit, self._checkout)
            gone = False
        except RatchetError as error:
            url = self._recipe.tags.get("mlflow.source.git.repoURL")
            origin = f"; its run names the repository {url}" if url else ""
            self._tell(Kind.COMMIT_GONE, f"{error}{origin}")
            gone = True
        if not self._is_patch_sound() or gone:
            return None
        try:
            if patch is not None:
                scratch.apply(patch, self._checkout)
        except RatchetError as error:
            self._tell(Kind.PATCH, f"the patch does not apply: {error}")
            return None
        try:
            return scratch.inside(self._checkout, self._recipe.params_file)
        except RatchetError as error:
            self._tell(Kind.NO_RECORD, f"the parameter file of its run: {error}")
            return None

    def _is_patch_sound(self) -> bool:
        """Tell whether the recorded patch may be applied, and name what it lacks."""
        patch, dirty = self._recipe.patch, self._recipe.tags.get("ratchet.dirty")
        if patch is None:
            if dirty != "false":
                told = "was dirty, and" if dirty == "true" else "may have been dirty, and"
                self._tell(Kind.PATCH, f"the tree {told} the run has no patch of it")
            return True
        lacking = scratch.lacking(patch)
        if lacking:
            self._tell(Kind.PATCH, lacking)
        if "the rest is cut" in lacking:
            return False
        if self._is_own(patch):
            return True
        # It comes out of a store that others may write to: what nobody recorded isn't run.
        self._tell(Kind.PATCH, "the patch is not the one that the run had: it is cut or edited")
        return False

    def _is_own(self, patch: Path) -> bool:
        """Tell whether the patch is the one whose digest is in the run's tags."""
        tags = self._recipe.tags
        names = ("ratchet.params_digest", "ratchet.data_version", "ratchet.pipeline")
        if any(name not in tags for name in names):
            return True
        params, data, pipeline = (tags[name] for name in names)
        digest = scratch.patch_digest(patch)
        return lineage.pipeline_id(self._recipe.commit, digest, params, data) == pipeline

    def _data(self) -> str | None:
        """Bring the data; give what ``data.source`` has to say then, None if nobody has it."""
        version, source = self._recipe.data_version, self._recipe.setting("data.source")
        if not version or not source:
            return None
        logger.info("reproduce: the data of version %s", version)
        folder = (self._home / self._recipe.params_file).parent
        original = Path(os.path.abspath(folder / str(source)))  # noqa: PTH100 - links stay
        try:
            place = original.relative_to(self._home).as_posix()
            target = known = scratch.inside(self._checkout, place)
            told = str(target if Path(str(source)).is_absolute() else source)
        except (ValueError, RatchetError):
            # Data outside of the repository: where it was if it is still the same, else apart.
            if scratch.holds(original, version):
                self._elsewhere = str(original)
                return str(original)
            target = self._folder / "data" / original.name
            self._elsewhere = told = str(target)
            known = original
        try:
            scratch.bring_data(original, version, target, known)
        except DataError as error:
            self._tell(Kind.DATA_GONE, str(error))
            return None
        return told

    def _model(self, found: Reference) -> Path | None:
        """Copy the model that was registered or logged."""
        try:
            uri = (
                f"models:/{found.model}/{found.version}"
                if found.model
                else tracking.model_uri_of(self._recipe.run_id)
            )
            folder = tracking.fetch(uri, self._folder / "before")
            if found.model is not None and found.version is not None:
                integrity.check(Version(found.model, found.version, found.run_id), folder)
            return folder
        except AlteredError as error:
            self._tell(Kind.ALTERED, str(error).rstrip("."))
            return None
        except StoreError as error:
            self._tell(Kind.NO_MODEL, str(error).rstrip("."))
            return None

    def _interpreter(self, params: Path | None) -> Interpreter:
        """Give the Python of the recorded lock: that of now, or one that uv builds.

        Nothing is built where nothing can run, that is without ``params``.
        """
        present = Interpreter.present()
        then = self._recipe.tags.get("ratchet.lock_digest")
        folder = (self._home / self._recipe.params_file).parent
        now = lineage.lock_digest(folder if folder.is_dir() else self._home)
        if then in (None, now):
            return present
        told = f"the lock has moved on, from {then} to {now}"
        try:
            if params is not None:
                return self._build(params.parent, then)
        except StepError as error:
            told += f", and {error}: what is installed now was used"
        self._tell(Kind.LOCK, told)
        return present

    def _build(self, place: Path, then: str) -> Interpreter:
        """Have uv build the environment of the recorded lock.

        Raises
        ------
        StepError
            If that can't be done; the message is a clause that says why.
        """
        locked = scratch.locked(place, self._checkout)
        if lineage.lock_digest(place) != then:
            raise StepError("the recorded one is not in the commit")
        listed = scratch.listed(place, self._checkout) if locked is None else None
        if locked is None and listed is None:
            raise StepError("the recorded one is a conda.yaml, which uv can't build")
        program = scratch.uv(self._home)
        if program is None:
            raise StepError("there is no uv to build it with (`pip install uv` brings it)")
        logger.info("reproduce: building the environment of lock %s with uv", then)
        try:
            into, tell = self._folder / "environment", self._told("environment")
            python = self._recipe.tags.get("ratchet.hardware.python")
            if locked is not None:
                pins = self._recipe.pins
                interpreter = scratch.build(program, locked, into, tell, version=python, pins=pins)
            else:
                assert listed is not None
                interpreter = scratch.build_listed(program, listed, into, tell, version=python)
        except StepError as error:
            raise StepError(f"uv could not build the recorded one ({error})") from None
        self.built = True
        return interpreter

    def _compare_machine(self, interpreter: Interpreter) -> None:
        """Name what the machine and the environment have otherwise than the record."""
        tags = self._recipe.tags
        if self._is_replay_missing:
            n_trials = self._recipe.n_trials
            self._tell(
                Kind.SEARCH,
                "a clock ended the search, and the run does not say what that decided"
                + (f"; the same number of trials, {n_trials}, is not exact" if n_trials else ""),
            )
        for about, doubt in self._recipe.doubts.items():
            self._tell(Kind.NONDETERMINISTIC, f"{about}: {doubt}")
        python = tags.get("ratchet.hardware.python")
        if python and python != interpreter.version:
            self._tell(Kind.PYTHON, f"Python {python} → {interpreter.version}")
        changed = _changed_libraries(self._recipe, interpreter.pins)
        if changed:
            more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
            self._tell(Kind.LIBRARY, ", ".join(changed[:_NAMED]) + more)
        machine = lineage.hardware()
        now = {
            Kind.CPU: ("cpu", machine.cpu),
            Kind.CORES: ("cores_logical", str(machine.cores_logical)),
            Kind.GPU: ("gpus", ", ".join(machine.gpus) or "none"),
            Kind.OS: ("os", machine.os),
        }
        for kind, (name, value) in now.items():
            then = tags.get(f"ratchet.hardware.{name}")
            if then is not None and then != value:
                self._tell(kind, f"{then} → {value}")

    def _write_settings(self, params: Path, source: str) -> None:
        """Put the recorded settings where the steps look for them, with a store of their own."""
        # What was read is not changed.
        values = fit_for_here(json.loads(json.dumps(self._recipe.params)))
        values["data"]["source"] = source
        values["tracking"] = {**(values.get("tracking") or {}), "uri": self._store}
        policy = values.get("lineage")
        if isinstance(policy, dict) and policy.get("dirty") == "refuse":
            # The settings may have come by overrides: writing them makes the tree dirty.
            policy["dirty"] = "allow"
        judging = values.get("evaluate")
        if isinstance(judging, dict) and "report" in judging:
            judging["report"] = False  # nobody reads it, and its curves and reasons take time
        search = (values.get("train") or {}).get("search")
        if isinstance(search, dict) and "warm_start" in search:
            search["warm_start"] = None  # a replay has it on record, and this store no champion
        if self._is_replay_missing:
            values["train"] = self._counted(values["train"])
        params.parent.mkdir(parents=True, exist_ok=True)
        params.unlink(missing_ok=True)
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        params.write_text(text, encoding="utf-8")

    @property
    def _store(self) -> str:
        return f"sqlite:///{self._folder / 'store' / 'mlflow.db'}"

    @property
    def _is_replay_missing(self) -> bool:
        """Whether a clock ended the search, and what it decided is not known."""
        seconds = self._recipe.setting("train.search.budget_seconds")
        return self._recipe.search is None and seconds is not None

    def _counted(self, train: dict[str, Any]) -> dict[str, Any]:
        """Have the search end after as many trials as the clock had left it."""
        n_trials, validation = self._recipe.n_trials, self._recipe.validation or ""
        if n_trials:
            search = train.get("search") or {}
            train |= {"search": {**search, "budget_seconds": None, "max_trials": n_trials}}
        if validation == "holdout":
            train |= {"validation": validation}
        elif validation.endswith(" folds"):
            train |= {"validation": "folds", "folds": int(validation.removesuffix(" folds"))}
        return train

    def _run_steps(self, interpreter: Interpreter, params: Path, built: Path) -> bool:
        """Run the steps; tell whether they came to a model of the same training rows."""
        self._step("prepare", interpreter, params)
        hashes = {
            name: Stored.open(built / "prepared" / f"{name}.parquet", "prepare")
            .column(prepare.ROW)
            .to_numpy()
            for name in prepare.PARTS
        }
        test_rows = parts.digest_of(hashes["test"])
        if not self._compare_rows(hashes, test_rows):
            return False
        search = self._recipe.search
        self._step("train", interpreter, params, *(("--replay", str(search)) if search else ()))
        name = f"test/{self._recipe.metric}"
        before = self._recipe.judged.get(test_rows, self._recipe.scores).get(name)
        if before is not None:
            self._step("evaluate", interpreter, params)
            scores = files.read_json(built / "evaluate" / "metrics.json", made_by="evaluate")
            if scores.get(name) is not None:
                self.score = Scores(name, before, float(scores[name]))
        return True

    def _step(self, name: str, interpreter: Interpreter, params: Path, *more: str) -> None:
        logger.info("reproduce: %s", name)
        place, start = scratch.entry(self._checkout, params)
        command = [str(interpreter.python), *start, name, "--params", str(params), *more]
        if self._elsewhere:
            command += ["--set", f"data.source={self._elsewhere}"]
        try:
            scratch.run(command, place, self._environment(interpreter), self._told(name))
        except StepError as error:
            raise StepError(f"{name} failed: {error}") from None

    def _environment(self, interpreter: Interpreter) -> dict[str, str]:
        kept = scratch.inherited((self._home, self._checkout))
        path = f"{interpreter.python.parent}{os.pathsep}{kept.get('PATH', '')}"
        own = {"MLFLOW_TRACKING_URI": self._store, "MLFLOW_REGISTRY_URI": self._store}
        return {**kept, **own, "PATH": path}

    def _told(self, name: str) -> Callable[[str], None]:
        """Pass on what a program prints, and keep it."""
        log = self._folder / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)

        def tell(line: str) -> None:
            logger.info("  %s", line)
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")

        return tell

    def _compare_rows(self, hashes: Mapping[str, np.ndarray], test_rows: str) -> bool:
        """Compare the prepared rows with those on record; tell whether training is worth while."""
        judged, before = self._recipe.judged, self._recipe.rows
        if judged and test_rows not in judged:
            self._tell(
                Kind.ROWS,
                "prepare made other test rows than those on which the model was judged: when it"
                " ran before, it had other settings, code or data than train",
            )
        if before is None:
            return True
        made = np.unique(np.concatenate([hashes[name] for name in ("train", "valid")]))
        if np.array_equal(made, before):
            return True
        self._tell(
            Kind.ROWS,
            f"prepare made other training rows: {np.setdiff1d(before, made).size:,} of"
            f" {before.size:,} are missing, {np.setdiff1d(made, before).size:,} are new",
        )
        return False

    def _ask(self, interpreter: Interpreter, params: Path, built: Path, model: Path) -> None:
        """Ask both models about the test rows, and measure how far their answers lie apart."""
        logger.info("reproduce: asking both models about the test rows")
        place, start = scratch.entry(self._checkout, params)
        environment = self._environment(interpreter)
        if start == ("src",):
            paths = (str(place / "src"), environment.get("PYTHONPATH", ""))
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        folders = (built / "prepared", self._folder, model, built / "train" / "model")
        command = [str(interpreter.python), "-c", _ASK, str(params), *map(str, folders)]
        try:
            scratch.run(command, place, environment, self._told("compare"))
        except StepError as error:
            raise StepError(f"the models could not be asked: {error}") from None
        before, after = (_said(self._folder / f"{name}.npz") for name in ("before", "after"))
        self.predictions = likeness.between(before, after)


def _said(path: Path) -> Predictions:
    with np.load(path, allow_pickle=False) as arrays:
        return Predictions(arrays["values"], arrays.get("probabilities"))


def _changed_libraries(recipe: Recipe, pins: Sequence[str]) -> list[str]:
    """Name the libraries of other versions, first those that can change a result."""
    now = dict(_parted(pins))
    then = list(_parted(recipe.pins))
    then += [
        (name.removeprefix(_VERSION_TAG), version)
        for name, version in recipe.tags.items()
        if name.startswith(_VERSION_TAG)
    ]
    first = {name: place for place, name in enumerate(LIBRARIES)}
    changed = {
        (first.get(name, len(first)), f"{name} {version} → {now.get(name, 'not installed')}")
        for name, version in then
        if now.get(name) != version
    }
    return [text for _, text in sorted(changed)]


def _parted(pins: Sequence[str]) -> Iterator[tuple[str, str]]:
    for pin in pins:
        name, _, version = pin.partition("==")
        yield name, version
