"""No password and no key gets into what is told or recorded."""

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import yaml
from test_lineage import applied, git, nobodys_settings, record, repo, write

from ratchet import hooks, lineage, masking, settings, sources, tracking
from ratchet.dvc_source import DvcDatasetSource
from ratchet.errors import DataError, SettingsError
from ratchet.project import Project
from ratchet.registry import webhooks
from ratchet.settings import Event
from ratchet.steps import origin, reports
from ratchet.tracking import Param, Tag

__all__ = ["nobodys_settings", "repo"]

SECRET = "hunter2"
STORE = f"postgresql://me:{SECRET}@host/runs"
CHANNEL = f"https://hooks.slack.com/services/T0/B0/{SECRET}"


# What is masked


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (STORE, "postgresql://***@host/runs"),
        (f"mysql+pymysql://me:a/{SECRET}@host/db", "mysql+pymysql://***@host/db"),
        (f"redis://:{SECRET}@host:6379/0", "redis://***@host:6379/0"),
        (f"https://{SECRET}@github.com/a/b", "https://***@github.com/a/b"),
        (f"s3://b/x?aws_secret_key={SECRET}&a=1", "s3://b/x?aws_secret_key=***&a=1"),
        (f"https://h/told?private_token={SECRET}", "https://h/told?private_token=***"),
        (f"https://h/a?b=1&sig={SECRET}'", "https://h/a?b=1&sig=***'"),
        (f"mssql://host/db?PWD={SECRET};UID=me", "mssql://host/db?PWD=***;UID=me"),
        (CHANNEL, "https://hooks.slack.com/***"),
        (f"https://discord.com/api/webhooks/1/{SECRET}", "https://discord.com/api/webhooks/***"),
        (f"https://x.webhook.office.com/{SECRET} up", "https://x.webhook.office.com/*** up"),
        (f"curl -H 'Authorization: Bearer {SECRET}'", "curl -H 'Authorization: Bearer ***'"),
        (f"authorization=basic {SECRET}==", "authorization=basic ***"),
    ],
)
def test_a_secret_in_an_address_is_masked(text, told):
    assert masking.masked(text) == told
    assert SECRET not in masking.masked(f"{text} and {text}")


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/runs by me@host",
        "dvc://https://host:8443/repo@c0ffee/data?md5=1f",
        "git@host:team/repo.git",
        "sqlite:////home/me@work/mlflow.db",
        "basic authentication, bearer of news; token = tokens[0]; key=value",
        "https://host/search?keyword=a&page=2&tokens=3",
    ],
)
def test_what_is_no_secret_stays(text):
    assert masking.masked(text) == text


# What a run records


@pytest.fixture
def secretive(project: Project) -> Project:
    """A project with secrets wherever a parameter file may hold one."""
    values = yaml.safe_load(project.params_file.read_text())
    values["tracking"] |= {"uri": STORE}
    values["hooks"] = {"promoted": f"curl {CHANNEL}"}
    chosen = settings.from_mapping(values, origin="x")
    return Project(project.params_file, chosen, (f"tracking.uri={STORE} seed=7",))


def test_a_run_records_no_secret_of_the_settings(secretive, store):
    found = origin.of(secretive, origin.read_data(secretive))
    experiment = store.get_experiment_by_name("tiny").experiment_id
    run_id = store.create_run(experiment).info.run_id
    origin.record(run_id, secretive, found)
    run = store.get_run(run_id)
    assert run.data.params["tracking.uri"] == "postgresql://***@host/runs"
    assert "hooks.slack.com/***" in run.data.params["hooks.promoted"]
    assert run.data.tags["ratchet.overrides"] == "tracking.uri=postgresql://***@host/runs seed=7"
    assert SECRET not in json.dumps([run.data.params, run.data.tags])
    for path in Path(store.download_artifacts(run_id, "lineage")).iterdir():
        assert SECRET not in path.read_text(encoding="utf-8")
        if path.suffix == ".yaml":
            assert settings.load(path).tracking.uri == "postgresql://***@host/runs"


def test_another_password_is_no_other_setting(secretive):
    before = origin.of(secretive, origin.read_data(secretive)).params_digest
    values = secretive.settings.model_dump(mode="json")
    values["tracking"]["uri"] = STORE.replace(SECRET, "hunter3")
    other = Project(secretive.params_file, settings.from_mapping(values, origin="x"))
    assert origin.of(other, origin.read_data(other)).params_digest == before


def test_a_report_shows_no_secret_that_an_older_run_has_recorded(project, store):
    from ratchet.steps.train import Leader

    run_id = Leader.load(project).run_id
    store.set_tag(run_id, "ratchet.overrides", f"tracking.uri={STORE}")
    told = reports._made(project, run_id).overrides
    assert told == "tracking.uri=postgresql://***@host/runs"


