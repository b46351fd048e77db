"""LISTEN on a connection of its own: reconnects with growing pauses and says when something may be lost."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog
import trio

from ..errors import DatabaseUnavailable
from .bridge import Bridge, unwrapped
from .connecting import Target, close, connect
from .retrying import pause_seconds
from .settings import DatabaseSettings

_log = structlog.get_logger("wharfd.db.listening")
_CHANNEL = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
_BUFFER = 1024
_PROBE_SECONDS = 30.0  # a half-open line is noticed after this at the latest
_PROBE_ANSWER_SECONDS = 10.0
_GAP = ("", "")

Notice = tuple[str, str]


class _Listener:
    def __init__(
        self,
        bridge: Bridge,
        settings: DatabaseSettings,
        url: str,
        channels: Sequence[str],
        send: trio.MemorySendChannel[Notice],
    ) -> None:
        self._bridge = bridge
        self._settings = settings
        self._target = Target(purpose="listen", url=url, size=1)
        self._channels = channels
        self._send = send
        self._disturbed = trio.Event()
        self._missed = False

    def _heard(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:
        try:
            self._send.send_nowait((channel, payload))
        except trio.WouldBlock:
            self._missed = True
            self._disturbed.set()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._disturbed.set()  # the reader is gone; the block is about to end

    async def _open(self) -> asyncpg.Connection:
        connection = await connect(self._bridge, self._settings, self._target)
        try:
            connection.add_termination_listener(lambda _: self._disturbed.set())
            for channel in self._channels:
                await self._bridge.run(connection.add_listener, channel, self._heard)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen for good; started once the first connection listens."""
        connection = await self._open()
        task_status.started()
        failures = 0
        while True:
            try:
                await self._attend(connection)
            except (DatabaseUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                _log.warning("listen_connection_lost", channels=list(self._channels), error=str(error))
            finally:
                with trio.CancelScope(shield=True):
                    await close(self._bridge, connection)
            while True:
                try:
                    connection = await self._open()
                    break
                except (DatabaseUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                    failures += 1
                    _log.warning("listen_connection_refused", attempt=failures, error=str(error))
                    await trio.sleep(pause_seconds(failures))
            failures = 0
            self._missed = True

    async def _attend(self, connection: asyncpg.Connection) -> None:
        """Return when the line is gone."""
        while not connection.is_closed():
            if self._missed:
                self._missed = False
                await self._send.send(_GAP)
            with trio.move_on_after(_PROBE_SECONDS) as quiet:
                await self._disturbed.wait()
                self._disturbed = trio.Event()
            if quiet.cancelled_caught:
                with trio.move_on_after(_PROBE_ANSWER_SECONDS) as scope:
                    await self._bridge.run(connection.execute, "SELECT 1")
                if scope.cancelled_caught:
                    connection.terminate()


@asynccontextmanager
async def listen(
    bridge: Bridge, settings: DatabaseSettings, url: str, channels: Sequence[str]
) -> AsyncIterator[trio.MemoryReceiveChannel[Notice]]:
    """See `Database.listen`."""
    for channel in channels:
        if not _CHANNEL.match(channel):
            raise ValueError(f"channel {channel!r} is not a lowercase identifier")
    send, receive = trio.open_memory_channel[Notice](_BUFFER)
    with unwrapped():
        async with send, receive, trio.open_nursery() as nursery:
            listener = _Listener(bridge, settings, url, channels, send)
            await nursery.start(listener.run)
            yield receive
            nursery.cancel_scope.cancel()
