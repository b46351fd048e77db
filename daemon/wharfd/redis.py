"""The link to Redis: one bounded connection pool, short deadlines, a breaker, health.

Redis is a hint (law 1): everything here fails fast with `RedisUnavailable`, and whoever calls goes on
without. What is stored in Redis, and how, belongs to the cache and the rate limiter.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import trio
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from .breaker import Breaker
from .db.bridge import Bridge
from .errors import RedisRefused, RedisUnavailable

T = TypeVar("T")

OPERATION_SECONDS = 0.05  # a cache that takes longer than this is worse than none
CONNECT_SECONDS = 1.0


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
    """What the link did since it was opened."""

    operations: int = 0
    failures: int = 0
    refused: int = 0
    turned_away: int = 0
    breaker_opened: int = 0
    breaker_open: bool = False


class Script:
    """A Lua script, known to the server by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """Redis, as long as it answers; made by `open_redis`."""

    def __init__(
        self,
        bridge: Bridge,
        url: str,
        *,
        connections: int = 16,
        operation_seconds: float = OPERATION_SECONDS,
        breaker: Breaker | None = None,
    ) -> None:
        self._bridge = bridge
        self._pool: ConnectionPool = ConnectionPool.from_url(
            url,
            max_connections=connections + 4,  # some for subscriptions and health
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,  # every deadline is a trio one
            socket_connect_timeout=CONNECT_SECONDS,
            decode_responses=False,
        )
        self._redis: Redis = Redis(connection_pool=self._pool)
        self._slots = trio.Semaphore(connections)
        self._operation_seconds = operation_seconds
        self._breaker = breaker or Breaker()
        self._counted = RedisStatistics()
        self.where = _shown(url)

    @property
    def available(self) -> bool:
        """Whether it makes sense to ask Redis at this moment."""
        return self._breaker.admits()

    async def run(self, function: Callable[[Redis], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Call `function(redis)` in asyncio, within the deadline of one operation.

        The wait for a free connection counts. While the breaker is open this raises at once.

        Raises: RedisUnavailable, and RedisRefused when Redis answered with an error.
        Cancellation: drops the connection that was in use, so no answer can meet the wrong question.
        """
        if not self._breaker.admits():
            self._counted.turned_away += 1
            raise RedisUnavailable
        limit = self._operation_seconds if seconds is None else seconds
        self._counted.operations += 1
        with self._breaker.attempt(_Away):
            try:
                with trio.move_on_after(limit):
                    async with self._slots:
                        return await self._bridge.run(function, self._redis)
                raise _Away(f"Redis at {self.where} did not answer in {limit * 1000:.0f} ms")
            except (AuthenticationError, BusyLoadingError, RedisConnectionError, OSError, EOFError) as exc:
                self._counted.failures += 1
                raise _Away(f"Redis at {self.where} cannot be used: {type(exc).__name__}") from exc
            except _Away:
                self._counted.failures += 1
                raise
            except RedisError as exc:
                self._counted.refused += 1
                raise RedisRefused(f"Redis at {self.where} refused: {str(exc)[:120]}") from exc
        raise AssertionError("unreachable: every path returns or raises")

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

    @asynccontextmanager
    async def subscription(self, channel: str) -> AsyncIterator[Subscription]:
        """Listen to a channel over a connection of its own; raises `RedisUnavailable` when it breaks."""
        pubsub = self._redis.pubsub(ignore_subscribe_messages=False)
        try:
            with trio.move_on_after(CONNECT_SECONDS):
                await _translated(self._bridge.run(pubsub.subscribe, channel))
            confirmed = (
                await _translated(
                    self._bridge.run(
                        pubsub.get_message, ignore_subscribe_messages=False, timeout=CONNECT_SECONDS
                    )
                )
                if pubsub.connection
                else None
            )
            if confirmed is None:
                raise RedisUnavailable(f"Redis at {self.where} did not confirm a subscription")
            yield Subscription(self._bridge, pubsub)
        finally:
            with trio.CancelScope(deadline=trio.current_time() + CONNECT_SECONDS, shield=True):
                await self._bridge.run(pubsub.aclose)

    async def aclose(self) -> None:
        """Close every connection."""
        with trio.CancelScope(deadline=trio.current_time() + CONNECT_SECONDS, shield=True):
            await self._bridge.run(self._redis.aclose)
            await self._bridge.run(self._pool.disconnect)


class Subscription:
    """Messages of one channel."""

    def __init__(self, bridge: Bridge, pubsub: Any) -> None:
        self._bridge = bridge
        self._pubsub = pubsub

    async def next(self, *, silence_seconds: float) -> bytes:
        """Return the next message; a server that says nothing for so long is asked for a sign of life.

        Raises: RedisUnavailable when the connection is gone or the sign does not come.
        """
        pinged = False
        while True:
            reply = await _translated(
                self._bridge.run(
                    self._pubsub.get_message, ignore_subscribe_messages=False, timeout=silence_seconds
                )
            )
            if reply is None and pinged:
                raise RedisUnavailable("Redis has gone silent on a subscription")
            if reply is None:
                await _translated(self._bridge.run(self._pubsub.ping))
            elif reply["type"] == "message":
                return bytes(reply["data"])
            pinged = reply is None


class _Away(RedisUnavailable):
    """Redis does not answer; counts for the breaker."""


async def _translated(awaitable: Awaitable[T]) -> T:
    try:
        return await awaitable
    except ResponseError as exc:
        raise RedisRefused(str(exc)[:120]) from exc
    except (RedisError, OSError, EOFError) as exc:
        raise RedisUnavailable(f"Redis cannot be used: {type(exc).__name__}") from exc


def _shown(url: str) -> str:
    """Return where a URL leads, without user, password and options."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"


@asynccontextmanager
async def open_redis(bridge: Bridge, url: str, **options: Any) -> AsyncIterator[RedisLink]:
    """Make a link for as long as the block runs. Succeeds without Redis: the link is then unavailable."""
    link = RedisLink(bridge, url, **options)
    try:
        yield link
    finally:
        await link.aclose()
