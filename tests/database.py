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


@contextmanager
def postgres(superuser: str, *options: str, auth: str = "trust") -> Iterator[Path]:
    """Hold an empty PostgreSQL open; give the folder of its socket, which asks for no password.

    Parameters
    ----------
    superuser : str
        Name of the role that may do anything.
    *options : str
        Options of ``postgres``; without any, only the socket leads to it.
    auth : str
        How whoever comes by TCP proves who he is.
    """
    place = binaries()
    if place is None:
        pytest.skip("PostgreSQL is not installed here: apt-get install postgresql")
    user = unprivileged()
    if os.getuid() == 0 and user is None:
        pytest.skip("PostgreSQL can't be run by root, and there is no user postgres or nobody")
    # Not below pytest's own folder, which nobody but the user who runs the tests may enter.
    folder = Path(tempfile.mkdtemp(prefix="ratchet-pg-"))
    if user:
        shutil.chown(folder, user)
    data, log = folder / "data", folder / "postgres.log"
    quickly = ("--auth-local=trust", f"--auth-host={auth}", "--no-locale", "--no-sync")
    try:
        subprocess.run(
            [place / "initdb", "-D", data, "-U", superuser, "-E", "UTF8", *quickly],
            cwd=folder,
            user=user,
            check=True,
            capture_output=True,
        )
        with log.open("w") as output:
            server = subprocess.Popen(
                [place / "postgres", "-D", data, "-k", folder, "-c", "fsync=off"]
                + [word for each in options or ("listen_addresses=",) for word in ("-c", each)],
                cwd=folder,
                user=user,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait(server, f"host={folder} user={superuser} dbname=postgres", options, log)
            yield folder
        finally:
            server.send_signal(signal.SIGINT)  # which waits for no client
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: subprocess.Popen, address: str, options: tuple[str, ...], log: Path) -> None:
    port = [each.removeprefix("port=") for each in options if each.startswith("port=")]
    until = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg2.connect(f"{address} port={port[0] if port else 5432}").close()
            return
        except psycopg2.OperationalError:
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
