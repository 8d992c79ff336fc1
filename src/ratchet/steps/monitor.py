"""monitor: hold new rows against those that the champion learned from."""

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from ratchet import (
    datachecks,
    drift,
    expressions,
    files,
    hooks,
    lineage,
    model,
    recorded,
    splits,
    table,
    tracking,
)
from ratchet.drift import (
    ColumnDrift,
    DriftReport,
    Expected,
    Finding,
    LiveScore,
    Reference,
    Verdict,
)
from ratchet.errors import DataError, StoreError
from ratchet.expressions import listed
from ratchet.metrics import Predictions
from ratchet.project import Project
from ratchet.report import drift as page
from ratchet.schema import Schema
from ratchet.serving import rows as client_rows
from ratchet.serving import served
from ratchet.serving.served import Served
from ratchet.settings import Monitor
from ratchet.steps import notes, origin, prepare, reports
from ratchet.steps.train import PREPARE_TAG, ROWS_FILE
from ratchet.table import Table
from ratchet.tracking import File, Input, Score, Tag

logger = logging.getLogger(__name__)

HTML = "drift.html"
"""The page, beside ``drift.json``."""

VERDICT_TAG = "ratchet.drift"
"""Tag of a run that says its verdict."""
VERSION_TAG = "ratchet.monitored"
"""Tag that names the version whose training rows were held against, such as ``taxi/3``."""

MAX_ASKED = 100_000
"""Most new rows that the model is asked about: of more, so many are drawn."""

# New rows that training had too: from this share on a note says so. Honest tables repeat less.
_REPEATED = 0.5
# Characters that MLflow takes in the name of a metric, and how many of a column's name are kept.
_STRANGE = re.compile(r"[^\w\-. ]")
_LONGEST = 200


