"""predict: answers for a table of any size, beside its rows."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa

from ratchet import conformal, datachecks, lineage, recorded, table, tracking
from ratchet.conformal import Conformal
from ratchet.datachecks import Report, Rules
from ratchet.errors import DataError, InterruptionError, RatchetError, StoreError
from ratchet.expressions import listed, no_column
from ratchet.interrupts import terminated_as_interrupt
from ratchet.problem import ProblemType
from ratchet.project import Project
from ratchet.registry import champion
from ratchet.registry.versions import Version
from ratchet.serving import bulk, jobs, served
from ratchet.serving.bulk import Inputs
from ratchet.serving.columns import AnswerColumns
from ratchet.serving.jobs import Input, Job, Order
from ratchet.serving.served import Served
from ratchet.steps import prepare
from ratchet.table import TableFile
from ratchet.tracking import Item, Param, Score, Tag

logger = logging.getLogger(__name__)

# Cells of a piece where the user gives no number of rows: three pieces are in memory at a time.
_CELLS = 2_000_000
_FEWEST, _MOST = 1_000, 100_000


@dataclass(frozen=True)
class Request:
    """What is to be scored, and how."""

    data: Path
    """A table: a file, or a folder of files."""
    out: Path
    """A file to write, or a folder for a file of each input."""
    version: str | None = None
    """Which version answers; None means the champion."""
    id: str | None = None
    """Column that tells rows apart; None numbers them by their file."""
    only_answers: bool = False
    """Whether the columns of the input are left out."""
    prefix: str = ""
    """What the names of the new columns begin with."""
    confidence: float | None = None
    """Share of the intervals that are to hold the truth; None takes ``evaluate.confidence``."""
    rows_at_once: int | None = None
    """Rows of a piece; None decides by the number of columns."""
    checks: bool = True
    """Whether the rules of ``data.checks`` are asked."""
    strict: bool = False
    """Whether nothing is written if one of them is broken that must hold."""
    force: bool = False
    """Whether an output that is there is replaced, and one that was begun is begun anew."""
    record: bool = True
    """Whether the work becomes a run in MLflow."""


@dataclass(frozen=True)
class Scored:
    """An output that is there."""

    out: str
    """The file or folder."""
    version: str
    """The version that answered, such as ``taxi/3``."""
    rows: int
    """Rows that were answered."""
    files: int
    """Files of the input."""
    seconds: float
    """Wall-clock time; of this call only."""
    resumed: int = 0
    """Rows of an interrupted call that were taken over."""
    nothing_to_do: bool = False
    """Whether an earlier call had done all of it."""
    confidence: float | None = None
    """What the intervals promise; None where there are none."""
    broken: tuple[str, ...] = ()
    """Rules of ``data.checks`` that rows break, one sentence each."""
    run_id: str | None = None
    """The run that records it."""
    notes: tuple[str, ...] = ()
    """What a user ought to know."""

    def line(self) -> str:
        """Say it in one line."""
        if self.nothing_to_do:
            return (
                f"predict: nothing to do: {self.out} has the answers of {self.version} to"
                f" {self.rows:,} rows already"
            )
        speed = (self.rows - self.resumed) / max(self.seconds, 1e-9)
        before = f", {self.resumed:,} of them before" if self.resumed else ""
        return (
            f"predict: {self.version} answered {self.rows:,} rows{before}, in"
            f" {self.seconds:.1f} s ({speed:,.0f} a second), in {self.out}"
        )


def run(
    project: Project,
    request: Request,
    on_rows: Callable[[int, float], None] = lambda _rows, _share: None,
) -> Scored:
    """Answer every row of a table, a piece at a time, and write it down.

    Interrupted, however that came about, the same call goes on where it was.
    What it writes is there whole or not at all, and of one version.

    Parameters
    ----------
    project : Project
        Whose champion answers.
    request : Request
        What is wanted.
    on_rows : callable
        Is told how many rows are done, and which share of the input, 0 to 1.

    Raises
    ------
    DataError
        If the table can't be read, lacks a column that the model needs, or holds
        something else than that; nothing is left of the output then.
    RatchetError
        If the output is there already and is another one, or can't be written.
    StoreError
        If there is no such version, or it can't be loaded.
    InterruptionError
        In place of Ctrl-C and SIGTERM.
    """
    started = time.monotonic()
    source, out = request.data.absolute(), request.out.absolute()
    paths, _ = table.table_files(source, "--data")
    _refuse_overlap(source, paths, out)
    jobs.is_file(out)
    tracking.connect(project)
    done = [0]

    def told(n_rows: int, share: float) -> None:
        done[0] = n_rows
        on_rows(n_rows, share)

    with jobs.alone(out), terminated_as_interrupt():
        try:
            return _run(project, request, paths, out, told, started)
        except KeyboardInterrupt:
            kept = jobs.unfinished(out) is not None
            raise InterruptionError(
                f"predict was interrupted after {done[0]:,} rows;"
                f" {'the same command goes on from there' if kept else 'nothing was written'}."
            ) from None


def _run(
    project: Project,
    request: Request,
    paths: Sequence[Path],
    out: Path,
    on_rows: Callable[[int, float], None],
    started: float,
) -> Scored:
    rules = prepare.check_rules(project) if request.checks else None
    version, order, before = _ordered(project, request, paths, out, rules)
    if before is not None:
        return before
    asked = served.load(project, version)
    known = _conformal(asked)
    confidence = request.confidence or project.settings.evaluate.confidence
    answering = AnswerColumns(asked, known, confidence, request.prefix)
    notes = [*_no_interval(asked, known)]
    if known is not None:
        known.half_widths(pd.Series(dtype="float64").to_numpy(), confidence)
    opened = [TableFile.open(path) for path in paths]
    order = replace(order, rows_at_once=order.rows_at_once or _rows_at_once(opened))
    inputs = Inputs(asked.schema, rules, opened)
    inputs.refuse_columns()
    schemas = _schemas(request, out, opened, answering)
    numbers = [each.name for each in answering.fields if pa.types.is_floating(each.type)]
    job = Job(out, order, schemas, (*numbers, f"{request.prefix}source_row"))
    logger.info(
        "predict: %s answers %s (%s)",
        asked.label,
        request.data,
        f"{len(paths):,} files" if len(paths) > 1 else "1 file",
    )
    if request.strict and rules is not None:
        datachecks.refuse(inputs.judged(order.rows_at_once), str(project.settings.data.checks))
    try:
        job.begin()
        whole = bulk.score(job, inputs, answering, on_rows, numbered=request.id is None)
        if not whole.rows:
            raise DataError(f"{request.data} has columns and no rows. Check how it was written.")
        report = None
        if rules is not None:
            report = whole.tally.report(rules, only=asked.schema.names)
        scored = Scored(
            out=str(request.out),
            version=asked.label,
            rows=whole.rows,
            files=len(paths),
            seconds=time.monotonic() - started,
            resumed=whole.resumed,
            confidence=confidence if known is not None else None,
            broken=tuple(each.told for each in report.failures) if report else (),
            notes=tuple(notes),
        )
        job.finish(asdict(scored))
    except DataError:
        jobs.discard(out)
        raise
    except (OSError, pa.ArrowException) as error:
        raise RatchetError(
            f"Can't write {out}: {error}. The same command goes on from where it was."
        ) from error
    scored = _recorded(project, request, order, scored, report)
    for each in scored.broken:
        logger.warning("predict: %s", each)
    for each in notes:
        logger.info("predict: %s", each)
    logger.info("%s", scored.line())
    return scored


def _refuse_overlap(source: Path, paths: Sequence[Path], out: Path) -> None:
    if out.resolve() in {path.resolve() for path in (source, *paths)}:
        raise RatchetError(f"{out} is the input, too. Name another output.")
    if source.is_dir() and jobs.is_file(out) and out.parent.resolve() == source.resolve():
        raise RatchetError(
            f"{out} would lie among the inputs, and be one of them the next time. Name a place"
            " outside of their folder."
        )


def _ordered(
    project: Project, request: Request, paths: Sequence[Path], out: Path, rules: Rules | None
) -> tuple[Version, Order, Scored | None]:
    """Settle which version answers, and whether an earlier call is gone on with, or did it all."""
    begun = None if request.force else jobs.unfinished(out)
    if request.force:
        jobs.discard(out)
    reference = begun.version if begun and request.version is None else request.version
    version = served.find(project, reference)
    label = version.label
    order = Order(
        version=label,
        run_id=version.run_id,
        inputs=tuple(_input(project, path) for path in paths),
        rows_at_once=request.rows_at_once or 0,
        choices={
            "--id": request.id,
            "--only-answers": request.only_answers,
            "--prefix": request.prefix,
            "--confidence": request.confidence or project.settings.evaluate.confidence,
            "the file of rules": None if rules is None else _digest(rules),
        },
    )
    if begun is not None:
        differences = begun.differences(order)
        if begun.version != label or begun.run_id != version.run_id:
            differences.insert(0, f"{begun.version} answers, and not {label}")
        if differences:
            raise RatchetError(
                f"{out} was begun otherwise: {'; '.join(differences)}. Begin it anew with --force."
            )
        _tell_of_another(project, begun)
        return version, begun, None
    if not out.exists() or request.force:
        return version, order, None
    done = jobs.finished(out)
    if done is None:
        raise RatchetError(f"{out} is there already. Replace it with --force, or name another.")
    differences = done.order.differences(order)
    if done.order.version != label or done.order.run_id != version.run_id:
        differences.insert(0, f"{done.order.version} answered, and now {label} would")
    if differences:
        raise RatchetError(
            f"{out} is there already, made otherwise: {'; '.join(differences)}. Replace it with"
            " --force, or name another."
        )
    again = {**done.told, "notes": (), "broken": tuple(done.told["broken"])}
    scored = Scored(**{**again, "nothing_to_do": True, "seconds": 0.0, "resumed": 0})
    logger.info("%s", scored.line())
    return version, order, scored


def _tell_of_another(project: Project, begun: Order) -> None:
    try:
        now = champion.current(project.settings)
    except StoreError:
        return
    if now is not None and now.run_id != begun.run_id:
        logger.warning(
            "predict: going on with %s, with which it was begun; %s is the champion now, which"
            " --force begins anew with",
            begun.version,
            now.label,
        )


def _input(project: Project, path: Path) -> Input:
    version = lineage.data_version(path, cache=project.build / "hashes.json")
    return Input(path.name, version, path.stat().st_size)


def _digest(rules: Rules) -> str:
    return hashlib.sha256(rules.model_dump_json().encode()).hexdigest()[:16]


def _rows_at_once(opened: Sequence[TableFile]) -> int:
    columns = max(len(file.schema) for file in opened)
    return min(_MOST, max(_FEWEST, _CELLS // max(1, columns)))


def _conformal(asked: Served) -> Conformal | None:
    """Read what train has left about the errors of a regression."""
    if asked.schema.problem is not ProblemType.REGRESSION:
        return None
    with TemporaryDirectory() as folder:
        found = recorded.download(asked.training.run_id, conformal.FILE, Path(folder))
        return None if found is None else Conformal.load(found)


def _no_interval(asked: Served, known: Conformal | None) -> Iterator[str]:
    if asked.schema.problem is ProblemType.REGRESSION and known is None:
        yield (
            f"there are no intervals: the training of {asked.label} has not recorded how far off it"
            " was"
        )


def _schemas(
    request: Request, out: Path, opened: Sequence[TableFile], answering: AnswerColumns
) -> dict[str, pa.Schema]:
    """Lay out the output of each input: its own columns, then the answers, then its rows' names."""
    fields = list(answering.fields)
    if request.id is None:
        fields += [
            pa.field(f"{request.prefix}source_file", pa.string()),
            pa.field(f"{request.prefix}source_row", pa.int64()),
        ]
    kept = {}
    for each in opened:
        names = each.schema.names
        if request.id is not None and request.id not in names:
            raise DataError(f"{each.path.name}: --id: {no_column(request.id, names)}")
        clash = [] if request.only_answers else [f.name for f in fields if f.name in names]
        if request.only_answers and request.id in [f.name for f in fields]:
            clash = [str(request.id)]
        if clash:
            raise DataError(
                f"{each.path.name} has columns that the answers would be called:"
                f" {listed(clash)}. Call these otherwise, for example with --prefix ratchet_, or"
                " leave the input's columns out with --only-answers."
            )
        kept[each.path.name] = each.schema.remove_metadata()
    if request.only_answers:
        wanted = [] if request.id is None else [request.id]
        kept = {
            name: pa.schema([schema.field(each) for each in wanted])
            for name, schema in kept.items()
        }
    elif jobs.is_file(out):
        kept = dict.fromkeys(kept, table.one_schema(opened))
    results = [Job(out, _NO_ORDER, {}).result_of(name).name for name in kept]
    twice = [name for name in results if results.count(name) > 1]
    if twice and not jobs.is_file(out):
        raise DataError(f"Two inputs would both become {twice[0]}. Rename one of them.")
    for schema, name in zip(kept.values(), results, strict=True):
        nested = jobs.unwritable(schema, Path(name))
        if nested:
            raise DataError(
                f"A CSV file can't hold columns of lists and records: {listed(list(nested))}. Name"
                " an output that ends in .parquet, or leave the input's columns out with"
                " --only-answers."
            )
    return {name: pa.schema([*schema, *fields]) for name, schema in kept.items()}


