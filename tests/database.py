"""A PostgreSQL of the tests' own, which lives as long as a block."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from conftest import PATIENCE


def binaries() -> Path | None:
    """Find the folder of ``initdb`` and ``postgres``, the newest where there are several."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve()] if on_path else []
    found += sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: int(path.parts[-3]),
        reverse=True,
    )
    return next((path.parent for path in found if (path.parent / "postgres").exists()), None)


def unprivileged() -> str | None:
    """Name who runs PostgreSQL, which refuses to be run by root; None for whoever runs the test."""
    if os.getuid() != 0:
        return None
    names = {each.pw_name for each in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


@dataclass
class Database:
    """A PostgreSQL that can be stopped and started again with what it holds."""

    folder: Path
    """Folder of its socket, its data and its log."""
    superuser: str
    """Name of the role that may do anything."""
    options: tuple[str, ...]
    """Options of ``postgres``."""
    _server: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Its address for MLflow, by its socket."""
        # SQLAlchemy would take another driver, which the development environment hasn't.
        return f"postgresql+psycopg2://{self.superuser}@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = self.folder / "postgres.log"
        with log.open("a") as output:
            self._server = subprocess.Popen(
                [_required() / "postgres", "-D", self.folder / "data", "-k", self.folder]
                + [word for each in ("fsync=off", *self.options) for word in ("-c", each)],
                cwd=self.folder,
                user=unprivileged(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for whoever uses it
            )
        port = [each.removeprefix("port=") for each in self.options if each.startswith("port=")]
        address = f"host={self.folder} user={self.superuser} dbname=postgres"
        until = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg2.connect(f"{address} port={port[0] if port else 5432}").close()
                return
            except psycopg2.OperationalError:
                running = self._server.poll() is None and time.monotonic() < until
                assert running, log.read_text()
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop it without waiting for its clients, whose connections are cut."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGINT)
        try:
            self._server.wait(30)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None


@contextmanager
def postgres(superuser: str, *options: str, auth: str = "trust") -> Iterator[Database]:
    """Hold an empty PostgreSQL open, whose socket asks for no password.

    Parameters
    ----------
    superuser : str
        Name of the role that may do anything.
    *options : str
        Options of ``postgres``; without any, only the socket leads to it.
    auth : str
        How whoever comes by TCP proves who he is.
    """
    place, user = _required(), unprivileged()
    # Not below pytest's own folder, which nobody but the user who runs the tests may enter.
    folder = Path(tempfile.mkdtemp(prefix="ratchet-pg-"))
    if user:
        shutil.chown(folder, user)
    quickly = ("--auth-local=trust", f"--auth-host={auth}", "--no-locale", "--no-sync")
    database = Database(folder, superuser, options or ("listen_addresses=",))
    try:
        subprocess.run(
            [place / "initdb", "-D", folder / "data", "-U", superuser, "-E", "UTF8", *quickly],
            cwd=folder,
            user=user,
            check=True,
            capture_output=True,
        )
        database.start()
        try:
            yield database
        finally:
            database.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _required() -> Path:
    """Find the programs of PostgreSQL, or leave the test out."""
    place = binaries()
    if place is None:
        pytest.skip("PostgreSQL is not installed here: apt-get install postgresql")
    if os.getuid() == 0 and unprivileged() is None:
        pytest.skip("PostgreSQL can't be run by root, and there is no user postgres or nobody")
    return place