def run(
    project: Project,
    source: Path,
    *,
    labels: bool | None = None,
    reference: str | None = None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> DriftReport:
    """Compare new rows with those of a version's training; write ``build/monitor`` and a run.

    Parameters
    ----------
    project : Project
        Whose champion is watched. Its target and filter hold for the new rows too, where the
        columns that they take are there.
    source : Path
        File or folder of rows with the raw columns.
    labels : bool, optional
        Whether the new rows have labels, by which they are scored; None scores them if the target
        can be computed.
    reference : str, optional
        ``NUMBER``, ``NAME/NUMBER`` or ``NAME@ALIAS`` of another version; None takes the champion.
    on_phase : callable
        Is told what begins: ``"read"``, ``"model"``, ``"predict"``, ``"compare"``, ``"report"``,
        ``"log"``.

    Raises
    ------
    DataError
        If the rows can't be read, no row is left, the model can't take them, or labels were asked
        for and aren't there.
    StoreError
        If there is no such version, nothing is kept of its training rows, or the store fails.
    """
    started = time.monotonic()
    origin.require_clean(project)
    tracking.connect(project)
    on_phase("model")
    version = served.load(project, served.find(project, reference))
    kept = _Kept.of(version)
    logger.info("monitor: %s against the training rows of %s", source, version.label)
    on_phase("read")
    state = lineage.data_state(source, cache=project.build / "hashes.json")
    new = _NewRows.read(project, source, version, labels)
    with tracking.run(project, "monitor") as run_id:
        origin.record(run_id, project, origin.of(project, state))
        on_phase("predict")
        said = _Answers.of(project, version, kept.tested, new)
        on_phase("compare")
        report = drift.compare(
            kept.reference,
            new.features,
            project.settings.monitor,
            seed=project.settings.seed,
            answers=said.compared,
            live=said.live,
            checks=_checked(project, new, version.schema),
        )
        for finding in said.findings:
            report = drift.with_finding(report, finding)
        report = replace(
            report,
            model=version.version.model,
            version=version.version.number,
            run_id=run_id,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            source=str(source),
            data_version=state.version,
            n_read=len(new.table.frame),
            notes=(*new.notes, *said.notes, *report.notes),
        )
        on_phase("report")
        with files.whole_folder(project.monitored) as folder:
            report.save(folder / drift.FILE)
            files.write_text(folder / HTML, page.as_html(project.settings.name, report))
            on_phase("log")
            seconds = time.monotonic() - started
            tracking.write(
                run_id,
                [
                    *_scores(report),
                    Score("monitor/seconds", seconds),
                    Tag(VERDICT_TAG, report.verdict.value),
                    Tag(VERSION_TAG, version.label),
                    Tag(tracking.LEADER_TAG, version.training.run_id),
                    Input(
                        name=f"{project.settings.name}-new",
                        frame=new.features,
                        source=source,
                        digest=state.version,
                        in_dvc=state.in_dvc,
                        context="monitoring",
                    ),
                    File(folder / drift.FILE),
                    File(folder / HTML),
                    notes.of_monitor(project, report),
                ],
            )
            tracking.rename(run_id, f"monitor · {report.verdict} · {version.label}")
    logger.info(
        "monitor: %s, %s of %s columns moved, %s rows, in %.1f s",
        report.verdict,
        sum(each.verdict is not Verdict.NONE for each in report.columns),
        len(report.columns),
        f"{report.n_rows:,}",
        seconds,
    )
    if report.verdict is Verdict.DRIFT:
        hooks.fire(
            project,
            hooks.Event.DRIFT,
            {
                "version": report.version,
                "verdict": report.verdict.value,
                "reasons": list(report.reasons),
                "source": report.source,
                "data_version": report.data_version,
                "n_rows": report.n_rows,
                "live": None if report.live is None else asdict(report.live),
                "run_id": report.run_id,
                "decided_at": report.made,
            },
        )
    return report


@dataclass(frozen=True)
class _Kept:
    """What the runs of a version have kept of its training."""

    reference: Reference
    tested: Expected | None

    @classmethod
    def of(cls, version: Served) -> "_Kept":
        tags = version.training.tags
        with TemporaryDirectory() as name:
            folder = Path(name)
            prepared = tags[PREPARE_TAG]  # loading the version has read its schema from there
            found = recorded.download(prepared, drift.REFERENCE_FILE, folder)
            if found is None:
                raise StoreError(
                    f"Nothing is kept of the rows that {version.label} learned from: run"
                    f" {prepared} has no {drift.REFERENCE_FILE}. An earlier version of this"
                    " project has prepared them. Train and promote again: ratchet run; or name"
                    " another version with --version."
                )
            recorded.download(prepared, drift.SAMPLE_FILE, folder)
            reference = Reference.load(found.parent)
            tested = None
            evaluation = tags.get(reports.EVALUATE_TAG)
            if evaluation is not None:
                path = recorded.download(evaluation, drift.REFERENCE_FILE, folder)
                tested = None if path is None else Expected.load(path)
        return cls(reference, tested)


@dataclass(frozen=True)
class _NewRows:
    """The rows that are watched."""

    table: Table
    """As they were read."""
    places: np.ndarray
    """Positions of the rows that the filter keeps."""
    features: pd.DataFrame
    """Those rows, as the model takes them."""
    y: pd.Series | None
    """Their target; None where it isn't asked for or isn't there."""
    notes: tuple[str, ...]

    @classmethod
    def read(
        cls, project: Project, source: Path, version: Served, labels: bool | None
    ) -> "_NewRows":
        """Read rows, and find out which of them count and whether they have labels."""
        data = project.settings.data
        raw = table.read_table(source, drop=data.drop)
        y, why = _target(project, raw, version.schema)
        if labels and y is None:
            raise DataError(f"--labels asks for a live score, and there are no labels: {why}.")
        kept, told = _kept(project, raw, y)
        if not kept.any():
            raise DataError(
                f"data.filter keeps none of the {len(kept):,} rows of {source}: {data.filter}."
            )
        places = np.flatnonzero(kept)
        features = client_rows.accept(raw.frame.iloc[places].reset_index(drop=True), version.schema)
        found = [*raw.notes, *told, *_repeated(raw, places, version)]
        if y is None and labels is None and version.schema.target is not None:
            found.append(f"No live score: {why}.")
        wanted = y is not None and labels is not False
        return cls(
            table=raw,
            places=places,
            features=features,
            y=y.iloc[places].reset_index(drop=True) if y is not None and wanted else None,
            notes=tuple(found),
        )


@dataclass(frozen=True)
class _Answers:
    """What the model says about the new rows, and how good that is."""

    compared: tuple[drift.ColumnReference, pd.Series] | None
    live: LiveScore | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, project: Project, version: Served, tested: Expected | None, new: _NewRows
    ) -> "_Answers":
        if tested is None:
            return cls(
                None,
                None,
                (),
                (
                    "Predictions and scores were not compared: nothing is kept of those on the"
                    f" test rows of {version.label}, which this project did not evaluate.",
                ),
            )
        drawn = splits.sample(len(new.features), MAX_ASKED, project.settings.seed)
        told = []
        if len(drawn) < len(new.features):
            told.append(
                f"The model was asked about {len(drawn):,} of the {len(new.features):,} rows,"
                " drawn by chance."
            )
        said = model.predict(version.model, new.features.iloc[drawn], version.schema)
        column, _ = drift.answers(said, version.schema)
        compared = (tested.answers, column)
        if new.y is None:
            return cls(compared, None, (), tuple(told))
        y = new.y.iloc[drawn].reset_index(drop=True)
        live, findings, more = _scored(project, version, tested, new, said, y, drawn)
        return cls(compared, live, findings, (*told, *more))


