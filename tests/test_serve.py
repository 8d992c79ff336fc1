"""`ratchet serve`: MLflow's formats, answers of one version each, and the change of the model."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import PATIENCE, ROOT, UNSET, copied, tiny_table
from mlflow.pyfunc import scoring_server
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from ratchet import tracking
from ratchet.commands import rollback
from ratchet.errors import InterruptionError, StoreError
from ratchet.problem import ProblemType
from ratchet.project import Project
from ratchet.recorded import Record
from ratchet.registry.versions import Version
from ratchet.schema import Column, Kind, Schema
from ratchet.serving import live, server
from ratchet.serving.live import Live
from ratchet.serving.served import Served
from ratchet.serving.together import Together
from ratchet.serving.wire import Answering
from ratchet.steps import promote
from ratchet.steps.train import Leader

JSON = "application/json"
ROW = {"size": 120.0, "town": "Berlin", "rooms": 3, "sold": "2024-03-01"}
OTHER = {"size": 31.5, "town": None, "rooms": None, "sold": "2024-05-01T10:00:00"}


def until(true: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_the_page_on_serving_has_every_option(call):
    _, out, _ = call("serve", "--help")
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    table = page.partition("| option | |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`(--[\w-]+)`", table))
    assert told == set(re.findall(r"--[a-z][\w-]+", out)) - {"--help"}
    for target in re.findall(r"\]\(([^)#:]+)[^)]*\)", page):
        assert (ROOT / "docs" / target).exists(), target


# A version, asked in this process


@pytest.fixture(scope="module")
def promoted(made_once, tmp_path_factory) -> Iterator[Callable[[str], Project]]:
    """A copy of the two leaders, of which the linear one is the champion."""
    folder = tmp_path_factory.mktemp("serve")
    root = copied(made_once, folder)

    def opened(name: str) -> Project:
        project = Project.open(root / name, [f"tracking.uri=sqlite:///{folder / 'mlflow.db'}"])
        tracking.connect(project)
        return project

    promote.run(opened("params.yaml"))
    yield opened
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.fixture
def champion(promoted) -> Answering:
    return Live.begin(promoted("params.yaml")).now


@pytest.fixture(scope="module")
def classes() -> Answering:
    """A version that tells dear houses from others."""
    table = tiny_table()
    columns = make_column_transformer((OneHotEncoder(), ["town"]), remainder="passthrough")
    model = make_pipeline(columns, LogisticRegression(max_iter=1000))
    model.fit(table[["size", "town"]], table["dear"])
    schema = Schema(
        (
            Column("size", Kind.NUMBER, "float64", optional=False, distinct=240),
            Column("town", Kind.CATEGORY, "str", optional=False, distinct=3),
        ),
        "dear",
        ProblemType.BINARY,
        ("no", "yes"),
    )
    training = Record("run", "train", "train", "", {}, {}, {}, (), ())
    return Answering(Served(Version("houses", 3, "run"), model, schema, training))


def ask(answering: Answering, body: object, kind: str = JSON) -> tuple[int, dict]:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = answering.ask(sent, kind)
    return answer.status, json.loads(answer.body)


def parquet() -> bytes:
    written = BytesIO()
    pd.DataFrame([ROW, OTHER]).to_parquet(written)
    return written.getvalue()


SPLIT = {"columns": list(ROW)[::-1], "data": [list(each.values())[::-1] for each in (ROW, OTHER)]}
COLUMNS = {name: [ROW[name], OTHER[name]] for name in ROW}
CSV = b"town,size,rooms,sold\nBerlin,120,3,2024-03-01\n,31.5,,2024-05-01T10:00:00\n"
UNSEEN = ROW | {"town": "Berne"}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [ROW, UNSEEN]},
        {"dataframe_records": [ROW, ROW | {"town": None, "rooms": None}]},
        {"dataframe_records": [ROW | {"paid": 1}]},
        {"dataframe_split": SPLIT | {"data": SPLIT["data"][:1]}},
        {"inputs": [ROW, UNSEEN]},
    ],
    ids=["unseen", "gaps", "more columns", "another order", "inputs"],
)
def test_what_mlflows_own_server_answers_is_the_answer(champion, body):
    theirs = mlflow.pyfunc.load_model(champion.served.version.uri)
    columns = theirs.metadata.get_input_schema()
    told = scoring_server.invocations(json.dumps(body), JSON, theirs, columns)
    assert ask(champion, body) == (200, json.loads(told.response))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"dataframe_split": SPLIT}, JSON),
        ({"dataframe_records": [ROW, {"size": 31.5, "rooms": None, "sold": OTHER["sold"]}]}, JSON),
        ({"inputs": COLUMNS}, JSON),
        ({"inputs": [ROW, OTHER]}, JSON),
        ({"instances": [ROW, OTHER]}, JSON),
        (CSV, "text/csv; charset=utf-8"),
        (parquet(), scoring_server.CONTENT_TYPE_PARQUET),
    ],
    ids=["split", "records", "inputs by column", "inputs by row", "instances", "csv", "parquet"],
)
def test_the_same_rows_get_the_same_answer_in_every_format(champion, body, kind):
    expected = ask(champion, {"dataframe_records": [ROW, OTHER]})
    assert expected[0] == 200
    assert ask(champion, body, kind) == expected


def test_an_optional_column_may_be_left_out_and_one_row_be_an_input(champion):
    without = {name: value for name, value in ROW.items() if name != "town"}
    expected = ask(champion, {"dataframe_records": [ROW | {"town": None}]})
    assert expected[0] == 200
    assert ask(champion, {"dataframe_records": [without]}) == expected
    assert ask(champion, {"inputs": without}) == expected


def test_no_rows_get_no_answers(champion):
    empty = {"dataframe_split": {"columns": list(ROW), "data": []}}
    assert ask(champion, empty) == (200, {"predictions": []})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            {"dataframe_records": [{"size": 1.0, "town": "Berlin"}]},
            "Columns 'rooms', 'sold' are missing, which the model needs. Given: size, town.",
        ),
        (
            {"dataframe_records": [ROW, ROW | {"size": "large"}]},
            "Column 'size' must hold finite numbers, and has a value that is not: 'large' in row"
            " 1.",
        ),
        (
            {"inputs": [[120.0, "Berlin", 3, "2024-03-01"]]},
            "The rows don't say which value belongs to which column. Send dataframe_records,"
            " dataframe_split with columns, or instances or inputs with names.",
        ),
        (
            {"inputs": {"size": [1, 2], "rooms": [1]}},
            "The rows make no table: All arrays must be of the same length.",
        ),
        (
            {"dataframe_records": [ROW], "params": {"predict_fn": "predict_proba"}},
            'params must be {"predict_fn": "predict"} for tiny/1, got'
            " {'predict_fn': 'predict_proba'}.",
        ),
        (
            b"[" * 100_000,
            "The request can't be read: maximum recursion depth exceeded while decoding a JSON"
            " array from a unicode string.",
        ),
    ],
)
def test_what_is_wrong_with_a_request_is_told_in_mlflows_form(champion, body, sentence):
    assert ask(champion, body) == (400, {"error_code": "BAD_REQUEST", "message": sentence})


@pytest.mark.parametrize(
    ("body", "kind", "status", "told"),
    [
        (b'{"dataframe_records": [', JSON, 400, "Ensure that input is a valid JSON"),
        (b"\xff", JSON, 400, "Ensure that input is a valid JSON"),
        (b"[1]", JSON, 400, "Received a list"),
        (b"{}", JSON, 400, "exactly one of the input fields"),
        (b'a,b\n1,2,3\n"', "text/csv", 400, "Failed to parse input as a Pandas DataFrame"),
        (b"PAR1", scoring_server.CONTENT_TYPE_PARQUET, 400, "Failed to parse input"),
    ],
)
def test_what_mlflow_refuses_is_told_without_a_traceback_and_in_short(
    champion, body, kind, status, told
):
    found, answer = ask(champion, body + b" " * 5_000 if kind == JSON else body, kind)
    assert found == status
    assert told in answer["message"]
    assert len(answer["message"]) <= 1_001
    assert "stack_trace" not in answer


def test_a_request_must_say_what_it_holds(champion):
    answer = champion.ask(b"{}", None)
    assert answer.status == 415
    assert "Content-Type: text/csv, application/json" in json.loads(answer.body)["message"]
    assert champion.ask(b"{}", "text/plain").status == 415


def test_a_classifier_says_labels_and_if_asked_probabilities(classes):
    rows = [{"size": 190.0, "town": "Berlin"}, {"size": 25.0, "town": "Cottbus"}]
    assert ask(classes, {"dataframe_records": rows})[1] == {"predictions": ["yes", "no"]}
    asked = {"dataframe_records": rows, "params": {"predict_fn": "predict_proba"}}
    status, answer = ask(classes, asked)
    assert status == 200
    expected = classes.served.model.predict_proba(pd.DataFrame(rows))
    for said, (no, yes) in zip(answer["predictions"], expected, strict=True):
        assert said == {"no": pytest.approx(no), "yes": pytest.approx(yes)}
    status, answer = ask(classes, asked | {"params": {"predict_fn": "fit"}})
    assert status == 400
    assert answer["message"] == (
        'params must be {"predict_fn": "predict"} or {"predict_fn": "predict_proba"} for houses/3,'
        " got {'predict_fn': 'fit'}."
    )


def test_a_model_that_fails_is_no_mistake_of_the_clients(classes):
    # Its encoder has never seen this town, and wasn't told to take it.
    status, answer = ask(classes, {"dataframe_records": [{"size": 1.0, "town": "Berne"}]})
    assert status == 500
    assert answer["error_code"] == "INTERNAL_ERROR"
    assert answer["message"].startswith("houses/3 failed: ValueError: Found unknown categories")


# Questions that wait


class Slow:
    """A model that waits for a sign, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[float]] = []
        self.go = threading.Event()

    def __call__(self, frame: pd.DataFrame) -> np.ndarray:
        values = frame["x"].tolist()
        self.asked.append(values)
        assert self.go.wait(PATIENCE)
        if -1 in values:
            raise ValueError("minus one")
        return frame["x"].to_numpy() * 10


