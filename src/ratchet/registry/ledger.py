"""The ledger: every decision on the champion, in an order that nobody can change unseen.

It lives in MLflow, so that a team's server has it too: an experiment with one
run a decision, which holds the evidence, and one index run whose params are
the lines of the ledger. MLflow lets a param be written once and never changed,
by any client of any store. That makes a line an atomic claim: of two processes
that decide at the same time one gets the next number, and the other sees it
and judges again.
"""

import getpass
import hashlib
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from ratchet import tracking
from ratchet.errors import StoreError
from ratchet.project import masked
from ratchet.report.pieces import escaped
from ratchet.settings import Settings, ledger_of

EVIDENCE = "decision.json"
"""Artifact of a decision run that holds all the numbers."""

_INDEX_TAG = "ratchet.ledger_index"
_NUMBER_TAG = "ratchet.ledger_number"
_SIGNATURE = "signature"
# A line is a param, and MLflow cuts those at 6,000 characters without a word.
_MAX_REASON = 2000
# So many pieces of evidence are asked for at a time.
_TOGETHER = 8


class Kind(StrEnum):
    """What was decided."""

    PROMOTE = "promote"
    """Every gate passed: the model became the champion."""
    REFUSE = "refuse"
    """A gate did not pass: the champion stayed."""
    FORCE = "force"
    """A person made the model the champion against the gates, and said why."""
    ROLLBACK = "rollback"
    """A person brought an earlier version back, and said why."""
    OBSERVE = "observe"
    """The alias was found at another version than the ledger had put it."""

    @property
    def moves(self) -> bool:
        """Whether the champion changes."""
        return self is not Kind.REFUSE


@dataclass(frozen=True)
class Line:
    """One decision, as the index keeps it."""

    number: int
    """Place in the ledger, from 1."""
    kind: Kind
    """What was decided."""
    at: str
    """When, in UTC; never before the line above it."""
    who: str
    """User and machine."""
    run_id: str
    """Run that made the model that was judged or brought back."""
    before: int | None
    """Version that was the champion; None when nobody was."""
    version: int | None
    """Version that the decision is about; None when it was not registered at that time."""
    reason: str
    """Why, in a sentence."""
    basis: str
    """Digest of the rules and the test rows of the judgement; empty where none was made."""
    decision_run: str
    """Run that holds the evidence."""
    evidence: str
    """SHA-256 of the evidence."""
    previous: str
    """Digest of the line above; empty for the first."""
    files: str = ""
    """Digest of the model's files; empty where nothing was registered, and before it was kept."""
    bound: int | None = None
    """Version that was registered for the line after it was written."""

    @property
    def champion(self) -> int | None:
        """Version that the decision is about; None until it is registered."""
        return self.version if self.version is not None else self.bound

    @property
    def digest(self) -> str:
        """SHA-256 of the line as it is written."""
        return _sha256(self.text.encode())

    @property
    def text(self) -> str:
        """The line as it is written: JSON with a fixed order of keys."""
        value = asdict(self)
        del value["bound"]
        if not self.files:  # earlier versions of this project knew of none, and digests stay
            del value["files"]
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str, bound: str | None = None) -> "Line":
        """Read a line that was written."""
        value = json.loads(text)
        kind, number = Kind(value["kind"]), int(bound) if bound else None
        return cls(**{**value, "kind": kind, "bound": number})


