"""What the tests share: an empty MLflow store, made once, and projects on tiny tables."""

import json
import linecache
import logging
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import yaml

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from ratchet.project import Project

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"

# As the command line does: tests share the cores, and threads that spin would take them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Where the tests are started in the background of a script, they would ignore Ctrl-C, and so would
# every program that a test starts and interrupts, for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _check_lines(filename: str | None = None, check: Callable = linecache.checkcache) -> None:
    """Do what Python 3.11 does not, where an entry leaves its cache while it walks over it.

    Each doctest has it walk over all of them, and SQLAlchemy takes the lines that
    it made for a class out when the class is collected, which may be at that moment.
    """
    with suppress(KeyError):
        check(filename)


linecache.checkcache = _check_lines

# An experiment, a run or a store of whoever starts the tests must not reach them.
for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_", "GIT_"))]:
    del os.environ[name]

COMMITTER = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.com",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.com",
}

# Would have every command of a test compile what it imports, which takes longer than the rest.
UNSET = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV")
# Seconds that a command, or a server until it answers, may take on a busy machine.
PATIENCE = 300


@pytest.fixture(scope="session", autouse=True)
def quick() -> None:
    """Let this process leave out what takes time and matters to no test."""
    hurry()


def hurry() -> None:
    """Leave out what takes time and matters to no test: in this process, and until its end.

    That is an exact latency, which promote takes two seconds for, and the wait
    until a database is on the disk: whoever is killed loses nothing without it,
    only a machine whose power fails would.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from ratchet import cost

    cost._SECONDS = 0.01
    event.listen(Engine, "connect", _without_waiting)


def _without_waiting(connection: object, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables made, built once: that takes seconds."""
    import mlflow

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator["MlflowClient"]:
    """A private MLflow store that lives as long as the test."""
    import mlflow

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    # First, because it takes the address out of the environment, too, if a fixture of a
    # whole module has set another.
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    # MLflow sets these itself, and a later test must not find them.
    for name in ("REGISTRY_URI", "HTTP_REQUEST_MAX_RETRIES", "HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(f"MLFLOW_{name}", "")
        monkeypatch.delenv(f"MLFLOW_{name}")
    client = mlflow.MlflowClient()
    assert client.tracking_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    yield client
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.fixture
def tagged(store: "MlflowClient") -> Callable[..., str]:
    """Make a finished run of a step with tags ``ratchet.…`` and a parent; give its id."""
    experiment = store.create_experiment("taxi")

    def make(step: str | None, parent: str | None = None, **tags: str) -> str:
        named = {f"ratchet.{name}": value for name, value in tags.items()}
        if parent:
            named["mlflow.parentRunId"] = parent
        if step:
            named["ratchet.step"] = step
        run_id = str(store.create_run(experiment, tags=named).info.run_id)
        store.set_terminated(run_id)
        return run_id

    return make


def tiny_table(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Rows whose ``price`` follows from the other columns, but for a little noise."""
    random = np.random.default_rng(seed)
    size = random.uniform(20, 200, rows)
    town = random.choice(["Aachen", "Berlin", "Cottbus"], rows)
    sold = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(random.integers(0, 180, rows)), "D")
    level = pd.Series(town).map({"Aachen": 2.0, "Berlin": 4.0, "Cottbus": 1.0}).to_numpy()
    price = size * level + random.normal(0, 10, rows)
    return pd.DataFrame(
        {
            "size": size,
            "town": town,
            "rooms": random.integers(1, 6, rows),
            "sold": sold,
            "price": price.round(2),
            "dear": np.where(price > np.median(price), "yes", "no"),
        }
    )


def tiny_settings(**changes: object) -> dict:
    """Settings for ``tiny_table`` that train in a second; ``changes`` are dotted names."""
    values: dict = {
        "name": "tiny",
        "seed": 7,
        "data": {"source": "data", "target": "price", "drop": ["dear"]},
        "train": {
            "families": ["baseline", "ridge"],
            "validation": "holdout",
            "ensemble": "none",
            "search": {"budget_seconds": None, "max_trials": 3},
        },
        "evaluate": {"resamples": 100, "report": False},
        "promote": {
            "resamples": 200,
            "min_rows": 20,
            "dirty_data": "allow",
            "dirty_tree": "allow",
        },
        "tracking": {"system_metrics": False},
    }
    for name, value in changes.items():
        *sections, last = name.split("__")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return values


@pytest.fixture
def tiny(tmp_path: Path, store: object) -> Callable[..., Path]:
    """Make a project folder on a tiny table; give the path of its params.yaml."""

    def make(table: pd.DataFrame | None = None, **changes: object) -> Path:
        folder = tmp_path / "project"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        (tiny_table() if table is None else table).to_parquet(folder / "data" / "rows.parquet")
        params = folder / "params.yaml"
        params.write_text(yaml.safe_dump(tiny_settings(**changes)), encoding="utf-8")
        return params

    return make


@pytest.fixture(scope="session")
def made_once(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained and evaluated leaders on the tiny table, none of them promoted.

    ``params.yaml`` has a linear model, ``better.yaml`` trees, which see what a
    line can't: the price of a square metre depends on the town. Training takes
    seconds, so that tests get a copy: see ``evaluated``.
    """
    import mlflow

    from ratchet.project import Project
    from ratchet.steps import evaluate, prepare, train

    folder = tmp_path_factory.mktemp("made_once")
    shutil.copy(empty_store, folder / "mlflow.db")
    (folder / "project" / "data").mkdir(parents=True)
    table = tiny_table()
    table.loc[table.index % 10 == 3, "town"] = None
    table.to_parquet(folder / "project" / "data" / "rows.parquet")
    families = {"params.yaml": ["baseline", "ridge"], "better.yaml": ["baseline", "xgboost"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("MLFLOW_REGISTRY_URI", "")
        for name, tried in families.items():
            values = tiny_settings(train__families=tried)
            (folder / "project" / name).write_text(yaml.safe_dump(values), encoding="utf-8")
            project = Project.open(folder / "project" / name)
            prepare.run(project)
            train.run(project)
            evaluate.run(project)
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)
    return folder


def copied(source: Path, target: Path) -> Path:
    """Copy projects with their store, so that nothing of it is shared, artifacts included."""
    from mlflow.tracking._tracking_service import utils

    # The store of the test may be open already, and is filled as it is.
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("mlflow.db*"))
    with (
        closing(sqlite3.connect(source / "mlflow.db")) as old,
        closing(sqlite3.connect(target / "mlflow.db")) as new,
    ):
        old.backup(new)
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
            ("model_versions", "source"),
            ("model_versions", "storage_location"),
        ):
            new.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(source), str(target))
            )
        new.commit()
    utils._artifact_repos_cache.clear()
    return target / "project"


