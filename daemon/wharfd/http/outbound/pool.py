"""Idle connections by destination, and how many requests may be under way, per destination and in all."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from .link import Link


@dataclass(frozen=True)
class Limits:
    """The bounds of an `OutboundClient`. A slow destination holds `per_destination` requests at most."""

    per_destination: int = 16
    total: int = 512
    max_idle: int = 256
    idle_seconds: float = 30.0
    max_age_seconds: float = 300.0  # a host that moves is noticed after this time at the latest
    dns_seconds: float = 5.0
    max_head_bytes: int = 65536


@dataclass(eq=False)
class Destination:
    """Everything that is open towards one destination."""

    slots: trio.Semaphore
    idle: deque[Link] = field(default_factory=deque)
    users: int = 0


class Pool:
    """Hands out slots and idle links. Holds no task: idle links are swept whenever it is used."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._total = trio.Semaphore(limits.total)
        self._destinations: dict[Hashable, Destination] = {}
        self._idle: OrderedDict[Link, Hashable] = OrderedDict()  # the longest idle first
        self._closed = False

    @asynccontextmanager
    async def slot(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for the right to send one request to a destination, fairly, first come first served."""
        destination = self._destinations.get(key)
        if destination is None:
            destination = Destination(trio.Semaphore(self._limits.per_destination))
            self._destinations[key] = destination
        destination.users += 1
        try:
            async with destination.slots, self._total:
                yield
        finally:
            destination.users -= 1
            self._forget_if_unused(key)

    def take(self, key: Hashable) -> Link | None:
        """Return the idle link used last that is still good, or None."""
        self.sweep()
        destination = self._destinations[key]
        now = trio.current_time()
        while destination.idle:
            link = destination.idle.pop()
            del self._idle[link]
            if link.quiet() and now - link.opened_at < self._limits.max_age_seconds:
                return link
            link.close()
        return None

    def give_back(self, key: Hashable, link: Link) -> None:
        """Keep a link for the next request, or close it when it cannot carry one."""
        if not link.reusable or self._closed:
            link.close()
            return
        link.idle_since = trio.current_time()
        self._destinations[key].idle.append(link)
        self._idle[link] = key
        while len(self._idle) > self._limits.max_idle:
            self._drop_longest_idle()

    def sweep(self) -> None:
        """Close what has been idle for too long."""
        before = trio.current_time() - self._limits.idle_seconds
        while self._idle and next(iter(self._idle)).idle_since < before:
            self._drop_longest_idle()

    def close(self) -> None:
        """Close every idle link; links in use are closed when they come back."""
        self._closed = True
        while self._idle:
            self._drop_longest_idle()

    def counts(self) -> tuple[int, int, int]:
        """Return destinations, idle links and requests under way."""
        return len(self._destinations), len(self._idle), self._limits.total - self._total.value

    def _drop_longest_idle(self) -> None:
        link, key = self._idle.popitem(last=False)
        self._destinations[key].idle.remove(link)
        link.close()
        self._forget_if_unused(key)

    def _forget_if_unused(self, key: Hashable) -> None:
        destination = self._destinations[key]
        if not destination.users and not destination.idle:
            del self._destinations[key]
