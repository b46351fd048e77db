"""Waking workers: here at once, in the other daemons by one coalesced NOTIFY, and never counted on.

A NOTIFY inside a transaction takes a lock that all committing transactions queue for, so none is ever sent
inside one: names are collected after the commits and sent together, at most once per short while. A notice
that is lost costs one poll interval and nothing else.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import structlog
import trio

from ..db import Database, Transaction, sql
from .trouble import DATABASE_TROUBLE

CHANNEL = "wharfd_work"
COALESCE_SECONDS = 0.025
_MAX_PAYLOAD = 7000  # PostgreSQL takes just under 8000 bytes
_MAX_TIMERS = 10_000
_RELISTEN_SECONDS = 5.0

_NOTIFY = sql(
    "work.notify", "SELECT pg_notify($1, $2) FROM set_config('synchronous_commit', 'off', true) LIMIT 1"
)
_log = structlog.get_logger("wharfd.work.waking")


class Bell:
    """Says that there may be work. Rung once or a hundred times, it is heard once."""

    def __init__(self) -> None:
        self._rung = False
        self._lot = trio.lowlevel.ParkingLot()
        self._timers: list[float] = []

    def ring(self) -> None:
        """Wake whoever waits, or the next one who will."""
        self._rung = True
        self._lot.unpark_all()

    def ring_in(self, seconds: float) -> None:
        """Ring by itself after a while (the waiter sees to it)."""
        if len(self._timers) < _MAX_TIMERS:
            heapq.heappush(self._timers, trio.current_time() + seconds)
            self._lot.unpark_all()  # the waiter looks how long to wait now

    def hush(self) -> None:
        """Forget the rings so far; call it before looking for work, not after."""
        self._rung = False

    async def wait(self, at_most: float) -> bool:
        """Wait until it rings, or a timer or the given time is over; return whether it rang."""
        until = trio.current_time() + at_most
        await trio.lowlevel.checkpoint()
        while True:
            now = trio.current_time()
            while self._timers and self._timers[0] <= now:
                heapq.heappop(self._timers)
                self._rung = True
            if self._rung or now >= until:
                return self._rung
            with trio.move_on_at(min([until, *self._timers[:1]])):
                await self._lot.park()


class Wakeups:
    """The bells of this daemon's queues, and the wire to the other daemons."""

    def __init__(self, database: Database, sender: str) -> None:
        self._database = database
        self._sender = sender
        self._bells: dict[str, Bell] = {}
        self._pending: set[str] = set()
        self._due = Bell()

    def bell(self, queue: str) -> Bell:
        """Return the bell of a queue, by its full name."""
        return self._bells.setdefault(queue, Bell())

    def wake(self, transaction: Transaction | None, queues: Iterable[str]) -> None:
        """Wake the workers of the queues, here and everywhere, after the transaction if there is one."""
        names = tuple(queues)
        if transaction is None:
            self._ring(names)
        else:
            transaction.after_commit(lambda: self._ring(names))

    def _ring(self, names: tuple[str, ...]) -> None:
        for name in names:
            bell = self._bells.get(name)
            if bell is not None:
                bell.ring()
        self._pending.update(names)
        self._due.ring()

    async def tell(self) -> None:
        """Send what is pending to the other daemons; runs until cancelled."""
        while True:
            await self._due.wait(3600)
            await trio.sleep(COALESCE_SECONDS)
            self._due.hush()
            names, self._pending = sorted(self._pending), set()
            for payload in payloads(self._sender, names):
                try:
                    await self._database.fetchval(_NOTIFY, CHANNEL, payload)
                except DATABASE_TROUBLE as error:
                    _log.info("notice_not_sent", queues=len(names), error=str(error))

    async def hear(self) -> None:
        """Ring for what other daemons tell; runs until cancelled."""
        while True:
            try:
                async with self._database.listen(CHANNEL) as notices:
                    async for channel, payload in notices:
                        self.heard(channel, payload)
            except DATABASE_TROUBLE as error:
                _log.warning("not_listening", error=str(error))
            await trio.sleep(_RELISTEN_SECONDS)

    def heard(self, channel: str, payload: str) -> None:
        """Take one notice; an empty channel says that some may be missing, so everybody looks."""
        sender, *names = payload.split(" ")
        if not channel:
            names = list(self._bells)
        elif sender == self._sender:
            return
        for name in names:
            bell = self._bells.get(name)
            if bell is not None:
                bell.ring()


def payloads(sender: str, names: Iterable[str]) -> list[str]:
    """Return the notices that carry the names, each short enough for NOTIFY."""
    found: list[str] = []
    line = sender
    for name in names:
        if len(line) + 1 + len(name) > _MAX_PAYLOAD:
            found.append(line)
            line = sender
        line += f" {name}"
    return [*found, line] if line != sender else found
