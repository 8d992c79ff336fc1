"""Reports: written where evaluate and promote are done, and put on the run that they are about."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter

from ratchet import recorded, tracking
from ratchet.errors import RatchetError, StoreError
from ratchet.evaluation import Score
from ratchet.gates import GateResult
from ratchet.project import Project, tracking_uri
from ratchet.recorded import Record
from ratchet.report import facts as report_facts
from ratchet.report import page, verdict
from ratchet.report.facts import Facts
from ratchet.report.made import Made
from ratchet.report.page import FIGURES, HTML, MARKDOWN
from ratchet.report.verdict import Decided, Rival
from ratchet.runfile import RESTORED_FROM, RunFile
from ratchet.steps.train import PREPARE_TAG, Leader
from ratchet.tracking import File, Item, Place, Tag

FOLDER = "report"
"""Folder of the report: in ``build/evaluate``, where it is empty if none is wanted, and among the
artifacts of a run."""

EVALUATE_TAG = "ratchet.evaluate_run"
"""Tag of a leader's run that names its last evaluation."""

TAG = "ratchet.report"
"""Tag of a run that has a report: the decision that it tells, see ``Decided.key``, or
``evaluated`` before there is one."""

EVALUATED = "evaluated"

_HARDWARE = {
    "cpu": "processor",
    "cores_logical": "cores",
    "memory_gib": "memory (GiB)",
    "gpus": "GPUs",
    "os": "operating system",
    "python": "Python",
}


def evaluated(
    project: Project, leader: Leader, facts: Facts, folder: Path, *, evaluation: str
) -> None:
    """Write what evaluate has found out, as values and as a page, and put it on the leader's run.

    Parameters
    ----------
    project : Project
        Whose leader it is.
    leader : Leader
        The leader, with the ids that it has in the store.
    facts : Facts
        What was found out.
    folder : Path
        Folder that gets the files; made when it isn't there.
    evaluation : str
        Run that evaluated it.

    Raises
    ------
    RatchetError
        If a file can't be written.
    StoreError
        If MLflow's store fails.
    """
    made = _made(project, leader.run_id, evaluation)
    found = page.of(project.settings.name, leader.name, facts, None, made, project.trained)
    facts.save(folder)
    page.save(found, folder)
    page.save_figures(found, folder)
    _put(leader.run_id, folder, EVALUATED)


def restored(project: Project, leader: Leader, *, evaluation: str) -> None:
    """Put the report of ``build/evaluate`` on a leader's run that was logged again.

    The page is written anew, since it names runs; ``build`` stays as it is.

    Raises
    ------
    RatchetError
        If another version of this project has evaluated the leader.
    StoreError
        If MLflow's store fails.
    """
    facts = Facts.load(project.evaluated / FOLDER)
    if facts is not None:
        with TemporaryDirectory() as folder:
            evaluated(project, leader, facts, Path(folder), evaluation=evaluation)


def facts_of(project: Project, run_id: str, *, is_leader: bool) -> Facts | None:
    """Read what evaluate has found out about the model of a run.

    Parameters
    ----------
    project : Project
        The project.
    run_id : str
        Run that made the model.
    is_leader : bool
        Whether ``build/evaluate`` is about it; else the run itself may have a report.

    Returns
    -------
    Facts or None
        None where there is no report.

    Raises
    ------
    RatchetError
        If another version of this project has evaluated the leader.
    """
    if is_leader:
        kept = RunFile.load(project.evaluated, made_by="evaluate")
        # Whoever trained again by hand has an evaluation of another leader there.
        if kept is None or kept.about != Leader.load(project).run_id:
            return None
        return Facts.load(project.evaluated / FOLDER)
    with TemporaryDirectory() as folder:
        found = recorded.download(run_id, f"{FOLDER}/{report_facts.FILE}", Path(folder))
        try:
            return Facts.load(found.parent) if found else None
        except RatchetError:
            return None


def decided(
    project: Project,
    run_id: str,
    name: str,
    facts: Facts | None,
    decision: Decided,
    *,
    is_leader: bool,
) -> None:
    """Write the page with a decision to ``build/promote``, and put it on the run in its place.

    Parameters
    ----------
    project : Project
        Whose decision it is.
    run_id : str
        Run that made the model.
    name : str
        What the model is, for people.
    facts : Facts or None
        What evaluate has found out about it.
    decision : Decided
        What was decided.
    is_leader : bool
        Whether ``build/train`` is about it; else the pictures of its search are on its run.

    Raises
    ------
    RatchetError
        If a file can't be written.
    StoreError
        If MLflow's store fails.
    """
    with TemporaryDirectory() as folder, TemporaryDirectory() as fetched:
        trained: Path | None = project.trained
        if not is_leader:
            pictures = recorded.download(run_id, FIGURES, Path(fetched))
            trained = None if pictures is None else pictures.parent
        made = _made(project, run_id)
        found = page.of(project.settings.name, name, facts, decision, made, trained)
        page.save(found, Path(folder))
        page.save_figures(found, Path(folder))
        _put(run_id, Path(folder), found.key)
    # Last, so that a page that is there has been put on the run.
    page.save(found, project.promoted)


