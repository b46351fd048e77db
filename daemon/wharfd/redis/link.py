"""The link to Redis: short deadlines, a breaker, scripts, health.

What is stored in Redis, and how, belongs to the cache and the rate limiter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import structlog
import trio
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from ..db.bridge import Bridge, unwrapped
from ..errors import RedisRefused, RedisUnavailable
from .breaker import Breaker
from .connections import CONNECT_SECONDS, Connections
from .scripts import Script
from .subscription import Subscription, subscribe

T = TypeVar("T")

_log = structlog.get_logger("wharfd.redis")

OPERATION_SECONDS = 0.05  # a cache that takes longer than this is worse than none


@dataclass(frozen=True)
class RedisHealth:
    """How Redis is doing, for `/health/ready` and `wharfd doctor`."""

    state: Literal["ok", "degraded", "away"]
    detail: str
    latency_seconds: float | None = None
    version: str | None = None
    eviction_policy: str | None = None
    used_bytes: int | None = None
    max_bytes: int | None = None


@dataclass
class RedisStatistics:
    """What the link did since it was opened.

    `turned_away` came while the breaker was open; `crowded` did not get their turn in time.
    """

    operations: int = 0
    failures: int = 0
    refused: int = 0
    turned_away: int = 0
    crowded: int = 0
    breaker_opened: int = 0
    breaker_open: bool = False


class RedisLink:
    """Redis, as long as it answers; made by `open_redis`."""

    def __init__(
        self,
        bridge: Bridge,
        nursery: trio.Nursery,
        url: str,
        *,
        connections: int = 8,
        operation_seconds: float = OPERATION_SECONDS,
        breaker: Breaker | None = None,
    ) -> None:
        self._bridge = bridge
        self._url = url
        self._connections = Connections(bridge, nursery, url, connections)
        self._operation_seconds = operation_seconds
        self._breaker = breaker or Breaker()
        self._counted = RedisStatistics()
        self.where = _shown(url)

    @property
    def available(self) -> bool:
        """Whether it makes sense to ask Redis at this moment."""
        return self._breaker.admits()

    async def run(self, function: Callable[[Redis], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Call `function(redis)` in asyncio and return what it returns.

        It may take `seconds` (normally 50 ms), and the wait for a free connection before it as long
        again. While the breaker is open this raises at once. Waiting behind others does not open it.

        Raises: RedisUnavailable, and RedisRefused when Redis answered with an error.
        Cancellation: drops the connection that was in use, so no answer can meet the wrong question.
        """
        limit = self._operation_seconds if seconds is None else seconds
        if not self._breaker.admits():
            raise self._turned_away()
        probe = self._breaker.open
        with self._breaker.attempt(_Away):
            redis = await self._borrow(limit)
            if self._breaker.open and not probe:  # it opened while this one waited
                self._connections.give_back(redis)
                raise self._turned_away()
            return await self._call(redis, function, limit)

    async def _borrow(self, limit: float) -> Redis:
        with trio.move_on_after(limit) as scope:
            try:
                return await self._connections.borrow()
            except RedisUnavailable as exc:
                self._counted.failures += 1
                raise _Away(f"{exc} ({self.where})") from exc
        if self._connections.any_ready or _stalled(scope, limit):
            self._counted.crowded += 1
            raise RedisUnavailable("all connections to Redis are in use")
        self._counted.failures += 1
        raise _Away(f"no connection to Redis at {self.where} within {limit * 1000:.0f} ms")

    async def _call(self, redis: Redis, function: Callable[[Redis], Awaitable[T]], limit: float) -> T:
        self._counted.operations += 1
        sound = False
        try:
            with trio.move_on_after(limit) as scope:
                result = await self._bridge.run(function, redis)
                sound = True
                return result
            if _stalled(scope, limit):
                self._counted.crowded += 1
                raise RedisUnavailable("the daemon was too busy to hear Redis in time")
            raise _Away(f"Redis at {self.where} did not answer in {limit * 1000:.0f} ms")
        except (AuthenticationError, BusyLoadingError, RedisConnectionError, OSError, EOFError) as exc:
            self._counted.failures += 1
            self._connections.drop_idle()
            raise _Away(f"Redis at {self.where} cannot be used: {type(exc).__name__}") from exc
        except _Away:
            self._counted.failures += 1
            raise
        except RedisError as exc:
            sound = True
            self._counted.refused += 1
            raise RedisRefused(f"Redis at {self.where} refused: {str(exc)[:120]}") from exc
        finally:
            if sound:
                self._connections.give_back(redis)
            else:
                self._connections.drop(redis)

    def _turned_away(self) -> RedisUnavailable:
        self._counted.turned_away += 1
        return RedisUnavailable()

    async def script(self, script: Script, keys: Sequence[bytes], *args: bytes | str | int) -> Any:
        """Run a Lua script; it is sent once per server and then called by its hash."""

        async def call(redis: Redis) -> Any:
            try:
                return await redis.evalsha(script.digest, len(keys), *keys, *args)
            except NoScriptError:
                return await redis.eval(script.text, len(keys), *keys, *args)

        return await self.run(call)

    async def health(self) -> RedisHealth:
        """Ask Redis how it is; never raises."""
        start = trio.current_time()
        try:
            info = await self.run(lambda redis: redis.info(), seconds=CONNECT_SECONDS)
        except RedisUnavailable as exc:
            return RedisHealth("away", str(exc))
        latency = trio.current_time() - start
        policy = str(info.get("maxmemory_policy", ""))
        used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
        state: Literal["ok", "degraded"] = "ok"
        detail = f"answers in {latency * 1000:.1f} ms"
        if policy == "noeviction" and most:
            state = "degraded"
            detail = "refuses writes when full; set maxmemory-policy allkeys-lru"
        return RedisHealth(state, detail, latency, str(info.get("redis_version", "")), policy, used, most)

    def statistics(self) -> RedisStatistics:
        """Return a snapshot of the counters."""
        return RedisStatistics(
            **{
                **vars(self._counted),
                "breaker_opened": self._breaker.opened,
                "breaker_open": self._breaker.open,
            }
        )

    def subscription(self, channel: str) -> AbstractAsyncContextManager[Subscription]:
        """Listen to a channel over a connection of its own; raises `RedisUnavailable` when it breaks."""
        return subscribe(self._bridge, self._url, channel)

    async def begin(self) -> None:
        """Open a first connection, so that the first caller need not wait for it."""
        try:
            await self.run(lambda redis: redis.ping(), seconds=CONNECT_SECONDS)
        except RedisUnavailable as exc:
            _log.warning("redis_away", where=self.where, reason=str(exc))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connections.aclose()


class _Away(RedisUnavailable):
    """Redis does not answer; counts for the breaker."""


def _stalled(scope: trio.CancelScope, limit: float) -> bool:
    """Say whether a deadline passed because this process was busy, which is no fault of Redis."""
    return trio.current_time() - scope.deadline > limit / 2


def _shown(url: str) -> str:
    """Return where a URL leads, without user, password and options."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"


@asynccontextmanager
async def open_redis(bridge: Bridge, url: str, **options: Any) -> AsyncIterator[RedisLink]:
    """Make a link for as long as the block runs.

    Waits for a first connection, a second at most. Succeeds without Redis: the link is then unavailable.

    Options: `connections`, `operation_seconds`, `breaker`.
    """
    with unwrapped():
        async with trio.open_nursery() as nursery:
            link = RedisLink(bridge, nursery, url, **options)
            try:
                await link.begin()
                yield link
            finally:
                nursery.cancel_scope.cancel()
                await link.aclose()
