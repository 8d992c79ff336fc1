"""An MLflow server tells an address of decisions, signed; a real server and a real receiver."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import mlflow
import pytest
from conftest import PATIENCE, Clone
from cryptography.fernet import Fernet

from ratchet import hooks
from ratchet.errors import StoreError
from ratchet.project import Project
from ratchet.registry import webhooks
from ratchet.settings import Event
from ratchet.steps import promote

KEY = "a key that both know"


class Receiver:
    """Keeps every message whose signature is right, and answers the others with 401."""

    def __init__(self) -> None:
        self.messages: list[dict] = []
        self.refused = 0

    def take(self, headers, body: bytes) -> int:
        signed = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.".encode()
        digest = hmac.new(KEY.encode(), signed + body, hashlib.sha256).digest()
        expected = f"v1,{base64.b64encode(digest).decode()}"
        if not hmac.compare_digest(expected, headers.get("X-MLflow-Signature", "")):
            self.refused += 1
            return 401
        self.messages.append(json.loads(body))
        return 200

    def wait_for(self, event: str, **data: str) -> dict:
        """Give the message of an event of MLflow's that has these data."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for message in tuple(self.messages):
                same = all(message["data"].get(name) == each for name, each in data.items())
                if f"{message['entity']}.{message['action']}" == event and same:
                    return message
            time.sleep(0.02)
        raise AssertionError(f"no {event} with {data} among {self.messages}")


@contextmanager
def listening() -> Iterator[tuple[str, Receiver]]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(receiver.take(self.headers, body))
            self.end_headers()
            self.wfile.write(b"read")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/told", receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def decision(message: dict) -> dict:
    return json.loads(message["data"]["value"])


@pytest.mark.slow
def test_a_server_tells_of_promotion_refusal_rollback_and_drift(
    evaluated, tmp_path, monkeypatch, call
):
    monkeypatch.setenv("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http,https")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    monkeypatch.setenv("CHANNEL_KEY", KEY)
    server = ("mlflow", "server", "--workers", "1", "--backend-store-uri", Clone(tmp_path).store)
    with Clone(tmp_path).serve(*server, ready="/health") as store, listening() as (url, receiver):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        params = ("--params", evaluated)
        wrong = call("webhooks", "add", url, "--on", "promotd", *params)
        assert wrong[0] == 2
        assert "--on must be one of promoted, refused, rolled_back, drift, got promotd." in wrong[2]
        assert "which is not set" in call("webhooks", "add", url, "--secret", "NONE", *params)[2]
        code, out, _ = call("webhooks", "add", url, "--secret", "CHANNEL_KEY", "--json", *params)
        assert code == 0
        [made] = json.loads(out)
        assert made["events"] == ["model_version_alias.created", "model_version_tag.set"]
        assert made["about"] == "promoted, refused, rolled_back, drift of tiny"
        assert KEY not in out
        code, out, _ = call("webhooks", "list", *params)
        assert code == 0
        assert made["id"] in out
        assert url in out
        code, out, _ = call("webhooks", "test", made["id"][:8], *params)
        assert (code, out.count("delivered 200: read")) == (0, 2)

        first, better = (Project.open(evaluated.parent / n) for n in ("params.yaml", "better.yaml"))
        promote.run(better)
        receiver.wait_for(webhooks.ALIAS_MOVED, name="tiny", alias="champion", version="1")
        told = receiver.wait_for(webhooks.TAG_SET, key="ratchet.promoted", version="1")
        assert decision(told)["event"] == "promoted"
        assert decision(told)["line"] == 1
        refused = promote.run(first)
        told = decision(receiver.wait_for(webhooks.TAG_SET, key="ratchet.refused", version="1"))
        assert told["reason"] == refused.reason
        assert told["decision_run"] == refused.decision_run
        for event in (Event.DRIFT, Event.ROLLED_BACK):
            hooks.fire(first, event, {"reason": "complaints from Berlin"})
            told = receiver.wait_for(webhooks.TAG_SET, key=f"ratchet.{event}", version="1")
            assert decision(told)["reason"] == "complaints from Berlin"
        assert receiver.refused == 0

        code, out, err = call("webhooks", "remove", "nothing", *params)
        assert code == 2
        assert err.endswith(f"No webhook is called 'nothing'. Registered: {made['id']}.\n")
        code, out, _ = call("webhooks", "remove", made["id"], *params)
        assert (code, out) == (0, f"removed {made['id']}, which told {url}\n")
        assert json.loads(call("webhooks", "list", "--json", *params)[1]) == []


def test_a_store_that_is_no_server_has_no_webhooks_and_is_not_written_to(project, store):
    decision = promote.run(project)
    assert "ratchet.promoted" not in store.get_model_version("tiny", "1").tags
    assert decision.promoted
    for ask in (
        lambda: webhooks.add(project.settings, "https://example.com", list(Event), None),
        webhooks.listed,
        lambda: webhooks.test("x"),
        lambda: webhooks.remove("x"),
    ):
        with pytest.raises(StoreError, match=r"is no server, and only a server sends webhooks\."):
            ask()


@pytest.mark.parametrize(
    ("url", "way_out"),
    [
        ("http://example.com", "MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https"),
        ("https://127.0.0.1", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true"),
    ],
)
def test_what_a_server_refuses_is_told_with_what_mends_it(store, url, way_out):
    """Asked is what a server asks: its store."""
    with pytest.raises(StoreError, match=way_out), webhooks._told():
        mlflow.MlflowClient().create_webhook("x", url, ["model_version_tag.set"])