@dataclass(frozen=True)
class Ledger:
    """The lines of one registered model."""

    model: str
    """Name of the registered model."""
    experiment_id: str
    """Experiment of the decision runs."""
    index: str
    """Run whose params are the lines."""

    @classmethod
    def open(cls, settings: Settings, experiment_id: str) -> "Ledger":
        """Find the ledger of the project's registered model, or begin it.

        Parameters
        ----------
        settings : Settings
            Names the registered model.
        experiment_id : str
            The project's own experiment, in which a new index run is made. It
            exists before the ledger's experiment, whose creation names it: of
            two processes that begin a ledger one fails, and takes the other's.

        Raises
        ------
        StoreError
            If the store fails, or the ledger's experiment was deleted.
        """
        found = cls.find(settings)
        if found is not None:
            return found
        client = mlflow.MlflowClient()
        name = experiment_name(settings)
        with tracking.translated():
            index = client.create_run(
                experiment_id,
                run_name=f"ledger · {settings.model_name}",
                tags={
                    **tracking.opened(),
                    tracking.STEP_TAG: "ledger",
                    "ratchet.model": settings.model_name,
                    tracking.NOTE_TAG: (
                        "The ledger: each parameter is a decision on the champion, and no one can"
                        " change it. `python src history` shows them as a table, and with"
                        " `--verify` checks that none was altered. Deleting this run loses them."
                    ),
                },
            ).info.run_id
            client.set_terminated(index)
            try:
                client.create_experiment(
                    name,
                    artifact_location=tracking.artifact_place(name),
                    tags={
                        _INDEX_TAG: index,
                        tracking.NOTE_TAG: (
                            "Decisions on the champion of the registered model"
                            f" *{settings.model_name}*: a run each, with its evidence."
                            " `python src history` shows them as a table."
                        ),
                    },
                )
            except MlflowException as error:
                # It may be there all the same: another's, or our own whose answer was lost.
                begun = cls.find(settings)
                if begun is None or begun.index != index:
                    with tracking.may_stay():
                        client.delete_run(index)
                if begun is None:
                    raise error
                return begun
        begun = cls.find(settings)
        if begun is None:
            raise StoreError(f"The experiment {name!r} can't be read back from MLflow's store.")
        return begun

    @classmethod
    def find(cls, settings: Settings) -> "Ledger | None":
        """Find the ledger of the project's registered model; None before any decision.

        Raises
        ------
        StoreError
            If the store fails, or the ledger's experiment was deleted or is no ledger.
        """
        return cls.of(settings.model_name)

    @classmethod
    def of(cls, model: str) -> "Ledger | None":
        """Find the ledger of a registered model; None before any decision.

        Raises
        ------
        StoreError
            As for ``find``.
        """
        name = ledger_of(model)
        with tracking.translated():
            found = mlflow.MlflowClient().get_experiment_by_name(name)
        if found is None:
            return None
        if found.lifecycle_stage == "deleted":
            raise StoreError(
                f"The ledger of {model}, the experiment {name!r}, was deleted."
                f" Restore it: mlflow experiments restore --experiment-id {found.experiment_id}"
            )
        index = found.tags.get(_INDEX_TAG)
        if index is None:
            raise StoreError(
                f"The experiment {name!r} is not a ledger: it has no tag {_INDEX_TAG}."
                " Rename it, or name another registered model in registry.model."
            )
        return cls(model, found.experiment_id, index)

    def lines(self) -> tuple[Line, ...]:
        """Read all lines, with the versions that were bound to them."""
        params = self._params()
        read = []
        for number in range(1, len(params) + 1):
            text = params.get(_key(number))
            if text is None:
                break
            read.append(Line.parse(text, params.get(_key(number, "version"))))
        return tuple(read)

    def is_done(self, line: Line) -> bool:
        """Tell whether the registry shows what a line says."""
        return _key(line.number, "done") in self._params()

    def begin(
        self,
        *,
        kind: Kind,
        after: Sequence[Line],
        run_id: str,
        before: int | None,
        version: int | None,
        reason: str,
        basis: str,
        evidence: Mapping[str, Any],
        tags: Mapping[str, str],
        files: str = "",
    ) -> Line | None:
        """Write the evidence of a decision, and claim the next line for it.

        Parameters
        ----------
        kind : Kind
            What is decided.
        after : sequence of Line
            All lines that the decision has taken into account.
        run_id : str
            Run that made the model.
        before, version : int or None
            Versions of the champion and of the model, as in ``Line``.
        reason : str
            Why, in a sentence.
        basis : str
            Digest of the rules and the test rows of the judgement, if there was one.
        evidence : mapping
            All numbers, as plain values.
        tags : mapping of str to str
            What the decision run says about itself in the UI.
        files : str
            Digest of the model's files, where the decision registers it.

        Returns
        -------
        Line or None
            None when another decision came first; nothing has changed then,
            but for a decision run that says so.

        Raises
        ------
        StoreError
            If the store fails.
        """
        client = mlflow.MlflowClient()
        last = after[-1] if after else None
        content = _canonical(evidence)
        with tracking.translated():
            run = client.create_run(
                self.experiment_id,
                run_name=f"{kind} · {reason[:80]}",
                tags={
                    **tags,
                    **tracking.opened(),
                    tracking.STEP_TAG: "decision",
                    "ratchet.decision": kind,
                    "mlflow.note.content": escaped(reason),
                },
            )
            # A finished run still takes what follows, and a crash leaves none RUNNING.
            client.set_terminated(run.info.run_id)
            line = Line(
                number=len(after) + 1,
                kind=kind,
                at=_now(last),
                who=who(),
                run_id=run_id,
                before=before,
                version=version,
                reason=reason[:_MAX_REASON],
                basis=basis,
                decision_run=run.info.run_id,
                evidence=_sha256(content),
                previous=last.digest if last else "",
                files=files,
            )
            with TemporaryDirectory() as folder:
                path = Path(folder) / EVIDENCE
                path.write_bytes(content)
                with tracking.unwritable_told():
                    client.log_artifact(run.info.run_id, str(path))
            won = self._write_once(_key(line.number), line.text) == line.text
            client.set_tag(
                run.info.run_id,
                _NUMBER_TAG if won else "ratchet.superseded_by",
                str(line.number),
            )
        return line if won else None

    def bind(self, line: Line, version: int) -> int:
        """Say once which version a line made; return the one that was said first."""
        return int(self._write_once(_key(line.number, "version"), str(version)))

    def sign(self, line: Line, key: str, signature: str) -> str:
        """Keep a signature of the version of a line; return the one that was kept first."""
        return self._write_once(_key(line.number, f"{_SIGNATURE}.{key}"), signature)

    def signatures(self) -> Mapping[int, Mapping[str, str]]:
        """Read all signatures: by the line, then by the key."""
        found: dict[int, dict[str, str]] = {}
        for name, text in self._params().items():
            number, _, rest = name.partition(".")
            what, _, key = rest.partition(".")
            if what == _SIGNATURE and number.isdigit():
                found.setdefault(int(number), {})[key] = text
        return found

    def finish(self, line: Line) -> None:
        """Say that the registry shows what a line says."""
        self._write_once(_key(line.number, "done"), _now(line))

    def faults(self) -> Iterator[str]:
        """Check every line and its evidence, and tell what was altered or removed.

        A line holds the digest of the one above it and of its evidence.
        Whoever changes either, in the database or in the artifact store, would
        have to change every later line as well.
        """
        params = self._params()
        numbers = sorted(int(name) for name in params if name.isdigit())
        # Asked for in pages: a run at a time takes minutes where decisions are many.
        runs = {run.info.run_id: run for run in self._decisions()}
        # So does a file at a time.
        pool = ThreadPoolExecutor(_TOGETHER)
        try:
            told: list[tuple[list[str], Future[list[str]] | None]] = []
            previous = ""
            for number in range(1, (numbers[-1] if numbers else 0) + 1):
                text = params.get(_key(number)) or ""
                faults, line = _faults_of_line(number, text, previous)
                checked = pool.submit(_faults_of_evidence, line, runs) if line else None
                told.append((faults, checked))
                previous = _sha256(text.encode()) if line else ""
            for faults, checked in told:
                yield from faults
                yield from checked.result() if checked else ()
        finally:
            # After an error, or where nobody wants to know more, the rest is not asked for.
            pool.shutdown(cancel_futures=True)
        yield from _unlisted(runs.values(), {params[_key(n)] for n in numbers if _key(n) in params})

    def evidence_of(self, line: Line, *, exact: bool = False) -> dict[str, Any]:
        """Read the evidence of a line.

        Parameters
        ----------
        line : Line
            The line.
        exact : bool
            Whether it must be what the line holds the digest of.

        Raises
        ------
        StoreError
            If it is gone, or is something else and must not be.
        """
        with tracking.translated():
            content = _evidence(mlflow.MlflowClient().get_run(line.decision_run))
        if content is None:
            raise StoreError(f"The evidence of line {line.number} of the ledger is gone.")
        if exact and _sha256(content) != line.evidence:
            raise StoreError(
                f"The evidence of line {line.number} of the ledger was altered: {EVIDENCE} of run"
                f" {line.decision_run} is not what the line holds the digest of. Restore it from a"
                " backup of the artifact store."
            )
        value: dict[str, Any] = json.loads(content)
        return value

    def has_judged(self, data_version: str) -> bool:
        """Tell whether a decision was made on a leader that was trained on a data version.

        Parameters
        ----------
        data_version : str
            The md5 that DVC gives the data.

        Raises
        ------
        StoreError
            If the store fails.
        """
        with tracking.translated():
            found = mlflow.MlflowClient().search_runs(
                [self.experiment_id], f"tags.`ratchet.data_version` = '{data_version}'"
            )
        # One that came second was superseded, and its leader judged again.
        return any(_NUMBER_TAG in run.data.tags for run in found)

    def _decisions(self) -> Iterator[Run]:
        """Go through all runs of the ledger, deleted ones too."""
        client, token = mlflow.MlflowClient(), None
        while True:
            with tracking.translated():
                page = client.search_runs(
                    [self.experiment_id],
                    run_view_type=ViewType.ALL,
                    max_results=1000,
                    page_token=token,
                )
            yield from page
            token = page.token
            if not token:
                return

    def _params(self) -> dict[str, str]:
        with tracking.translated():
            try:
                run = mlflow.MlflowClient().get_run(self.index)
            except MlflowException as error:
                if error.error_code not in tracking.UNSEEN:
                    raise
                raise StoreError(
                    f"The ledger of {self.model} is gone: its index, run {self.index}, was removed"
                    " from MLflow's store. Restore it from a backup of the store."
                ) from None
        return dict(run.data.params)

    def _write_once(self, key: str, value: str) -> str:
        """Write a param if it isn't there yet; return what stands there now."""
        client = mlflow.MlflowClient()
        with tracking.translated():
            try:
                client.log_param(self.index, key, value)
            except MlflowException as error:
                # Only what stands there says who was first: a store may answer a lost race,
                # or a lost connection after a won one, with any error.
                standing = client.get_run(self.index).data.params.get(key)
                if standing is None:
                    raise error
                return str(standing)
            return str(client.get_run(self.index).data.params[key])