def test_questions_that_come_while_a_model_answers_go_together_and_each_gets_its_own_answer():
    model = Slow()
    together = Together(model)
    answers: dict[int, object] = {}

    def question(first: int, *more: int) -> None:
        try:
            answers[first] = together(pd.DataFrame({"x": [float(first), *more]})).tolist()
        except ValueError as error:
            answers[first] = str(error)

    threads = [threading.Thread(target=question, args=(1,))]
    threads[0].start()
    until(lambda: model.asked)
    for given in ((2, 3), (4,), (5, 6, 7)):
        threads.append(threading.Thread(target=question, args=given))
        threads[-1].start()
        until(lambda: len(together._waiting) == len(threads) - 1)
    model.go.set()
    for thread in threads:
        thread.join()
    assert model.asked == [[1], [2, 3, 4, 5, 6, 7]]
    assert answers == {1: [10], 2: [20, 30], 4: [40], 5: [50, 60, 70]}

    model.go.clear()
    threads = [threading.Thread(target=question, args=(8,))]
    threads[0].start()
    until(lambda: len(model.asked) == 3)
    for given in ((-1,), (9,)):
        threads.append(threading.Thread(target=question, args=given))
        threads[-1].start()
        until(lambda: len(together._waiting) == len(threads) - 1)
    model.go.set()
    for thread in threads:
        thread.join()
    assert (answers[-1], answers[9]) == ("minus one", [90])


