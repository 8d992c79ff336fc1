"""The page on retraining says what works: its lines are run, its units and workflow are read."""

import configparser
import getpass
import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml
from conftest import ROOT
from test_guides import blocks

from ratchet import hooks
from ratchet.project import Project
from ratchet.settings import Event, Hooks, Retrain, from_mapping
from ratchet.steps import promote

BLOCKS = blocks("retraining.md")
PAGE = (ROOT / "docs" / "retraining.md").read_text(encoding="utf-8")
HOME = "/srv/taxi"


def block(language: str, sign: str) -> str:
    [text] = [text for found, text in BLOCKS if found == language and sign in text]
    return text


@pytest.fixture
def place(project):
    """A project with a champion and an environment of its own, as the page has it in /srv."""
    promote.run(project)
    (project.root / "src").symlink_to(ROOT / "src")
    program = project.root / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    return project.root


def test_the_line_for_cron_is_one_and_works(place):
    line = block("cron", HOME).strip()
    *clock, command = line.split(maxsplit=5)
    assert len(clock) == 5
    assert all(re.fullmatch(r"\d+|\*", field) for field in clock)
    assert "%" not in command, "cron takes it for the end of a line"
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace(HOME, str(place))], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    told = (place / "build" / "retrain.log").read_text()
    assert told == "not due: these data were judged already, and tiny/1 holds\n"


def test_the_units_of_systemd_are_sound_and_start_the_same(place, tmp_path):
    names = {"service": "ExecStart", "timer": "OnCalendar"}
    units = {}
    for kind, sign in names.items():
        text = block("ini", sign)
        assert text.startswith(f"# /etc/systemd/system/taxi-retrain.{kind}\n")
        parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
        parser.optionxform = str
        parser.read_string(text)
        units[kind] = parser
        mine = text.replace(HOME, str(place)).replace("User=taxi", f"User={getpass.getuser()}")
        (tmp_path / f"taxi-retrain.{kind}").write_text(mine)
    service, timer = units["service"]["Service"], units["timer"]["Timer"]
    assert service["WorkingDirectory"] == HOME
    cron = block("cron", HOME).partition("&& ")[2].partition(" >>")[0]
    assert service["ExecStart"] == f"{HOME}/{cron}"
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed here, so its own check can't run")
    for command in (
        ["verify", *(str(tmp_path / f"taxi-retrain.{kind}") for kind in names)],
        ["calendar", timer["OnCalendar"]],
    ):
        done = subprocess.run(["systemd-analyze", *command], capture_output=True, text=True)
        told = [line for line in done.stderr.splitlines() if "taxi-retrain" in line]
        assert (done.returncode, told) == (0, []), done.stderr


def test_the_workflow_is_one_and_its_lines_are_commands():
    workflow = yaml.safe_load(block("yaml", "runs-on"))
    [job] = workflow["jobs"].values()
    assert workflow["permissions"] == {"contents": "write"}
    [clock] = workflow[True]["schedule"]  # in YAML 1.1 the key `on` is the truth value
    assert clock["cron"].split() == block("cron", HOME).split()[:5]
    lines = []
    for step in job["steps"]:
        assert set(step) <= {"uses", "with", "run"}
        subprocess.run(["bash", "-n", "-c", step.get("run", "")], check=True)
        assert "${{" not in step.get("run", "")
        lines += step.get("run", "").splitlines()
    shipped = yaml.safe_load((ROOT / ".github" / "workflows" / "retrain.yml").read_text())
    ours = [step for step in shipped["jobs"]["retrain"]["steps"] if "run" in step]
    assert lines[:2] == ours[0]["run"].splitlines()
    assert "python src retrain --commit > build/retrained.txt" in lines
    assert lines.index("dvc push") < lines.index("git push")


def test_every_rule_is_in_the_table():
    table = PAGE.partition("| setting of `retrain` |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.M) == list(Retrain.model_fields)


def test_the_hooks_and_the_program_that_they_start_work(project, monkeypatch):
    said = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self):
            said.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    given = yaml.safe_load(block("yaml", "hooks:"))
    assert list(given["hooks"]) == list(Hooks.model_fields)
    values = yaml.safe_load(project.params_file.read_text()) | given
    (project.root / "notify.py").write_text(block("python", "# notify.py"))
    server = HTTPServer(("127.0.0.1", 0), Chat)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        monkeypatch.setenv("CHAT_URL", f"http://127.0.0.1:{server.server_port}")
        opened = Project(project.params_file, from_mapping(values, origin="the page"))
        hooks.fire(opened, Event.REFUSED, {"reason": "rmse 9, champion 8"})
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert said == [{"text": "tiny: refused. rmse 9, champion 8"}]


def test_the_check_of_a_signature_takes_mlflows_own_and_no_other():
    from mlflow.webhooks import delivery

    found: dict = {}
    exec(compile(block("python", "def is_genuine"), "retraining.md", "exec"), found)
    body = json.dumps({"data": {"name": "taxi"}})
    headers = {"X-MLflow-Delivery-Id": "7", "X-MLflow-Timestamp": "1700000000"}
    signature = delivery._generate_hmac_signature("key", "7", "1700000000", body)
    signed = headers | {"X-MLflow-Signature": signature}
    assert found["is_genuine"](signed, body.encode(), "key")
    assert not found["is_genuine"](signed, body.encode(), "another")
    assert not found["is_genuine"](signed, body.encode() + b" ", "key")
    assert not found["is_genuine"](headers, body.encode(), "key")