def _target(project: Project, raw: Table, schema: Schema) -> tuple[pd.Series | None, str]:
    """Compute the target; say in a clause why it can't be, where it can't."""
    data = project.settings.data
    if data.target is None or schema.target is None:
        return None, "a clustering has none"
    columns = list(raw.frame.columns)
    gone = sorted(expressions.columns_used(data.target, columns) - set(columns))
    if gone:
        return None, f"the target {data.target!r} needs {listed(gone)}, which the rows don't have"
    try:
        y = expressions.evaluate(data.target, raw.frame)
    except DataError as error:
        return None, f"the target can't be computed: {str(error).rstrip('.')}"
    if y.isna().all():
        return None, f"the target {data.target!r} is missing in every row"
    return y, ""


def _kept(project: Project, raw: Table, y: pd.Series | None) -> tuple[np.ndarray, list[str]]:
    """Apply ``data.filter`` where its columns are there."""
    rule = project.settings.data.filter
    everything = np.ones(len(raw.frame), dtype=bool)
    if rule is None:
        return everything, []
    extra = {} if y is None else {"target": y}
    columns = [*raw.frame.columns, *extra]
    gone = sorted(expressions.columns_used(rule, columns) - set(columns))
    if gone:
        told = "the target" if gone == ["target"] else listed(gone)
        return everything, [
            f"data.filter was not applied, as the rows have not {told}: training rows were"
            f" filtered by {rule}, and what it leaves out may look like drift."
        ]
    return table.matching(raw.frame, rule, extra), []


def _repeated(raw: Table, places: np.ndarray, version: Served) -> list[str]:
    """Tell of rows that the model was fitted on, as far as a row is known again."""
    seen = tracking.load_array(version.training.run_id, ROWS_FILE)
    if seen is None:
        return []
    share = float(np.isin(table.row_hashes(raw.frame)[places], seen).mean())
    if share < _REPEATED:
        return []
    return [
        f"{100 * share:.0f} % of the rows are among those that {version.label} was fitted on: its"
        " score is flattered, and what is new is diluted. Name a file of new rows."
    ]


def _scored(
    project: Project,
    version: Served,
    tested: Expected,
    new: _NewRows,
    said: Predictions,
    y: pd.Series,
    drawn: np.ndarray,
) -> tuple[LiveScore | None, tuple[Finding, ...], list[str]]:
    """Score the rows that have a label; tell of those that have a strange one."""
    schema, limits = version.schema, project.settings.monitor
    known = y.notna().to_numpy()
    findings, told = [], []
    if schema.problem.is_classification:
        # An unknown class has no code, and no probability could have been right about it.
        strange = known & ~y.isin(list(schema.classes)).to_numpy(bool)
        if strange.any():
            finding = _of_classes(version, y[strange], int(known.sum()), limits)
            findings += [finding] if finding else []
            told.append(
                f"{int(strange.sum()):,} rows have a label that is none of the classes, and are"
                " not scored."
            )
        known = known & ~strange
    if not known.any():
        return None, tuple(findings), [*told, "No live score: no row has a label."]
    if not known.all():
        told.append(f"The live score is that of the {int(known.sum()):,} rows with a known label.")
    places = np.flatnonzero(known)
    live = drift.live_score(
        version.metric(project.settings.train.metric or ""),
        table.encode_target(y[known].reset_index(drop=True), schema),
        said.only(places),
        tested,
        least_loss=limits.watch.loss,
        resamples=project.settings.evaluate.resamples,
        seed=project.settings.seed,
        clusters=_clusters(project, new, drawn[places]),
    )
    return live, tuple(findings), told


