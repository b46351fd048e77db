"""One connection as hypercorn sees it: a stream whose writes have a deadline and that can be cut."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import trio


class _Guarded:
    """What both kinds add: hypercorn shields its writes, so a caller that stops reading needs this."""

    def __init__(self, inner: Any, write_timeout_seconds: float) -> None:
        self._inner = inner
        self._write_timeout_seconds = write_timeout_seconds

    async def send_all(self, data: bytes) -> None:
        """Write all of it in time, or treat the connection as broken."""
        with trio.move_on_after(self._write_timeout_seconds) as scope:
            await self._inner.send_all(data)
        if scope.cancelled_caught:
            await self.cut()
            raise trio.BrokenResourceError("the caller stopped reading")

    def receive_some(self, most: int | None = None) -> Awaitable[bytes]:
        """Read what is there."""
        received: Awaitable[bytes] = self._inner.receive_some(most)
        return received

    async def aclose(self) -> None:
        """Close it, politely when that does not take long."""
        with trio.move_on_after(self._write_timeout_seconds):
            await self._inner.aclose()

    async def cut(self) -> None:
        """Close it at once."""
        await trio.aclose_forcefully(self._inner)


class PlainConnection(_Guarded):
    """A connection without TLS."""

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket below."""
        found: trio.socket.SocketType = self._inner.socket
        return found

    async def send_eof(self) -> None:
        """Tell the caller that nothing more comes."""
        await self._inner.send_eof()


class TlsConnection(_Guarded):
    """A connection with TLS."""

    @property
    def transport_stream(self) -> trio.SocketStream:
        """The connection below."""
        found: trio.SocketStream = self._inner.transport_stream
        return found

    async def do_handshake(self) -> None:
        """Agree on keys."""
        await self._inner.do_handshake()

    def selected_alpn_protocol(self) -> str | None:
        """What the two sides agreed to speak."""
        chosen: str | None = self._inner.selected_alpn_protocol()
        return chosen


def guard(stream: Any, write_timeout_seconds: float) -> PlainConnection | TlsConnection:
    """Wrap a stream that a listener accepted."""
    if isinstance(stream, trio.SSLStream):
        return TlsConnection(stream, write_timeout_seconds)
    return PlainConnection(stream, write_timeout_seconds)
