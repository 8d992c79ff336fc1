"""MLflow's scoring server over HTTP, around a model that changes while it runs."""

import asyncio
import errno
import ipaddress
import json
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, cast

import uvicorn
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.pyfunc import scoring_server

from ratchet.errors import InterruptionError, RatchetError
from ratchet.serving.live import Live
from ratchet.serving.wire import Answer, Answering, Unnamed, refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEADER = b"x-ratchet-model"
"""Header of every answer: which version made it, e.g. ``taxi/3``."""

# Requests that are read, and wait for the model, at the same time; more wait unread. Those of so
# many bytes take much memory, and have fewer places of their own.
_READERS = 40
_LARGE, _READERS_OF_LARGE = 2**20, 2
# Seconds after which a connection that asks nothing is closed. A client that comes back in that
# very moment would lose a request, so it is longer than the pauses of proxies and pools.
_IDLE = 75


class App:
    """Answers ``/invocations`` and ``/model``, and leaves all else to MLflow's own app."""

    def __init__(self, live: Live, most_bytes: int) -> None:
        self._live = live
        self._most_bytes = most_bytes
        self._seconds = MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get()
        self._readers = ThreadPoolExecutor(_READERS, "answer")
        self._readers_of_large = ThreadPoolExecutor(_READERS_OF_LARGE, "answer-large")
        self._mlflow = scoring_server.init(cast(Any, _Anybody()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; see the specification of ASGI."""
        match scope["type"], scope.get("method"), scope.get("path"):
            case "http", "POST", "/invocations":
                await self._invocations(scope, receive, send)
            case "http", "GET", "/model":
                state = Answer(200, json.dumps(asdict(self._live.state)).encode())
                await _send(send, state, self._live.now)
            case "http", _, _:
                await self._mlflow(scope, receive, _labelled(send, self._live.now))
            case _:
                await self._mlflow(scope, receive, send)

    async def _invocations(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type")
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._body(headers, receive)
                now = self._live.now  # this one answers, whoever comes after it
                if body is None:
                    answer = refusal(413, "BAD_REQUEST", self._too_long())
                else:
                    readers = self._readers if len(body) < _LARGE else self._readers_of_large
                    answer = await asyncio.get_running_loop().run_in_executor(
                        readers, now.ask, body, kind.decode("latin-1") if kind else None
                    )
        except TimeoutError:
            body, now = None, self._live.now
            told = f"The request took longer than {self._seconds} s."
            answer = refusal(504, "DEADLINE_EXCEEDED", told)
        except ConnectionResetError:  # nobody waits for an answer
            return
        await _send(send, answer, now, closes=body is None)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """Read what a client sends; None if it is too much.

        That is read to its end all the same: a client that is sending reads no answer. One that
        asks before it sends has its answer at once.
        """
        told = int(headers.get(b"content-length", 0))
        if told > self._most_bytes and b"expect" in headers:
            return None
        size, more, parts = 0, True, []
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError
            part = message.get("body", b"")
            size += len(part)
            if size <= self._most_bytes:
                parts.append(part)
            else:
                parts.clear()
            more = message.get("more_body", False)
        return b"".join(parts) if size <= self._most_bytes else None

    def _too_long(self) -> str:
        return (
            f"The request is longer than {self._most_bytes / 2**20:g} MiB. Send fewer rows at once,"
            " or start the server with a larger --max-mb."
        )


class _Anybody:
    """Stands for all versions where MLflow's app wants one: it asks whether there is any."""

    metadata = Unnamed()


async def _send(send: Send, answer: Answer, by: Answering, *, closes: bool = False) -> None:
    headers = [
        (b"content-type", answer.kind.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (HEADER, _label(by)),
        *([(b"connection", b"close")] if closes else []),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _labelled(send: Send, by: Answering) -> Send:
    async def with_label(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (HEADER, _label(by))]
        await send(message)

    return with_label


def _label(by: Answering) -> bytes:
    return by.served.label.encode("ascii", "backslashreplace")


class _Server(uvicorn.Server):
    """Says when it is there."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def serve(app: App, place: socket.socket, ready: Callable[[], None]) -> None:
    """Answer requests until SIGTERM, and finish those that have begun.

    Parameters
    ----------
    app : App
        What answers.
    place : socket
        Where, as ``bind`` gives it.
    ready : callable
        Called when requests are taken.

    Raises
    ------
    InterruptionError
        In place of Ctrl-C, after what had begun was finished.
    RatchetError
        If another program took the port in the meantime.
    """
    config = uvicorn.Config(
        app,
        ws="none",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE,
    )
    host, port = place.getsockname()[:2]
    server = _Server(config, ready)
    try:
        with _terminated_quietly(server):
            server.run([place])
    except KeyboardInterrupt:
        raise InterruptionError("serve was stopped; what it had begun to answer, it did.") from None
    except OSError as error:
        raise _taken(host, port, error) from error


@contextmanager
def _terminated_quietly(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGTERM be a usual end, also before it serves and when it raises it again at its end."""

    def end(_signal: int, _frame: Any) -> None:
        server.should_exit = True

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def bind(host: str, port: int) -> socket.socket:
    """Reserve the place at which a server will listen.

    Parameters
    ----------
    host : str
        A name or an address of this machine.
    port : int
        0 takes a free one.

    Raises
    ------
    RatchetError
        If there is no such host here, or the port isn't free.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise RatchetError(f"{host!r} is no name or address of this machine: {error}.") from error
    place = socket.socket(family, kind, number)
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)
    except OSError as error:
        place.close()
        raise _taken(host, port, error) from error
    return place


def _taken(host: str, port: int, error: OSError) -> RatchetError:
    if error.errno == errno.EADDRINUSE:
        return RatchetError(
            f"Port {port} of {host} is in use. Stop what listens there, or take another:"
            f" --port {port + 1}; --port 0 takes a free one."
        )
    return RatchetError(f"Port {port} of {host} can't be listened at: {error.strerror or error}.")


def address(place: socket.socket) -> str:
    """Give the URL of a place, e.g. ``"http://127.0.0.1:5001"``."""
    host, port = place.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_open(place: socket.socket) -> bool:
    """Tell whether other machines may reach a place."""
    return not ipaddress.ip_address(place.getsockname()[0].partition("%")[0]).is_loopback
