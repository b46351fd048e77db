"""Invalidation between nodes: told to Redis, heard from Redis, and not forgotten while Redis is away.

An invalidation that Redis has not taken yet is pending: the tags are not looked up in Redis until it has,
and it is offered again until then. After every gap in listening, everything local is dropped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import count

import msgspec
import structlog
import trio

from ..errors import RedisUnavailable
from .shared import RedisLevel

_log = structlog.get_logger("wharfd.cache")

EVERYTHING = ""  # the tag that every value has
_MAX_PENDING = 10_000
_RETRY_SECONDS = 0.5
_LONGEST_RETRY_SECONDS = 5.0


class _Message(msgspec.Struct, array_like=True, frozen=True):
    node: bytes
    tags: list[str]


class Invalidations:
    """Sends and hears invalidations; `drop(tags)` is called for each (None: everything)."""

    def __init__(
        self,
        level2: RedisLevel | None,
        drop: Callable[[Sequence[str] | None], None],
        channel: str,
        silence_seconds: float,
    ) -> None:
        self._level2 = level2
        self._drop = drop
        self._channel = channel
        self._silence_seconds = silence_seconds
        self._node = os.urandom(8)
        self._numbers = count()
        self._pending: dict[str, int] = {}
        self._wake = trio.Event()
        # Since when other nodes cannot be heard; None while they can, or when there is no Redis to hear.
        self.deaf_since: float | None = None if level2 is None else float("-inf")
        self.sent = 0
        self.heard = 0

    @property
    def pending(self) -> int:
        """How many tags Redis has yet to be told of."""
        return len(self._pending)

    def concern(self, tags: Sequence[str]) -> bool:
        """Whether Redis may still hold values with one of the tags that are known to be outdated."""
        pending = self._pending
        return bool(pending) and (EVERYTHING in pending or any(tag in pending for tag in tags))

    def note(self, tags: Sequence[str]) -> None:
        """Drop local values at once and remember to tell Redis."""
        self.sent += 1
        self._drop(tags)
        if self._level2 is None:
            return
        self._pending.update((tag, next(self._numbers)) for tag in tags)
        if len(self._pending) > _MAX_PENDING:
            self._pending = {EVERYTHING: next(self._numbers)}

    def wake(self) -> None:
        """Have the background task send what is pending."""
        self._wake.set()

    async def send(self) -> bool:
        """Tell Redis what is pending; says whether it took it. Does not raise when Redis is away."""
        if self._level2 is None or not self._pending:
            return True
        sending = dict(self._pending)
        message = msgspec.msgpack.encode(_Message(self._node, list(sending)))
        try:
            await self._level2.invalidate(list(sending), message)
        except RedisUnavailable:
            return False
        for tag, number in sending.items():
            if self._pending.get(tag) == number:
                del self._pending[tag]
        return True

    async def run(self) -> None:
        """Listen to other nodes and offer pending invalidations, until cancelled."""
        if self._level2 is None:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_pending)
            nursery.start_soon(self._listen)

    async def _send_pending(self) -> None:
        pause = _RETRY_SECONDS
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while not await self.send():
                await trio.sleep(pause)
                pause = min(pause * 2, _LONGEST_RETRY_SECONDS)
            pause = _RETRY_SECONDS

    async def _listen(self) -> None:
        assert self._level2 is not None
        pause = _RETRY_SECONDS
        while True:
            try:
                async with self._level2.link.subscription(self._channel) as subscription:
                    self._drop(None)  # whatever was said before this moment was not heard
                    self.deaf_since = None
                    pause = _RETRY_SECONDS
                    _log.info("cache_listening")
                    while True:
                        self._hear(await subscription.next(silence_seconds=self._silence_seconds))
            except RedisUnavailable as exc:
                if self.deaf_since is None:
                    _log.warning("cache_deaf", reason=str(exc))
            finally:
                if self.deaf_since is None:
                    self.deaf_since = trio.current_time()
            await trio.sleep(pause)
            pause = min(pause * 2, _LONGEST_RETRY_SECONDS)

    def _hear(self, payload: bytes) -> None:
        try:
            message = msgspec.msgpack.decode(payload, type=_Message)
        except msgspec.MsgspecError:
            self._drop(None)  # not ours to understand, so nothing is safe to keep
            return
        if message.node != self._node:
            self.heard += 1
            self._drop(message.tags)
