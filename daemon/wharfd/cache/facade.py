"""What a plugin sees of the cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import trio

from .engine import CacheLimits, Engine
from .invalidation import EVERYTHING
from .keys import KeySpace
from .shared import RedisLevel
from .statistics import CacheStatistics, Counters

if TYPE_CHECKING:
    from ..redis.link import RedisLink

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


class Cache:
    """Remembers computed values for a while: in this process, and in Redis where there is one.

        totals = await ctx.cache.get(
            "totals", owner, lambda: read_totals(owner), ttl=300, tags=[f"owner {owner}"], type=Totals
        )
        ...
        tx.after_commit(lambda: ctx.cache.invalidate_soon(f"owner {owner}"))

    Values are what msgspec can put into msgpack; they are encoded at once, so nobody can alter what others
    get, and a hit never differs from a miss. None is not kept. Redis may be slow, full, wrong or gone: then
    values are computed, and kept in this process alone.
    """

    def __init__(
        self,
        link: RedisLink | None,
        *,
        namespace: str,
        seal_key: bytes = b"",
        limits: CacheLimits | None = None,
    ) -> None:
        """Make the cache of a process.

        `namespace` keeps installations on one Redis apart. With a `seal_key` (up to 64 bytes, the same on
        every node) values in Redis cannot be forged by somebody who can write there.
        """
        if not namespace:
            raise ValueError("the cache needs a namespace")
        keys = KeySpace(namespace)
        level2 = RedisLevel(link, keys, seal_key) if link is not None else None
        self._link = link
        self._engine = Engine(level2, keys, limits or CacheLimits(), Counters())
        self._prefix = ""

    def named(self, prefix: str) -> Cache:
        """Return a view whose names and tags are its own: the same cache, for one plugin."""
        view = object.__new__(Cache)
        view._link = self._link
        view._engine = self._engine
        view._prefix = f"{self._prefix}{prefix}."
        return view

    async def get(
        self,
        name: str,
        key: Any,
        compute: Callable[[], Awaitable[T]],
        *,
        ttl: float,
        tags: Sequence[str] = (),
        type: Any = Any,
    ) -> T:
        """Return the value of `key`, computing it when nobody has.

        Args:
            name: a constant; statistics are counted under it.
            key: whatever tells values of this name apart: text, numbers, tuples of them.
            compute: called with nothing; of all who ask at the same time, one calls it. When its caller is
                cancelled, another takes over; when it raises, all who waited get the exception.
            ttl: seconds until the value is computed again at the latest.
            tags: what `invalidate` can name.
            type: what to decode to, such as a msgspec Struct; without it, dicts and lists come back.

        Raises: whatever `compute` raises; TypeError for a value that cannot be encoded.
        """
        if ttl <= 0:
            raise ValueError(f"cache {name}: ttl must be above 0")
        if len(tags) > self._engine.limits.max_tags:
            raise ValueError(f"cache {name}: at most {self._engine.limits.max_tags} tags")
        full = self._prefix + name
        digest = self._engine.keys.entry(full, key)

        async def encoded() -> bytes | None:
            value = await compute()
            if value is None:
                return None
            try:
                return _encoder.encode(value)
            except (TypeError, ValueError, OverflowError) as exc:
                raise TypeError(f"cache {name}: the value cannot be kept: {exc}") from exc

        marks = self._tags(tags)
        decoder = _decoder(type)

        def good(data: bytes) -> bool:
            try:
                decoder.decode(data)
            except msgspec.MsgspecError:
                return False
            return True

        data = await self._engine.get(full, digest, encoded, good, ttl, marks)
        if data is None:
            return None  # type: ignore[return-value]  # then T includes None
        return decoder.decode(data)  # type: ignore[no-any-return]

    async def invalidate(self, *tags: str) -> None:
        """Throw away every value with one of the tags, here and on every node; call it after the commit.

        A value whose compute began before this call is not kept. Never raises for Redis: while it is away
        the invalidation stays pending and these tags are not looked up there.
        """
        self._engine.invalidations.note(self._tags(tags))
        if not await self._engine.invalidations.send():
            self._engine.invalidations.wake()

    def invalidate_soon(self, *tags: str) -> None:
        """Do what `invalidate` does, at once in this process and in the background elsewhere.

        For `tx.after_commit`, which takes plain functions.
        """
        self._engine.invalidations.note(self._tags(tags))
        self._engine.invalidations.wake()

    async def clear(self) -> None:
        """Throw everything away, on every node and for every plugin."""
        self._engine.invalidations.note([EVERYTHING])
        if not await self._engine.invalidations.send():
            self._engine.invalidations.wake()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hear the invalidations of other nodes, until cancelled; the daemon runs this once.

        While it does not run, or Redis is away, the first level keeps values for `outage_seconds` only.
        """
        task_status.started()
        await self._engine.invalidations.run()

    def statistics(self) -> CacheStatistics:
        """Return the counters by name, and the state of the whole."""
        engine = self._engine
        return CacheStatistics(
            names=engine.counters.snapshot(self._prefix),
            entries=len(engine.local),
            bytes=engine.local.bytes,
            evicted=engine.local.evicted,
            invalidations=engine.invalidations.sent,
            heard=engine.invalidations.heard,
            pending_invalidations=engine.invalidations.pending,
            listening=self._link is not None and engine.invalidations.deaf_since is None,
            redis="none" if self._link is None else "ok" if self._link.available else "away",
        )

    def _tags(self, tags: Sequence[str]) -> list[str]:
        if not all(tags):
            raise ValueError("a cache tag must not be empty")
        return [self._prefix + tag for tag in dict.fromkeys(tags)]


@lru_cache(512)
def _decoder(type: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(type)