def experiment_name(settings: Settings) -> str:
    """Name of the experiment with the decisions on the project's registered model."""
    return settings.ledger_name


def who() -> str:
    """Name the user and the machine, for the record."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def champion_at(lines: Sequence[Line], moment: datetime) -> Line | None:
    """Return the line that had made the champion of a moment; None when nobody was."""
    moved = [
        line for line in lines if line.kind.moves and datetime.fromisoformat(line.at) <= moment
    ]
    return moved[-1] if moved else None


def _key(number: int, what: str = "") -> str:
    return f"{number:06d}.{what}" if what else f"{number:06d}"


def _now(last: Line | None) -> str:
    """Say when it is; a clock that was set back does not take the ledger with it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return max(now, last.at) if last else now


def _faults_of_line(number: int, text: str, previous: str) -> tuple[list[str], Line | None]:
    """Check a line by the digest of the one above; give what is wrong, and what it says."""
    if not text:
        return [f"line {number} was removed"], None
    try:
        line = Line.parse(text)
    except (ValueError, TypeError, KeyError):
        return [f"line {number} was altered: it can't be read"], None
    faults = []
    if line.number != number:
        faults.append(f"line {number} was altered: it says that it is line {line.number}")
    if number == 1 and line.previous:
        faults.append("line 1 was altered: it says that another came before it")
    elif previous and line.previous != previous:
        faults.append(f"line {number - 1} was altered: line {number} holds another digest of it")
    return faults, line


