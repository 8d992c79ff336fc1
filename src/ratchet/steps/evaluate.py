"""evaluate: open the test set once and judge the leader on it."""

import logging
import time
from collections.abc import Callable
from math import isfinite

import numpy as np
import pandas as pd

from ratchet import clusters as clustering
from ratchet import conformal, drift, evaluation, files, metrics, runfile, table, tracking
from ratchet.conformal import Conformal, Coverage
from ratchet.drift import Expected
from ratchet.evaluation import Evaluation
from ratchet.metrics import Predictions
from ratchet.project import Project, alone
from ratchet.report import plots
from ratchet.schema import Schema
from ratchet.serving import models
from ratchet.settings import SplitMethod
from ratchet.steps import diagnosis, notes, origin, prepare, reports, restore
from ratchet.steps.diagnosis import Subject
from ratchet.steps.tested import Tested
from ratchet.steps.train import ROWS_FILE, Leader
from ratchet.table import encode_target
from ratchet.tracking import File, Score, Tag

logger = logging.getLogger(__name__)

# Fewer rows than these have no score of their own.
MIN_UNSEEN = 20
# Points in the plot of predicted against actual.
PLOT_ROWS = 1000


@alone
def run(project: Project, on_phase: Callable[[str], None] = lambda _: None) -> Evaluation:
    """Score the leader and the baseline on the test rows, with intervals.

    Parameters
    ----------
    project : Project
        Whose leader is judged.
    on_phase : callable
        Is told what begins: ``"predict"``, ``"scores and intervals"``, ``"report"``, ``"log"``.

    Raises
    ------
    RatchetError
        If prepare or train has not run.
    StoreError
        If MLflow's store fails, or has not the leader's run, which can't be logged again.
    """
    started = time.monotonic()
    origin.require_clean(project)
    tracking.connect(project)
    trained = Leader.load(project)
    schema = Schema.load(project.prepared / "schema.json")
    tested = Tested.of(project, schema)
    digest = tested.digest
    logger.info("evaluate: %s on %s test rows", trained.name, f"{tested.n_rows:,}")
    if tested.places is not None:
        logger.info(
            "evaluate: they are scored in pieces, as they do not fit in memory"
            " (data.memory_limit_mb); the report is made from a sample of %s",
            f"{len(tested.rows):,}",
        )
    leader = restore.leader(project)
    with runfile.recorded(
        project, "evaluate", project.evaluated, parent=leader.run_id, about=trained.run_id
    ) as (folder, run_id):
        origin.record(run_id, project, origin.of(project, origin.read_data(project)))
        counts = {"test": tested.n_rows}
        tracking.write(run_id, prepare.inputs(project, schema, counts, test=tested.rows))
        on_phase("predict")
        scored = tested.everyone
        y = truth(project, schema, scored)
        ours, constant = (
            models.load(project, str(project.trained / name)) for name in ("model", "baseline")
        )
        predicted, trivial = (tested.predict(each) for each in (ours, constant))
        on_phase("scores and intervals")
        leads, base = (judge(project, schema, y, each, scored) for each in (predicted, trivial))
        numbers = {**leads.flat("test"), **base.flat("baseline/test")}
        if schema.target is None:
            numbers |= clustering.Sizes.of(predicted.values).flat("test")
        numbers |= _on_unseen_rows(project, schema, y, predicted, scored)
        coverage = _coverage(project, y, predicted)
        if coverage is not None:
            numbers["test/interval_coverage"] = coverage.share
            numbers["test/interval_width"] = coverage.width
        drawn = _sample(schema, y, predicted, scored, project.settings.seed)
        drawn.to_csv(folder / "predictions.csv", index=False)
        report = folder / reports.FOLDER
        performance = None
        if project.settings.evaluate.report:
            on_phase("report")
            y_here, (said, trivially) = tested.here(y, predicted, trivial)
            subject = Subject(
                project=project,
                schema=schema,
                leader=leader,
                metric=metrics.named(leader.metric_reference, schema.problem),
                model=ours,
                baseline=constant,
                rows=tested.rows,
                y=y_here,
                predicted=said,
                trivial=trivially,
                scores=leads,
                trivial_scores=base,
                test=digest,
                n_test=tested.n_rows,
                coverage=coverage,
            )
            found = diagnosis.of(subject)
            performance = found.performance
            numbers |= found.scores.flat() if found.scores else {}
            reports.evaluated(project, leader, found, report, evaluation=run_id)
        plots.write(report / plots.FOLDER, schema.problem, drawn, performance)
        files.write_json(folder / "metrics.json", numbers)
        _tested(schema, leader, predicted, leads, base).save(folder / drift.REFERENCE_FILE)
        on_phase("log")
        seconds = time.monotonic() - started
        # On both runs they came out at the same time.
        now = int(1000 * time.time())
        scores = [Score(name, value, at=now) for name, value in numbers.items()]
        uses = tracking.count_uses(project, digest, but=leader.run_id)
        tracking.write(
            run_id,
            [
                *scores,
                Score(tracking.USES_SCORE, uses),
                Score("evaluate/seconds", seconds),
                Tag(tracking.TEST_TAG, digest),
                Tag(tracking.LEADER_TAG, leader.run_id),
                File(folder / drift.REFERENCE_FILE),
                notes.of_evaluate(project, leader, leads, base, uses),
            ],
        )
        note = notes.of_leader(project, leader, numbers)
        tracking.write(leader.run_id, [*scores, Tag(reports.EVALUATE_TAG, run_id), note])
        main = leads.score(leader.metric)
        metric = metrics.named(leader.metric_reference, schema.problem)
        name = tracking.run_name([leader.name], metric, main.value, step="evaluate")
        tracking.rename(run_id, name)
    logger.info(
        "evaluate: test/%s %.4g [%.4g, %.4g], baseline %.4g, in %.1f s",
        leader.metric,
        main.value,
        main.low,
        main.high,
        base.score(leader.metric).value,
        seconds,
    )
    return leads


