"""prepare: from the versioned table to training, validation and test rows."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from ratchet import (
    datachecks,
    drift,
    files,
    leakage,
    lineage,
    profile,
    runfile,
    splits,
    table,
    tracking,
)
from ratchet.datachecks import Rules
from ratchet.drift import Reference
from ratchet.lineage import DataState
from ratchet.project import Project
from ratchet.runfile import RunFile
from ratchet.schema import Schema
from ratchet.settings import SplitMethod
from ratchet.steps import notes as written
from ratchet.steps import origin, parts, piecewise, warmth
from ratchet.table import Prepared, Table
from ratchet.tracking import Input, Score

logger = logging.getLogger(__name__)

PARTS = parts.PARTS
"""Names of the parts."""

CLUSTER = parts.CLUSTER
"""Column that says which rows stand or fall together: the codes of groups, or in the test rows
of blocks of time, which the bootstrap draws whole."""

ROW = parts.ROW
"""Column with a hash of the row as the source has it, by which it is known again."""

CONTEXTS = {"train": "training", "valid": "validation", "test": "test"}

CHECKED = "data_checks.json"
"""What came out of the checks of ``data.checks``."""


@dataclass(frozen=True)
class Outcome:
    """What prepare made."""

    run_id: str
    """Run that records it."""
    rows: dict[str, int]
    """Rows of each part."""
    notes: tuple[str, ...]
    """What a reader of the table ought to know."""


def run(project: Project, on_phase: Callable[[str], None] = lambda _: None) -> Outcome:
    """Read, check, filter and split the table; write the parts to ``build/prepared``.

    Parameters
    ----------
    project : Project
        Whose table it is.
    on_phase : callable
        Is told what begins: ``"read"``, ``"leakage"``, ``"profile"``, ``"log"``.

    Raises
    ------
    DataError
        If the table can't be read or learned from, or knows the answer and
        ``data.allow`` gives no reason; nothing is written then.
    StoreError
        If MLflow's store fails.
    """
    started = time.monotonic()
    origin.require_clean(project)
    logger.info("prepare: reading %s", project.settings.data.source)
    on_phase("read")
    tracking.connect(project)
    state = lineage.data_state(project.source, cache=project.build / "hashes.json")
    rules = check_rules(project)
    with ExitStack() as stack:
        if piecewise.is_needed(project):
            logger.info(
                "prepare: the table with its copies does not fit in memory"
                " (data.memory_limit_mb), and is prepared in pieces"
            )
            made: _Made = stack.enter_context(piecewise.made(project, rules))
        else:
            made = _at_once(project, rules, on_phase)
        leakage.refuse(made.findings)
        run_id, seconds, notes = _written(project, made, state, rules, started, on_phase)
    rows = made.rows
    runfile.keep(project.prepared, run_id)
    logger.info(
        "prepare: %s rows read, %s filtered out; train %s, valid %s, test %s, in %.1f s",
        f"{made.n_read:,}",
        f"{made.n_filtered_out:,}",
        *(f"{rows[name]:,}" for name in PARTS),
        seconds,
    )
    for note in notes:
        logger.info("prepare: %s", note)
    return Outcome(run_id, rows, notes)


class _Made(Protocol):
    """A table that has been dealt, with all that is written of it."""

    @property
    def schema(self) -> Schema: ...
    @property
    def n_read(self) -> int: ...
    @property
    def n_filtered_out(self) -> int: ...
    @property
    def n_stray(self) -> int: ...
    @property
    def rows(self) -> dict[str, int]: ...
    @property
    def findings(self) -> tuple[leakage.Finding, ...]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def checked(self) -> datachecks.Report | None: ...
    @property
    def heads(self) -> dict[str, pd.DataFrame]: ...
    @property
    def profiled(self) -> pd.DataFrame: ...
    @property
    def reference(self) -> Reference: ...
    def write_parts(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class _AtOnce:
    """A table that has been dealt in memory."""

    project: Project
    schema: Schema
    prepared: Prepared
    dealt: splits.Splits
    frames: dict[str, pd.DataFrame]
    hashes: np.ndarray
    findings: tuple[leakage.Finding, ...]
    notes: tuple[str, ...]
    checked: datachecks.Report | None

    @property
    def n_read(self) -> int:
        return self.prepared.n_read

    @property
    def n_filtered_out(self) -> int:
        return self.prepared.n_filtered_out

    @property
    def n_stray(self) -> int:
        return len(self.dealt.stray)

    @property
    def rows(self) -> dict[str, int]:
        return {name: len(frame) for name, frame in self.frames.items()}

    @property
    def heads(self) -> dict[str, pd.DataFrame]:
        return self.frames

    @property
    def profiled(self) -> pd.DataFrame:
        return self.frames["train"]

    @property
    def reference(self) -> Reference:
        return _reference(self.project, self.prepared, self.dealt, self.schema)

    def write_parts(self, folder: Path) -> None:
        parts = {name: getattr(self.dealt, name) for name in PARTS}
        known = {name: {ROW: self.hashes[rows]} for name, rows in parts.items()}
        split, extra = self.project.settings.split, self.prepared.extra
        if split.column is not None:
            by = extra[split.column].iloc[parts["test"]].reset_index(drop=True)
            known["test"][CLUSTER] = together(self.project, by)
        if split.method is SplitMethod.GROUP:
            # Codes over all rows, so that folds of train and valid rows keep groups whole.
            codes = pd.factorize(extra[split.column])[0]
            for name in ("train", "valid"):
                known[name][CLUSTER] = codes[parts[name]]
        for name, frame in self.frames.items():
            table.write_parquet(frame.assign(**known[name]), folder / f"{name}.parquet")


def _at_once(project: Project, rules: Rules | None, on_phase: Callable[[str], None]) -> _AtOnce:
    """Read, check, filter and deal a table that fits in memory."""
    raw = _read(project)
    checked = None if rules is None else check_table(project, raw, rules)
    if checked is not None:
        datachecks.refuse(checked, str(project.settings.data.checks))
    prepared, hashes, dealt = _deal(project, raw)
    choices = project.settings
    on_phase("leakage")
    report = leakage.look(
        prepared.with_computed(), dealt, choices.split, seed=choices.seed, allow=choices.data.allow
    )
    frames = {
        name: prepared.frame.iloc[getattr(dealt, name)].reset_index(drop=True) for name in PARTS
    }
    schema = table.with_statistics(prepared.schema, frames["train"])
    notes = (*raw.notes, *prepared.notes, *dealt.notes, *report.notes)
    return _AtOnce(
        project, schema, prepared, dealt, frames, hashes, report.findings, notes, checked
    )


def _written(
    project: Project,
    made: _Made,
    state: DataState,
    rules: Rules | None,
    started: float,
    on_phase: Callable[[str], None],
) -> tuple[str, float, tuple[str, ...]]:
    """Write what was made to its folder and to a run; give the run, the seconds and the notes."""
    schema, checked, rows = made.schema, made.checked, made.rows
    starts = warmth.find(project, schema.problem)
    warned = [f"{each.told}." for each in checked.warnings] if checked else []
    notes = (*warned, *made.notes)
    with tracking.run(project, "prepare") as run_id:
        source = origin.of(project, state)
        origin.record(run_id, project, source)
        heads = made.heads
        with files.whole_folder(project.prepared) as folder:
            schema.save(folder / "schema.json")
            origin.write_data(state, folder)
            warmth.save(starts, folder)
            leakage.save(made.findings, folder / "leakage.json")
            if rules is not None and checked is not None:
                checked.save(folder / CHECKED, rules)
            on_phase("profile")
            title = project.settings.name
            profile.write(folder / "profile.html", made.profiled, title, rows["train"])
            made.reference.save(folder)
            made.write_parts(folder)
        on_phase("log")
        seconds = time.monotonic() - started
        tracking.write(
            run_id,
            [
                *(Score(f"rows/{name}", count) for name, count in rows.items()),
                Score("rows/read", made.n_read),
                Score("rows/filtered_out", made.n_filtered_out),
                Score("rows/stray", made.n_stray),
                Score("columns", len(schema.columns)),
                Score("prepare/seconds", seconds),
                *_inputs(project, heads, schema, state, rows),
                tracking.File(project.prepared / "schema.json"),
                tracking.File(project.prepared / "leakage.json"),
                tracking.File(project.prepared / "profile.html"),
                tracking.File(project.prepared / drift.REFERENCE_FILE),
                tracking.File(project.prepared / drift.SAMPLE_FILE),
                written.of_prepare(project, schema, rows, made.n_read, notes),
                *(_checks_items(project, checked) if checked else []),
            ],
        )
        tracking.rename(run_id, f"prepare · {sum(rows.values()):,} rows")
    return run_id, seconds, notes


def run_of(project: Project) -> str | None:
    """Find the run of ``build/prepared`` in the store, or log it again there.

    Returns
    -------
    str or None
        Its id; None when an earlier version of this project made the folder.

    Raises
    ------
    RatchetError
        If the folder lacks a file of the run.
    StoreError
        If MLflow's store fails.
    """
    kept = RunFile.load(project.prepared, made_by="prepare")
    if kept is None:
        return None
    found = runfile.find(project, kept.run_id)
    return found or runfile.log_again(project, kept, project.prepared)


def inputs(
    project: Project,
    schema: Schema,
    rows: Mapping[str, int] | None = None,
    **frames: pd.DataFrame,
) -> list[Input]:
    """Describe prepared parts, by their names, as MLflow inputs of a later step.

    Parameters
    ----------
    project : Project
        Whose parts they are.
    schema : Schema
        Their columns.
    rows : mapping of str to int, optional
        How many rows each part has, where a frame holds a sample of them.
    **frames : pd.DataFrame
        The parts.
    """
    counts = rows or {name: len(frame) for name, frame in frames.items()}
    return _inputs(project, frames, schema, origin.read_data(project), counts)


def read_part(project: Project, name: str) -> pd.DataFrame:
    """Read one of train, valid and test as prepare wrote it; a sample of one that doesn't fit.

    Raises
    ------
    RatchetError
        If prepare has not run.
    """
    return parts.part(project, name).frame()


def test_digest(rows: pd.DataFrame) -> str:
    """Name a set of test rows, whatever their order and the features taken from them."""
    return parts.digest_of(rows[ROW].to_numpy())


def check_rules(project: Project) -> Rules | None:
    """Read what the table must be like; None where nobody has said it.

    Raises
    ------
    SettingsError
        If ``data.checks`` names a file that isn't there, or says what is not allowed.
    """
    name = project.settings.data.checks
    return None if name is None else Rules.load(project.root / name)


def check_table(project: Project, raw: Table, rules: Rules) -> datachecks.Report:
    """Check the rows that ``data.filter`` keeps, but for columns that are dropped."""
    data, by = project.settings.data, project.settings.split.column
    kept = np.flatnonzero(table.rows_kept(raw, data, (by,) if by else ()))
    frame = raw.frame.iloc[kept].drop(columns=list(data.drop), errors="ignore")
    dropped = {name for name in data.drop if name not in frame}
    asked = {name: each for name, each in rules.columns.items() if name not in dropped}
    return datachecks.check(
        frame,
        rules.model_copy(update={"columns": asked}),
        place=lambda position: raw.place(int(kept[position])),
        parts={
            file.name: np.flatnonzero((kept >= end - count) & (kept < end))
            for file, count, end in zip(
                raw.files, raw.rows_per_file, np.cumsum(raw.rows_per_file), strict=True
            )
        },
    )


def _checks_items(project: Project, checked: datachecks.Report) -> list[tracking.Item]:
    return [
        Score("checks/made", checked.n_checks),
        Score("checks/warned", len(checked.warnings)),
        tracking.File(project.prepared / CHECKED),
    ]


def clusters_of(rows: pd.DataFrame) -> np.ndarray | None:
    """Give the codes of prepared rows that stand or fall together, if there are any."""
    return rows[CLUSTER].to_numpy() if CLUSTER in rows else None


def _read(project: Project) -> Table:
    dropped = project.settings.data.drop
    raw = table.read_table(project.source, drop=dropped)
    parts.refuse_own_names([str(name) for name in raw.frame if name not in dropped])
    return raw


def _deal(project: Project, raw: Table) -> tuple[Prepared, np.ndarray, splits.Splits]:
    choices = project.settings
    by = choices.split.column
    # All columns of the source count, so that a row is the same row under other features.
    hashes = table.row_hashes(raw.frame)
    keep, visible = parts.carried(project, list(raw.frame.columns))
    prepared = table.prepare_table(
        raw, choices.data, choices.train.problem, keep=keep, visible=visible
    )
    labels = None
    if prepared.schema.problem.is_classification:
        labels = prepared.frame[prepared.schema.target].to_numpy()
    dealt = splits.split(
        len(prepared.frame),
        choices.split,
        choices.seed,
        labels=labels,
        by=prepared.extra[by] if by else None,
    )
    return prepared, hashes[prepared.kept], dealt


def _reference(
    project: Project, prepared: Prepared, dealt: splits.Splits, schema: Schema
) -> Reference:
    """Describe the rows that the leader will be fitted on, for whoever watches new ones."""
    choices = project.settings
    rows = np.sort(np.concatenate([dealt.train, dealt.valid]))
    frame = prepared.frame.iloc[rows].reset_index(drop=True)
    clock = None
    if choices.split.method is SplitMethod.TIME:
        clock = prepared.extra[choices.split.column].iloc[rows].reset_index(drop=True)
    return Reference.of(
        frame,
        schema,
        growing=drift.growing(frame, schema.columns, clock),
        sample_rows=choices.monitor.sample_rows,
        seed=choices.seed,
    )


def together(project: Project, by: pd.Series) -> np.ndarray:
    """Give the codes of rows that stand or fall together, from the values of ``split.column``.

    Parameters
    ----------
    project : Project
        Whose rows are dealt by time or by groups.
    by : pd.Series of shape (n_rows,)
        Times or groups.
    """
    return parts.together(project.settings.split, by)


def _inputs(
    project: Project,
    frames: dict[str, pd.DataFrame],
    schema: Schema,
    state: DataState,
    rows: Mapping[str, int],
) -> list[Input]:
    return [
        Input(
            name=f"{project.settings.name}-{name}",
            frame=frame.drop(columns=[ROW, CLUSTER], errors="ignore"),
            source=project.source,
            digest=state.version,
            in_dvc=state.in_dvc,
            context=CONTEXTS[name],
            target=schema.target,
            n_rows=rows[name] if rows[name] > len(frame) else None,
        )
        for name, frame in frames.items()
    ]
