"""The other side of a connection, in a process of its own.

`send` reads jobs, a line of JSON each, offers HTTP requests and answers each job with a line: what it
measured. `receive` says on which port it listens and answers every POST with 200, as a customer would.
"""

from __future__ import annotations

import base64
import hmac
import sys
from typing import Literal

import msgspec
import trio

from ..errors import BenchFailed
from .openloop import offer

KEY = b"a key that only the bench knows!"
_STATUS = b"HTTP/1.1 "


class Job(msgspec.Struct, kw_only=True):
    """Requests to offer. `rate` None means as fast as they are answered."""

    port: int
    kind: Literal["webhook", "read"]
    seconds: float
    rate: float | None
    at_once: int
    first: int = 0
    total: int | None = None
    keys: int = 1
    token: str = ""


def webhook(number: int) -> bytes:
    """Return a signed POST; the number tells one from another."""
    body = msgspec.json.encode(
        {
            "eventName": "PAYMENT_COMPLETED",
            "resourceId": f"bench-{number}",
            "payload": {"amount": 12345, "currencyCode": "EUR", "note": "x" * 300},
        }
    )
    signature = base64.b64encode(hmac.digest(KEY, body, "sha256"))
    return (
        b"POST /bench HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nSignature: %b\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (signature, len(body), body)
    )


def read(number: int, keys: int, token: str) -> bytes:
    """Return a GET for one of so many rows."""
    return b"GET /bench/payments/%d HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %b\r\n\r\n" % (
        number * 7919 % keys + 1,
        token.encode(),
    )


class Sender:
    """Keeps connections to one port and exchanges requests for answers on them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[trio.SocketStream] = []

    async def exchange(self, request: bytes) -> None:
        """Send a request and read its answer; raises `BenchFailed` unless it is 2xx."""
        stream = self._idle.pop() if self._idle else await trio.open_tcp_stream("127.0.0.1", self._port)
        try:
            await stream.send_all(request)
            status = await _answer(stream)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        self._idle.append(stream)
        if status // 100 != 2:
            raise BenchFailed(f"a request was answered {status}")

    async def close(self) -> None:
        """Close the connections."""
        for stream in self._idle:
            await trio.aclose_forcefully(stream)


async def _answer(stream: trio.SocketStream) -> int:
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += await _more(stream)
    head = bytes(data[:end]).lower()
    at = head.find(b"\r\ncontent-length:")
    length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    while len(data) < end + 4 + length:
        data += await _more(stream)
    return int(data[len(_STATUS) : len(_STATUS) + 3])


async def _more(stream: trio.SocketStream) -> bytes:
    data = await stream.receive_some(65536)
    if not data:
        raise BenchFailed("a connection was closed before the answer was whole")
    return bytes(data)


async def send() -> None:
    """Do jobs from stdin until there are no more."""
    lines = trio.wrap_file(sys.stdin.buffer)
    async for line in lines:
        job = msgspec.json.decode(line, type=Job)
        sender = Sender(job.port)

        async def one(number: int, *, job: Job = job, sender: Sender = sender) -> None:
            request = webhook(number) if job.kind == "webhook" else read(number, job.keys, job.token)
            await sender.exchange(request)

        measured = await offer(
            one,
            rate=job.rate or 1.0,
            seconds=job.seconds,
            at_once=job.at_once,
            first=job.first,
            closed=job.rate is None,
            total=job.total,
        )
        await sender.close()
        _say(msgspec.json.encode(measured))


async def receive() -> None:
    """Answer 200 to everything until stdin ends."""

    async def serve(stream: trio.SocketStream) -> None:
        data = bytearray()
        while True:
            while (end := data.find(b"\r\n\r\n")) < 0:
                more = await stream.receive_some(65536)
                if not more:
                    return
                data += more
            head = bytes(data[:end]).lower()
            at = head.find(b"\r\ncontent-length:")
            length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            while len(data) < end + 4 + length:
                data += await _more(stream)
            del data[: end + 4 + length]
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        _say(b"%d" % listener.socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        await trio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Be what the first argument says."""
    trio.run(send if sys.argv[1] == "send" else receive)
