"""A few connections to Redis, opened in the background, lent one caller at a time.

redis-py's own pool connects inside the caller's deadline, which for TLS over a real network would never
suffice. Here a caller waits for a connection only as long as it likes, and the connecting goes on without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ..db.bridge import Bridge
from ..errors import RedisUnavailable

_log = structlog.get_logger("wharfd.redis")

CONNECT_SECONDS = 1.0
_CANCELLED = "closed"
OPTIONS: dict[str, Any] = {
    "protocol": 2,
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": None,  # every deadline is a trio one
    "socket_connect_timeout": CONNECT_SECONDS,
    "decode_responses": False,
}


@dataclass(eq=False)
class _Waiter:
    """Somebody in the queue; `redis` is what they were handed, None when connecting failed."""

    served: trio.Event = field(default_factory=trio.Event)
    redis: Redis | None = None


class Connections:
    """Up to `most` connections, handed to those who wait in their order.

    One whose caller was cancelled or met an error is never lent again.
    """

    def __init__(self, bridge: Bridge, nursery: trio.Nursery, url: str, most: int) -> None:
        self._bridge = bridge
        self._nursery = nursery
        self._url = url
        self._most = most
        self._idle: list[Redis] = []
        self._ready: set[Redis] = set()
        self._connecting = 0
        self._reason = ""
        self._closed = False
        self._queue: deque[_Waiter] = deque()

    @property
    def any_ready(self) -> bool:
        """Whether there is a connection at all, lent or idle."""
        return bool(self._ready)

    async def borrow(self) -> Redis:
        """Return a connection as soon as there is one; raises `RedisUnavailable` when connecting fails."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._idle:
            return self._idle.pop()
        waiter = _Waiter()
        self._queue.append(waiter)
        self._connect_if_needed()
        try:
            await waiter.served.wait()
        except BaseException:
            if waiter.redis is not None:
                self.give_back(waiter.redis)
            elif not waiter.served.is_set():
                self._queue.remove(waiter)
            raise
        if waiter.redis is None:
            raise RedisUnavailable(f"no connection to Redis: {self._reason}")
        return waiter.redis

    def give_back(self, redis: Redis) -> None:
        """Hand it to the next who waits."""
        if redis not in self._ready:  # dropped meanwhile
            self._close_later(redis)
        elif self._queue:
            waiter = self._queue.popleft()
            waiter.redis = redis
            waiter.served.set()
        else:
            self._idle.append(redis)

    def drop(self, redis: Redis) -> None:
        """Close a connection whose state is in doubt."""
        self._ready.discard(redis)
        self._close_later(redis)
        self._connect_if_needed()

    def drop_idle(self) -> None:
        """Close the idle connections: the server they lead to has gone."""
        while self._idle:
            self.drop(self._idle.pop())

    async def aclose(self) -> None:
        """Close every connection, lent ones too."""
        self._closed = True
        with trio.CancelScope(shield=True):
            for redis in list(self._ready):
                await self._close(redis)
        self._ready.clear()
        self._idle.clear()

    def _connect_if_needed(self) -> None:
        wanted = min(len(self._queue), self._most - len(self._ready))
        while self._connecting < wanted and not self._closed:
            self._connecting += 1
            self._nursery.start_soon(self._connect)

    async def _connect(self) -> None:
        redis: Redis = Redis.from_url(self._url, single_connection_client=True, **OPTIONS)
        reason = _CANCELLED
        try:
            with trio.move_on_after(CONNECT_SECONDS) as scope:
                await self._bridge.run(redis.initialize)
                await self._bridge.run(redis.ping)  # a wrong password shows here at the latest
            reason = f"not within {CONNECT_SECONDS:g} s" if scope.cancelled_caught else ""
        except (RedisError, OSError, EOFError, ValueError) as exc:
            reason = type(exc).__name__  # the text may quote the URL
        finally:
            self._connecting -= 1
            if reason:
                self._fail_all(reason)
                await self._close(redis)
        if not reason:
            self._ready.add(redis)
            self.give_back(redis)

    def _fail_all(self, reason: str) -> None:
        """Send those who wait away: whether to try again is the breaker's decision."""
        self._reason = reason
        if reason != _CANCELLED:
            _log.debug("redis_connect_failed", reason=reason)
        while self._queue:
            self._queue.popleft().served.set()

    def _close_later(self, redis: Redis) -> None:
        if not self._closed:
            self._nursery.start_soon(self._close, redis)

    async def _close(self, redis: Redis) -> None:
        with trio.CancelScope(deadline=trio.current_time() + CONNECT_SECONDS, shield=True):
            await quietly(self._bridge, redis.aclose)


async def quietly(bridge: Bridge, close: Callable[[], Awaitable[Any]]) -> None:
    """Close something that may be broken already; that it is broken is no news."""
    try:
        await bridge.run(close)
    except (RedisError, OSError, EOFError) as exc:
        _log.debug("redis_close_failed", reason=type(exc).__name__)
