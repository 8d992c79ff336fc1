"""Promotes, rolls back and retrains from several processes at once, and looks on all the while.

Run it with `python benchmarks/soak.py --decisions 500 --processes 4`. It starts a PostgreSQL and
an MLflow server of its own. Each process is a member of a team: it has a folder with the same small
table, and decides on the one champion of all, by the functions that the command line calls. Another
process asks PostgreSQL every few milliseconds who the champion is.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, groupby
from math import inf
from pathlib import Path
from random import Random
from typing import Any

# As the command line does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import database  # noqa: E402
import psutil  # noqa: E402
import psycopg2  # noqa: E402
import yaml  # noqa: E402
from conftest import PATIENCE, Clone, hurry, tiny_settings, tiny_table  # noqa: E402
from forks import processes, warm  # noqa: E402

NAME = "soak"
# Seconds between two looks at the champion, and between two at the server's memory.
LOOK, MEASURE = 0.002, 1.0
# Share of the decisions after which every library is loaded and every cache filled.
WARM = 0.25
# What may have grown since then, in MB, open files and connections, and still count as no leak.
GROWN_MB, GROWN_FILES, GROWN_CONNECTIONS = 64, 8, 4

# One statement, so that all of it is from the same moment.
CHAMPION = f"""
    SELECT (SELECT version FROM registered_model_aliases
            WHERE name = '{NAME}' AND alias = 'champion'),
           ARRAY(SELECT version FROM model_versions
                 WHERE name = '{NAME}' AND current_stage = 'Production')
"""
CONNECTIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class Action(StrEnum):
    """What a member of the team does."""

    PROMOTE = "promote"
    """Puts a model of its own forward, to be judged by the gates."""
    FORCE = "force"
    """Makes one the champion against the gates."""
    ROLLBACK = "rollback"
    """Brings the champion before back, or a version that it has made the champion once."""
    RETRAIN = "retrain"
    """Trains anew, and puts what comes of it forward."""


# How often each is done.
SHARES = {Action.PROMOTE: 2, Action.FORCE: 4, Action.ROLLBACK: 8, Action.RETRAIN: 1}
# Models, and versions, that a member remembers.
REMEMBERED = 6


@dataclass(frozen=True)
class Place:
    """Where it all happens."""

    folder: Path
    """Holds the members' folders."""
    server: str
    """Address of the tracking server."""
    socket: Path
    """Folder of PostgreSQL's socket."""
    decisions: int
    """Decisions that are to be made."""


@dataclass(frozen=True)
class Usage:
    """What a process holds at a moment."""

    decisions: int
    """How many had been made by then, by all."""
    megabytes: float
    """Resident memory."""
    files: int
    """Open files and sockets."""
    left: int
    """Temporary files and folders that lie about."""


@dataclass(frozen=True)
class Worked:
    """What came of a member's work."""

    seconds: dict[Action, list[float]]
    """How long each of its actions took."""
    told: list[str]
    """Why it could not do what it wanted, in the words of the command."""
    usage: list[Usage]
    """After each action."""


@dataclass(frozen=True)
class Looked:
    """What was seen of the champion."""

    looks: int
    """How often was looked, since there was a champion."""
    without: int
    """Looks at which the alias named nobody, or nobody held the stage."""
    several: int
    """Looks at which several versions held the stage."""
    apart: list[float]
    """For how many seconds each time the alias and the stage named different versions."""
    seconds: float
    """How long was looked."""
    pause: float
    """The longest time between two looks, in seconds."""
    champions: list[int]
    """Versions that the alias named, one after the other."""
    connections: list[int]
    """Connections to PostgreSQL, once a second."""


