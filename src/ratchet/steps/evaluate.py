"""evaluate: open the test set once and judge the leader on it."""

import logging
import time

import numpy as np
import pandas as pd

from ratchet import evaluation, files, metrics, model, tracking
from ratchet.evaluation import Evaluation
from ratchet.metrics import Predictions
from ratchet.project import Project
from ratchet.schema import Schema
from ratchet.steps import origin, prepare
from ratchet.steps.train import Leader
from ratchet.table import encode_target
from ratchet.tracking import Score, Tag

logger = logging.getLogger(__name__)

# Points in the plot of predicted against actual.
PLOT_ROWS = 1000


def run(project: Project) -> Evaluation:
    """Score the leader and the baseline on the test rows, with intervals.

    Raises
    ------
    RatchetError
        If prepare or train has not run.
    StoreError
        If MLflow's store fails, or has not the leader's run.
    """
    started = time.monotonic()
    tracking.connect(project)
    leader = Leader.load(project)
    schema = Schema.load(project.prepared / "schema.json")
    rows = prepare.read_part(project, "test")
    logger.info("evaluate: %s on %s test rows", leader.name, f"{len(rows):,}")
    tracking.require(leader.run_id)
    with tracking.run(project, "evaluate", parent=leader.run_id) as run_id:
        origin.record(run_id, project, origin.of(project, origin.read_data(project)))
        tracking.write(run_id, prepare.inputs(project, schema, test=rows))
        y = encode_target(rows[schema.target], schema)
        predicted, trivial = (
            model.predict(tracking.load_model(str(project.trained / name)), rows, schema)
            for name in ("model", "baseline")
        )
        leads, base = (judge(project, schema, y, each, rows) for each in (predicted, trivial))
        numbers = {**leads.flat("test"), **base.flat("baseline/test")}
        with files.whole_folder(project.evaluated) as folder:
            files.write_json(folder / "metrics.json", numbers)
            drawn = _sample(schema, y, predicted, project.settings.seed)
            drawn.to_csv(folder / "predictions.csv", index=False)
        seconds = time.monotonic() - started
        scores = [Score(name, value) for name, value in numbers.items()]
        digest = prepare.test_digest(rows)
        uses = tracking.count_uses(project, digest, but=leader.run_id)
        tracking.write(
            run_id,
            [
                *scores,
                Score("test/uses_before", uses),
                Score("evaluate/seconds", seconds),
                Tag(tracking.TEST_TAG, digest),
                Tag(tracking.LEADER_TAG, leader.run_id),
            ],
        )
        tracking.write(leader.run_id, [*scores, Tag("ratchet.evaluate_run", run_id)])
        main = leads.score(leader.metric)
        tracking.rename(run_id, f"evaluate · {leader.name} · {leader.metric} {main.value:.4g}")
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
    y : ndarray of shape (n_rows,)
        Class codes or quantities.
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
        clusters=clusters(rows),
    )


def clusters(rows: pd.DataFrame) -> np.ndarray | None:
    """Give the codes of test rows that stand or fall together, if there are any."""
    return rows[prepare.CLUSTER].to_numpy() if prepare.CLUSTER in rows else None


def _sample(schema: Schema, y: np.ndarray, predicted: Predictions, seed: int) -> pd.DataFrame:
    """Draw rows for the plot of predicted against actual, which needs no more."""
    rows = np.random.default_rng(seed).permutation(len(y))[:PLOT_ROWS]
    pair = pd.DataFrame({"actual": y[rows], "predicted": predicted.values[rows]})
    if not schema.problem.is_classification:
        return pair.round(4)
    return pair.map(lambda code: str(schema.classes[int(code)]))
