"""A stream whose writes have a deadline and that can be cut at once, from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

_CLOSE_SECONDS = 5.0


class PlainConnection:
    """A connection without TLS."""

    def __init__(self, stream: Any, write_timeout_seconds: float) -> None:
        self._stream = stream
        self._write_timeout_seconds = write_timeout_seconds
        self._gone = False
        self._waiting: set[trio.CancelScope] = set()

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket below."""
        found: trio.socket.SocketType = self._stream.socket
        return found

    async def send_all(self, data: bytes) -> None:
        """Write all of it in time; `trio.BrokenResourceError` for a caller that stopped reading."""
        if not data:  # the end of a body that needs no end mark
            return
        with trio.move_on_after(self._write_timeout_seconds) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            self.cut()
            raise trio.BrokenResourceError("the caller stopped reading")

    async def receive_some(self, most: int) -> bytes:
        """Read what is there; nothing at the end."""
        received: bytes = await self._stream.receive_some(most)
        return received

    async def aclose(self) -> None:
        """Close it, politely when that does not take long."""
        with trio.move_on_after(_CLOSE_SECONDS):
            await self._stream.aclose()

    @contextmanager
    def while_present(self) -> Iterator[None]:
        """Cancel the block when the caller hangs up; it then ends without an exception."""
        with trio.CancelScope() as scope:
            if self._gone:
                scope.cancel()
            self._waiting.add(scope)
            try:
                yield
            finally:
                self._waiting.discard(scope)

    def caller_left(self) -> None:
        """Cancel what is only done while the caller is there."""
        self._gone = True
        for scope in self._waiting:
            scope.cancel()

    def cut(self) -> None:
        """Close it at once; whoever reads or writes on it hears of it."""
        self.socket.close()


class TlsConnection(PlainConnection):
    """A connection with TLS."""

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket below."""
        found: trio.socket.SocketType = self._stream.transport_stream.socket
        return found

    async def do_handshake(self) -> None:
        """Agree on keys."""
        await self._stream.do_handshake()


def guard(stream: Any, write_timeout_seconds: float) -> PlainConnection | TlsConnection:
    """Wrap a stream that a listener accepted."""
    kind = TlsConnection if isinstance(stream, trio.SSLStream) else PlainConnection
    return kind(stream, write_timeout_seconds)
