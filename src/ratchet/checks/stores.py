"""The way into MLflow's store, without making or changing anything."""

import logging
import os
import re
import shlex
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from ratchet.project import masked

# Seconds until a server that says nothing counts as dead.
_PATIENCE = 5

NOT_YET = "no run has been recorded yet"
"""Why there is nothing to ask of a store that the first run will make."""

# What brings a driver, where that has another name than the module.
_DRIVERS = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
}

_REVISION = re.compile(r"^(down_)?revision\s*(?::[^=]*)?=\s*(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Access:
    """Whether a store can be asked, and what the attempt said."""

    uri: str
    """The tracking URI."""
    told: str
    """What was found, in a clause."""
    absent: str = ""
    """Why there is nothing to ask, in a clause; empty when there is."""
    broken: bool = False
    """Whether a step would fail on it, too."""
    mend: str = ""
    """The command that mends it; empty where none can."""
    client: Any = None
    """MLflow's client; None when there is nothing to ask."""
    ahead: float | None = None
    """Seconds by which the server's clock is ahead of ours; None without a server."""


def place(uri: str) -> Path | None:
    """Give the file of an SQLite store; None for any other."""
    path = re.sub(r"^sqlite(\+\w+)?:///", "", uri)
    return Path(path) if path != uri and path != ":memory:" and path else None


def reach(uri: str) -> Access:
    """Try a store as a step would, but leave one alone that has yet to be made."""
    try:
        import mlflow
    except ImportError as fault:
        told = f"MLflow can't be imported: {fault}"
        return Access(uri, told, absent="MLflow can't be imported", broken=True)
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if uri.startswith(("http://", "https://")):
        found = _server(uri)
    elif (file := place(uri)) is not None:
        found = _sqlite(uri, file)
    elif uri.partition(":")[0].partition("+")[0] in ("postgresql", "mysql", "mssql"):
        found = _database(uri)
    else:
        # Opening a folder would write to it.
        told = f"{masked(uri)} is neither a server nor a database, and is not opened"
        return Access(uri, told, absent=f"{masked(uri)} is neither a server nor a database")
    if found.absent:
        return found
    try:
        with _given_up_on_soon():
            client = mlflow.MlflowClient(uri, registry_uri=uri)
            client.search_experiments(max_results=1)
    except Exception as fault:  # MLflow, SQLAlchemy and requests each have errors of their own
        from ratchet.tracking import LOG_IN, UNKNOWN_USER

        if getattr(fault, "get_http_status_code", int)() == UNKNOWN_USER:
            told = f"the server at {masked(uri)} doesn't know who asks (HTTP 401). {LOG_IN}"
            return Access(
                uri, told, absent="the tracking server doesn't know who asks", broken=True
            )
        reason = masked(" ".join(str(fault).split()))[:200]
        told = f"the store {masked(uri)} doesn't answer: {reason}"
        return Access(uri, told, absent="the store doesn't answer", broken=True)
    return Access(uri, found.told, client=client, ahead=found.ahead)


def _server(uri: str) -> Access:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    began = time.time()
    try:
        answer = http_request(
            get_default_host_creds(uri),
            "/version",
            "GET",
            timeout=_PATIENCE,
            max_retries=0,
            raise_on_status=False,
        )
    except Exception as fault:
        first: BaseException = fault
        while (cause := first.__cause__ or first.__context__) is not None:
            first = cause
        reason = masked(" ".join(str(first).split()))[:200]
        return Access(
            uri,
            f"the server at {masked(uri)} doesn't answer: {reason}",
            absent="the tracking server doesn't answer",
            broken=True,
            mend=_starting(uri),
        )
    if answer.status_code >= 500:
        told = f"the server at {masked(uri)} answers HTTP {answer.status_code}"
        return Access(uri, told, absent="the tracking server fails", broken=True)
    shown = f" (MLflow {answer.text.strip()})" if answer.status_code == 200 else ""
    ahead = None
    if sent := answer.headers.get("Date"):
        # The header has whole seconds, and was written between the question and the answer.
        ahead = parsedate_to_datetime(sent).timestamp() + 0.5 - (began + time.time()) / 2
    return Access(uri, f"the server at {masked(uri)}{shown} answers", ahead=ahead)


def _starting(uri: str) -> str:
    """Start a server of one's own where one was expected; another's is not ours to start."""
    local = re.fullmatch(r"http://(127\.0\.0\.1|localhost)(?::(\d+))?/?", uri)
    if not local:
        return "unset MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") == uri else ""
    port = local[2] or "80"
    store = "--backend-store-uri sqlite:///mlflow.db"
    return f"mlflow server {store} --host {local[1]} --port {port}"


