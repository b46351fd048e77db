"""The keys asked for lately, in memory: bounded, short-lived, and told at once when one of them changes.

A known key is looked up again after some seconds at the latest, an unknown id likewise. What changes is
forgotten here in the moment of the commit and on the other daemons by NOTIFY, with or without Redis. However
many different unknown ids come in, the database is asked for a bounded number of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from .model.record import KeyRecord

_UNKNOWN_BURST = 200.0
_UNKNOWN_PER_SECOND = 50.0
_UNKNOWN_AT_ONCE = 2
_NEVER = float("-inf")

Read = Callable[[str], Awaitable[KeyRecord | None]]


class TooManyUnknown(Exception):
    """so many unknown keys were tried that no more are looked up for a moment"""


@dataclass
class _Flight:
    landed: trio.Event = field(default_factory=trio.Event)
    ok: bool = False
    record: KeyRecord | None = None


class Keyring:
    """Finds keys by their short id with `read`, and remembers up to `most` for `seconds`."""

    def __init__(self, read: Read, *, seconds: float, most: int) -> None:
        self._read = read
        self._seconds = seconds
        self._most = most
        self._known: OrderedDict[str, tuple[KeyRecord, float]] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._flights: dict[str, _Flight] = {}
        self._limiter = trio.CapacityLimiter(_UNKNOWN_AT_ONCE)
        self._changes = 0
        self._budget = _UNKNOWN_BURST
        self._budget_at = trio.current_time()
        self.hits = 0
        self.lookups = 0

    def __len__(self) -> int:
        return len(self._known)

    async def find(self, short: str) -> KeyRecord | None:
        """Return the key, from memory or from the database; None when there is none.

        Raises `TooManyUnknown` for an id never seen here while too many such are being tried.
        """
        while True:
            now = trio.current_time()
            known = self._known.get(short)
            if known is not None and known[1] > now:
                self.hits += 1
                self._known.move_to_end(short)
                return known[0]
            if self._unknown.get(short, 0.0) > now:
                self.hits += 1
                return None
            flight = self._flights.get(short)
            if flight is None:
                return await self._look_up(short, seen=known is not None)
            await flight.landed.wait()
            if flight.ok:
                return flight.record

    def forget(self, what: str) -> None:
        """Forget one key by its short id, or all of an integration by its id; at once."""
        self._changes += 1
        self._unknown.pop(what, None)
        if what in self._known:
            self._doubt(what)
        elif what.startswith("int_"):
            for short, (record, _) in self._known.items():
                if record.integration_id == what:
                    self._doubt(short)

    def forget_all(self) -> None:
        """Forget everything: changes may have been missed."""
        self._changes += 1
        for short in self._known:
            self._doubt(short)
        self._unknown.clear()

    def _doubt(self, short: str) -> None:
        """Believe a record no longer, and remember that there is such a key: it is no stranger's guess."""
        self._known[short] = (self._known[short][0], _NEVER)

    async def _look_up(self, short: str, *, seen: bool) -> KeyRecord | None:
        flight = self._flights[short] = _Flight()
        try:
            flight.record = await self._ask(short) if seen else await self._ask_for_unknown(short)
            flight.ok = True
            return flight.record
        finally:
            del self._flights[short]
            flight.landed.set()

    async def _ask_for_unknown(self, short: str) -> KeyRecord | None:
        self._spend()
        async with self._limiter:
            record = await self._ask(short)
        if record is not None:
            self._budget = min(self._budget + 1, _UNKNOWN_BURST)
        return record

    async def _ask(self, short: str) -> KeyRecord | None:
        changes = self._changes
        self.lookups += 1
        record = await self._read(short)
        if changes != self._changes:
            return record  # read before a change: good for this request, which came before it too
        until = trio.current_time() + self._seconds
        if record is None:
            self._known.pop(short, None)
            self._unknown[short] = until
            self._trim(self._unknown)
        else:
            self._known[short] = (record, until)
            self._known.move_to_end(short)
            self._trim(self._known)
        return record

    def _trim(self, kept: OrderedDict[str, Any]) -> None:
        while len(kept) > self._most:
            kept.popitem(last=False)

    def _spend(self) -> None:
        now = trio.current_time()
        regained = (now - self._budget_at) * _UNKNOWN_PER_SECOND
        self._budget, self._budget_at = min(self._budget + regained, _UNKNOWN_BURST), now
        if self._budget < 1:
            raise TooManyUnknown
        self._budget -= 1
