"""Numbered rows that go into a queue through the group commit, each waited for until it was worked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio

from ..db import Statement, Transaction
from ..declare import IngestRoute, WorkQueue
from ..errors import BenchFailed
from ..ingest import IngestReply
from .ground import Ground


class Offers:
    """The rows that were offered and not worked yet; the queue's handler says which of them are."""

    def __init__(self) -> None:
        self._waiting: dict[int, trio.Event] = {}

    def worked(self, numbers: Iterable[int]) -> None:
        """Let go who waits for these."""
        for number in numbers:
            self._waiting[number].set()

    @asynccontextmanager
    async def to(
        self, queue: WorkQueue, insert: Statement, ground: Ground
    ) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
        """Work the queue, and give what offers one row and returns when it was worked.

        `insert` takes the numbers of a commit as one array.
        """
        async with ground.working(queue) as engine, ground.committing() as committer:
            hands = engine.work.bound("bench")

            async def store(ctx: Any, tx: Transaction, numbers: list[int]) -> list[IngestReply]:
                await tx.execute(insert, numbers)
                hands.wake(tx, queue.name)
                return [IngestReply(200, b"")] * len(numbers)

            route = IngestRoute(source="bench", paths=("/bench",), admit=_admit, store=store, spool=False)

            async def offer(number: int) -> None:
                done = self._waiting[number] = trio.Event()
                reply = await committer.submit(route, None, number, size=8)
                if reply.status != 200:
                    raise BenchFailed(f"a row was answered {reply.status}")
                await done.wait()
                del self._waiting[number]

            yield offer


def _admit(ctx: Any, delivery: Any) -> IngestReply:
    return IngestReply(405, b"")  # nothing comes in by HTTP here
