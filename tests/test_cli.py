"""The command line: what it answers, what it says of a mistake, and how it is stopped."""

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest
import yaml
from conftest import ROOT, tiny_settings, tiny_table
from debug_backend import on_shelf
from screen import on_terminal
from sklearn.linear_model import Ridge

from ratchet import cli

HEAVY = ("mlflow", "hyperopt", "sklearn", "xgboost", "lightgbm", "torch", "skrub", "skops")


def python(*arguments, cwd=None, **environment):
    """Call ``python …`` as a process of its own."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# Help and arguments


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--help"], 0, "prepare"),
        (["run", "--help"], 0, "--set"),
        (["train", "--sed", "1"], 2, "No such option: --sed"),
        (["trian"], 2, "No such command 'trian'"),
        (["sample", "--rows", "0"], 2, "Invalid value for '--rows'"),
        (["serve", "--port", "65536"], 2, "Invalid value for '--port'"),
        (["run", "--params", "nowhere.yaml"], 2, "nowhere.yaml is not there."),
        (["train", "--set", "seed"], 2, "An override must look like name=value, got 'seed'."),
    ],
)
def test_help_and_wrong_arguments_load_no_library_that_takes_seconds(
    tmp_path, arguments, code, told
):
    script = (
        "import sys\n"
        f"sys.argv = ['ratchet', *{arguments!r}]\n"
        "from ratchet.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print('loaded:', *[name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny_settings()))
    ended = python("-c", script, cwd=tmp_path)
    assert ended.returncode == code
    assert told in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout.splitlines()[-1] == "loaded:"


def test_every_step_and_command_has_a_line_of_help(call):
    code, out, _ = call("--help")
    assert code == 0
    for name in ("prepare", "train", "evaluate", "promote", "run", "status", "sample"):
        assert re.search(rf"^  {name}  +[A-Z].+\.$", out, flags=re.MULTILINE), name


def test_no_arguments_show_the_help(call):
    code, out, err = call()
    assert code == 2
    assert "Usage: ratchet" in out + err


# A run from the beginning to the end


def test_a_run_ends_with_what_was_tried_what_won_and_why(tiny, store, tmp_path, call):
    params = tiny()
    code, out, err = call("run", "--params", params)
    assert code == 0
    lines = [line.rstrip() for line in out.splitlines() if line.strip()]
    assert lines[0] == "What was tried"
    assert lines[1].split() == ["family", "trials", "failed", "best", "valid/rmse", "seconds"]
    assert [line.split()[0] for line in lines[2:4]] == ["ridge", "baseline"]
    facts = dict(line.split(maxsplit=1) for line in lines[4:])
    assert facts["won"].startswith("sklearn/ridge, trial ")
    assert facts["won"].endswith(" of 3")
    number = r"[\d,.]+"
    shape = rf"{number} \[{number}, {number}\], baseline {number}"
    assert re.fullmatch(shape, facts["test/rmse"]), facts["test/rmse"]
    assert facts["promoted"] == "yes, as version 1 of tiny"
    assert facts["because"].endswith("no champion yet")
    assert facts["look"] == f"mlflow ui --backend-store-uri sqlite:///{tmp_path / 'mlflow.db'}"
    assert "  trial 1: sklearn/baseline " in err


def test_overrides_reach_the_step(evaluated, call):
    code, _, err = call("prepare", "--params", evaluated, "--set", "seed=3", "--set", "nmae=x")
    assert code == 2
    assert err == (
        "SettingsError: params.yaml has 1 problem:\n  - nmae is not a setting; did you mean name?\n"
    )


def test_status_before_and_after_the_judgement(evaluated, call):
    code, out, _ = call("status", "--params", evaluated)
    assert code == 0
    assert "promoted   not judged yet: run promote" in out
    assert call("promote", "--params", evaluated)[0] == 0
    code, out, _ = call("status", "--params", evaluated, "--json")
    assert code == 0
    told = json.loads(out)
    assert told["decision"]["outcome"] == "promoted"
    assert told["leader"]["name"] == "sklearn/ridge"
    assert told["tried"][0]["family"] == "ridge"


def test_status_hides_the_password_of_a_server_that_does_not_answer(evaluated, call):
    values = yaml.safe_load(evaluated.read_text())
    values["tracking"]["uri"] = "http://me:secret@127.0.0.1:1"
    evaluated.write_text(yaml.safe_dump(values))
    code, out, err = call("status", "--params", evaluated)
    assert (code, out) == (2, "")
    shown = "StoreError: The tracking server at http://***@127.0.0.1:1 doesn't answer: "
    assert err.startswith(shown)
    assert "secret" not in err


def test_status_before_the_first_run_is_told(tiny, call):
    params = tiny()
    code, out, err = call("status", "--params", params)
    leader = params.parent / "build" / "train" / "leader.json"
    assert (code, out) == (2, "")
    assert err == f"RatchetError: {leader} is not there. Run the step train first.\n"


def test_not_promoted_is_an_answer_and_with_strict_a_no(evaluated, call):
    refuse = ("--params", evaluated, "--set", "promote.required=0.5")
    assert call("promote", *refuse)[0] == 0
    assert call("promote", *refuse, "--strict")[0] == 1
    code, out, _ = call("status", "--params", evaluated)
    assert code == 0
    assert "promoted   no\n" in out
    assert "because    rmse " in out


def test_promoted_is_a_yes_with_strict_also_the_second_time(evaluated, call):
    for _ in range(2):
        assert call("promote", "--params", evaluated, "--strict")[0] == 0


def test_steps_can_be_run_one_by_one(evaluated, call):
    for step in ("prepare", "train", "evaluate"):
        assert call(step, "--params", evaluated)[0] == 0


def test_sample_data_are_written_where_they_are_asked_for(tmp_path, call):
    where = tmp_path / "here"
    code, out, _ = call("sample", "--out", where, "--month", "2024-02", "--rows", "50")
    assert code == 0
    path = where / "green_tripdata_2024-02.parquet"
    assert out == f"{path}\n"
    assert len(pd.read_parquet(path)) > 0


# For machines, and for whoever wants to hear nothing


KEYS = {
    *("step", "runs", "data_version", "rows", "leader", "tried", "scores", "decision", "paths"),
    "store",
}


@pytest.fixture
def stream(monkeypatch):
    """Let the log of the steps go where a process writes it, not where pytest catches it."""
    logger = logging.getLogger("ratchet")
    handler = cli._Stderr()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def test_every_step_says_in_json_what_it_has_made(evaluated, call, store, stream):
    made = {}
    for step in ("prepare", "train", "evaluate", "promote"):
        code, out, err = call(step, "--params", evaluated, "--json")
        assert code == 0
        assert f"{step}: " in err
        made[step] = json.loads(out)
        assert set(made[step]) == KEYS
        assert made[step]["step"] == step
    assert made["prepare"]["leader"] is None
    assert sum(made["prepare"]["rows"].values()) == 240
    train, evaluate, promote = (made[step] for step in ("train", "evaluate", "promote"))
    assert train["leader"]["name"] == "sklearn/ridge"
    assert train["scores"]["valid/rmse"]["score"] == train["leader"]["score"]
    assert train["scores"]["valid/rmse"]["baseline"] == train["leader"]["baseline_score"]
    assert [each["family"] for each in train["tried"]] == ["ridge", "baseline"]
    test = evaluate["scores"]["test/rmse"]
    assert test["low"] < test["score"] < test["high"] < test["baseline"]
    metrics = json.loads((evaluated.parent / evaluate["paths"]["metrics"]).read_text())
    assert (test["score"], test["low"]) == (metrics["test/rmse"], metrics["test/rmse_low"])
    assert promote["decision"]["promoted"] is True
    assert promote["decision"]["version"] == 1
    assert {gate["name"] for gate in promote["decision"]["gates"]} >= {"better_than_baseline"}
    for step, run_id in promote["runs"].items():
        assert store.get_run(run_id).data.tags["ratchet.step"] == step
    assert set(promote["runs"]) == {"prepare", "train", "evaluate", "decision"}
    for path in promote["paths"].values():
        assert (evaluated.parent / path).exists(), path


def test_a_run_says_all_of_it_in_json(tiny, call, stream):
    code, out, err = call("run", "--params", tiny(), "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["step"], told["decision"]["promoted"]) == ("run", True)
    assert {"valid/rmse", "test/rmse", "test/mae"} <= set(told["scores"])
    assert set(told["runs"]) == {"prepare", "train", "evaluate", "decision"}
    assert "  trial 1: sklearn/baseline " in err


def test_no_is_an_answer_in_json_too(evaluated, call):
    refuse = ("--params", evaluated, "--set", "promote.required=0.5", "--json", "--strict")
    code, out, _ = call("promote", *refuse)
    assert code == 1
    decision = json.loads(out)["decision"]
    assert (decision["promoted"], decision["outcome"]) == (False, "kept")
    assert decision["reason"].startswith("rmse ")


def test_a_dry_run_in_json_has_no_table_beside_it(evaluated, call):
    code, out, _ = call("promote", "--params", evaluated, "--dry-run", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["decision"]["decision_run"] is None
    assert "decision" not in told["runs"]


def test_a_mistake_leaves_stdout_empty_for_machines_too(tiny, call):
    code, out, err = call("prepare", "--params", tiny(data__target="prise"), "--json")
    assert (code, out) == (2, "")
    assert err.startswith("DataError: data.target: There is no column 'prise'")


NUMBER = r"[\d,.]+"


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ("prepare", r"prepare: 240 rows: train 153, valid 39, test 48"),
        ("train", rf"train: sklearn/ridge won of 3 trials; valid/rmse {NUMBER}, baseline {NUMBER}"),
        (
            "evaluate",
            rf"evaluate: sklearn/ridge test/rmse {NUMBER} \[{NUMBER}, {NUMBER}\],"
            rf" baseline {NUMBER}",
        ),
        (
            "promote",
            rf"promote: promoted as version 1 of tiny: rmse {NUMBER}, no champion yet",
        ),
        (
            "run",
            rf"run: sklearn/ridge test/rmse {NUMBER} \[{NUMBER}, {NUMBER}\], baseline {NUMBER};"
            rf" promoted as version 1 of tiny: rmse {NUMBER}, no champion yet",
        ),
    ],
)
def test_a_quiet_step_says_one_line(evaluated, call, stream, step, line):
    code, out, err = call(step, "--params", evaluated, "--quiet")
    assert (code, err) == (0, "")
    assert re.fullmatch(line + "\n", out), out


def test_a_quiet_step_says_why_nothing_was_promoted(evaluated, call, stream):
    refuse = ("--params", evaluated, "--set", "promote.required=0.5", "--quiet")
    code, out, err = call("promote", *refuse)
    assert (code, err) == (0, "")
    assert out.startswith("promote: not promoted: rmse ")
    assert call("promote", *refuse)[1].startswith("promote: no new candidate: rmse ")


@pytest.mark.parametrize("option", ["--json", "--quiet"])
def test_what_a_model_prints_is_no_answer(evaluated, call, monkeypatch, option):
    fit = Ridge.fit

    def chatty(self, *arguments, **more):
        sys.stdout.write("chatter\n")
        return fit(self, *arguments, **more)

    monkeypatch.setattr(Ridge, "fit", chatty)
    code, out, err = call("train", "--params", evaluated, option)
    assert code == 0
    assert "chatter" not in out
    assert ("chatter" in err) == (option == "--json")
    assert out.count("\n") == 1 or json.loads(out)["leader"]["name"] == "sklearn/ridge"


# On a terminal


def colourless(**environment):
    """Give the environment of a process on a terminal without wishes of its own."""
    names = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return {**kept, "TERM": "xterm-256color", **environment}


@pytest.mark.slow
def test_a_run_on_a_narrow_terminal_in_ascii_shows_where_it_is_and_ends_with_a_table(
    tiny, tmp_path, store
):
    params, seen = tiny(), set()

    def look(screen):
        seen.update(re.findall(r"^. (\w+) - [a-z]+", screen.text, flags=re.MULTILINE))

    code, screen = on_terminal(
        [sys.executable, str(ROOT / "src"), "run", "--params", str(params)],
        40,
        environment=colourless(NO_COLOR="1", PYTHONIOENCODING="ascii"),
        cwd=tmp_path,
        look=look,
    )
    assert code == 0, screen.text
    assert seen == {"run", "prepare", "train", "evaluate", "promote"}
    assert screen.cursor
    assert screen.colours == set()
    assert screen.raw.isascii()
    assert max(map(len, screen.lines)) <= 40
    # Nothing of the pictures is left, and the table has become a list.
    assert "promote - " not in screen.text
    at = screen.lines.index("What was tried")
    assert screen.lines[at + 1] == "ridge"
    assert screen.lines[at + 2].startswith("  trials 2 - failed 0 - best")
    assert "promoted   yes, as version 1 of tiny" in screen.lines


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_leaves_one_sentence_and_the_cursor(evaluated, tmp_path):
    typed = []

    def look(screen):
        if all(word in screen.text for word in ("of 100000 trials", "trying")) and not typed:
            typed.append(screen.text)
            return b"\x03"
        return None

    chosen = "train.families=[ridge] train.search.max_trials=100000"
    code, screen = on_terminal(
        [sys.executable, str(ROOT / "src"), "train", "--params", str(evaluated), "--set", chosen],
        100,
        environment=colourless(),
        cwd=tmp_path,
        look=look,
    )
    assert code == 130, screen.text
    assert re.search(r"^\S train · search [━╸╺]{24} .* of 100000 trials", typed[0], re.MULTILINE)
    assert screen.cursor
    # What the search had drawn is gone, but for what it has told.
    assert [line for line in screen.lines if line] == [
        "train: regression problem, 153 + 39 rows, 4 columns",
        "train was interrupted; its run is marked KILLED.",
    ]


# Mistakes: code 2, one sentence, nothing half-written, no run left open


def untouched(params):
    """Tell whether no step has left anything but the cache of hashes."""
    build = params.parent / "build"
    return not build.exists() or {path.name for path in build.iterdir()} <= {"hashes.json"}


def mistake(call, running, params, *arguments, step="prepare"):
    code, out, err = call(step, "--params", params, *arguments)
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    assert running() == []
    assert untouched(params)
    return err


@pytest.mark.parametrize("step", ["prepare", "run"])
def test_a_misspelt_column_is_told(tiny, call, running, store, step):
    err = mistake(call, running, tiny(data__target="prise"), step=step)
    assert err == (
        "DataError: data.target: There is no column 'prise'; did you mean 'price'?"
        " The columns are: size, town, rooms, sold, price, dear.\n"
    )
    runs = store.search_runs([each.experiment_id for each in store.search_experiments()])
    assert [each.info.status for each in runs] == (["FAILED"] if step == "run" else [])


def test_a_missing_column_is_told(tiny, call, running):
    err = mistake(call, running, tiny(tiny_table().drop(columns="price")))
    assert err == (
        "DataError: data.target: There is no column 'price'."
        " The columns are: size, town, rooms, sold, dear.\n"
    )


def test_an_empty_file_is_told(tiny, call, running):
    params = tiny()
    path = params.parent / "data" / "rows.parquet"
    path.write_bytes(b"")
    err = mistake(call, running, params)
    assert err == f"DataError: {path} is empty (0 bytes). Write or fetch it again.\n"


def test_a_file_without_rows_is_told(tiny, call, running):
    params = tiny(tiny_table().head(0))
    err = mistake(call, running, params)
    assert err == (
        f"DataError: {params.parent / 'data'} has columns and no rows. Check how it was written.\n"
    )


def test_a_target_of_one_class_is_told(tiny, call, running):
    err = mistake(call, running, tiny(tiny_table().assign(price="same")))
    assert err == (
        "DataError: Target 'price' has 1 distinct value(s) in 240 rows; at least 2 are needed."
        " Check data.target and data.filter in params.yaml.\n"
    )


def test_missing_target_values_are_told(tiny, call, running):
    table = tiny_table()
    table.loc[[3, 5], "price"] = None
    err = mistake(call, running, tiny(table))
    assert err == (
        "DataError: The target 'price' is missing in 2 of 240 rows: row 4, row 6."
        " Add `not missing(target)` to data.filter.\n"
    )


def test_no_data_are_told(tiny, call, running):
    params = tiny()
    (params.parent / "data" / "rows.parquet").unlink()
    (params.parent / "data").rmdir()
    err = mistake(call, running, params)
    assert err == (
        f"DataError: {params.parent / 'data'} is not there. Bring tracked data with"
        " `dvc pull`, or change data.source in params.yaml.\n"
    )


def test_all_problems_of_a_parameter_file_are_told_at_once(tiny, call, running):
    changes = {"sead": 3, "train__search__budget_seconds": "soon", "train__threads": 1.5}
    err = mistake(call, running, tiny(**changes))
    assert err == (
        "SettingsError: params.yaml has 3 problems:\n"
        "  - train.threads must be a whole number, got 1.5\n"
        "  - train.search.budget_seconds must be a number, got 'soon'\n"
        "  - sead is not a setting; did you mean seed?\n"
    )


def test_a_folder_that_is_not_writable_is_told(tiny, call, running, unwritable):
    params = tiny()
    build = params.parent / "build"
    unwritable(build)
    code, _, err = call("prepare", "--params", params)
    assert code == 2
    assert re.fullmatch(
        rf"RatchetError: Can't write to {build}: (Operation not permitted|Permission denied)\."
        r" Make the folder writable\.\n",
        err,
    )
    assert running() == []


def test_a_file_where_the_folder_should_be_is_told(tiny, call, running):
    params = tiny()
    (params.parent / "build").touch()
    code, _, err = call("prepare", "--params", params)
    assert code == 2
    assert err == (
        f"RatchetError: Can't write to {params.parent / 'build'}: File exists."
        " Make the folder writable.\n"
    )
    assert running() == []


def test_a_dead_tracking_server_is_told(tiny, call, running):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    err = mistake(call, running, tiny(), "--set", f"tracking.uri={uri}")
    assert err == (
        f"StoreError: The tracking server at {uri} doesn't answer: [Errno 111] Connection refused."
        " Start it, or set MLFLOW_TRACKING_URI or tracking.uri to a store that does.\n"
    )


def test_no_git_repository_is_no_mistake(tiny, call, store):
    assert call("prepare", "--params", tiny())[0] == 0
    [run] = store.search_runs(["1"])
    assert run.data.tags["ratchet.code_reason"].endswith("is in no git repository")


def test_a_bug_keeps_its_traceback(tiny, call, monkeypatch):
    def bug(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("ratchet.steps.prepare.run", bug)
    with pytest.raises(ZeroDivisionError):
        call("prepare", "--params", tiny())


def test_the_module_can_be_started_with_nothing_installed(tiny, tmp_path):
    """``python src prepare`` from another folder, on a mistake that costs no import."""
    ended = python(ROOT / "src", "prepare", "--params", tiny(sead=3), cwd=tmp_path, PYTHONPATH="")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == (
        "SettingsError: params.yaml has 1 problem:\n  - sead is not a setting; did you mean seed?\n"
    )


def test_a_process_says_what_it_does_and_then_the_mistake(tiny, store, tmp_path):
    params = tiny(data__target="prise")
    ended = python(ROOT / "src", "run", "--params", params, cwd=tmp_path, PYTHONPATH="")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        "prepare: reading data",
        "DataError: data.target: There is no column 'prise'; did you mean 'price'?"
        " The columns are: size, town, rooms, sold, price, dear.",
    ]


# Interruptions


def test_ctrl_c_in_a_run_is_told_with_130(evaluated, call, running, monkeypatch):
    on_shelf(monkeypatch, {"interrupt": True})
    chosen = ("--set", "train.families=[debug]")
    code, out, err = call("train", "--params", evaluated, *chosen)
    assert (code, out) == (130, "")
    assert err == "train was interrupted; its run is marked KILLED.\n"
    assert running() == []


def test_ctrl_c_outside_of_a_run_is_told_with_130(tiny, call, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ratchet.tracking.connect", interrupt)
    code, out, err = call("prepare", "--params", tiny())
    assert (code, out, err) == (130, "", "Interrupted.\n")


def test_sigterm_outside_of_a_run_is_told_with_130_too(tiny, call, monkeypatch):
    """While a library is imported, or a table is read."""
    before = signal.getsignal(signal.SIGTERM)

    def terminated(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr("ratchet.tracking.connect", terminated)
    code, out, err = call("prepare", "--params", tiny())
    assert (code, out, err) == (130, "", "Interrupted.\n")
    assert signal.getsignal(signal.SIGTERM) is before


HOLDS = """
import os, time
from ratchet import cli, project