@pytest.fixture
def evaluated(made_once: Path, store: object, tmp_path: Path) -> Path:
    """Give the params.yaml of a copy of ``made_once``, in a store that knows its runs."""
    return copied(made_once, tmp_path) / "params.yaml"


@pytest.fixture
def project(evaluated: Path) -> "Project":
    """A linear model, evaluated, which nobody has judged yet."""
    from ratchet import tracking
    from ratchet.project import Project

    opened = Project.open(evaluated)
    tracking.connect(opened)
    return opened


@pytest.fixture
def better(project: "Project") -> "Project":
    """Trees on the same rows as ``project``, which are better for sure."""
    from ratchet.project import Project

    return Project.open(project.root / "better.yaml")


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Call ``ratchet …`` in this process; give its exit code, stdout and stderr."""
    from ratchet import cli

    level = logging.getLogger("ratchet").level
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setenv("COLUMNS", "200")

    def ratchet(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ratchet", *map(str, arguments)])
        code = 0
        with warnings.catch_warnings():
            try:
                cli.main()
            except SystemExit as end:
                code = end.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    yield ratchet
    logging.getLogger("ratchet").setLevel(level)


# What a run that was logged again says otherwise: ids of this store, and when that was.
# A server also writes on a model which versions it has.
OF_THE_STORE = (
    "mlflow.modelVersions",
    "ratchet.process",
    "mlflow.parentRunId",
    "ratchet.prepare_run",
    "ratchet.evaluate_run",
    "ratchet.leader_run",
    "ratchet.report",
    "ratchet.restored_from",
    "ratchet.restored_at",
)


# Pages that name runs of the store and the decision that was made in it.
PAGES = ("report/report.html", "report/report.md")


def described(client: "MlflowClient", run_id: str) -> dict:
    """Give all that a run says, but for ids: equal for a run and what was logged again from it."""
    run = client.get_run(run_id)
    own = [each.model_id for each in run.outputs.model_outputs] if run.outputs else []
    models = [client.get_logged_model(model_id) for model_id in own]

    def tags(of: dict) -> dict:
        return {name: value for name, value in of.items() if name not in OF_THE_STORE}

    def below(folder: str | None = None) -> Iterator[str]:
        for each in client.list_artifacts(run_id, folder):
            yield from below(each.path) if each.is_dir else [each.path]

    with tempfile.TemporaryDirectory() as scratch:
        artifacts = {
            path: b""
            if path in PAGES
            else Path(client.download_artifacts(run_id, path, scratch)).read_bytes()
            for path in below()
        }
    trials = client.search_runs(
        [run.info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{run_id}' and tags.`ratchet.step` = 'trial'",
    )
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "time": (run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "tags": tags(run.data.tags),
        "metrics": {
            name: [
                (each.value, each.step, each.timestamp)
                for each in client.get_metric_history(run_id, name)
            ]
            for name in run.data.metrics
        },
        "inputs": [each.to_dictionary() for each in run.inputs.dataset_inputs],
        "artifacts": artifacts,
        "models": [(each.name, str(each.status)) for each in models],
        "params of the model": [each.params for each in models],
        "tags of the model": [tags(each.tags) for each in models],
        "metrics of the model": [
            sorted((m.key, m.value, m.step, m.timestamp) for m in each.metrics) for each in models
        ],
        "trials": sorted(
            (described(client, each.info.run_id) for each in trials),
            key=lambda each: int(each["params"]["trial"]),
        ),
    }


@pytest.fixture
def running(store: "MlflowClient") -> Callable[[], list[str]]:
    """List the names of runs that are still open in any experiment."""

    def names() -> list[str]:
        experiments = [each.experiment_id for each in store.search_experiments()]
        runs = store.search_runs(experiments, "attributes.status = 'RUNNING'")
        return [run.info.run_name for run in runs]

    return names


@pytest.fixture
def at_work() -> Iterator[Callable[["Project"], tuple["BaseProcess", list[str]]]]:
    """Start a process that has two runs open until it is killed; give it, and their ids."""
    import mlflow
    import walking

    started = []

    def start(project: "Project") -> tuple["BaseProcess", list[str]]:
        walking.warm()
        told = walking.processes.Queue()
        arguments = (project.params_file, mlflow.get_tracking_uri(), told)
        process = walking.processes.Process(target=walking.work_for_ever, args=arguments)
        process.start()
        started.append(process)
        return process, told.get(timeout=PATIENCE)

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def unwritable() -> Callable[[Path], None]:
    """Turn a folder into one that nobody may write to, not even root."""

    def turn(folder: Path) -> None:
        system = Path("/sys/kernel")
        if not system.is_dir():
            pytest.skip("needs a folder that root may not write to")
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(system)

    return turn


@pytest.fixture
def git() -> Callable[..., str]:
    """Run git in a folder with a committer of its own and no configuration of the user's."""

    def run(folder: Path, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env={**os.environ, **COMMITTER},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    return run


@dataclass(frozen=True)
class Clone:
    """A clone of this project, in which commands run as its users run them."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in UNSET}
        path = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
        return {**inherited, **COMMITTER, "PATH": path, "DVC_NO_ANALYTICS": "true"}

    def run(self, *command: str, cwd: Path | None = None, fails: bool = False, **env: str) -> str:
        """Run a command to its end; give what it printed."""
        done = subprocess.run(
            command,
            cwd=cwd or self.root,
            env={**self.environment, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode != 0) == fails, f"{shlex.join(command)}\n{done.stdout}"
        return done.stdout

    @contextmanager
    def serve(self, *command: str, ready: str) -> Iterator[str]:
        """Hold a server open, give its address; ``ready`` is a page that it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = self.root / "build" / "server.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("w") as output:
            server = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port)],
                cwd=self.root,
                env={**self.environment, "MLFLOW_TRACKING_URI": self.store},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            address = f"http://127.0.0.1:{port}"
            until = time.monotonic() + PATIENCE
            while not _answers(address + ready):
                assert server.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.2)
            yield address
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
            server.wait()

    @property
    def store(self) -> str:
        return f"sqlite:///{self.root / 'mlflow.db'}"

    def client(self) -> "MlflowClient":
        import mlflow

        return mlflow.MlflowClient(self.store, registry_uri=self.store)

    def runs(self) -> list["Run"]:
        """List the runs of steps and trials in all experiments, the oldest first."""
        client = self.client()
        experiments = [each.experiment_id for each in client.search_experiments()]
        found = client.search_runs(
            experiments, order_by=["attributes.start_time ASC"], max_results=1000
        )
        # The registry keeps its ledger in runs too.
        return [run for run in found if run.data.tags.get("ratchet.step", "ledger") != "ledger"]

    def last(self, step: str) -> "Run":
        """Give the newest run of a step."""
        return [run for run in self.runs() if run.data.tags["ratchet.step"] == step][-1]


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False