def _faults_of_evidence(line: Line, runs: Mapping[str, Run]) -> list[str]:
    """Check the run of a decision and its evidence; ``runs`` are those of the ledger by id."""
    run = runs.get(line.decision_run) or tracking.read(line.decision_run)
    if run is None:
        return [f"line {line.number}: its decision run {line.decision_run} was removed"]
    if run.info.lifecycle_stage == "deleted":
        return [f"line {line.number}: its decision run {line.decision_run} was deleted"]
    faults = []
    content = _evidence(run)
    if content is None:
        faults.append(f"line {line.number}: its evidence {EVIDENCE} was removed")
    elif _sha256(content) != line.evidence:
        faults.append(f"line {line.number}: its evidence {EVIDENCE} was altered")
    if run.data.tags.get("ratchet.decision") != line.kind:
        faults.append(
            f"line {line.number}: its decision run's tag ratchet.decision was altered:"
            f" {run.data.tags.get('ratchet.decision')!r} instead of '{line.kind}'"
        )
    return faults


def _unlisted(runs: Iterable[Run], texts: set[str]) -> Iterator[str]:
    """Find decisions that hold a number and that no line names: the end was cut off."""
    listed = {json.loads(text).get("decision_run") for text in texts if text.startswith("{")}
    for run in runs:
        number = run.data.tags.get(_NUMBER_TAG)
        is_there = run.info.lifecycle_stage != "deleted"
        if number is not None and is_there and run.info.run_id not in listed:
            yield f"line {number} was removed: the decision {run.info.run_id} names it"


def _evidence(run: Run) -> bytes | None:
    """Read the evidence of a decision; None where it is gone, which a store that fails can't say.

    Raises
    ------
    StoreError
        If the store, or the place of its artifacts, fails.
    """
    client, run_id = mlflow.MlflowClient(), run.info.run_id
    try:
        with TemporaryDirectory() as folder, tracking.translated():
            try:
                path = client.download_artifacts(run_id, EVIDENCE, folder)
            except (MlflowException, OSError):
                # No code says why it can't be had; whether it is there can be asked.
                if EVIDENCE not in [each.path for each in client.list_artifacts(run_id)]:
                    return None
                raise
            return Path(path).read_bytes()
    except OSError as error:
        reason = masked(error.strerror or str(error))
        raise StoreError(f"{EVIDENCE} of run {run_id} can't be read: {reason}.") from error


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