def require(project: Project) -> None:
    """Make sure that the leader has been evaluated.

    Raises
    ------
    RatchetError
        If evaluate has not run.
    """
    files.read_json(project.evaluated / "metrics.json", made_by="evaluate")


def judged(project: Project, schema: Schema, rows: pd.DataFrame) -> pd.DataFrame:
    """Give the test rows that are scored: all, but for a clustering of many a sample."""
    return rows if schema.target else clustering.judged(rows, project.settings.seed)


def truth(project: Project, schema: Schema, rows: pd.DataFrame) -> np.ndarray:
    """Give what predictions are held against.

    Returns
    -------
    np.ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Class codes or quantities; for a clustering the places of the rows in
        the space of these rows, which is no model's own.
    """
    if schema.target is None:
        by_time = project.settings.split.method is SplitMethod.TIME
        return clustering.space(rows, schema, time_ordered=by_time)
    return encode_target(rows[schema.target], schema)


def judge(
    project: Project, schema: Schema, y: np.ndarray, predictions: Predictions, rows: pd.DataFrame
) -> Evaluation:
    """Give all scores that fit the problem, with intervals.

    Parameters
    ----------
    project : Project
        Whose settings say how many resamples and which confidence.
    schema : Schema
        The columns and the problem.
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        What ``truth`` gives.
    predictions : Predictions
        Of the model that is judged, on the same rows.
    rows : pd.DataFrame
        The test rows, with their clusters if they have any.
    """
    wanted = project.settings.train.metric
    optimised = metrics.named(wanted, schema.problem) if wanted else metrics.default(schema.problem)
    all_that_fit = {each.name: each for each in (optimised, *metrics.for_problem(schema.problem))}
    return evaluation.evaluate(
        y,
        predictions,
        tuple(all_that_fit.values()),
        resamples=project.settings.evaluate.resamples,
        confidence=project.settings.evaluate.confidence,
        seed=project.settings.seed,
        clusters=prepare.clusters_of(rows),
    )


def _tested(
    schema: Schema, leader: Leader, predicted: Predictions, leads: Evaluation, base: Evaluation
) -> Expected:
    """Keep the leader's answers and its score, for whoever watches what it answers later."""
    column, kind = drift.answers(predicted, schema)
    main = leads.score(leader.metric)
    low, high = (each if isfinite(each) else None for each in (main.low, main.high))
    return Expected(
        answers=drift.ColumnReference.of(column, kind),
        metric=leader.metric,
        score=main.value,
        low=low,
        high=high,
        baseline=base.score(leader.metric).value,
        confidence=leads.confidence,
        n_rows=leads.n_rows,
    )


def _on_unseen_rows(
    project: Project, schema: Schema, y: np.ndarray, predicted: Predictions, rows: pd.DataFrame
) -> dict[str, float]:
    """Score the rows that repeat no row the leader was fitted on, where there are others.

    A model that knows rows by heart is right about their repetitions, and only
    these scores tell what it makes of a new one.
    """
    seen = table.read_array(project.trained / ROWS_FILE, made_by="train")
    new = ~np.isin(rows[prepare.ROW].to_numpy(), seen)
    if schema.target is None or new.all() or new.sum() < MIN_UNSEEN:
        return {}
    scores = judge(project, schema, y[new], predicted.only(new), rows[new])
    return {**scores.flat("test_unseen"), "test_unseen/rows": float(new.sum())}


def _coverage(project: Project, y: np.ndarray, predicted: Predictions) -> Coverage | None:
    """Tell what becomes of the intervals that ``predict`` would give to the test rows."""
    known = Conformal.load(project.trained / conformal.FILE)
    confidence = project.settings.evaluate.confidence
    if known is None or confidence > known.most:
        return None
    half_widths = known.half_widths(predicted.values, confidence)
    return Coverage.of(y, predicted.values, half_widths)


def _sample(
    schema: Schema, y: np.ndarray, predicted: Predictions, scored: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """Draw rows for the plot of predicted against actual, or of clusters, which needs no more.

    Clusters have no actual value: their rows come with their hash, by which they
    are known again, and with their places on the two axes along which rows differ most.
    """
    rows = np.random.default_rng(seed).permutation(len(y))[:PLOT_ROWS]
    if schema.target is None:
        axes = clustering.axes(y)[rows].round(4)
        return pd.DataFrame(
            {
                "row": scored[prepare.ROW].to_numpy()[rows],
                "cluster": predicted.values[rows],
                "x": axes[:, 0],
                "y": axes[:, 1],
            }
        )
    pair = pd.DataFrame({"actual": y[rows], "predicted": predicted.values[rows]})
    if not schema.problem.is_classification:
        return pair.round(4)
    return pair.map(lambda code: str(schema.classes[int(code)]))
