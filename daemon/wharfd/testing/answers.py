"""How a test receiver may answer: well, late, endlessly, or not at all. See `receiver.py`."""

from __future__ import annotations

import gzip
from collections.abc import Iterable

import trio

from .receiver import Answer, Conversation


def _head(status: int, headers: Iterable[tuple[str, str]], version: str = "1.1") -> bytes:
    lines = [f"HTTP/{version} {status} status", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def status(
    code: int,
    body: bytes = b"",
    headers: Iterable[tuple[str, str]] = (),
    *,
    delay: float = 0.0,
    close: bool = False,
) -> Answer:
    """Answer properly, after `delay` seconds; with `close`, say and do so."""
    extra = [("Connection", "close")] if close else []
    length = [] if code in (204, 304) else [("Content-Length", str(len(body)))]
    data = _head(code, [*headers, *extra, *length]) + body

    async def answer(conversation: Conversation) -> None:
        await trio.sleep(delay)
        await conversation.send(data)
        if close:
            conversation.close()

    return answer


def redirect(location: str, code: int = 302) -> Answer:
    """Point elsewhere."""
    return status(code, headers=[("Location", location)])


def raw(data: bytes, *, close: bool = True) -> Answer:
    """Send bytes as they are."""

    async def answer(conversation: Conversation) -> None:
        await conversation.send(data)
        if close:
            conversation.close()

    return answer


def hang() -> Answer:
    """Take the request and say nothing."""

    async def answer(conversation: Conversation) -> None:
        await trio.sleep_forever()

    return answer


def close() -> Answer:
    """Take the request and close without an answer."""

    async def answer(conversation: Conversation) -> None:
        conversation.close()

    return answer


def reset() -> Answer:
    """Take the request and break the connection with RST."""

    async def answer(conversation: Conversation) -> None:
        conversation.reset()

    return answer


def close_while_idle() -> Answer:
    """Answer as if the connection stayed open, then close it."""

    async def answer(conversation: Conversation) -> None:
        await conversation.send(_head(200, [("Content-Length", "0")]))
        conversation.close()

    return answer


def slow_head(pause: float = 0.05) -> Answer:
    """Send the head byte by byte."""

    async def answer(conversation: Conversation) -> None:
        for byte in _head(200, [("Content-Length", "0"), ("X-Padding", "x" * 1000)]):
            await conversation.send(bytes([byte]))
            await trio.sleep(pause)

    return answer


def slow_body(pause: float = 0.05, size: int = 1000) -> Answer:
    """Send the head at once and the body byte by byte."""

    async def answer(conversation: Conversation) -> None:
        await conversation.send(_head(200, [("Content-Length", str(size))]))
        for _ in range(size):
            await conversation.send(b"x")
            await trio.sleep(pause)

    return answer


def endless_body() -> Answer:
    """Send chunks until the other side hangs up."""

    async def answer(conversation: Conversation) -> None:
        await conversation.send(_head(200, [("Transfer-Encoding", "chunked")]))
        while True:
            await conversation.send(b"2000\r\n" + b"x" * 8192 + b"\r\n")

    return answer


def endless_trailers() -> Answer:
    """End the body and then send trailers until the other side hangs up."""

    async def answer(conversation: Conversation) -> None:
        await conversation.send(_head(200, [("Transfer-Encoding", "chunked")]) + b"2\r\nok\r\n0\r\n")
        while True:
            await conversation.send(b"X-Trailer: " + b"x" * 8192 + b"\r\n")

    return answer


def cut_body(promised: int = 100, sent: int = 10) -> Answer:
    """Promise more than is sent, and close."""
    return raw(_head(200, [("Content-Length", str(promised))]) + b"x" * sent)


def gzip_bomb(size: int = 50_000_000) -> Answer:
    """Send a small gzip body that unpacks to `size` bytes, unasked."""
    packed = gzip.compress(bytes(size), 9)
    return status(200, packed, [("Content-Encoding", "gzip")])


def informational_flood(count: int | None = None) -> Answer:
    """Send `count` 103 answers before the real one; None: never get to the real one."""

    async def answer(conversation: Conversation) -> None:
        hint = _head(103, [("Link", "</x>; rel=preload")])
        if count is None:
            while True:
                await conversation.send(hint)
        await conversation.send(hint * count + _head(200, [("Content-Length", "2")]) + b"ok")

    return answer


def http_1_0(body: bytes = b"old") -> Answer:
    """Answer as HTTP/1.0 without a length: the end of the connection ends the body."""
    return raw(_head(200, [("Content-Type", "text/plain")], "1.0") + body)


def huge_head(size: int = 1_000_000) -> Answer:
    """Send one header of this size."""
    return raw(_head(200, [("X-Huge", "x" * size), ("Content-Length", "0")]))