def is_told(project: Project, key: str) -> bool:
    """Tell whether the page in ``build/promote`` is about a decision, see ``Decided.key``."""
    path = project.promoted / HTML
    return path.exists() and page.mark(key) in path.read_text(encoding="utf-8", errors="replace")


def is_on_run(run_id: str, key: str) -> bool:
    """Tell whether the report on a run is about a decision."""
    found = tracking.origin_of(run_id)
    return found is not None and found.tags.get(TAG) == key


def remove(project: Project) -> None:
    """Take away the page of an earlier decision, where none is wanted any more."""
    for name in (HTML, MARKDOWN):
        (project.promoted / name).unlink(missing_ok=True)


def rival_of(judgement: Mapping[str, Any]) -> Rival | None:
    """Read the champion's scores from a judgement's plain values."""
    found = judgement.get("rival")
    return None if found is None else TypeAdapter(Rival).validate_python(found)


def summary(project: Project, run_id: str, metric: str, gates: Sequence[GateResult]) -> str:
    """Sum the report of a run up for the description of a version, in Markdown.

    Parameters
    ----------
    project : Project
        Whose settings say how sure the scores' intervals are.
    run_id : str
        Run that made the model.
    metric : str
        Score that the gates compare.
    gates : sequence of GateResult
        What they said.

    Raises
    ------
    StoreError
        If MLflow's store fails.
    """
    made = _made(project, run_id)
    run = recorded.read(run_id)
    # Another program may have put other things under such names.
    scores = _scores(run, metric) if run is not None and EVALUATE_TAG in run.tags else []
    link = ""
    if project.settings.evaluate.report:
        link = tracking.place_of(run_id).artifact(f"{FOLDER}/{HTML}")
    told = f"Data version {made.data}. Code {made.code}."
    return verdict.summary(scores, project.settings.evaluate.confidence, gates, told, link)


def _put(run_id: str, folder: Path, key: str) -> None:
    """Log the files of a report; the tag comes last, when all are there."""
    names = (HTML, MARKDOWN, report_facts.FILE)
    items: list[Item] = [File(folder / name, FOLDER) for name in names if (folder / name).exists()]
    if (folder / FIGURES).is_dir():
        items.append(File(folder / FIGURES, FIGURES))
    tracking.write(run_id, items)
    tracking.write(run_id, [Tag(TAG, key or EVALUATED)])


def _made(project: Project, run_id: str, evaluation: str | None = None) -> Made:
    run = recorded.read(run_id)
    if run is None:
        tracking.require(run_id)
        raise StoreError(f"The run {run_id} is gone.")  # between two questions
    tags, place = run.tags, tracking.place_of(run_id)
    others = {
        "prepare": tags.get(PREPARE_TAG),
        "evaluate": evaluation or tags.get(EVALUATE_TAG),
    }
    page_address, command = _shown_by(project, place)
    return Made(
        run_id=run_id,
        name=run.name,
        started=run.started,
        user=tags.get("mlflow.user", ""),
        experiment=place.experiment,
        page=page_address,
        store=command,
        commit=tags.get("mlflow.source.git.commit"),
        branch=tags.get("mlflow.source.git.branch", ""),
        dirty={"true": True, "false": False}.get(tags.get("ratchet.dirty", "")),
        code_reason=tags.get("ratchet.code_reason", ""),
        data_version=tags.get("ratchet.data_version", ""),
        data_dirty=tags.get("ratchet.data_dirty") == "true",
        params_digest=tags.get("ratchet.params_digest", ""),
        lock_digest=tags.get("ratchet.lock_digest", ""),
        overrides=tracking.masked(tags.get("ratchet.overrides", "")),
        pipeline=tags.get("ratchet.pipeline", ""),
        restored_from=tags.get(RESTORED_FROM, ""),
        runs=tuple((step, run_id) for step, run_id in others.items() if run_id),
        hardware=tuple(
            (name, tags[f"ratchet.hardware.{tag}"])
            for tag, name in _HARDWARE.items()
            if f"ratchet.hardware.{tag}" in tags
        ),
        versions=tuple(
            (name.removeprefix("ratchet.version."), version)
            for name, version in tags.items()
            if name.startswith("ratchet.version.")
        ),
    )


def _shown_by(project: Project, place: Place) -> tuple[str, str]:
    """Give the address of a run's page, or the command of a UI that shows it."""
    uri = tracking_uri(project)
    if uri.startswith(("http://", "https://")):
        return f"{tracking.masked(uri).rstrip('/')}/{place.route}", ""
    path = uri.removeprefix("sqlite:///")
    if path != uri and Path(path).is_relative_to(project.home):
        # As whoever stands in the folder writes it: the page may be read elsewhere.
        uri = f"sqlite:///{Path(path).relative_to(project.home).as_posix()}"
    return "", f"mlflow ui --backend-store-uri {tracking.masked(uri)}"


def _scores(run: Record, metric: str) -> list[Score]:
    """Give the scores of a run on the test rows that have intervals, one of them first."""
    found = [
        Score(name, value, *(run.metrics[f"test/{name}_{end}"] for end in ("low", "high")))
        for name, value in (
            (key.removeprefix("test/"), value)
            for key, value in run.metrics.items()
            if key.startswith("test/") and f"{key}_low" in run.metrics
        )
        if f"test/{name}_high" in run.metrics
    ]
    return sorted(found, key=lambda each: each.metric != metric)