@dataclass(frozen=True)
class Soak:
    """All that was found."""

    members: list[Worked]
    looked: Looked
    server: list[Usage]
    """Of all processes of the server together."""
    kinds: dict[str, int]
    """Lines of the ledger, by what they say."""
    champions: list[int]
    """Versions that the lines made the champion, one after the other."""
    faults: list[str]
    """What `history --verify` says against the ledger."""
    running: list[str]
    """Runs that are still open."""
    orphans: list[int]
    """Versions that no line of the ledger names."""
    connections: tuple[int, int]
    """Connections to PostgreSQL before the first decision and after the last."""
    seconds: float
    """How long it took."""

    @property
    def strays(self) -> int:
        """How often the alias named a version that it should not have named at that time."""
        return len(self.looked.champions) - _in_order(self.looked.champions, self.champions)

    def wrong(self) -> Iterator[str]:
        """Say what must not be."""
        if self.looked.without:
            yield f"there was no champion at {self.looked.without} looks"
        if self.looked.several:
            yield f"several versions held the stage at {self.looked.several} looks"
        if self.strays:
            yield f"the alias named {self.strays} champions out of turn"
        if self.looked.champions[-1:] != self.champions[-1:]:
            yield f"the last champion was {self.looked.champions[-1:]}, not {self.champions[-1:]}"
        yield from self.faults
        if self.running:
            yield f"runs are still open: {', '.join(self.running)}"
        if self.orphans:
            yield f"no line names versions {', '.join(map(str, self.orphans))}"
        left = sum(each.usage[-1].left for each in self.members)
        if left:
            yield f"{left} temporary files and folders were left behind"

    def leaks(self) -> Iterator[str]:
        """Say what has grown all the while."""
        for name, usage in [*self._named(), ("the server", self.server)]:
            warm, last = self.warm(usage), usage[-1]
            if last.megabytes - warm.megabytes > GROWN_MB:
                yield f"{name} grew from {warm.megabytes:.0f} MB to {last.megabytes:.0f} MB"
            if last.files - warm.files > GROWN_FILES:
                yield f"{name} held {warm.files} files and sockets, then {last.files}"
        # A server keeps those that it has opened.
        counted = self.looked.connections
        warm_up, rest = counted[: len(counted) // 2], counted[len(counted) // 2 :]
        if max(rest) > max(warm_up) + GROWN_CONNECTIONS:
            yield f"PostgreSQL had at most {max(warm_up)} connections, and then {max(rest)}"

    def warm(self, usage: Sequence[Usage]) -> Usage:
        """Give what a process held when it was warm."""
        enough = WARM * sum(self.kinds.values())
        return next((each for each in usage if each.decisions >= enough), usage[-1])

    def _named(self) -> list[tuple[str, list[Usage]]]:
        return [(f"process {at}", each.usage) for at, each in enumerate(self.members, start=1)]

    def lines(self) -> Iterator[str]:
        """Lay it out for a reader."""
        seen, apart = self.looked, sorted(self.looked.apart)
        told = ", ".join(f"{n} {kind}" for kind, n in sorted(self.kinds.items()))
        yield f"{sum(self.kinds.values())} decisions in {self.seconds:.0f} s: {told}"
        yield f"ledger: {len(self.faults)} faults; {len(self.running)} runs open"
        yield (
            f"champion: {seen.looks:,} looks, {1000 * seen.seconds / seen.looks:.1f} ms apart (at"
            f" most {1000 * seen.pause:.0f}); none {seen.without}, several {seen.several}, out of"
            f" turn {self.strays}"
        )
        if apart:
            yield (
                f"stage and alias apart: {len(apart)} times, median"
                f" {1000 * statistics.median(apart):.0f} ms, 95 % within"
                f" {1000 * apart[int(0.95 * (len(apart) - 1))]:.0f} ms, longest"
                f" {1000 * apart[-1]:.0f} ms, {100 * sum(apart) / seen.seconds:.2f} % of the time"
            )
        yield (
            f"connections: {self.connections[0]} before, at most"
            f" {max(seen.connections[: len(seen.connections) // 2])} in the first half and"
            f" {max(seen.connections)} in all, {self.connections[1]} after"
        )
        yield ""
        yield "| | memory when warm, MB | at the end | files and sockets when warm | at the end |"
        yield "|---|---|---|---|---|"
        for name, usage in [*self._named(), ("server", self.server)]:
            begun, last = self.warm(usage), usage[-1]
            yield (
                f"| {name} | {begun.megabytes:.0f} | {last.megabytes:.0f} | {begun.files} |"
                f" {last.files} |"
            )
        yield ""
        yield "| | times | median s | longest s |"
        yield "|---|---|---|---|"
        for action in Action:
            took = [each for worked in self.members for each in worked.seconds.get(action, [])]
            if took:
                yield (
                    f"| {action} | {len(took)} | {statistics.median(took):.1f} | {max(took):.1f} |"
                )


def run(decisions: int, n_processes: int, seconds: float = inf) -> Soak:
    """Make so many decisions with so many processes at once, or as many as there is time for."""
    warm()
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="ratchet-soak-")))
        postgres = held.enter_context(database.postgres("ratchet"))
        command = ["env", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", f"TMPDIR={folder}"]
        command += ["mlflow", "server", "--backend-store-uri", postgres.uri]
        # Files go straight to where all can reach them: a server that passes them on is busy.
        command += ["--default-artifact-root", (folder / "artifacts").as_uri()]
        command += ["--no-serve-artifacts", "--workers", "2"]
        others = set(psutil.Process().children(recursive=True))
        server = held.enter_context(Clone(folder).serve(*command, ready="/health"))
        served = set(psutil.Process().children(recursive=True)) - others
        started = time.monotonic()
        place = Place(folder, server, postgres.folder, decisions)
        before = _connections(place)
        members, looked, usage = _together(place, n_processes, served, started + seconds)
        took = time.monotonic() - started
        return _told(place, members, looked, usage, (before, _connections(place)), took)


def _together(
    place: Place, n_processes: int, served: set[psutil.Process], until: float
) -> tuple[list[Worked], Looked, list[Usage]]:
    """Let the members work until all decisions are made or time is up, and look on.

    Ctrl-C and SIGTERM end it sooner: each member ends what it does, and what was
    seen until then is told. The second one ends all of them at once.
    """
    made, answers, enough = processes.Value("i", 0), processes.Queue(), processes.Event()
    ended, seen = processes.Event(), processes.Queue()
    watcher = processes.Process(target=look, args=(place, ended, seen))
    children = [
        processes.Process(target=work, args=(place, number, made, enough, answers))
        for number in range(1, n_processes + 1)
    ]
    usage, worked = [], []
    for child in (watcher, *children):
        child.start()
    try:
        while len(worked) < n_processes:
            try:
                time.sleep(MEASURE)
            except KeyboardInterrupt:
                if enough.is_set():
                    raise
                enough.set()
            if time.monotonic() > until:
                enough.set()
            usage.append(_usage(served, made.value))
            while not answers.empty():
                worked.append(answers.get())
            failed = [child.exitcode for child in (watcher, *children) if child.exitcode]
            if failed:
                raise SystemExit(f"A process ended with {failed[0]}: what it has printed says why.")
    finally:
        ended.set()
        if len(worked) < n_processes:
            for child in children:
                child.terminate()
    looked = seen.get(timeout=PATIENCE)
    for child in (watcher, *children):
        child.join(PATIENCE)
    return worked, looked, usage


def work(place: Place, number: int, made: Any, enough: Any, answers: Any) -> None:
    """Decide, until all together have made enough decisions, or are told that it is enough."""
    os.setsid()  # Ctrl-C is for the process that tells the result
    hurry()
    os.environ["MLFLOW_TRACKING_URI"] = place.server
    from ratchet.commands import pipeline
    from ratchet.errors import RatchetError
    from ratchet.project import Project

    root, scratch = place.folder / f"member{number}", place.folder / f"tmp{number}"
    (root / "data").mkdir(parents=True)
    scratch.mkdir()
    tempfile.tempdir = str(scratch)
    # Whoever goes on where MLflow has created a folder below it finds it here, too.
    os.environ["TMPDIR"] = str(scratch)
    tiny_table().to_parquet(root / "data" / "rows.parquet")
    values = tiny_settings(name=NAME, train__families=["baseline", "ridge"])
    (root / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    chance, member = Random(number), _Member(root / "params.yaml")
    leader = pipeline.run(Project.open(root / "params.yaml")).run_id
    _count(made)
    models, seconds, told, usage = [leader], {}, [], []
    while made.value < place.decisions and not enough.is_set():
        action = chance.choices(list(SHARES), list(SHARES.values()))[0]
        began = time.monotonic()
        try:
            is_new, leader = member.do(action, chance, models)
        except RatchetError as error:
            if "had no champion before" not in str(error) and "already" not in str(error):
                raise
            told.append(str(error))
            is_new = False
        if is_new:
            _count(made)
            models = [*models, *([leader] if leader not in models else [])][-REMEMBERED:]
        seconds.setdefault(action, []).append(time.monotonic() - began)
        usage.append(_usage({psutil.Process()}, made.value, scratch))
    answers.put(Worked(seconds, told, usage))


class _Member:
    """One of the team, with a folder of its own."""

    def __init__(self, params: Path) -> None:
        self._params = params
        self._versions: list[int | None] = []

    def do(self, action: Action, chance: Random, models: Sequence[str]) -> tuple[bool, str]:
        """Do something; say whether it was decided upon now, and which run that is about."""
        from ratchet.commands import retrain, rollback
        from ratchet.project import Project
        from ratchet.steps import promote

        project, seed = Project.open(self._params), chance.randrange(10_000)
        match action:
            case Action.PROMOTE:
                decision = promote.run(project, run_id=chance.choice(models))
                return decision.is_new, decision.run_id
            case Action.FORCE:
                chosen = chance.choice(models)
                decision = promote.run(project, run_id=chosen, force=True, reason=f"soak {seed}")
                self._versions = [*self._versions, decision.version][-REMEMBERED:]
                return True, decision.run_id
            case Action.ROLLBACK:
                known = [None, *self._versions]
                target = rollback.run(project, reason=f"soak {seed}", to=chance.choice(known))
                return True, target.run_id
            case Action.RETRAIN:
                family = chance.choice(["ridge", "xgboost"])
                overrides = [f"seed={seed}", f"train.families=[baseline,{family}]"]
                found = retrain.run(Project.open(self._params, overrides), force_due=f"soak {seed}")
                assert found.decision is not None, found.told
                return True, str(found.decision["run_id"])


def look(place: Place, ended: Any, seen: Any) -> None:
    """Ask PostgreSQL who the champion is, again and again, until it is told to end."""
    os.setsid()
    # `with connect()` would begin a transaction, and one sees the same pg_stat_activity throughout.
    with closing(psycopg2.connect(_address(place))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()

        def champion() -> tuple[int | None, list[int]]:
            cursor.execute(CHAMPION)
            return cursor.fetchone()

        while champion()[0] is None and not ended.is_set():
            time.sleep(LOOK)
        began = last = counted = time.perf_counter()
        looks = without = several = 0
        pause, since = 0.0, None
        apart, champions, connections = [], [], []
        while not ended.is_set():
            alias, holders = champion()
            now = time.perf_counter()
            looks, pause, last = looks + 1, max(pause, now - last), now
            without += alias is None or not holders
            several += len(holders) > 1
            if holders != [alias] and since is None:
                since = now
            elif holders == [alias] and since is not None:
                apart.append(now - since)
                since = None
            if champions[-1:] != [alias] and alias is not None:
                champions.append(alias)
            if now - counted > 1:
                cursor.execute(CONNECTIONS)
                connections.append(cursor.fetchone()[0])
                counted = now
            time.sleep(LOOK)
        if since is not None:
            apart.append(last - since)
        seen.put(
            Looked(
                looks,
                without,
                several,
                apart,
                last - began,
                pause,
                champions,
                connections or [0, 0],
            )
        )


def _told(
    place: Place,
    members: list[Worked],
    looked: Looked,
    usage: list[Usage],
    connections: tuple[int, int],
    seconds: float,
) -> Soak:
    """Read what is on record now, as whoever comes later would."""
    import mlflow

    from ratchet.commands import history
    from ratchet.project import Project

    os.environ["MLFLOW_TRACKING_URI"] = place.server
    found = history.read(Project.open(place.folder / "member1" / "params.yaml"), verify=True)
    client = mlflow.MlflowClient()
    experiments = [each.experiment_id for each in client.search_experiments()]
    running = client.search_runs(experiments, "attributes.status = 'RUNNING'")
    versions = {int(each.version) for each in client.search_model_versions(f"name = '{NAME}'")}
    moves = [line.champion for line in found.lines if line.kind.moves]
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    return Soak(
        members=members,
        looked=looked,
        server=usage,
        kinds=dict(Counter(str(line.kind) for line in found.lines)),
        champions=[number for number, _ in groupby(moves)],
        faults=list(found.faults or ()),
        running=[str(run.info.run_name) for run in running],
        orphans=sorted(versions - {line.champion for line in found.lines}),
        connections=connections,
        seconds=seconds,
    )


def _in_order(seen: Sequence[int], told: Sequence[int]) -> int:
    """Count how many of what was seen can be told in this order, as many as possible.

    Examples
    --------
    >>> _in_order([1, 3], [1, 2, 3])
    2
    >>> _in_order([1, 2, 1, 2, 3], [1, 2, 3])
    3
    """
    row = [0] * (len(told) + 1)
    for each in seen:
        longer = (
            max(above + (each == name), row[at])
            for at, (name, above) in enumerate(zip(told, row, strict=False), start=1)
        )
        row = list(accumulate([0, *longer], max))
    return row[-1]


def _usage(held: set[psutil.Process], decisions: int, scratch: Path | None = None) -> Usage:
    megabytes = files = 0
    for process in held:
        try:
            megabytes += process.memory_info().rss / 1e6
            files += process.num_fds()
        except psutil.NoSuchProcess:  # a server's process that has ended
            continue
    left = 0 if scratch is None else sum(1 for _ in scratch.iterdir())
    return Usage(decisions, megabytes, files, left)


def _count(made: Any) -> None:
    with made.get_lock():
        made.value += 1


def _connections(place: Place) -> int:
    with psycopg2.connect(_address(place)) as connection, connection.cursor() as cursor:
        cursor.execute(CONNECTIONS)
        return int(cursor.fetchone()[0])


def _address(place: Place) -> str:
    return f"host={place.socket} user=ratchet dbname=postgres"


def main() -> None:
    """Run it, print what was found, and end with 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=500)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=inf, help="stop after this long")
    given = parser.parse_args()
    if shutil.which("mlflow") is None:
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    from ratchet.interrupts import terminated_as_interrupt

    with terminated_as_interrupt():  # else the servers would go on
        try:
            found = run(given.decisions, given.processes, given.seconds)
        except KeyboardInterrupt:
            raise SystemExit("It was ended before there was anything to tell.") from None
    wrong = [*found.wrong(), *found.leaks()]
    print(*found.lines(), "", *wrong or ["Nothing is wrong."], sep="\n")  # noqa: T201
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
