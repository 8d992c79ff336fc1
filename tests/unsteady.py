"""A relay before a tracking server that is ill in the way that a test says."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Ill(Enum):
    """What becomes of a request."""

    WELL = auto()
    """It is passed on, and its answer, too."""
    DEAD = auto()
    """The connection is cut before the server has heard of it."""
    HANGING = auto()
    """Nobody ever answers."""
    FAILING = auto()
    """It is answered with 500."""
    BLINKING = auto()
    """The first time it is answered with 503, the second time passed on."""
    FORGETFUL = auto()
    """It is passed on, but the first time its answer is lost."""
    SLOW = auto()
    """It is passed on after a while."""


class Relay:
    """Passes requests on, or does not."""

    def __init__(self, server: str) -> None:
        self.health = Ill.WELL
        """What becomes of requests from now on."""
        self.only = "/api/"
        """A part of the addresses that this holds for; others, such as /health, are passed on."""
        self.asked: list[str] = []
        """The addresses that were asked for, with their methods."""
        self.address = ""
        self._server = server.removeprefix("http://")
        self._seen: set[tuple[str, str, bytes]] = set()
        self._ended = threading.Event()

    @contextmanager
    def open(self) -> Iterator["Relay"]:
        """Listen for the length of the block."""
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                relay.handle(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        self.address = f"http://127.0.0.1:{listening.server_port}"
        try:
            yield self
        finally:
            self._ended.set()
            listening.shutdown()
            thread.join()
            listening.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Do with one request what is to be done with it."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        asked = (request.command, request.path, body)
        is_first = asked not in self._seen
        self._seen.add(asked)
        self.asked.append(f"{request.command} {request.path}")
        health = self.health if self.only in request.path else Ill.WELL
        if health is Ill.HANGING:
            self._ended.wait()
        if health in (Ill.DEAD, Ill.HANGING):
            return _cut(request)
        if health is Ill.FAILING or (health is Ill.BLINKING and is_first):
            code = 500 if health is Ill.FAILING else 503
            return _answer(request, code, b"", {})
        if health is Ill.SLOW:
            self._ended.wait(0.1)
        code, answer, headers = self._passed_on(request, body)
        if health is Ill.FORGETFUL and is_first:
            return _cut(request)
        return _answer(request, code, answer, headers)

    def _passed_on(
        self, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = HTTPConnection(self._server, timeout=60)
        try:
            connection.request(request.command, request.path, body, dict(request.headers.items()))
            answer = connection.getresponse()
            kept = ("Content-Type", "Content-Disposition", "X-Content-Type-Options")
            headers = {name: value for name in kept if (value := answer.headers.get(name))}
            return answer.status, answer.read(), headers
        finally:
            connection.close()


def _answer(
    request: BaseHTTPRequestHandler, code: int, body: bytes, headers: dict[str, str]
) -> None:
    request.send_response(code)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


def _cut(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True
    request.connection.shutdown(socket.SHUT_RDWR)