def _sqlite(uri: str, file: Path) -> Access:
    if not file.exists():
        return Access(uri, f"{file} will be made by the first run", absent=NOT_YET)
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            found = None
            if "alembic_version" in tables:
                found = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as fault:
        return _unopenable(uri, str(fault), mend=_aside(file))
    return _judged(uri, str(file), tables, found[0] if found else None)


def _aside(file: Path) -> str:
    return shlex.join(["mv", str(file), f"{file}.broken"])


def _database(uri: str) -> Access:
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.exc import SQLAlchemyError

    patience = {} if uri.startswith("mssql") else {"connect_timeout": _PATIENCE}
    try:
        engine = create_engine(uri, connect_args=patience)
        try:
            tables = set(inspect(engine).get_table_names())
            found = None
            if "alembic_version" in tables:
                with engine.connect() as connection:
                    found = connection.execute(
                        text("SELECT version_num FROM alembic_version")
                    ).scalar()
        finally:
            engine.dispose()
    except ImportError as fault:
        driver = _DRIVERS.get(fault.name or "", fault.name or "the driver")
        return _unopenable(uri, str(fault), mend=f"python -m pip install {shlex.quote(driver)}")
    except (OSError, ValueError, SQLAlchemyError) as fault:
        return _unopenable(uri, str(getattr(fault, "orig", None) or fault))
    return _judged(uri, masked(uri), tables, found)


def _unopenable(uri: str, reason: str, mend: str = "") -> Access:
    reason = masked(" ".join(reason.split())).rstrip(".")[:200]
    told = f"the database {masked(uri)} can't be opened: {reason}"
    return Access(uri, told, absent="the database can't be opened", broken=True, mend=mend)


def _judged(uri: str, shown: str, tables: set[str], revision: str | None) -> Access:
    """Compare a database's schema with the one that the installed MLflow writes."""
    if "experiments" not in tables:
        if tables - {"alembic_version"}:
            told = f"{shown} is a database with tables of something else ({len(tables)} of them)"
            return Access(uri, told, absent="the database is not MLflow's", broken=True)
        return Access(uri, f"{shown} is empty; the first run makes its tables", absent=NOT_YET)
    known, newest = revisions()
    if revision == newest:
        return Access(uri, f"{shown} answers")
    import mlflow

    if revision in known or revision is None:
        return Access(
            uri,
            f"{shown} was made by an older MLflow than {mlflow.__version__}"
            f" (schema {revision}, not {newest}); back it up first",
            absent="the database has another schema",
            broken=True,
            mend=f"mlflow db upgrade {_named(uri)}",
        )
    return Access(
        uri,
        f"{shown} was made by a newer MLflow than {mlflow.__version__}, which doesn't know its"
        f" schema {revision}",
        absent="the database has another schema",
        broken=True,
        mend=f"python -m pip install --upgrade 'mlflow>{mlflow.__version__}'",
    )


def _named(uri: str) -> str:
    """Write a URI for a command; one with a password stays where it is kept."""
    if masked(uri) == uri:
        return shlex.quote(uri)
    return '"$MLFLOW_TRACKING_URI"' if os.environ.get("MLFLOW_TRACKING_URI") == uri else "URI"


def revisions() -> tuple[frozenset[str], str]:
    """Give the names of all database schemas that the installed MLflow knows, and the newest."""
    import mlflow

    folder = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    named: set[str] = set()
    before: set[str] = set()
    for file in folder.glob("*.py"):
        for down, value in _REVISION.findall(file.read_text(encoding="utf-8")):
            (before if down else named).update(re.findall(r"""['"](\w+)['"]""", value))
    (newest,) = named - before
    return frozenset(named), newest


@contextmanager
def _given_up_on_soon() -> Iterator[None]:
    """Have MLflow wait for a dead server for seconds, not minutes."""
    names = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict(zip(names, ("0", str(_PATIENCE)), strict=True)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
