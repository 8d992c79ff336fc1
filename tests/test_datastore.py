"""A recorded data version comes back byte for byte, or it is said where it was looked for."""

import base64
import hashlib
import json
import os
import shutil
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest
import yaml

from ratchet import datastore, lineage
from ratchet.errors import DataError

FILES = {"a.csv": b"x\r\n1\r\n", "2023/b.csv": b"2", "2023/twin.csv": b"2", "2024/\xe9 d.csv": b""}


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch, tmp_path):
    """Keep DVC's settings of whoever runs the tests, and its shared folders, out."""
    for name in ("SYSTEM_CONFIG_DIR", "GLOBAL_CONFIG_DIR", "SITE_CACHE_DIR"):
        monkeypatch.setenv(f"DVC_{name}", str(tmp_path / "dvc" / name))


@pytest.fixture
def project(tmp_path):
    """A DVC project with an empty cache; its data are gone, or have moved on."""
    root = tmp_path / "project"
    configured(root, "")
    return root


@pytest.fixture
def data(tmp_path):
    """The data as they were when they were recorded."""
    return made(tmp_path / "then" / "data", FILES)


def configured(root, text, name="config"):
    (root / ".dvc").mkdir(parents=True, exist_ok=True)
    (root / ".dvc" / name).write_text(text, encoding="utf-8")


def made(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def keep(store, path, *, but=(), layout=("files", "md5")):
    """Put a file or folder where a cache or a remote of DVC has it; give its version."""
    listed = lineage.listing(path) if path.is_dir() else {"": lineage.data_version(path)}
    for name, md5 in listed.items():
        if name not in but:
            put(store.joinpath(*layout), md5, (path / name if name else path).read_bytes())
    if not path.is_dir():
        return listed[""]
    entries = [{"md5": listed[name], "relpath": name} for name in sorted(listed)]
    content = json.dumps(entries, sort_keys=True).encode()
    version = hashlib.md5(content).hexdigest() + ".dir"
    assert version == lineage.data_version(path)
    put(store.joinpath(*layout), version, content)
    return version


def put(folder, md5, content):
    file = folder / md5[:2] / md5[2:]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def content(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def names(folder):
    return [path.name for path in folder.iterdir()]


def state(folder):
    """Everything about a folder that a careless tool might change."""
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.lstat().st_ino)
        for path in sorted(folder.rglob("*"))
    } | content(folder)


def remote(url, name="origin", **options):
    lines = [f"['remote \"{name}\"']", f"url = {url}", *(f"{k} = {v}" for k, v in options.items())]
    return "\n".join(lines) + "\n"


@pytest.fixture
def no_dvc(monkeypatch, tmp_path):
    """A machine on which DVC is not installed."""
    monkeypatch.setitem(sys.modules, "dvc", None)
    monkeypatch.setenv("PATH", str(tmp_path))


# Out of the cache


def test_a_folder_comes_out_of_the_cache_without_dvc(project, data, tmp_path, no_dvc):
    version = keep(project / ".dvc" / "cache", data)
    before = state(project)
    datastore.fetch(project, version, tmp_path / "out" / "again")
    assert content(tmp_path / "out" / "again") == FILES
    assert lineage.data_version(tmp_path / "out" / "again") == version
    assert names(tmp_path / "out") == ["again"]
    assert state(project) == before


def test_a_file_comes_out_of_the_cache_and_is_the_users_own(project, data, tmp_path, no_dvc):
    version = keep(project / ".dvc" / "cache", data / "a.csv")
    [kept] = [path for path in (project / ".dvc" / "cache").rglob("*") if path.is_file()]
    kept.chmod(0o444)
    datastore.fetch(project / "not" / "there", version, tmp_path / "again.csv")
    (tmp_path / "again.csv").write_bytes(b"mine")
    assert kept.read_bytes() == FILES["a.csv"]


def test_equal_files_do_not_become_one(project, data, tmp_path):
    version = keep(tmp_path / "store", data)
    configured(project, remote(tmp_path / "store"))
    datastore.fetch(project, version, tmp_path / "again")
    (tmp_path / "again" / "2023" / "b.csv").write_bytes(b"mine")
    assert (tmp_path / "again" / "2023" / "twin.csv").read_bytes() == b"2"


