"""What train's search begins with: the best trials of the champion, or of a run that is named.

The champion lies outside of DVC, and may be another one tomorrow. So prepare
looks once and writes down what it found, beside the rows: the next step
depends on that file, and DVC knows all that went into a training.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ratchet import files, metrics, recorded, table
from ratchet.course import Record, Starts
from ratchet.errors import RatchetError, StoreError
from ratchet.problem import ProblemType
from ratchet.project import Project
from ratchet.registry import champion, references
from ratchet.tracking import Tag

logger = logging.getLogger(__name__)

CHAMPION = "champion"
"""Value of ``train.search.warm_start`` that means whoever holds the place then."""

TAG = "ratchet.warm_start"
"""Tag of a training that names the run whose best trials its search began with."""

_FILE = "starts.json"
# What train has left there of its search: what can be made again, and how long it took.
_SEARCH = "search.json"
_TRIALS = "trials.parquet"


def find(project: Project, problem: ProblemType) -> Starts:
    """Find the candidates that ``train.search.warm_start`` asks for.

    Where there is no champion, or its run has no record of a search any more,
    there are none: a training must not fail for want of a good beginning.

    Parameters
    ----------
    project : Project
        Names the registered model and the setting.
    problem : ProblemType
        What the target poses today.

    Raises
    ------
    StoreError
        If a run or a version is named that the store hasn't got, or that has
        no record of a search.
    """
    wanted = project.settings.train.search.warm_start
    if wanted is None:
        return Starts()
    if wanted != CHAMPION:
        return _of(references.resolve(wanted).run_id, problem)
    reigning = champion.current(project.settings)
    if reigning is None:
        return Starts()
    try:
        return _of(reigning.run_id, problem)
    except RatchetError as error:
        logger.warning("prepare: the search will not begin with the champion's trials: %s", error)
        return Starts()


def save(starts: Starts, folder: Path) -> None:
    """Write down what was found, for train."""
    files.write_json(folder / _FILE, starts.plain())


def load(project: Project) -> Starts:
    """Read what prepare has found; nothing where an earlier version of this project ran it.

    Raises
    ------
    RatchetError
        If the file can't be read.
    """
    path = project.prepared / _FILE
    if not path.exists():
        return Starts()
    return files.read_as(path, Starts.from_plain, made_by="prepare")


def tags(starts: Starts) -> Iterator[Tag]:
    """Yield what a training says of how its search began."""
    if starts.run_id is not None:
        yield Tag(TAG, starts.run_id)


def _of(run_id: str, problem: ProblemType) -> Starts:
    """Choose the best candidates of the search that trained a run's model."""
    training = recorded.training_of(run_id)
    with TemporaryDirectory() as folder:
        path = recorded.download(training.run_id, _SEARCH, Path(folder))
        if path is None:
            raise StoreError(
                f"Run {training.run_id} has no {_SEARCH}, which says what its search has tried."
                " Name another run in train.search.warm_start, or null."
            )
        record = Record.load(path)
        kept = recorded.download(training.run_id, _TRIALS, Path(folder))
        seconds = [] if kept is None else list(table.read_parquet(kept, "train")["seconds"])
    reference = record.settings.get("train.metric")
    metric = metrics.named(reference, problem) if reference else metrics.default(problem)
    # The run that is asked for; a record that was logged again has kept the id of the first one.
    return replace(Starts.of(record, metric.loss, seconds), run_id=training.run_id)
