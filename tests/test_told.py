"""Whoever wants to know of a decision gets it as JSON, and nothing that fails there changes it."""

import json
import os
import stat
import sys
import time

import psutil
import pytest
import yaml

from ratchet import hooks
from ratchet.commands import rollback
from ratchet.errors import RatchetError, SettingsError
from ratchet.project import Project
from ratchet.registry.ledger import Ledger
from ratchet.settings import Event, Hooks, from_mapping
from ratchet.steps import promote

KEEP = "import pathlib, sys; pathlib.Path(sys.argv[1]).open('a').write(sys.stdin.read())"


@pytest.fixture
def told(project, better):
    """Have every event written down; give both projects, and a function that reads it."""
    log = project.root / "told.jsonl"
    for name in ("params.yaml", "better.yaml"):
        values = yaml.safe_load((project.root / name).read_text())
        command = [sys.executable, "-c", KEEP, str(log)]
        values["hooks"] = {event.value: command for event in Event}
        (project.root / name).write_text(yaml.safe_dump(values))

    def read():
        return [json.loads(line) for line in log.read_text().splitlines()]

    return Project.open(project.params_file), Project.open(better.params_file), read


def hooked(project, event, command, **more):
    values = yaml.safe_load(project.params_file.read_text())
    values["hooks"] = {event: command, **more}
    return Project(project.params_file, from_mapping(values, origin="x"))


def test_promotion_refusal_and_rollback_are_told_once_with_all_that_was_decided(told, store):
    project, better, read = told
    promote.run(project)
    promote.run(better)
    refused = promote.run(project)
    promote.run(project)  # no new candidate, which is no news
    promote.run(better, dry_run=True)
    rollback.run(better, reason="complaints from Berlin")
    first, second, third, fourth = read()
    assert [each["event"] for each in read()] == ["promoted", "promoted", "refused", "rolled_back"]
    assert (first["name"], first["model"], first["version"], first["champion"]) == (
        *("tiny", "tiny"),
        *(1, None),
    )
    assert (second["version"], second["champion"]) == (2, 1)
    assert second["leader"] == "xgboost"
    assert third["reason"] == refused.reason
    assert {gate["name"] for gate in third["gates"]} >= {"better_than_champion"}
    assert (fourth["version"], fourth["champion"]) == (1, 2)
    assert fourth["reason"] == "complaints from Berlin"
    lines = Ledger.find(project.settings).lines()
    assert [each["line"] for each in read()] == [line.number for line in lines]
    assert [each["decision_run"] for each in read()] == [line.decision_run for line in lines]
    assert {each["who"] for each in read()} == {lines[0].who}


def test_a_forced_promotion_says_who_forced_it(told):
    project, _, read = told
    promote.run(project, force=True, reason="no time")
    [message] = read()
    assert (message["event"], message["kind"], message["reason"]) == (
        "promoted",
        "force",
        "no time",
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["no-such-program"], "can't be started: No such file or directory"),
        ([sys.executable, "-c", "print('x' * 9); exit(3)"], "failed with exit code 3: xxxxxxxxx"),
    ],
)
def test_a_command_that_fails_is_told_and_the_decision_stands(project, caplog, command, said):
    decision = promote.run(hooked(project, "promoted", command))
    assert decision.promoted
    assert said in caplog.text
    assert "the decision stands" in caplog.text


def test_a_command_that_hangs_is_ended_with_all_that_it_has_started(project, tmp_path, caplog):
    file = tmp_path / "child"
    hangs = f"sleep 600 & echo $! > {file}; wait"
    hooks.fire(
        hooked(project, "drift", ["sh", "-c", hangs], timeout_seconds=1), Event.DRIFT, {"n": 1}
    )
    assert "was ended after 1 s; the decision stands" in caplog.text
    child = int(file.read_text())
    until = time.monotonic() + 60
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_no_shell_reads_a_command(project, tmp_path):
    script = tmp_path / "a script.sh"
    script.write_text('#!/bin/sh\necho "$@" > said; cat >> said\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    hostile = "$(touch pwned); `touch pwned` | touch pwned"
    opened = hooked(project, "drift", f"'{script}' '{hostile}' *")
    hooks.fire(opened, Event.DRIFT, {"verdict": "drift", "score": float("nan")})
    first, second = (project.root / "said").read_text().splitlines()
    assert first == f"{hostile} *"
    assert json.loads(second)["score"] is None
    assert not (project.root / "pwned").exists()


def test_python_is_the_one_that_decides(project):
    code = "import sys, pathlib; pathlib.Path('which').write_text(sys.prefix)"
    hooks.fire(hooked(project, "drift", ["python", "-c", code]), Event.DRIFT, {})
    assert (project.root / "which").read_text() == sys.prefix


def test_an_event_without_a_command_tells_nobody(project, caplog):
    caplog.set_level("INFO", "ratchet")
    hooks.fire(project, Event.DRIFT, {})
    assert not caplog.text


def test_what_a_command_prints_is_shown(project, caplog):
    caplog.set_level("INFO", "ratchet")
    hooks.fire(hooked(project, "drift", ["echo", "sent to", "ada"]), Event.DRIFT, {})
    assert "hooks: sent to ada" in caplog.text


def test_a_command_is_text_or_words():
    assert Hooks(promoted="python 'my file.py' -v").promoted == ("python", "my file.py", "-v")
    assert Hooks(promoted=["a b", "c"]).promoted == ("a b", "c")
    values = {"name": "x", "data": {"source": "d", "target": "y"}}
    for command in ("", [], 3, ["a", 3], "open 'quote"):
        with pytest.raises(SettingsError, match=r"hooks\.refused .*got "):
            from_mapping({**values, "hooks": {"refused": command}}, origin="params.yaml")
    with pytest.raises(RatchetError, match=r"hooks\.promotd is not a setting; did you mean"):
        from_mapping({**values, "hooks": {"promotd": "x"}}, origin="params.yaml")


def test_every_event_has_a_command_of_its_own():
    assert {event.value for event in Event} == set(Hooks.model_fields) - {"timeout_seconds"}
    commands = {event.value: [event.value] for event in Event}
    assert [Hooks(**commands).command(event) for event in Event] == [
        (event.value,) for event in Event
    ]


def test_the_environment_reaches_a_command(project, monkeypatch):
    monkeypatch.setenv("CHANNEL_TOKEN", "secret")
    hooks.fire(
        hooked(project, "drift", "sh -c 'printf %s \"$CHANNEL_TOKEN\" > token'"), Event.DRIFT, {}
    )
    assert (project.root / "token").read_text() == "secret"
    assert os.environ["CHANNEL_TOKEN"] == "secret"
