"""Find the runs of cached outputs in the connected store, or log them again there.

DVC takes outputs from its cache where nothing has changed, on a fresh clone
and in CI too, and the store may be another one by then: a new database, or a
team's server.
"""

from dataclasses import replace

from ratchet import files, runfile, tracking
from ratchet.errors import StoreError
from ratchet.project import Project, tracking_uri
from ratchet.runfile import RunFile
from ratchet.steps import notes, prepare, reports
from ratchet.steps.reports import EVALUATE_TAG
from ratchet.steps.train import PREPARE_TAG, Leader
from ratchet.tracking import Tag


def look(project: Project) -> Leader | None:
    """Return the leader with the ids that it has in the store; None when it isn't there.

    Nothing is written.

    Raises
    ------
    RatchetError
        If train has not run.
    StoreError
        If MLflow's store fails.
    """
    trained = Leader.load(project)
    found = runfile.find(project, trained.run_id)
    return None if found is None else _known_as(trained, found)


def leader(project: Project) -> Leader:
    """Return the leader with the ids that it has in the store.

    Where the store lacks the run that trained it, or the one that prepared
    its rows, it is logged again from ``build``, in which nothing changes:
    DVC would take a changed output for a stage that has to run.

    Raises
    ------
    RatchetError
        If train has not run, or a file of it is gone.
    StoreError
        If MLflow's store fails; or it lacks the run and an earlier version of
        this project, which wrote no run.json, has trained the leader.
    """
    trained = Leader.load(project)
    prepared = prepare.run_of(project)
    found = runfile.find(project, trained.run_id)
    if found is not None:
        return _known_as(trained, found)
    kept = RunFile.load(project.trained, made_by="train")
    if kept is None:
        raise StoreError(
            f"The leader's run {trained.run_id} is not in {tracking.masked(tracking_uri(project))}:"
            " it was trained with another store, and"
            f" {project.trained.relative_to(project.root).as_posix()} has no run.json to log it"
            " again from. Train again with `dvc repro -f train`, or set MLFLOW_TRACKING_URI to"
            " the store that has it."
        )
    found = runfile.log_again(
        project,
        kept,
        project.trained,
        tags={PREPARE_TAG: _preparation(project, kept, prepared)},
        model=project.trained / "model",
    )
    return _known_as(trained, found)


def evaluation(project: Project, leader: Leader) -> None:
    """Log the run of ``build/evaluate`` again if the store lacks it; the leader's gets its scores.

    Parameters
    ----------
    project : Project
        Whose outputs they are.
    leader : Leader
        The leader, with the ids that it has in the store.

    Raises
    ------
    RatchetError
        If evaluate has not run, or a file of it is gone.
    StoreError
        If MLflow's store fails.
    """
    kept = RunFile.load(project.evaluated, made_by="evaluate")
    # Whoever trained again by hand has an evaluation of another leader there.
    if kept is None or kept.about != Leader.load(project).run_id:
        return
    run_id = runfile.find(project, kept.run_id)
    if run_id is None:
        run_id = runfile.log_again(
            project,
            kept,
            project.evaluated,
            parent=leader.run_id,
            tags={tracking.LEADER_TAG: leader.run_id},
        )
    elif _has_scores(project, leader):
        return
    numbers = files.read_json(project.evaluated / "metrics.json", made_by="evaluate")
    scores = [score for score in kept.scores if score.name in numbers]
    # Before the tag, which says that all of it is there.
    reports.restored(project, leader, evaluation=run_id)
    note = notes.of_leader(project, leader, numbers)
    tracking.write(leader.run_id, [*scores, Tag(EVALUATE_TAG, run_id), note])


def _known_as(trained: Leader, run_id: str) -> Leader:
    if run_id == trained.run_id:
        return trained
    return replace(trained, run_id=run_id, model_uri=tracking.model_uri_of(run_id))


def _preparation(project: Project, kept: RunFile, prepared: str | None) -> str | None:
    """Find the run that a restored one names as its preparation: its own, or one like it."""
    named = kept.tags.get(PREPARE_TAG)
    found = runfile.find(project, named) if named else None
    if found is not None or prepared is None:
        return found
    ours = tracking.origin_of(prepared)
    version = "ratchet.data_version"
    same = ours is not None and ours.tags.get(version) == kept.tags.get(version)
    return prepared if same else None


def _has_scores(project: Project, leader: Leader) -> bool:
    """Tell whether an evaluation that is there has written its scores to the leader's run."""
    ours = tracking.origin_of(leader.run_id)
    named = ours.tags.get(EVALUATE_TAG) if ours else None
    return named is not None and runfile.find(project, named) is not None