def test_many_rows_wait_for_nobody():
    model = Slow()
    together = Together(model)
    thread = threading.Thread(target=together, args=(pd.DataFrame({"x": [1.0]}),))
    thread.start()
    until(lambda: model.asked)
    model.go.set()
    assert len(together(pd.DataFrame({"x": np.zeros(5_000)}))) == 5_000
    thread.join()


# The change of the model


@pytest.fixture
def following(project) -> Live:
    promote.run(project)
    return Live.begin(project)


def test_a_look_finds_the_new_champion_and_the_old_one_again(project, better, following):
    first = following.now
    following.look()
    assert following.now is first
    promote.run(better)
    following.look()
    assert (following.now.served.label, following.state.model) == ("tiny/2", "tiny/2")
    rollback.run(project, reason="it was a test")
    following.look()
    assert following.now.served.label == "tiny/1"
    assert following.state.problem is None
    assert following.follows == "tiny@champion"


def test_a_version_that_is_pinned_stays(project, better):
    promote.run(project)
    pinned = Live.begin(project, "1")
    promote.run(better)
    pinned.look()
    assert pinned.now.served.label == "tiny/1"
    assert pinned.follows is None
    assert Live.begin(project, "tiny@previous").follows == "tiny@previous"


def test_while_the_new_champion_cannot_be_loaded_the_old_one_answers(
    project, better, following, store, monkeypatch
):
    monkeypatch.setattr(live, "_PAUSE", 0.0)
    decision = promote.run(better)
    assert decision.promoted, decision.reason
    found = store.get_model_version("tiny", str(decision.version))
    place = Path(found.source.removeprefix("file://"))
    shutil.move(place, place.with_name("elsewhere"))
    following.look()
    assert following.now.served.label == "tiny/1"
    assert following.state.problem.startswith("tiny/1 goes on, tiny/2 can't answer: ")
    assert ask(following.now, {"dataframe_records": [ROW]})[0] == 200
    told = following.state.problem
    with monkeypatch.context() as soon:
        soon.setattr(time, "monotonic", lambda: -1.0)
        shutil.move(place.with_name("elsewhere"), place)
        following.look()  # too early for another try
        assert following.state.problem == told
    following.look()
    assert following.state.problem is None
    assert following.now.served.label == "tiny/2"


