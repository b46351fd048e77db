"""The connection pool: bounded, first come first served, healing by itself.

It hands out open connections and takes them back; what runs on them is not its business. A connection that
was lost is dropped and the next caller opens a new one, so nothing ever needs a restart. One whose state is
in doubt (its caller was cancelled) is mended in the background before anybody gets it again.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

import asyncpg
import structlog
import trio

from ..errors import DatabaseBusy, DatabaseUnavailable
from .bridge import Bridge
from .connecting import Target, close, connect, is_lost
from .settings import DatabaseSettings

_log = structlog.get_logger("wharfd.db.pool")

_TEND_SECONDS = 5.0
_MEND_SECONDS = 5.0
_MEND_ATTEMPTS = 3
_LIFETIME_SPREAD = 0.2  # so that connections opened together are not replaced together


@dataclass(eq=False, slots=True)
class Link:
    """A connection on loan. `suspect` is set when its state is in doubt."""

    raw: asyncpg.Connection
    retire_at: float
    idle_since: float = 0.0
    suspect: bool = False


@dataclass(eq=False, slots=True)
class _Waiter:
    ready: trio.Event
    granted: bool = False
    link: Link | None = None  # granted without one: it may open a new connection


@dataclass(frozen=True)
class PoolStatistics:
    """How a pool is doing; times in seconds since the daemon started."""

    purpose: str
    limit: int
    open: int
    used: int
    idle: int
    waiting: int
    acquired: int
    waited: int
    wait_seconds: float
    longest_wait_seconds: float
    opened: int
    lost: int
    busy: int


async def _clean(raw: asyncpg.Connection) -> None:
    """End any transaction and reset the session (asyncio side); waits for a running cancellation first."""
    for _ in range(_MEND_ATTEMPTS):
        if raw.is_closed():
            raise ConnectionResetError("the connection is closed")
        try:
            if raw.is_in_transaction():
                await raw.execute("ROLLBACK")
            await raw.reset()
            if raw.is_in_transaction():  # a BEGIN that was under way when its caller was cancelled
                await raw.execute("ROLLBACK")
                await raw.reset()
            return
        except asyncpg.QueryCanceledError:
            # The server may act on a cancel request only after the statement it was meant for.
            continue
    raise ConnectionResetError("the connection keeps being cancelled")


class Pool:
    """Connections to one target. Made by `open_database`."""

    def __init__(
        self, bridge: Bridge, settings: DatabaseSettings, target: Target, nursery: trio.Nursery
    ) -> None:
        self.bridge = bridge
        self.settings = settings
        self.target = target
        self._nursery = nursery
        self._idle: deque[Link] = deque()
        self._links: set[Link] = set()
        self._waiters: deque[_Waiter] = deque()
        self._total = 0  # open, being opened, or promised to a waiter
        self._closed = False
        self._acquired = self._waited = self._opened = self._lost = self._busy = 0
        self._wait_seconds = self._longest_wait = 0.0

    async def acquire(self) -> Link:
        """Get a connection; give it back with `release`.

        Raises `DatabaseBusy` when none became free in time, `DatabaseUnavailable` when none can be opened.
        """
        if self._closed:
            raise DatabaseUnavailable("the database pool is closed: wharfd is stopping")
        self._acquired += 1
        if not self._waiters:
            link = self._take_idle()
            if link is not None:
                return link
            if self._total < self.target.size:
                self._total += 1
                return await self._open()
        return await self._wait()

    def _take_idle(self) -> Link | None:
        while self._idle:
            link = self._idle.pop()  # the last one used is the warmest
            if not link.raw.is_closed():
                return link
            self._drop(link, lost=True)
        return None

    async def _wait(self) -> Link:
        waiter = _Waiter(trio.Event())
        self._waiters.append(waiter)
        self._waited += 1
        started = trio.current_time()
        try:
            with trio.move_on_after(self.settings.acquire_timeout_seconds):
                await waiter.ready.wait()
        except BaseException:
            if waiter.granted:
                self._hand_on(waiter.link)
            raise
        finally:
            waited = trio.current_time() - started
            self._wait_seconds += waited
            self._longest_wait = max(self._longest_wait, waited)
            if not waiter.granted:
                self._waiters.remove(waiter)
        if not waiter.granted:
            self._busy += 1
            raise DatabaseBusy(
                f"no database connection became free within {self.settings.acquire_timeout_seconds:g} s "
                f"({self._total} of {self.target.size} in use, {len(self._waiters)} waiting); "
                "raise [database] pool_size or lower the load"
            )
        if self._closed:
            self._hand_on(waiter.link)
            raise DatabaseUnavailable("the database pool is closed: wharfd is stopping")
        if waiter.link is None:
            return await self._open()
        return waiter.link

    async def _open(self) -> Link:
        """Open a connection in a place already counted in `_total`."""
        try:
            raw = await connect(self.bridge, self.settings, self.target)
        except BaseException:
            self._give_place()
            raise
        lifetime = self.settings.lifetime_seconds * random.uniform(1 - _LIFETIME_SPREAD, 1)  # noqa: S311
        link = Link(raw, retire_at=trio.current_time() + lifetime)
        self._links.add(link)
        self._opened += 1
        return link

    def _hand_on(self, link: Link | None) -> None:
        if link is None:
            self._give_place()
        else:
            self.release(link)

    def _give_place(self) -> None:
        """A place became free: let the next waiter open a connection in it."""
        self._total -= 1
        if self._waiters and self._total < self.target.size:
            self._total += 1
            self._grant(None)

    def _grant(self, link: Link | None) -> None:
        waiter = self._waiters.popleft()
        waiter.granted = True
        waiter.link = link
        waiter.ready.set()

    def release(self, link: Link) -> None:
        """Take a connection back; never waits."""
        raw = link.raw
        if raw.is_closed():
            self._drop(link, lost=True)
        elif self._closed:
            self._drop(link)
        elif link.suspect or raw.is_in_transaction():
            self._nursery.start_soon(self.mend, link)
        elif trio.current_time() >= link.retire_at:
            self._nursery.start_soon(self._retire, link)
        else:
            self._ready(link)

    def _ready(self, link: Link) -> None:
        if self._waiters:
            self._grant(link)
        else:
            link.idle_since = trio.current_time()
            self._idle.append(link)

    def _drop(self, link: Link, *, lost: bool = False) -> None:
        self._links.discard(link)
        if lost:
            self._lost += 1
        if not link.raw.is_closed():
            link.raw.terminate()
        self._give_place()

    async def mend(self, link: Link) -> None:
        """Take a connection back after bringing it to a clean session; drop it when that fails."""
        mended = False
        try:
            with trio.move_on_after(_MEND_SECONDS):
                await self.bridge.run(_clean, link.raw)
                mended = True
        except Exception as error:  # whatever it was: the connection is dropped, the pool goes on
            if not is_lost(error, link.raw):
                _log.warning("connection_not_mended", purpose=self.target.purpose, error=str(error))
        finally:
            link.suspect = not mended
            if mended and not self._closed:
                self._ready(link)
            else:
                self._drop(link, lost=not self._closed)

    async def _retire(self, link: Link) -> None:
        try:
            await close(self.bridge, link.raw)
        finally:
            self._drop(link)

    async def tend(self) -> None:
        """Keep the smallest size open, let go of what is idle for long or old; runs until cancelled."""
        while True:
            now = trio.current_time()
            for link in list(self._idle):
                aged = now >= link.retire_at or now - link.idle_since > self.settings.idle_seconds
                if link.raw.is_closed():
                    self._idle.remove(link)
                    self._drop(link, lost=True)
                elif now >= link.retire_at or (aged and self._total > self.target.min_size):
                    self._idle.remove(link)
                    self._nursery.start_soon(self._retire, link)
            if self._total < self.target.min_size:
                self._total += 1
                try:
                    self.release(await self._open())
                    continue
                except DatabaseUnavailable as error:
                    _log.warning("connection_not_opened", purpose=self.target.purpose, error=str(error))
            await trio.sleep(_TEND_SECONDS)

    async def aclose(self) -> None:
        """Refuse new callers and close every connection, politely first."""
        self._closed = True
        idle, self._idle = list(self._idle), deque()
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for link in idle:
                    nursery.start_soon(self._retire, link)
        for link in list(self._links):
            link.raw.terminate()
        for waiter in list(self._waiters):
            self._total += 1
            self._grant(None)
            del waiter

    def statistics(self) -> PoolStatistics:
        """Return the pool's gauges and counters."""
        return PoolStatistics(
            purpose=self.target.purpose,
            limit=self.target.size,
            open=len(self._links),
            used=len(self._links) - len(self._idle),
            idle=len(self._idle),
            waiting=len(self._waiters),
            acquired=self._acquired,
            waited=self._waited,
            wait_seconds=self._wait_seconds,
            longest_wait_seconds=self._longest_wait,
            opened=self._opened,
            lost=self._lost,
            busy=self._busy,
        )
