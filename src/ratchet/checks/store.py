"""Checks of where runs go: the store, the experiment, its artifacts, and runs left open."""

import getpass
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import psutil

from ratchet import lineage, processes
from ratchet.checks.base import (
    Said,
    Site,
    SkipError,
    count,
    error,
    ok,
    quoted,
    some,
    trouble,
    warning,
)
from ratchet.checks.stores import NOT_YET, place
from ratchet.processes import Life, Process
from ratchet.project import masked, tracking_uri

_VARIABLE = "MLFLOW_TRACKING_URI"

# Words of a command line that runs a part of the pipeline.
_STEPS = {"run", "prepare", "train", "evaluate", "promote", "monitor", "repro", "retrain"}

_DEFAULT = "Default"


def tracking_place(site: Site) -> Iterator[Said]:
    """See that runs go to one place, which outlives the folder that a step runs in."""
    project = site.project
    given = project.settings.tracking.uri or os.environ.get(_VARIABLE) or ""
    uri = tracking_uri(project)
    database = place(uri)
    said = list(_lost(site, given, uri, database))
    said += _disagreeing(site, uri)
    said += _second(site, database)
    yield from said
    if not said:
        shown = database if database is not None else masked(uri)
        yield ok(f"runs go to {shown}")


def _lost(site: Site, given: str, uri: str, database: Path | None) -> Iterator[Said]:
    if uri.startswith(("http://", "https://", "databricks", "uc:")):
        return
    if database is not None:
        relative = place(given) if given else None
        if lineage.main_checkout(database.parent) != database.parent.resolve():
            told = f"{database} lies in a workspace that DVC deletes"
            yield error(told, _forgetting(site))
        elif _temporary(database) and not _temporary(site.root):
            told = f"{database} lies among temporary files, which are deleted one day"
            yield warning(told, _forgetting(site))
        elif (
            relative is not None
            and not relative.is_absolute()
            and database != (Path.cwd() / relative).resolve()
        ):
            yield warning(
                f"{_where(site)} is relative: the steps use {database}, and MLflow's own commands"
                f" in this folder {Path.cwd() / relative}",
                f"export {_VARIABLE}={quoted(uri)}",
            )
        return
    scheme = urlparse(uri).scheme
    if uri == "sqlite://" or uri.endswith(":memory:"):
        yield error(f"{_where(site)} is a database in memory: no run outlives", _forgetting(site))
    elif scheme in ("", "file"):
        folder = Path(unquote(urlparse(uri).path)) if scheme else Path(uri)
        told = f"{_where(site)} is a folder, a kind of store that MLflow has given up"
        allowed = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")
        if not folder.is_absolute():
            told += "; `dvc exp run --temp` would delete it with its workspace"
        moved = project_store(site)
        mend = _forgetting(site)
        if folder.is_dir() and not Path(moved.removeprefix("sqlite:///")).exists():
            source, target = quoted(folder), quoted(moved)
            mend = f"mlflow migrate-filestore --source {source} --target {target} && {mend}"
        yield trouble(told, mend, stops=not allowed or not folder.is_absolute())


def project_store(site: Site) -> str:
    """Give the store that a project has when nobody names one."""
    return f"sqlite:///{site.project.home / 'mlflow.db'}"


def _where(site: Site) -> str:
    if site.project.settings.tracking.uri:
        return f"tracking.uri of {site.params_file.name}"
    return _VARIABLE


def _forgetting(site: Site) -> str:
    if site.project.settings.tracking.uri:
        return rf"sed -i -E 's/^( *uri:) .*/\1 null/' {quoted(site.params_file.name)}"
    return f"unset {_VARIABLE}"


def _temporary(path: Path) -> bool:
    return path.resolve().is_relative_to(Path(tempfile.gettempdir()).resolve())