def _of_classes(version: Served, strange: pd.Series, n: int, limits: Monitor) -> Finding | None:
    share = len(strange) / n
    names = [repr(each) for each in strange.unique()]
    levels = ((Verdict.DRIFT, limits.drift), (Verdict.WATCH, limits.watch))
    verdict = next((each for each, at in levels if share >= at.new_labels), None)
    if verdict is None:
        return None
    return Finding(
        verdict,
        "classes",
        f"{100 * share:.1f} % of the labels are none of the classes that {version.label} knows:"
        f" {listed(names, most=3)}.",
    )


def _clusters(project: Project, new: _NewRows, positions: np.ndarray) -> np.ndarray | None:
    """Give codes of the rows that stand or fall together, where the rows say so."""
    column = project.settings.split.column
    if column is None or column not in new.table.frame:
        return None
    by = new.table.frame[column].iloc[new.places[positions]].reset_index(drop=True)
    return prepare.together(project, by)


def _checked(project: Project, new: _NewRows, schema: Schema) -> datachecks.Report | None:
    """Hold the columns of the model against the rules of ``data.checks``."""
    rules = prepare.check_rules(project)
    if rules is None:
        return None
    return datachecks.check(
        new.table.frame.iloc[new.places],
        rules,
        only=schema.names,
        place=lambda position: new.table.place(int(new.places[position])),
    )


def _scores(report: DriftReport) -> list[Score]:
    """Give the numbers of a report as metrics; a chart compares a column over runs."""
    found = [
        Score("rows/new", report.n_rows),
        Score("rows/read", report.n_read),
        Score("drift/verdict", report.verdict.rank),
        Score("drift/findings", len(report.findings)),
    ]
    names = metric_names([each.name for each in report.columns])
    for name, column in zip(names, report.columns, strict=True):
        found += _of_column(column, f"drift/{{}}/{name}")
    if report.predictions is not None:
        found += _of_column(report.predictions, "predictions/{}")
    if report.together is not None:
        found.append(Score("drift/auc", report.together.auc))
    if report.live is not None:
        live = report.live
        numbers = {
            f"live/{live.metric}": live.score,
            f"live/{live.metric}_low": live.low,
            f"live/{live.metric}_high": live.high,
            "live/loss": live.loss,
            "rows/labelled": live.n_rows,
        }
        found += [Score(name, each) for name, each in numbers.items() if each is not None]
    return found


def _of_column(column: ColumnDrift, named: str) -> list[Score]:
    numbers = {
        "psi": column.psi,
        "distance": column.distance,
        "missing": column.missing,
        "new_labels": column.new_labels,
        "p": column.p,
    }
    return [
        Score(named.replace("{}", what, 1), each)
        for what, each in numbers.items()
        if each is not None
    ]


def metric_names(columns: Sequence[str]) -> list[str]:
    """Give each column a name that MLflow takes as a part of a metric's, and no two the same.

    Examples
    --------
    >>> metric_names(["size", "km/h", "km:h", ".."])
    ['size', 'km_h', 'km_h_2', '_']
    """
    names: list[str] = []
    for column in columns:
        # MLflow reads names as paths, and a part of dots would lead out of its folder.
        plain = _STRANGE.sub("_", column)[:_LONGEST].strip(" .") or "_"
        name, place = plain, 1
        while name in names:
            place += 1
            name = f"{plain}_{place}"
        names.append(name)
    return names