def test_a_version_that_cannot_answer_its_own_example_never_answers(
    project, better, following, store
):
    kept = store.get_logged_model(Leader.load(better).model_uri.removeprefix("models:/"))
    for place in (Path(kept.artifact_location.removeprefix("file://")), better.trained / "model"):
        example = place / "serving_input_example.json"
        example.write_text(json.dumps({"dataframe_records": [{"size": 1}]}))
    decision = promote.run(better)
    assert decision.promoted, decision.reason
    following.look()
    assert following.now.served.label == "tiny/1"
    assert "It doesn't answer its own example. Columns " in following.state.problem
    with pytest.raises(StoreError, match="It doesn't answer its own example"):
        Live.begin(project)


def test_without_the_store_or_the_alias_the_last_champion_goes_on(following, store, tmp_path):
    uri = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'nowhere' / 'mlflow.db'}")
    mlflow.set_registry_uri(f"sqlite:///{tmp_path / 'nowhere' / 'mlflow.db'}")
    (tmp_path / "nowhere").write_text("a file where the folder was")
    following.look()
    told = "tiny/1 goes on, nobody says which version should: "
    assert following.state.problem.startswith(told)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    store.delete_registered_model_alias("tiny", "champion")
    following.look()
    assert following.state.problem.startswith(f"{told}There is no champion")
    assert following.now.served.label == "tiny/1"
    store.set_registered_model_alias("tiny", "champion", "1")
    following.look()
    assert following.state.problem is None


# The server


