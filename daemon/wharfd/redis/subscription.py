"""Listening to a channel of Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..db.bridge import Bridge
from ..errors import RedisUnavailable
from .connections import CONNECT_SECONDS, OPTIONS, quietly

T = TypeVar("T")


class Subscription:
    """Messages of one channel, over a connection of its own."""

    def __init__(self, bridge: Bridge, pubsub: Any) -> None:
        self._bridge = bridge
        self._pubsub = pubsub

    async def next(self, *, silence_seconds: float) -> bytes:
        """Return the next message; a server that says nothing for so long is asked for a sign of life.

        Raises: RedisUnavailable when the connection is gone or the sign does not come.
        """
        pinged = False
        while True:
            reply = await self._receive(silence_seconds)
            if reply is None and pinged:
                raise RedisUnavailable("Redis has gone silent on a subscription")
            if reply is None:
                await _translated(self._bridge.run(self._pubsub.ping))
            elif reply["type"] == "message":
                return bytes(reply["data"])
            pinged = reply is None

    async def begin(self, channel: str) -> None:
        """Subscribe, and return when the server has confirmed it."""
        with trio.move_on_after(CONNECT_SECONDS) as scope:
            await _translated(self._bridge.run(self._pubsub.subscribe, channel))
        if scope.cancelled_caught or await self._receive(CONNECT_SECONDS) is None:
            raise RedisUnavailable("Redis did not confirm a subscription")

    async def _receive(self, seconds: float) -> dict[str, Any] | None:
        # The timeout is redis-py's own here: cancelled from outside, half a message could be lost.
        return await _translated(
            self._bridge.run(self._pubsub.get_message, ignore_subscribe_messages=False, timeout=seconds)
        )


@asynccontextmanager
async def subscribe(bridge: Bridge, url: str, channel: str) -> AsyncIterator[Subscription]:
    """Listen to a channel; raises `RedisUnavailable` when that cannot be done or breaks."""
    redis: Redis = Redis.from_url(url, max_connections=1, **OPTIONS)
    pubsub = redis.pubsub()
    subscription = Subscription(bridge, pubsub)
    try:
        await subscription.begin(channel)
        yield subscription
    finally:
        with trio.CancelScope(deadline=trio.current_time() + CONNECT_SECONDS, shield=True):
            await quietly(bridge, pubsub.aclose)
            await quietly(bridge, redis.aclose)


async def _translated(awaitable: Awaitable[T]) -> T:
    try:
        return await awaitable
    except (RedisError, OSError, EOFError) as exc:
        raise RedisUnavailable(f"Redis cannot be used: {type(exc).__name__}") from exc