def hold(*_):
    print(os.getpid(), flush=True)
    time.sleep(300)

project.Project.open = hold
cli.main()
"""


def test_the_first_process_of_a_container_is_ended_by_sigterm(tmp_path):
    """It has number 1 there, and the system lets it ignore what it has no handler for."""
    inside = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    if not shutil.which("unshare") or subprocess.run((*inside, "true"), check=False).returncode:
        pytest.skip("needs the right to make a space of process numbers")
    with subprocess.Popen(
        [*inside, sys.executable, "-c", HOLDS, "prepare"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as container:
        try:
            assert container.stdout.readline() == "1\n"
            [first] = psutil.Process(container.pid).children()
            first.send_signal(signal.SIGTERM)
            _, err = container.communicate(timeout=60)
        finally:
            container.kill()
    assert (container.returncode, err) == (130, "Interrupted.\n")


SLOW = """
import sys, time
import numpy as np
from ratchet import cli
from ratchet.backends import sklearn

fit = sklearn._forest

def slow(request):
    # Hours of work inside of numpy, in many threads' reach, after the first quick trials.
    print("slow candidate", file=sys.stderr, flush=True)
    for _ in range(100_000):
        np.linalg.svd(np.ones((300, 300)))
    return fit(request)

sklearn._forest = slow
cli.main()
"""


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_long_search_is_stopped_within_seconds(tiny, tmp_path, store, running, which):
    families = ["baseline", "ridge", "random_forest"]
    params = tiny(train__families=families, train__search__max_trials=10_000)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "run", "--params", params],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process, contextlib.suppress(StopIteration):
        try:
            said = []
            while "slow candidate" not in (line := next(process.stderr)):
                said.append(line)
            time.sleep(0.3)
            sent = time.monotonic()
            process.send_signal(which)
            rest = process.stderr.read()
            code = process.wait(timeout=30)
            seconds = time.monotonic() - sent
        finally:
            process.kill()
    assert code == 130
    assert rest.splitlines()[-1] == "main was interrupted; its run is marked KILLED."
    assert "Traceback" not in rest
    assert seconds < 10
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        found = dict(database.execute("select name, status from runs"))
    assert {found["pipeline"], found["train"]} == {"KILLED"}
    assert running() == []
    assert {path.name for path in (params.parent / "build").iterdir() if path.is_dir()} == {
        "prepared",
        "search",
    }