def talk(
    address: str, method: str, path: str, body: object = None, kind: str = JSON
) -> tuple[int, str, bytes]:
    """Send one request; give the status, the version that answered, and the answer."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE)
    try:
        sent = json.dumps(body) if isinstance(body, dict) else body
        connection.request(method, path, sent, {"Content-Type": kind} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.getheader("X-Ratchet-Model", ""), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_has_begun_is_answered_before_the_server_stops(classes, stop, monkeypatch):
    held = Live(Project.open(ROOT / "params.yaml"), None, classes)
    begun, go, answers = threading.Event(), threading.Event(), []

    def slowly(body: bytes, kind: str | None) -> object:
        begun.set()
        assert go.wait(PATIENCE)
        return Answering.ask(classes, body, kind)

    monkeypatch.setattr(classes, "ask", slowly)
    place = server.bind("127.0.0.1", 0)
    rows = {"dataframe_records": [{"size": 190.0, "town": "Berlin"}]}

    def client() -> None:
        answers.append(talk(server.address(place), "POST", "/invocations", rows))

    def stopper() -> None:
        assert begun.wait(PATIENCE)
        os.kill(os.getpid(), stop)
        go.set()

    threads = [threading.Thread(target=each) for each in (client, stopper)]

    def ready() -> None:
        for thread in threads:
            thread.start()

    if stop is signal.SIGINT:
        with pytest.raises(InterruptionError):
            server.serve(server.App(held, 2**20), place, ready)
    else:
        server.serve(server.App(held, 2**20), place, ready)
    for thread in threads:
        thread.join()
    assert answers == [(200, "houses/3", b'{"predictions": ["yes"]}')]


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(evaluated, call):
    with server.bind("127.0.0.1", 0) as place:
        place.listen()
        port = place.getsockname()[1]
        code, out, err = call("serve", "--params", evaluated, "--port", port)
    assert (code, out) == (2, "")
    assert err == (
        f"RatchetError: Port {port} of 127.0.0.1 is in use. Stop what listens there, or take"
        f" another: --port {port + 1}; --port 0 takes a free one.\n"
    )


def test_a_host_that_is_not_here_is_told(evaluated, call):
    code, _, err = call("serve", "--params", evaluated, "--host", "192.0.2.1", "--port", 0)
    assert code == 2
    assert err.startswith("RatchetError: Port 0 of 192.0.2.1 can't be listened at: ")


def test_other_machines_reach_a_place_only_where_they_were_let():
    with server.bind("localhost", 0) as own, server.bind("0.0.0.0", 0) as everyones:
        assert not server.is_open(own)
        assert server.is_open(everyones)
        assert server.address(everyones).startswith("http://0.0.0.0:")


def test_no_champion_is_told(evaluated, call):
    code, _, err = call("serve", "--params", evaluated, "--port", 0)
    assert code == 2
    assert err.startswith("StoreError: There is no champion: no version of tiny has the alias")


def test_whoever_waits_for_a_champion_gets_it(project, monkeypatch):
    begun = threading.Event()

    def connect(each: Project) -> None:
        begun.set()

    def later() -> None:
        assert begun.wait(PATIENCE)
        promote.run(project)

    thread = threading.Thread(target=later)
    thread.start()
    assert live.wait(project, None, 0.05, connect).now.served.label == "tiny/1"
    thread.join()


@pytest.fixture(scope="module")
def process(promoted) -> Iterator[tuple[str, subprocess.Popen]]:
    """A server of its own, started as its users start it; its address."""
    project = promoted("params.yaml")
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    command = ("serve", "--params", project.params_file, "--set", *project.overrides)
    options = ("--port", 0, "--refresh", 0.1, "--max-mb", 0.5, "--json")
    started = subprocess.Popen(
        [sys.executable, str(ROOT / "src"), *map(str, (*command, *options))],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    told = ""
    while not told.endswith("}\n"):
        line = started.stdout.readline()
        assert line, started.stderr.read()
        told += line
    ready = json.loads(told)
    assert (ready["model"], ready["follows"]) == ("tiny/1", "tiny@champion")
    yield ready["address"], started
    started.terminate()
    _, log = started.communicate(timeout=PATIENCE)
    assert started.returncode == 0
    assert log.startswith(f"serve: tiny/1 answers at {ready['address']}, follows tiny@champion")


@pytest.mark.slow
def test_the_interface_is_mlflows(process):
    address, _ = process
    assert talk(address, "GET", "/ping")[:2] == (200, "tiny/1")
    assert talk(address, "GET", "/health")[0] == 200
    assert talk(address, "GET", "/version")[2].decode() == mlflow.__version__
    assert talk(address, "GET", "/invocations")[0] == 405
    state = json.loads(talk(address, "GET", "/model")[2])
    assert (state["model"], state["version"], state["problem"]) == ("tiny/1", 1, None)
    status, version, answer = talk(address, "POST", "/invocations", {"dataframe_records": [ROW]})
    assert (status, version) == (200, "tiny/1")
    assert len(json.loads(answer)["predictions"]) == 1
    status, version, answer = talk(address, "POST", "/invocations", {"dataframe_records": [{}]})
    assert (status, version) == (400, "tiny/1")
    assert "are missing, which the model needs" in json.loads(answer)["message"]


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False], ids=["length is told", "in pieces"])
def test_a_request_that_is_too_long_is_refused(process, known):
    address, _ = process
    body = b" " * 600_000
    sent = body if known else iter([body[:300_000], body[300_000:]])
    status, _, answer = talk(address, "POST", "/invocations", sent)
    assert status == 413
    assert json.loads(answer)["message"] == (
        "The request is longer than 0.5 MiB. Send fewer rows at once, or start the server with a"
        " larger --max-mb."
    )


@pytest.mark.slow
def test_a_client_that_asks_all_the_while_sees_each_champion_and_no_failure(process, promoted):
    address, _ = process
    trees = promoted("better.yaml")
    seen: list[tuple[int, str, str]] = []
    done = threading.Event()

    def client() -> None:
        connection = HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE)
        sent = json.dumps({"dataframe_records": [ROW]})
        while not done.is_set():
            connection.request("POST", "/invocations", sent, {"Content-Type": JSON})
            answer = connection.getresponse()
            version = answer.getheader("X-Ratchet-Model")
            seen.append((answer.status, version, answer.read().decode()))
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(3)]
    for each in clients:
        each.start()
    try:
        until(lambda: any(version == "tiny/1" for _, version, _ in seen))
        promote.run(trees)
        until(lambda: seen[-1][1] == "tiny/2")
        rollback.run(trees, reason="to see whether the server follows")
        until(lambda: seen[-1][1] == "tiny/1")
    finally:
        done.set()
        for each in clients:
            each.join()
    assert Counter(status for status, _, _ in seen) == {200: len(seen)}
    # Each version has said one thing, and only that: no answer carries the name of the other. The
    # last bits of a product may depend on how many asked at once.
    said = {
        (version, round(json.loads(answer)["predictions"][0], 6)) for _, version, answer in seen
    }
    assert {version for version, _ in said} == {"tiny/1", "tiny/2"}
    assert len(said) == len({answer for _, answer in said}) == 2