# What the patch of a dirty tree holds


@pytest.mark.parametrize(
    "name",
    [
        *(".env", ".env.local", ".env.prod", ".envrc", ".netrc", ".pgpass", ".pypirc", ".npmrc"),
        *("server.pem", "tls.key", "store.p12", "id_rsa", "ID_ED25519", "credentials"),
        *("credentials.json", "secrets.yaml", "secrets.toml", "config.local"),
        *("service-account-7.json", ".git-credentials", "vault.kdbx", "Server.PEM"),
    ],
)
def test_a_file_of_secrets_never_enters_the_patch(repo, name):
    """A new one in src, which a run may import from, and one that git tracks by mistake."""
    write(repo / "deploy" / name, "x\n")
    git(repo, "add", "--all", "--force")
    git(repo, "commit", "--quiet", "--message=oops")
    write(repo / "deploy" / name, f"TOKEN={SECRET}\n")
    write(repo / "src" / name, f"TOKEN={SECRET}\n")
    told = record(repo)
    assert told.patch == f"# deploy/{name} has changed too, and is left out.\n"
    assert (told.dirty, told.patch_whole) == (True, False)


def test_only_code_and_what_git_tracks_is_in_the_patch(repo):
    """A file that git doesn't know is in it only where a run may import it."""
    for name in ("notes.txt", "hosts.txt", "dump/rows.csv", "notebook.ipynb"):
        write(repo / name, f"{SECRET}\n")
    write(repo / "src" / "own.py", "RATE = 2\n")
    told = record(repo)
    assert SECRET not in told.patch
    assert told.changed == ("src/own.py",)


@pytest.mark.parametrize(
    "line",
    [
        f"uri = '{STORE}'",
        f"CHANNEL = '{CHANNEL}'",
        "-----BEGIN RSA PRIVATE KEY-----",
        "AWS = 'AKIAIOSFODNN7EXAMPLE'",
        "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
        "token = 'ghp_0123456789abcdefghijklmnopqrstuvwxyz'",
        "token = 'glpat-0123456789abcdefghij'",
        "pip install git+https://0123456789abcdef0123456789@github.com/a/b",
        "key = 'AIzaSyA0123456789abcdefghijklmnopqrstuv'",
    ],
)
def test_changes_with_a_key_in_them_are_left_out_of_the_patch(repo, tmp_path, line):
    write(repo / "params.yaml", "seed: 2\n")
    write(repo / "src" / "new file.py", f"{line}\n")
    told = record(repo)
    assert told.patch.startswith(
        "# src/new file.py has changed too, and is left out: it holds a secret.\n"
    )
    assert line not in told.patch
    assert (told.dirty, told.patch_whole) == (True, False)
    assert told.changed == ("params.yaml", "src/new file.py")
    again = applied(repo, lineage.record(repo, source=repo / "data", params={}), tmp_path / "again")
    assert (again / "params.yaml").read_text() == "seed: 2\n"
    assert not (again / "src" / "new file.py").exists()


def test_a_secret_that_was_taken_out_is_not_told_by_the_patch_either(repo):
    write(repo / "src" / "model.py", f"STORE = '{STORE}'\n")
    git(repo, "commit", "--quiet", "--all", "--message=oops")
    write(repo / "src" / "model.py", "STORE = None\n")
    told = record(repo)
    assert SECRET not in told.patch
    assert not told.patch_whole


def test_code_that_puts_a_password_in_holds_none(repo):
    for line in (
        "uri = f'postgresql://{user}:{password}@{host}/runs'",
        "uri = 'postgresql://$USER:$PASSWORD@host'",
        "shown = 'postgresql://***:***@host'",
        "token = tokens[0]",
    ):
        write(repo / "src" / "model.py", f"{line}\n")
        told = record(repo)
        assert line in told.patch
        assert told.patch_whole


def test_no_file_of_secrets_travels_with_a_model(tmp_path, monkeypatch):
    package = tmp_path / "own_secretive"
    for name in ("__init__.py", "models.py", "secrets.py"):
        write(package / name, "")
    for name in (".env", "server.pem", "secrets.yaml", "deep/id_rsa"):
        write(package / name, SECRET)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "out").mkdir()
    (copy,) = sources.gather(["own_secretive.models"], tmp_path / "out")
    assert sorted(path.name for path in Path(copy).rglob("*") if path.is_file()) == [
        "__init__.py",
        "models.py",
        "secrets.py",
    ]


# What is told