_NO_ORDER = Order("", "", (), 0, {})


def _recorded(
    project: Project, request: Request, order: Order, scored: Scored, report: Report | None
) -> Scored:
    """Make a run of it; answers that are there don't depend on that."""
    if not request.record:
        return scored
    try:
        version = lineage.data_version(request.data, cache=project.build / "hashes.json")
        with tracking.run(
            project, "predict", name=f"predict · {scored.version} · {scored.rows:,} rows"
        ) as run_id:
            tracking.write(run_id, _items(request, order, scored, report, version))
    except (StoreError, DataError) as error:
        logger.warning("predict: it is not on record: %s", error)
        return scored
    return replace(scored, run_id=run_id)


def _items(
    request: Request, order: Order, scored: Scored, report: Report | None, data_version: str
) -> list[Item]:
    return [
        Param("version", scored.version),
        Param("data", request.data),
        Param("out", request.out),
        Param("rows_at_once", order.rows_at_once),
        *(Param(name.removeprefix("--"), value) for name, value in _options(order.choices)),
        Tag("ratchet.version", scored.version),
        Tag("ratchet.leader_run", order.run_id),
        Tag("ratchet.data_version", data_version),
        Score("predict/rows", scored.rows),
        Score("predict/seconds", scored.seconds),
        *([Score("checks/broken", len(report.failures))] if report else []),
    ]


def _options(choices: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in choices.items():
        if name.startswith("--"):
            yield name, value