@dataclass
class Client:
    """Asks a scoring server all the while, and keeps who has answered."""

    address: str
    row: Mapping[str, object]
    versions: list[str] = field(default_factory=list)
    """Names of the versions that have answered, where the next is another."""
    failed: list[str] = field(default_factory=list)
    """What was no answer."""
    n_answers: int = 0
    """How many answers there were."""

    def ask(self) -> None:
        """Ask once."""
        asked = urllib.request.Request(
            f"{self.address}/invocations",
            json.dumps({"dataframe_records": [self.row]}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
                [said] = json.loads(answer.read())["predictions"]
                version = answer.headers["X-Ratchet-Model"]
        except (OSError, ValueError, KeyError) as error:
            self.failed.append(repr(error))
            return
        assert isinstance(said, float)
        self.n_answers += 1
        if self.versions[-1:] != [version]:
            self.versions.append(version)

    def until_it_is(self, version: str) -> None:
        """Wait until this version answers, a minute at most."""
        ends = time.monotonic() + 60
        while self.versions[-1:] != [version]:
            assert time.monotonic() < ends, (version, self.versions, self.failed[:3])
            time.sleep(0.05)


@contextmanager
def asking(address: str, row: Mapping[str, object]) -> Iterator[Client]:
    """Have a client ask a scoring server from another thread."""
    client, ended = Client(address, row), threading.Event()

    def go_on() -> None:
        # Often enough to meet any moment of a change, and the cores are for the rest.
        while not ended.wait(0.1):
            client.ask()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield client
    finally:
        ended.set()
        thread.join()


def small_search(params: Path, *families: str) -> None:
    """Turn a shipped parameter file into one that trains in seconds, always the same."""
    values = yaml.safe_load(params.read_text(encoding="utf-8"))
    search = {"budget_seconds": None, "max_trials": 4}
    # Two searches share the machine's cores: more threads than that would wait for each other.
    values["train"] |= {
        "families": ["baseline", *families],
        "ensemble": "none",
        # dvc.yaml names settings in there, too.
        "search": {**values["train"]["search"], **search},
        "threads": 1,
    }
    values["evaluate"] |= {"resamples": 100}
    values.setdefault("tracking", {})["system_metrics"] = False
    params.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with what is being developed here, committed, and a small search."""
    folder = tmp_path_factory.mktemp("checkout") / "ratchet"
    here = Clone(ROOT)
    here.run("git", "clone", "--quiet", str(ROOT), str(folder))
    changed = here.run("git", "diff", "--name-only", "--no-renames", "-z", "HEAD")
    new = here.run("git", "ls-files", "--others", "--exclude-standard", "-z")
    for name in filter(None, (changed + new).split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    small_search(folder / "params.yaml", "ridge", "xgboost")
    small_search(folder / "examples" / "tips.yaml", "logistic", "xgboost")
    Clone(folder).run("git", "add", "--all")
    Clone(folder).run("git", "commit", "--quiet", "--message", "What is being developed")
    return folder


@pytest.fixture(scope="session")
def fresh_clone(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Clone]:
    """Clone the repository into an empty folder."""

    def clone(name: str) -> Clone:
        folder = tmp_path_factory.mktemp(name) / "project"
        Clone(checkout).run("git", "clone", "--quiet", str(checkout), str(folder))
        return Clone(folder)

    return clone


@pytest.fixture(scope="session")
def doors(fresh_clone: Callable[[str], Clone]) -> dict[str, Clone]:
    """A fresh clone for every way to run the pipeline, in which it has been run."""
    commands = {
        "dvc": [("dvc", "repro", "--pull")],
        "mlflow": [
            ("dvc", "pull", "--quiet", "data.dvc"),
            ("mlflow", "run", ".", "--env-manager", "local"),
        ],
        "python": [("dvc", "pull", "--quiet", "data.dvc"), ("python", "src", "run")],
    }

    def enter(name: str) -> Clone:
        clone = fresh_clone(name)
        for command in commands[name]:
            clone.run(*command)
        return clone

    with ThreadPoolExecutor(2) as together:
        return dict(zip(commands, together.map(enter, commands), strict=True))
