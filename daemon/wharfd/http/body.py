"""The body of one request on its way in: bounded in size and time, read only as fast as it is used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import trio

from .headers import Headers
from .problems import BadRequest, BodyTimeout, BodyTooLarge

Receive = Callable[[], Awaitable[Any]]


class CallerGone(BadRequest):
    """the caller hung up before the body was complete"""


class BodySource:
    """Reads the body. `complete` says that all of it was read, `gone` that the caller left."""

    __slots__ = ("_length", "_receive", "_whole", "complete", "gone", "timeout_seconds")

    def __init__(self, receive: Receive, headers: Headers, *, timeout_seconds: float) -> None:
        self._receive = receive
        self._whole: bytes | None = None
        self._length = _declared_length(headers)
        # Without these fields an HTTP/1.1 request has no body at all.
        self.complete = self._length == 0 or (self._length is None and "transfer-encoding" not in headers)
        self.gone = False
        self.timeout_seconds = timeout_seconds

    async def read(self, limit: int) -> bytes:
        """Return the whole body, the same when asked again.

        Raises `BodyTooLarge` (413) over `limit`, `BodyTimeout` (408) when it takes too long.
        """
        if self._whole is None:
            if self._length is not None and self._length > limit:
                raise BodyTooLarge(limit)
            with trio.move_on_after(self.timeout_seconds):
                parts = [chunk async for chunk in self._chunks(limit)]
                self._whole = parts[0] if len(parts) == 1 else b"".join(parts)
            if self._whole is None:
                raise BodyTimeout(f"the body did not arrive within {self.timeout_seconds:g} s")
        return self._whole

    async def stream(self, limit: int) -> AsyncIterator[bytes]:
        """Give the body piece by piece; each must arrive in time (408), all within `limit` (413)."""
        if self._whole is not None:
            yield self._whole
            return
        if self._length is not None and self._length > limit:
            raise BodyTooLarge(limit)
        async for chunk in self._chunks(limit, each=self.timeout_seconds):
            yield chunk

    async def discard(self) -> None:
        """Read on and throw away until the end, or until the caller is gone."""
        while not self.complete and not self.gone:
            await self._next()

    async def wait_gone(self) -> None:
        """Return when the caller has hung up."""
        while not self.gone:
            await self._next()

    async def _chunks(self, limit: int, each: float | None = None) -> AsyncIterator[bytes]:
        size = 0
        while not self.complete:
            if each is None:
                chunk = await self._next()
            else:
                chunk = b""
                with trio.move_on_after(each) as scope:
                    chunk = await self._next()
                if scope.cancelled_caught:
                    raise BodyTimeout(f"nothing of the body arrived for {each:g} s")
            if self.gone:
                raise CallerGone()
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge(limit)
            if chunk:
                yield chunk

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
            return b""
        if not message.get("more_body", False):
            self.complete = True
        body: bytes = message.get("body", b"")
        return body


def _declared_length(headers: Headers) -> int | None:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None
