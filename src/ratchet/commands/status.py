"""What the last run tried, what won, whether it was promoted, and who reigns since when."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from ratchet import files, metrics, table, tracking
from ratchet.commands import changes
from ratchet.project import Project, tracking_uri
from ratchet.registry import champion
from ratchet.registry.ledger import Ledger
from ratchet.schema import Schema
from ratchet.searched import Tried, tried_in
from ratchet.steps import restore
from ratchet.steps.promote import Decision
from ratchet.steps.train import Leader


@dataclass(frozen=True)
class Reign:
    """The champion, and how the leader differs from it."""

    version: int
    """Version that holds the alias."""
    run_id: str
    """Run that trained it."""
    since: str | None
    """When it took the place, in UTC; None when the ledger doesn't say."""
    changes: tuple[str, ...]
    """What the leader has otherwise: data, code, environment and parameters."""


@dataclass(frozen=True)
class Status:
    """The last run of a project."""

    leader: Leader
    """What won, with the ids of its run and model in this store if they are there."""
    recorded: bool
    """Whether they are; if not, the next step that needs them logs them again."""
    tried: tuple[Tried, ...]
    """What was tried, the best family first."""
    test: dict[str, float]
    """Content of ``metrics.json``; NaN where it says null."""
    decision: Decision | None
    """The verdict on this leader; None before promote has run."""
    champion: Reign | None
    """Who holds the place; None when nobody does."""
    store_uri: str
    """Where the runs are, without credentials."""


def read(project: Project) -> Status:
    """Read what the steps have built.

    Raises
    ------
    RatchetError
        If train or evaluate has not run.
    StoreError
        If MLflow's store fails.
    """
    trained = Leader.load(project)
    problem = Schema.load(project.prepared / "schema.json").problem
    metric = metrics.named(trained.metric_reference, problem)
    trials = table.read_parquet(project.trained / "trials.parquet", made_by="train")
    numbers: dict[str, float | None] = files.read_json(
        project.evaluated / "metrics.json", made_by="evaluate"
    )
    decision = Decision.load(project)
    tracking.connect(project)
    found = restore.look(project)
    leader = found or trained
    # What another store's registry made of it says nothing about this one's.
    judged = found is not None and decision is not None and decision.run_id == leader.run_id
    return Status(
        leader=leader,
        recorded=found is not None,
        tried=tried_in(trials, metric),
        test={name: math.nan if each is None else each for name, each in numbers.items()},
        decision=decision if judged else None,
        champion=_reign(project, leader),
        store_uri=tracking.masked(tracking_uri(project)),
    )


def _reign(project: Project, leader: Leader) -> Reign | None:
    reigning = champion.current(project.settings)
    if reigning is None:
        return None
    ledger = Ledger.find(project.settings)
    made = champion.last_move(ledger.lines()) if ledger else None
    same = reigning.run_id == leader.run_id
    return Reign(
        version=reigning.number,
        run_id=reigning.run_id,
        since=made.at if made and made.champion == reigning.number else None,
        changes=() if same else tuple(_changes(reigning.run_id, leader.run_id)),
    )


def _changes(before: str, after: str) -> Iterator[str]:
    """Tell how the run of the leader differs from the champion's."""
    old, new = tracking.origin_of(before), tracking.origin_of(after)
    if old is None or new is None:
        yield "its run is not in this store"
        return
    for change in changes.of_origin(old.tags, new.tags):
        yield f"{change.name} {_short(change.old)} → {_short(change.new)}"
    for change in changes.of_params(old.params, new.params):
        was, now = ("not set" if each is None else each for each in (change.old, change.new))
        yield f"{change.name} {was} → {now}"


def _short(value: str | None) -> str:
    return "unknown" if value is None else value[:12]


def as_json(status: Status) -> str:
    """Write a status for machines; JSON has no NaN, so such a score is null."""
    return json.dumps(files.finite(asdict(status)), indent=2, sort_keys=True, allow_nan=False)
