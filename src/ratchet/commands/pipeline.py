"""The whole pipeline in one process: what ``mlflow run .`` starts."""

from collections.abc import Callable

from ratchet import metrics, tracking
from ratchet.project import Project, alone
from ratchet.search import Candidate, TrialResult
from ratchet.steps import evaluate, notes, origin, prepare, promote, train
from ratchet.steps.promote import Decision
from ratchet.tracking import Score, Tag


@alone
def run(
    project: Project,
    on_trial: Callable[[TrialResult], None] = lambda _: None,
    on_phase: Callable[[str], None] = lambda _: None,
    *,
    on_step: Callable[[str], None] = lambda _: None,
    on_start: Callable[[Candidate], None] = lambda _: None,
) -> Decision:
    """Prepare, train, evaluate and promote, as nested runs of one parent.

    Parameters
    ----------
    project : Project
        What to run.
    on_trial, on_phase, on_start : callable
        As the steps take them.
    on_step : callable
        Is told the name of each step as it begins.

    Raises
    ------
    RatchetError
        If a step fails; the steps before it keep what they made.
    """
    on_phase("store")
    origin.require_clean(project)
    tracking.connect(project)
    with tracking.run(project, "main", name="pipeline") as run_id:
        on_step("prepare")
        prepare.run(project, on_phase)
        origin.record(run_id, project, origin.of(project, origin.read_data(project)))
        on_step("train")
        leader = train.run(project, on_trial, on_phase, on_start=on_start)
        on_step("evaluate")
        scores = evaluate.run(project, on_phase)
        on_step("promote")
        decision = promote.run(project, on_phase=on_phase)
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
