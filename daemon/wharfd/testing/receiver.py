"""A real local HTTP server for tests: it records what it is sent and answers as it is told.

    async def test_delivery(receiver):
        receiver.script(answers.status(503), answers.status(200))
        ...
        first, second = await receiver.wait_for(2)

How it may answer is in `answers.py`; certificates for TLS are in `certificates.py`.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

_MAX_HEAD = 1 << 20


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int
    at: float

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """Return the first header of this name, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Conversation:
    """One request on one connection, for an answer to act on."""

    def __init__(self, request: Received, stream: trio.abc.Stream, wire: trio.SocketStream) -> None:
        self.request = request
        self.stream = stream
        self.wire = wire
        self.open = True

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    def close(self) -> None:
        """Close the connection in the ordinary way (FIN)."""
        self.open = False
        self.wire.socket.close()

    def reset(self) -> None:
        """Break the connection (RST)."""
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


Answer = Callable[[Conversation], Awaitable[None]]


async def accept(conversation: Conversation) -> None:
    """Answer 200 with an empty body: what a receiver does when nothing else was said."""
    await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


class Receiver:
    """What a test sees of the server."""

    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.scheme = scheme
        self.host = "localhost" if scheme == "https" else "127.0.0.1"
        self.requests: list[Received] = []
        self.connections = 0
        self.answer: Answer = accept
        self._scripts: dict[str | None, deque[Answer]] = {}
        self._fixed: dict[str, Answer] = {}
        self._changed = trio.Condition()

    @property
    def url(self) -> str:
        """The address of the server, without a path."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def script(self, *answers: Answer, path: str | None = None) -> None:
        """Queue answers for the next requests, of one path or of all; then the default applies again."""
        self._scripts.setdefault(path, deque()).extend(answers)

    def on(self, path: str, answer: Answer) -> None:
        """Answer every request of a path like this."""
        self._fixed[path] = answer

    async def wait_for(self, count: int, *, seconds: float = 60.0) -> list[Received]:
        """Wait until `count` requests have arrived since the start and return all of them."""
        with trio.move_on_after(seconds):
            async with self._changed:
                while len(self.requests) < count:
                    await self._changed.wait()
        assert len(self.requests) >= count, f"{len(self.requests)} of {count} requests came in {seconds} s"
        return list(self.requests)

    async def note(self, request: Received) -> Answer:
        """Record a request and return how to answer it."""
        self.requests.append(request)
        async with self._changed:
            self._changed.notify_all()
        for key in (request.path, None):
            if self._scripts.get(key):
                return self._scripts[key].popleft()
        return self._fixed.get(request.path, self.answer)


@asynccontextmanager
async def open_receiver(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Serve on a free port of 127.0.0.1 for as long as the block runs."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        receiver = Receiver(listener.socket.getsockname()[1], "https" if tls else "http")

        async def serve(wire: trio.SocketStream) -> None:
            receiver.connections += 1
            stream: trio.abc.Stream = wire
            try:
                if tls is not None:
                    stream = trio.SSLStream(wire, tls, server_side=True, https_compatible=True)
                await _converse(receiver, receiver.connections, stream, wire)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                wire.socket.close()  # the other side is gone; a test sees that in what it received
            finally:
                wire.socket.close()

        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield receiver
        nursery.cancel_scope.cancel()


async def _converse(
    receiver: Receiver, number: int, stream: trio.abc.Stream, wire: trio.SocketStream
) -> None:
    buffer = bytearray()
    while True:
        while (end := buffer.find(b"\r\n\r\n")) < 0:
            data = await stream.receive_some(65536)
            if not data:
                return
            buffer += data
            assert len(buffer) < _MAX_HEAD, "a request head of more than 1 MiB"
        first, *lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        del buffer[: end + 4]
        while len(buffer) < length:
            data = await stream.receive_some(65536)
            if not data:
                return
            buffer += data
        method, target, _ = first.split(" ", 2)
        body = bytes(buffer[:length])
        del buffer[:length]
        request = Received(method, target, headers, body, number, trio.current_time())
        conversation = Conversation(request, stream, wire)
        await (await receiver.note(request))(conversation)
        if not conversation.open:
            return


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A local HTTP server that records requests; it answers 200 until told otherwise."""
    async with open_receiver() as server:
        yield server