def test_an_empty_folder_comes_back(project, tmp_path, no_dvc):
    (tmp_path / "empty").mkdir()
    version = keep(project / ".dvc" / "cache", tmp_path / "empty")
    datastore.fetch(project, version, tmp_path / "again")
    assert (tmp_path / "again").is_dir()


@pytest.mark.parametrize("file", ["config", "config.local", "global", "system"])
def test_the_cache_is_where_any_of_dvcs_files_says(project, data, tmp_path, no_dvc, file):
    version = keep(tmp_path / "shared cache", data)
    if file in ("global", "system"):
        folder = Path(os.environ[f"DVC_{file.upper()}_CONFIG_DIR"])
        folder.mkdir(parents=True)
        told, path = folder / "config", "../../shared cache"
    else:
        told, path = project / ".dvc" / file, "../../shared cache"
    told.write_text(f"[cache]\n    dir = '{path}'\n")
    datastore.fetch(project, version, tmp_path / "again")
    assert content(tmp_path / "again") == FILES


def test_a_cache_of_dvc_2_gives_what_has_the_right_bytes(project, tmp_path, no_dvc):
    """It named text by another md5 where lines end as on Windows, and such a file isn't found."""
    unix, windows = made(tmp_path / "then", {"unix.csv": b"1\n", "windows.csv": b"1\r\n"}), b"1\r\n"
    cache = project / ".dvc" / "cache"
    version = keep(cache, unix / "unix.csv", layout=())
    put(cache, hashlib.md5(b"1\n").hexdigest(), b"1\n")
    datastore.fetch(project, version, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == b"1\n"
    with pytest.raises(DataError):
        datastore.fetch(project, hashlib.md5(windows).hexdigest(), tmp_path / "other.csv")


# Out of a remote


def test_a_folder_comes_out_of_a_remote_and_the_checkout_stays_as_it_was(project, data, tmp_path):
    version = keep(tmp_path / "the #1 store, so", data)
    configured(
        project, "[core]\nremote = my.store\n" + remote('"../../the #1 store, so"', "my.store")
    )
    configured(project, remote(tmp_path / "nothing", "another"), "config.local")
    before = state(project), state(tmp_path / "the #1 store, so")
    datastore.fetch(project, version, tmp_path / "out" / "again")
    assert content(tmp_path / "out" / "again") == FILES
    assert (state(project), state(tmp_path / "the #1 store, so")) == before
    assert names(tmp_path / "out") == ["again"]
    assert not (tmp_path / "dvc" / "SITE_CACHE_DIR").exists()


def test_what_the_cache_lacks_comes_out_of_whichever_remote_has_it(project, data, tmp_path):
    version = keep(project / ".dvc" / "cache", data, but=("a.csv", "2024/\xe9 d.csv"))
    keep(tmp_path / "one", data / "a.csv")
    keep(tmp_path / "two", data / "2024" / "\xe9 d.csv")
    configured(project, remote(tmp_path / "one", "one") + remote(tmp_path / "two", "two"))
    datastore.fetch(project, version, tmp_path / "again")
    assert content(tmp_path / "again") == FILES


def test_a_damaged_file_in_the_cache_is_passed_over(project, data, tmp_path):
    version = keep(tmp_path / "store", data)
    keep(project / ".dvc" / "cache", data)
    md5 = lineage.data_version(data / "a.csv")
    put(project / ".dvc" / "cache" / "files" / "md5", md5, b"rotten")
    with pytest.raises(DataError) as error:
        datastore.fetch(project, version, tmp_path / "again")
    assert "(damaged files: 1)" in str(error.value)
    configured(project, remote(tmp_path / "store"))
    datastore.fetch(project, version, tmp_path / "again")
    assert content(tmp_path / "again") == FILES


class Guarded(SimpleHTTPRequestHandler):
    """A web server that asks for a password."""

    def do_GET(self):
        if self.allowed():
            super().do_GET()

    def do_HEAD(self):
        if self.allowed():
            super().do_HEAD()

    def allowed(self):
        expected = "Basic " + base64.b64encode(b"ada:hunter2#,'").decode()
        if self.headers.get("Authorization") == expected:
            return True
        self.send_error(401)
        return False

    def log_message(self, *arguments):
        pass


@contextmanager
def served(folder):
    server = HTTPServer(("127.0.0.1", 0), partial(Guarded, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_remote_is_asked_with_the_users_own_credentials(project, data, tmp_path):
    version = keep(tmp_path / "store", data)
    with served(tmp_path / "store") as address:
        configured(project, remote(address))
        secret = remote(address, auth="basic", user="ada", password='"""hunter2#,\'"""')
        configured(project, secret, "config.local")
        datastore.fetch(project, version, tmp_path / "out" / "again")
    assert content(tmp_path / "out" / "again") == FILES
    assert names(tmp_path / "out") == ["again"]


def test_a_server_that_is_not_there_is_told_and_no_secret_is(project, tmp_path):
    configured(project, remote("http://ada:hunter2@127.0.0.1:1/store"))
    with pytest.raises(DataError) as error:
        datastore.fetch(project, "0" * 32, tmp_path / "again")
    told = str(error.value)
    assert "the remote 'origin' at http://***@127.0.0.1:1/store (no answer: " in told
    assert "hunter2" not in told


# A part of what is tracked


def test_a_part_of_a_tracked_folder_is_found_by_the_pointer_of_the_whole(project, data, tmp_path):
    """DVC has recorded the whole: the part's own listing is nowhere."""
    keep(tmp_path / "store", data)
    configured(project, remote(tmp_path / "store"))
    point(project / "data", lineage.data_version(data))
    version = lineage.data_version(data / "2023")
    with pytest.raises(DataError):
        datastore.fetch(project, version, tmp_path / "again")
    datastore.fetch(project, version, tmp_path / "again", recorded=project / "data" / "2023")
    assert content(tmp_path / "again") == {"b.csv": b"2", "twin.csv": b"2"}


def test_a_part_is_found_in_the_cache_too(project, data, tmp_path, no_dvc):
    keep(project / ".dvc" / "cache", data)
    point(project / "data", lineage.data_version(data))
    version = lineage.data_version(data / "2024")
    datastore.fetch(project, version, tmp_path / "again", recorded=project / "data" / "2024")
    assert content(tmp_path / "again") == {"\xe9 d.csv": b""}
    with pytest.raises(DataError):
        datastore.fetch(project, version, tmp_path / "b", recorded=project / "data" / "2023")


def point(source, version):
    out = {"md5": version, "hash": "md5", "path": source.name}
    source.with_name(f"{source.name}.dvc").write_text(yaml.safe_dump({"outs": [out]}))


# Out of the source itself


def test_bytes_that_never_were_in_dvc_are_taken_from_where_they_lie(tmp_path, data, no_dvc):
    version = lineage.data_version(data)
    datastore.fetch(tmp_path, version, tmp_path / "again", also=data)
    assert content(tmp_path / "again") == FILES
    file = lineage.data_version(data / "a.csv")
    datastore.fetch(tmp_path, file, tmp_path / "again.csv", also=data / "a.csv")
    assert (tmp_path / "again.csv").read_bytes() == FILES["a.csv"]
    assert content(data) == FILES


def test_a_source_that_has_moved_on_still_gives_the_files_that_stayed(project, data, tmp_path):
    keep(project / ".dvc" / "cache", data, but=("2023/b.csv", "2023/twin.csv"))
    version = lineage.data_version(data)
    (data / "a.csv").write_bytes(b"newer")
    datastore.fetch(project, version, tmp_path / "again", also=data)
    assert content(tmp_path / "again") == FILES


# What can't be


@pytest.mark.parametrize("version", ["0" * 32, "0" * 32 + ".dir"])
def test_a_version_that_is_nowhere_is_told_with_all_places(project, tmp_path, version):
    configured(project, remote("../../store"))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError) as error:
        datastore.fetch(project, version, tmp_path / "out" / "again", name="data/trips")
    told = str(error.value)
    start = (
        f"Version {version} of data/trips can't be had: not all of it is in the cache"
        f" {project / '.dvc' / 'cache'}; the remote 'origin' at {tmp_path / 'store'} ("
    )
    assert told.startswith(start)
    assert told.endswith("). Run `dvc push` in a checkout that has it.")
    assert names(tmp_path / "out") == []


def test_a_project_without_remotes_is_told(project, tmp_path):
    with pytest.raises(DataError) as error:
        datastore.fetch(project, "0" * 32, tmp_path / "again")
    assert str(error.value) == (
        f"Version {'0' * 32} of data can't be had: not all of it is in the cache"
        f" {project / '.dvc' / 'cache'}. No remote is configured (`dvc remote add`)."
        " Run `dvc push` in a checkout that has it."
    )


def test_a_machine_without_dvc_is_told(project, tmp_path, no_dvc):
    configured(project, remote(tmp_path / "store"))
    with pytest.raises(DataError) as error:
        datastore.fetch(project, "0" * 32, tmp_path / "again")
    assert str(error.value) == (
        f"Version {'0' * 32} of data can't be had: not all of it is in the cache"
        f" {project / '.dvc' / 'cache'}. Its remotes were not asked: DVC is not installed"
        " (`pip install dvc`). Run `dvc push` in a checkout that has it."
    )


def test_a_folder_that_is_no_dvc_project_is_told(tmp_path):
    with pytest.raises(DataError) as error:
        datastore.fetch(tmp_path, "0" * 32, tmp_path / "again")
    assert str(error.value) == (
        f"Version {'0' * 32} of data can't be had: {tmp_path} is in no DVC project,"
        " which would have a cache and remotes."
    )


@pytest.mark.parametrize("name", ["../escaped.csv", "/escaped.csv", "a/../../escaped.csv"])
def test_a_listing_that_leads_out_of_its_folder_is_refused(project, data, tmp_path, name, no_dvc):
    md5 = lineage.data_version(data / "a.csv")
    entries = [{"md5": md5, "relpath": name}]
    text = json.dumps(entries, sort_keys=True).encode()
    version = hashlib.md5(text).hexdigest() + ".dir"
    store = project / ".dvc" / "cache" / "files" / "md5"
    put(store, version, text)
    put(store, md5, FILES["a.csv"])
    with pytest.raises(DataError) as error:
        datastore.fetch(project, version, tmp_path / "out" / "again")
    assert str(error.value) == (
        f"The listing of data version {version} is not to be trusted: it names {name!r}"
        f" with md5 {md5!r}, and files must lie inside of the folder."
    )
    assert not list(tmp_path.rglob("*escaped*"))


def test_what_is_there_already_is_left_alone(project, data, tmp_path, no_dvc):
    version = keep(project / ".dvc" / "cache", data / "a.csv")
    there = tmp_path / "there.csv"
    there.write_bytes(b"mine")
    with pytest.raises(DataError) as error:
        datastore.fetch(project, version, there)
    assert str(error.value) == f"{there} is there already. Name a place where nothing is."
    assert there.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "version", ["", "abc", "0" * 31 + "G", "0" * 32 + ".tar", "../" + "0" * 32]
)
def test_what_is_no_version_is_told(project, tmp_path, version):
    with pytest.raises(DataError) as error:
        datastore.fetch(project, version, tmp_path / "again")
    assert str(error.value) == (
        f"{version!r} is no data version. One is an md5 such as"
        " 6faf7ec659f00b5ab27dd14576f538af, of a folder followed by .dir."
    )


def test_a_place_that_can_not_be_written_to_is_told(project, data, tmp_path, unwritable, no_dvc):
    version = keep(project / ".dvc" / "cache", data / "a.csv")
    unwritable(tmp_path / "locked")
    with pytest.raises(DataError) as error:
        datastore.fetch(project, version, tmp_path / "locked" / "a.csv", name="a.csv")
    assert str(error.value).startswith(f"Can't bring a.csv to {tmp_path / 'locked' / 'a.csv'}: ")


def test_an_interruption_leaves_nothing_behind(project, data, tmp_path, monkeypatch, no_dvc):
    version = keep(project / ".dvc" / "cache", data)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", interrupt)
    with pytest.raises(KeyboardInterrupt):
        datastore.fetch(project, version, tmp_path / "out" / "again")
    assert names(tmp_path / "out") == []
