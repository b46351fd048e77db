"""A TCP proxy that breaks connections on purpose: delay, half-close, reset, black hole, and a slow trickle.

It stands between a daemon and PostgreSQL, Redis or a receiver. Each fault holds for what passes from then
on, on connections that are open and on new ones, until `heal`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import trio

_ENDED = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
_RESET = struct.pack("ii", 1, 0)  # linger on, zero seconds: closing sends RST


@dataclass
class Proxy:
    """Passes bytes between whoever connects to `port` and what `dial` opens."""

    dial: Callable[[], Awaitable[trio.SocketStream]]
    port: int = 0
    delay_seconds: float = 0.0
    hole: bool = False
    refuse: bool = False
    passed_bytes: int = 0
    _pairs: set[_Pair] = field(default_factory=set)
    _healed: trio.Event = field(default_factory=trio.Event)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started when it listens."""
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
            self.port = listeners[0].socket.getsockname()[1]
            await nursery.start(trio.serve_listeners, self._serve, listeners)
            task_status.started()

    async def _serve(self, client: trio.SocketStream) -> None:
        if self.refuse:
            _reset(client)
            return
        try:
            server = await self.dial()
        except OSError:
            _reset(client)
            return
        pair = _Pair(client, server)
        self._pairs.add(pair)
        try:
            with pair.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, client, server)
                    nursery.start_soon(self._pump, server, client)
        finally:
            self._pairs.discard(pair)
            if pair.by_reset:
                _reset(client)
                _reset(server)
            else:
                await trio.aclose_forcefully(client)
                await trio.aclose_forcefully(server)

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        with suppress(*_ENDED):
            while data := await source.receive_some(65536):
                while self.hole:
                    await self._healed.wait()
                if self.delay_seconds:
                    await trio.sleep(self.delay_seconds)
                await sink.send_all(data)
                self.passed_bytes += len(data)
        with suppress(*_ENDED):
            await sink.send_eof()

    def black_hole(self) -> None:
        """Let nothing through any more, and tell nobody: what a firewall that drops packets does."""
        self.hole = True
        self._healed = trio.Event()

    def reset_all(self) -> int:
        """Reset every connection (RST on both sides); return how many there were."""
        pairs = list(self._pairs)
        for pair in pairs:
            pair.by_reset = True
            pair.scope.cancel()
        return len(pairs)

    async def half_close_all(self) -> int:
        """Close one direction, towards the daemon; it may go on sending, and gets no answer ever."""
        pairs = list(self._pairs)
        for pair in pairs:
            with suppress(*_ENDED):  # on the socket itself: the stream may be in the middle of sending
                pair.client.socket.shutdown(socket.SHUT_WR)
        return len(pairs)

    def heal(self) -> None:
        """Pass everything again, what was held up too."""
        self.hole = self.refuse = False
        self.delay_seconds = 0.0
        self._healed.set()


@dataclass(eq=False)
class _Pair:
    client: trio.SocketStream
    server: trio.SocketStream
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    by_reset: bool = False


def _reset(stream: trio.SocketStream) -> None:
    with suppress(OSError):
        if stream.socket.family != socket.AF_UNIX:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        stream.socket.close()


def to_unix(path: str) -> Callable[[], Awaitable[trio.SocketStream]]:
    """Dial a Unix socket."""

    async def dial() -> trio.SocketStream:
        return await trio.open_unix_socket(path)

    return dial