def test_the_doctor_prints_no_secret(tmp_path, monkeypatch, call, empty_store):
    root = tmp_path / "project"
    shutil.copytree(Path(__file__).parents[1] / ".dvc", root / ".dvc", symlinks=True)
    write(
        root / ".dvc" / "config",
        f"[core]\n    remote = far\n['remote \"far\"']\n    url = https://me:{SECRET}@host/data\n",
    )
    values = {
        "name": "x",
        "data": {"source": "data", "target": "y"},
        "tracking": {"uri": f"postgresql://me:{SECRET}@127.0.0.1:1/runs"},
    }
    write(root / "params.yaml", yaml.safe_dump(values))
    write(root / "data" / "a.csv", "x,y\n1,2\n")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "remote", "add", "origin", f"https://me:{SECRET}@host/repo")
    git(root, "add", "params.yaml")
    git(root, "commit", "--quiet", "--message=first")
    monkeypatch.chdir(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@127.0.0.1:1")
    code, out, err = call("doctor", "--json")
    assert code == 1
    assert "far at https://***@host/data" in out
    assert "***@127.0.0.1:1" in out
    assert SECRET not in out + err


def test_a_repository_that_can_not_be_cloned_is_told_without_its_password(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    source = f"https://me:{SECRET}%40127.0.0.1:1/repo@{'0' * 40}/data?md5={'0' * 32}"
    with pytest.raises(DataError) as error:
        DvcDatasetSource(f"dvc://{source}").load(str(tmp_path / "again"))
    assert "The repository https://***@127.0.0.1:1/repo can't be cloned" in str(error.value)
    assert SECRET not in str(error.value)
    with pytest.raises(DataError) as error:
        DvcDatasetSource(f"https://me:{SECRET}@host/repo")
    assert SECRET not in str(error.value)


def test_a_mistake_in_the_settings_is_told_without_what_is_secret_in_it(tmp_path):
    write(
        tmp_path / "params.yaml",
        yaml.safe_dump(
            {"name": "x", "data": {"source": "d", "target": "y"}, "hooks": {"drift": {1: CHANNEL}}}
        ),
    )
    for overrides in ([], [STORE], [f"tracking.uri=['{STORE}']"]):
        with pytest.raises(SettingsError) as error:
            settings.load(tmp_path / "params.yaml", overrides)
        assert SECRET not in str(error.value)


def test_a_hook_is_named_without_what_is_secret_in_it(secretive, caplog):
    caplog.set_level(logging.INFO, "ratchet")
    values = secretive.settings.model_dump(mode="json")
    values["hooks"]["drift"] = ["false", CHANNEL]
    values["tracking"]["uri"] = None
    hooked = Project(secretive.params_file, settings.from_mapping(values, origin="x"))
    hooks.fire(hooked, Event.DRIFT, {})
    assert "hooks.slack.com/***" in caplog.text
    assert SECRET not in caplog.text


def test_a_webhook_is_listed_without_what_is_secret_in_it():
    from mlflow.entities.webhook import Webhook, WebhookEvent

    event = WebhookEvent("model_version_tag", "set")
    found = webhooks._webhook(Webhook("1", "x", CHANNEL, [event], 0, 0))
    assert found.url == "https://hooks.slack.com/***"


def test_an_item_of_a_run_is_masked_wherever_it_stands(secretive):
    found = origin.of(secretive, origin.read_data(secretive))
    for item in origin.items(secretive, found):
        assert isinstance(item, Param | Tag)
        assert SECRET not in str(item.value)


def test_what_is_masked_is_masked_by_one_function():
    """Each room that tells an address takes it from here."""
    from ratchet import project

    assert project.masked is tracking.masked is masking.masked


# What a terminal obeys

OBEYED = "a\x1b[2J\x1b]52;c;aGk=\x07b\x9b31m\u202etxt"
SHOWN = "a\\x1b[2J\\x1b]52;c;aGk=\\x07b\\x9b31m\\u202etxt"


def test_signs_that_a_terminal_obeys_are_shown_and_not_obeyed(tiny, call, tmp_path, caplog):
    from conftest import tiny_table

    from ratchet import terminal
    from ratchet.report.pieces import escaped

    params = tiny(tiny_table().rename(columns={"price": OBEYED}))
    _, _, err = call("prepare", "--params", params)
    assert f"{SHOWN[:20]}" in err
    assert not masking._OBEYED.search(err.replace("\r", ""))
    console = terminal.console()
    with console.capture() as printed:
        terminal.show_table(console, ("column", "told"), [(OBEYED, OBEYED)])
        terminal.show_facts(console, [("name", OBEYED)], 8)
    assert printed.get().count("\\x1b[2J") == 3
    assert "\x1b[2J" not in printed.get()
    assert not masking._OBEYED.search(escaped(OBEYED))
    assert masking.harmless("two\nlines\tand ünïcode 🏠") == "two\nlines\tand ünïcode 🏠"