def _disagreeing(site: Site, uri: str) -> Iterator[Said]:
    """`mlflow run` makes its run before the parameter file is read."""
    chosen = site.project.settings.tracking.uri
    if not chosen or not (site.root / "MLproject").is_file():
        return
    theirs = os.environ.get(_VARIABLE) or f"sqlite:///{site.root / 'mlflow.db'}"
    if theirs not in (chosen, uri):
        yield warning(
            f"tracking.uri is {masked(chosen)}, and `mlflow run` would make its run in"
            f" {masked(theirs)}",
            f"export {_VARIABLE}={quoted(masked(uri))}",
        )


def _second(site: Site, database: Path | None) -> Iterator[Said]:
    for folder in dict.fromkeys((site.root, site.root / "src", Path.cwd())):
        other = folder / "mlflow.db"
        if database is None or not other.is_file() or other.resolve() == database.resolve():
            continue
        if folder == site.project.home and os.environ.get(_VARIABLE):
            continue  # the embedded store, from before there was a server
        try:
            with closing(sqlite3.connect(f"{other.as_uri()}?mode=ro", uri=True)) as opened:
                (runs,) = opened.execute("SELECT count(*) FROM runs").fetchone()
        except sqlite3.Error:
            continue
        told = f"{other} is another store, with {count(runs, 'run')}, beside {database}"
        yield warning(told, "" if runs else quoted("rm", other))


def tracking_store(site: Site) -> Iterator[Said]:
    """See that the store answers or will be made, and has the schema of the installed MLflow."""
    found = site.access
    if found.broken:
        yield error(found.told, found.mend)
    elif found.client is None and found.absent != NOT_YET:
        raise SkipError(found.told)
    else:
        yield ok(found.told)


def experiment(site: Site) -> Iterator[Said]:
    """See that runs go to the project's experiment, which is not deleted."""
    name = site.project.settings.experiment_name
    said = [*_other_named(site, name), *_other_used(site, name)]
    yield from said
    if not said:
        there = site.access.client is not None and site.client.get_experiment_by_name(name)
        yield ok(name if there else f"{name}, which the first run makes")


def _other_named(site: Site, name: str) -> Iterator[Said]:
    """Compare with what the environment names, which counts under `mlflow run` alone."""
    named = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if named and named != name:
        yield warning(
            f"MLFLOW_EXPERIMENT_NAME is {named}, and the project's experiment {name}: `mlflow run`"
            " takes the one, all else the other",
            f"export MLFLOW_EXPERIMENT_NAME={quoted(name)}",
        )
    number = os.environ.get("MLFLOW_EXPERIMENT_ID")
    if number and site.access.client is not None:
        own = site.client.get_experiment_by_name(name)
        if own is None or own.experiment_id != number:
            yield warning(
                f"MLFLOW_EXPERIMENT_ID is {number}, and the project's experiment {name}"
                f" {'does not exist yet' if own is None else own.experiment_id}",
                "unset MLFLOW_EXPERIMENT_ID",
            )


def _other_used(site: Site, name: str) -> Iterator[Said]:
    if site.access.client is None:
        return
    own = site.client.get_experiment_by_name(name)
    if own is not None and own.lifecycle_stage == "deleted":
        yield error(
            f"the experiment {name} was deleted",
            f"mlflow experiments restore --experiment-id {own.experiment_id}",
        )
    if os.environ.get("MLFLOW_EXPERIMENT_NAME") == name:
        return
    strangers = {
        each.name: len(runs)
        for each in site.client.search_experiments()
        if each.name != name
        and (runs := _ours(site, each.experiment_id, f"params.name = '{_escaped(site)}'"))
    }
    if strangers:
        yield warning(
            f"{count(sum(strangers.values()), 'run')} of {site.project.settings.name} are in the"
            f" experiment {some(strangers)}: `mlflow run` was not told the project's, and its"
            " judgements there don't count as uses of the test set",
            f"export MLFLOW_EXPERIMENT_NAME={quoted(name)}",
        )


def _escaped(site: Site) -> str:
    return site.project.settings.name.replace("'", "\\'")


def _ours(site: Site, experiment_id: str, condition: str) -> list[Any]:
    steps = "tags.`ratchet.step` LIKE '%'"
    found = site.client.search_runs([experiment_id], f"{condition} and {steps}", max_results=1000)
    return [run for run in found if "mlflow.parentRunId" not in run.data.tags]


