"""Where the levels meet: look up, fetch once, keep, invalidate. The public face is `facade.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace

import trio

from ..errors import RedisRefused, RedisUnavailable
from .flights import Flight, Flights
from .invalidation import EVERYTHING, Invalidations
from .keys import KeySpace
from .local import Entry, LocalLevel
from .shared import Found, RedisLevel
from .statistics import Counters, NameStatistics

# Digests this task is computing: a compute that asks for its own value must not wait for itself.
_computing: ContextVar[frozenset[bytes]] = ContextVar("wharfd_cache_computing", default=frozenset())


@dataclass(frozen=True)
class CacheLimits:
    """The bounds of the cache.

    `local_seconds`: how long the first level trusts a value without looking at Redis again.
    `outage_seconds`: the same while invalidations of other nodes cannot be heard.
    """

    max_entries: int = 20_000
    max_bytes: int = 32 << 20
    max_value_bytes: int = 1 << 20
    max_tags: int = 16
    local_seconds: float = 60.0
    outage_seconds: float = 2.0
    silence_seconds: float = 2.0


class Engine:
    """Both levels of one process; shared by the plugins."""

    def __init__(
        self, level2: RedisLevel | None, keys: KeySpace, limits: CacheLimits, counters: Counters
    ) -> None:
        self.limits = limits
        self.keys = keys
        self.counters = counters
        self.local = LocalLevel(limits.max_entries, limits.max_bytes)
        self._level2 = level2
        self._flights = Flights()
        self.invalidations = Invalidations(level2, self._drop, keys.channel, limits.silence_seconds)

    async def get(
        self,
        name: str,
        digest: bytes,
        compute: Callable[[], Awaitable[bytes | None]],
        good: Callable[[bytes], bool],
        ttl: float,
        tags: Sequence[str],
    ) -> bytes | None:
        """Return the encoded value from a level, from somebody's fetch, or from `compute`.

        `good` decides whether a value from Redis, perhaps stored by another version, can be used.
        """
        counted = self.counters.of(name)
        while True:
            entry = self.local.get(digest)
            if entry is not None and self._usable(entry):
                counted.local_hits += 1
                return entry.data
            flight = self._flights.join(digest)
            if flight is None or digest in _computing.get():
                return await self._fetch(digest, compute, good, ttl, tags, counted)
            await flight.landed.wait()
            if flight.abandoned:
                continue  # its leader was cancelled: the first to wake leads
            counted.coalesced += 1
            if flight.error is not None:
                raise flight.error
            return flight.data

    async def _fetch(
        self,
        digest: bytes,
        compute: Callable[[], Awaitable[bytes | None]],
        good: Callable[[bytes], bool],
        ttl: float,
        tags: Sequence[str],
        counted: NameStatistics,
    ) -> bytes | None:
        flight = self._flights.start(digest, [EVERYTHING, *tags])
        try:
            found = await self._look_up(digest, tags, counted)
            seconds = ttl
            if found is not None and found.data is not None and good(found.data):
                counted.redis_hits += 1
                flight.data = found.data
                seconds = min(ttl, found.seconds)
            else:
                if found is not None:
                    counted.lies += found.data is not None
                    found = replace(found, data=None)
                counted.misses += 1
                flight.data = await self._compute(digest, compute, counted)
            self._keep(digest, flight, seconds, tags, counted)
        except Exception as exc:
            flight.error = exc
            raise
        except BaseException:
            flight.abandoned = True
            raise
        finally:
            self._flights.land(digest, flight)
        if found is not None and found.data is None:
            await self._store(digest, flight, found, ttl, counted)
        return flight.data

    async def _look_up(self, digest: bytes, tags: Sequence[str], counted: NameStatistics) -> Found | None:
        """Ask Redis; None when it cannot be asked, or must not be: our own invalidation is not there yet."""
        if self._level2 is None or self.invalidations.concern(tags):
            return None
        try:
            found = await self._level2.read(digest, [EVERYTHING, *tags])
        except RedisRefused:
            counted.lies += 1
            return None
        except RedisUnavailable:
            counted.away += 1
            return None
        counted.lies += found.lie
        return found if found.generations else None

    async def _compute(
        self, digest: bytes, compute: Callable[[], Awaitable[bytes | None]], counted: NameStatistics
    ) -> bytes | None:
        token = _computing.set(_computing.get() | {digest})
        try:
            return await compute()
        except Exception:
            counted.failures += 1
            raise
        finally:
            _computing.reset(token)

    def _keep(
        self, digest: bytes, flight: Flight, seconds: float, tags: Sequence[str], counted: NameStatistics
    ) -> None:
        data = flight.data
        if data is None:
            return
        if flight.stale:
            counted.stale += 1
        elif len(data) > self.limits.max_value_bytes:
            counted.oversized += 1
        else:
            now = trio.current_time()
            if self._level2 is not None:
                seconds = min(seconds, self.limits.local_seconds)
            self.local.put(digest, Entry(data, now, now + seconds, (EVERYTHING, *tags)))

    async def _store(
        self, digest: bytes, flight: Flight, found: Found, ttl: float, counted: NameStatistics
    ) -> None:
        assert self._level2 is not None
        data = flight.data
        if data is None or flight.stale or len(data) > self.limits.max_value_bytes:
            return
        try:
            await self._level2.write(digest, found.generations, data, ttl)
        except RedisUnavailable:
            counted.away += 1

    def _usable(self, entry: Entry) -> bool:
        now = trio.current_time()
        if now >= entry.expires_at:
            return False
        deaf_since = self.invalidations.deaf_since
        return deaf_since is None or now < max(entry.stored_at, deaf_since) + self.limits.outage_seconds

    def _drop(self, tags: Sequence[str] | None) -> None:
        """Forget what has one of the tags (None: everything) and what is being fetched with one."""
        self._flights.overtake(tags)
        if tags is None or EVERYTHING in tags:
            self.local.clear()
        else:
            self.local.remove_tags(tags)
