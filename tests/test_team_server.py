"""The guide to a team's server is tried: PostgreSQL, an S3-compatible store, users, two people."""

import os
import re
import shlex
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import util
from itertools import takewhile

import database
import mlflow
import pytest
from conftest import COMMITTER, ROOT, Clone, tiny_table
from mlflow.exceptions import MlflowException
from test_guides import BLOCK, SMALL, TAKES_SETTINGS

from ratchet.registry import versions
from ratchet.registry.versions import Version

PAGE = (ROOT / "docs" / "team-server.md").read_text(encoding="utf-8")


def sections() -> dict[str, list[tuple[str, str]]]:
    """Give the blocks below each heading, languages and texts."""
    parts = re.split(r"^##+ (.*)$", PAGE, flags=re.M)
    return {
        title: BLOCK.findall(text) for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def lines(text: str) -> list[str]:
    return text.replace("\\\n", " ").splitlines()


class Guide:
    """Runs the page's commands as the people it names, each in a folder of theirs."""

    def __init__(self, tmp_path, call, caplog, monkeypatch, held):
        self.folders = {name: tmp_path / name for name in ("server", "ann", "ben")}
        for folder in self.folders.values():
            folder.mkdir()
        self.here = self.folders["server"]
        self.held = held
        self.passwords = {}
        self.places = {}
        self.printed = ""
        self._call, self._log, self._patch = call, caplog, monkeypatch

    def follow(self, title, who="server", inside=""):
        self.here = self.folders[who] / inside
        self.printed = ""
        for language, text in sections()[title]:
            file = re.match(r"# (\S+\.(?:py|ini|env))\n", text)
            if file and not file[1].startswith("/"):
                (self.here / file[1]).write_text(self._placed(text), encoding="utf-8")
            elif language == "sh":
                for line in lines(text):
                    self._run(line)
        return self.printed

    def _placed(self, text):
        for shown, real in self.places.items():
            text = text.replace(shown, real)
        return text

    def _run(self, line):
        words = shlex.split(self._placed(line), comments=True)
        given = dict(each.split("=", 1) for each in takewhile(lambda each: "=" in each, words))
        program, *arguments = words[len(given) :]
        with self._patch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            match program:
                case "export":
                    name, value = arguments[0].split("=", 1)
                    known = self.passwords.get(os.environ.get("MLFLOW_TRACKING_USERNAME"))
                    self._patch.setenv(name, known if value == "…" else value)
                case "unset":
                    for name in arguments:
                        self._patch.delenv(name)
                case "cd":
                    self.here /= arguments[0]
                case "python" if arguments[0] == "src":
                    self._ratchet(patch, *arguments[1:])
                case "mlflow" if "server" in arguments:
                    # One worker starts sooner than two where cores are few.
                    command = (program, *arguments, "--workers", "1")
                    server = Clone(self.here).serve(*command, ready="/health")
                    address = self.held.enter_context(server)
                    self.places["TRACKING_URI=https://mlflow.example.org"] = (
                        f"TRACKING_URI={address}"
                    )
                    self.places['server = "https://mlflow.example.org"'] = f'server = "{address}"'
                case _:
                    self.printed += Clone(self.here).run(program, *arguments)

    def _ratchet(self, patch, command, *arguments):
        patch.chdir(self.here)
        store = os.environ.get("MLFLOW_TRACKING_URI", "")
        mlflow.set_tracking_uri(None)  # which takes it out of the environment, too
        mlflow.set_registry_uri(None)
        self._patch.setenv("MLFLOW_TRACKING_URI", store)
        small = ("--set", SMALL) if command in TAKES_SETTINGS else ()
        self._log.clear()
        code, out, err = self._call(command, *arguments, *small)
        self._patch.setenv("MLFLOW_TRACKING_URI", store)  # steps name the store that they use
        assert code == 0, f"{command}\n{out}{err}"
        self.printed += "\n".join([*self._log.messages, out, err])


def plain(text: str) -> list[str]:
    """Give the lines of a text without the ids and numbers that are other ones each time."""
    text = re.sub(r"\b[0-9a-f]{8}\b|[\d-]+T[\d:]+|\d+(\.\d+)?", "#", text)
    return [" ".join(line.split()) for line in re.sub(r"\S+@\S+", "@", text).splitlines()]


def status(address: str, path: str, method: str = "GET", **headers: str) -> int:
    """Ask a server; give HTTP's answer."""
    asked = urllib.request.Request(address + path, b"{}" if method == "POST" else None, headers)
    asked.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """Hold the servers of the test open until its end."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.slow
def test_a_team_shares_one_registry_as_the_guide_says(
    tmp_path, empty_store, call, caplog, git, monkeypatch, held
):
    if util.find_spec("flask_wtf") is None:
        pytest.skip("Flask-WTF is not installed: `make install` brings it")
    # Set by MLflow and by ourselves, and a later test must not find them.
    names = ("TRACKING_URI", "REGISTRY_URI", "HTTP_REQUEST_MAX_RETRIES", "HTTP_REQUEST_TIMEOUT")
    for name in names:
        monkeypatch.setenv(f"MLFLOW_{name}", "")
        monkeypatch.delenv(f"MLFLOW_{name}")
    held.callback(mlflow.set_registry_uri, None)
    held.callback(mlflow.set_tracking_uri, None)
    for name, value in COMMITTER.items():
        monkeypatch.setenv(name, value)
    guide = Guide(tmp_path, call, caplog, monkeypatch, held)

    # What the page takes for granted: PostgreSQL, a store, and Ann's project with a champion.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options = ("listen_addresses=127.0.0.1", f"port={port}")
    folder = held.enter_context(
        database.postgres("postgres", *options, auth="scram-sha-256")
    ).folder
    for name, value in {"PGHOST": str(folder), "PGPORT": port, "PGUSER": "postgres"}.items():
        monkeypatch.setenv(name, value)
    s3 = held.enter_context(Clone(guide.here).serve("moto_server", ready="/moto-api/"))
    guide.places |= {"https://s3.example.org": s3, "127.0.0.1:5432": f"127.0.0.1:{port}"}
    guide.places["git@git.example.org:flats.git"] = str(tmp_path / "flats.git")
    ann = guide.folders["ann"] / "flats"
    tiny_table(600).drop(columns="dear").to_parquet(tmp_path / "flats.parquet")
    assert call("init", ann, "--data", tmp_path / "flats.parquet", "--target", "price")[0] == 0
    git(tmp_path, "clone", "--quiet", "--bare", str(ann), "flats.git")
    git(ann, "remote", "add", "origin", str(tmp_path / "flats.git"))
    git(ann, "config", "push.autoSetupRemote", "true")
    (ann / "mlflow.db").write_bytes(empty_store.read_bytes())
    with monkeypatch.context() as patch:
        patch.chdir(ann)
        linear = f"train.families=[baseline,ridge] {SMALL}"
        assert call("run", "--set", linear)[0] == 0

    for title in ("The store", "The database", "The server"):
        guide.follow(title)
    address = guide.places["TRACKING_URI=https://mlflow.example.org"].partition("=")[2]
    refused = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert status(address, refused) == 401
    assert status(address, refused, Host="mlflow.example.org") == 401
    assert status(address, refused, Host="rebound.example.net") == 403
    post = ("/api/2.0/mlflow/experiments/create", "POST")
    assert status(address, *post, Origin="https://rebound.example.net") == 403
    assert status(address, *post, Origin="https://mlflow.example.org") == 401

    users = guide.follow("Names and passwords").splitlines()
    guide.passwords = dict(each.split() for each in users if each.startswith(("ann ", "ben ")))
    assert len(guide.passwords) == 2

    printed = guide.follow("Ann brings her project", "ann")
    (shown,) = (text for language, text in sections()["Ann brings her project"] if not language)
    assert set(plain(shown)) <= set(plain(printed)), printed
    for secret in ("KEY-OF-THE-DATA", "SECRET-OF-THE-DATA", *guide.passwords.values()):
        assert secret not in git(ann, "log", "--patch", "--all")

    printed = guide.follow("Ben joins", "ben")
    ben = guide.folders["ben"] / "flats"
    assert (ben / "data" / "flats.parquet").read_bytes() == (
        tmp_path / "flats.parquet"
    ).read_bytes()
    assert "Production and champion are version 1" in printed
    assert "0 errors" not in printed and " error " not in printed
    assert "promoted   yes, as version 2 of flats" in printed
    assert "**B is better.**" in printed
    assert "View run" not in printed  # MLflow's own lines, two for each run that ends on a server
    (shown,) = (text for language, text in sections()["Ben joins"] if not language)
    assert set(plain(shown)) <= set(plain(printed)), printed
    # Who may write may not delete what is another's, and goes on without.
    versions.delete(Version("flats", 1, ""))
    client = mlflow.MlflowClient()
    assert {int(each.version) for each in client.search_model_versions("name='flats'")} == {1, 2}
    with pytest.raises(MlflowException, match="Permission denied"):
        client.delete_registered_model("flats")
    # The bytes of Ann's data come out of the store for whoever has the key.
    run = client.get_run(client.get_model_version("flats", "1").run_id)
    monkeypatch.chdir(ben)
    source = mlflow.data.get_source(run.inputs.dataset_inputs[0])
    assert source.uri.startswith("dvc://")

    printed = guide.follow("Keep it", "ben", "flats")
    assert len(re.findall(r"^\d  ", printed, re.M)) == 2
    guide.follow("Upgrade it")


def test_what_starts_with_the_machine_is_what_was_tried():
    def command(title):
        found = [line for _, text in sections()[title] for line in lines(text)]
        (line,) = (each for each in found if " --app-name " in each)
        return shlex.split(line.removeprefix("ExecStart=/srv/mlflow/env/bin/"))

    assert command("It starts with the machine") == command("The server")


def test_every_page_that_the_guide_links_to_exists():
    for target in re.findall(r"\]\((?!https:)([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