def artifacts(site: Site) -> Iterator[Said]:
    """See that the folder that an experiment remembers for its artifacts is still there."""
    client, home = site.client, site.project.home
    told = []
    for each in client.search_experiments():
        if each.name not in (site.project.settings.experiment_name, _DEFAULT):
            continue
        location = _local(each.artifact_location)
        if location is None:
            told.append(f"{each.name}: {masked(each.artifact_location)}")
            continue
        if location.is_dir():
            told.append(f"{each.name}: {location}")
            continue
        # A step that ended well has uploaded something; the folder is made by the first upload.
        ended = "attributes.status = 'FINISHED' and tags.`ratchet.step` LIKE '%'"
        if not client.search_runs([each.experiment_id], ended, max_results=1):
            told.append(f"{each.name}: none yet")
            continue
        here = home / "mlruns" / location.name
        mend = ""
        if here.is_dir() and here != location:
            mend = (
                f"{quoted('mkdir', '-p', location.parent)} && {quoted('ln', '-s', here, location)}"
            )
        yield error(
            f"the experiment {each.name} keeps its artifacts in {location}, which is not there"
            f"{f': they are in {here}, the folder was moved' if mend else ''}",
            mend,
        )
    if told:
        yield ok("; ".join(told))


def _local(location: str) -> Path | None:
    parsed = urlparse(location)
    if parsed.scheme not in ("", "file"):
        return None
    return Path(unquote(parsed.path))


def open_runs(site: Site) -> Iterator[Said]:
    """See that no run is left RUNNING by a process that is gone."""
    client = site.client
    began = _working(site)
    mine = getpass.getuser()
    left, going, away = [], 0, 0
    for each in client.search_experiments():
        own = each.name == site.project.settings.experiment_name
        condition = "attributes.status = 'RUNNING'"
        condition += "" if own else " and tags.`ratchet.step` LIKE '%'"
        for run in client.search_runs([each.experiment_id], condition, max_results=1000):
            process = Process.parse(run.data.tags.get(processes.TAG, ""))
            if process is not None:
                if process.life is Life.GONE:
                    left.append(run)
                else:
                    going += 1
                    away += process.life is Life.UNKNOWN
                continue
            if run.data.tags.get("mlflow.user", mine) != mine:
                continue
            # An earlier version of this project has begun it, or `mlflow run`, and said no process.
            # The pipeline is one process, or has one that lasts as long as it does.
            if began is not None and run.info.start_time / 1000 >= began - 1:
                going += 1
            else:
                left.append(run)
    if left:
        named = some(f"{run.info.run_name} ({run.info.run_id})" for run in left)
        yield warning(
            f"{count(len(left), 'run')} still RUNNING, although no step runs here: {named}",
            _ending(site, [run.info.run_id for run in left]),
        )
    else:
        elsewhere = f", {away} of other machines" if away else ""
        yield ok(f"{count(going, 'run')} under way{elsewhere}" if going else "none")


def _working(site: Site) -> float | None:
    """Tell when the oldest process began that runs a part of this pipeline; None without one."""
    times = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            words = process.cmdline()
            if process.pid == os.getpid() or _STEPS.isdisjoint(words):
                continue
            tools = {Path(word).name for word in words}
            if tools.isdisjoint({"src", "ratchet", "mlflow", "dvc"}):
                continue
            if Path(process.cwd()).is_relative_to(site.project.home):
                times.append(process.create_time())
    return min(times, default=None)


def _ending(site: Site, ids: list[str]) -> str:
    uri = tracking_uri(site.project)
    client = f"mlflow.MlflowClient({'' if masked(uri) != uri else repr(uri)})"
    code = f"import mlflow; c = {client}; [c.set_terminated(run, 'KILLED') for run in {ids!r}]"
    # Between double quotes it can be read; a name with a sign of the shell's gets the other kind.
    plain = not set(code) & set('"$`\\!')
    return f'python -c "{code}"' if plain else f"python -c {quoted(code)}"
