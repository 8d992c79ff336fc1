"""The whole pipeline in one process: what ``mlflow run .`` starts."""

from collections.abc import Callable

from ratchet import metrics, tracking
from ratchet.project import Project
from ratchet.search import TrialResult
from ratchet.steps import evaluate, notes, origin, prepare, promote, train
from ratchet.steps.promote import Decision
from ratchet.tracking import Score, Tag


def run(
    project: Project,
    on_trial: Callable[[TrialResult], None] = lambda _: None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> Decision:
    """Prepare, train, evaluate and promote, as nested runs of one parent.

    Raises
    ------
    RatchetError
        If a step fails; the steps before it keep what they made.
    """
    origin.require_clean(project)
    tracking.connect(project)
    with tracking.run(project, "main", name="pipeline") as run_id:
        prepare.run(project)
        origin.record(run_id, project, origin.of(project, origin.read_data(project)))
        leader = train.run(project, on_trial, on_phase)
        scores = evaluate.run(project)
        decision = promote.run(project)
        main = scores.score(leader.metric)
        tracking.write(
            run_id,
            [
                Score(f"valid/{leader.metric}", leader.score),
                Score(f"test/{leader.metric}", main.value),
                Score("promoted", float(decision.promoted)),
                Tag("ratchet.leader_run", leader.run_id),
                notes.of_pipeline(project, leader, scores, decision),
            ],
        )
        metric = metrics.named(leader.metric_reference, scores.problem)
        name = tracking.run_name([leader.name], metric, main.value, step="pipeline")
        tracking.rename(run_id, name)
    return decision
