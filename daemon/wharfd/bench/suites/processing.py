"""Processing: from a webhook coming due, over its commit and the work engine, to its committed effect."""

from __future__ import annotations

from typing import Any

import msgspec
import trio

from ...db import Transaction, sql
from ...declare import IngestRoute, WorkQueue
from ...errors import BenchFailed
from ...ingest import IngestReply
from ...work import Batch
from ..ground import Ground
from ..plan import Figure, figure

_RATE = 500.0
_P99_MS = 1000.0


class Row(msgspec.Struct):
    """What the handler gets."""

    number: int


async def run(ground: Ground) -> list[Figure]:
    """Submit to the group commit, and wait until the handler's transaction is through."""
    schema = ground.plan.schema
    insert = sql("bench.submit", f"INSERT INTO {schema}.jobs (number) SELECT unnest($1::bigint[])")
    effect = sql(
        "bench.effect",
        f"""INSERT INTO {schema}.payments (owner, amount, status, created_at)
        SELECT 'processing', n, 'done', now() FROM unnest($1::bigint[]) AS n""",
    )
    waiting: dict[int, trio.Event] = {}

    async def work(ctx: Any, batch: Batch[Row]) -> None:
        numbers = [job.row.number for job in batch]
        async with batch.commit() as tx:
            await tx.execute(effect, numbers)
        for number in numbers:
            waiting[number].set()

    queue = WorkQueue(name="jobs", table=f"{schema}.jobs", row=Row, handler=work, batch=100, concurrency=2)
    async with ground.working(queue) as engine, ground.committing() as committer:
        hands = engine.work.bound("bench")

        async def store(ctx: Any, tx: Transaction, numbers: list[int]) -> list[IngestReply]:
            await tx.execute(insert, numbers)
            hands.wake(tx, "jobs")
            return [IngestReply(200, b"")] * len(numbers)

        route = IngestRoute(source="bench", paths=("/bench",), admit=_admit, store=store, spool=False)

        async def one(number: int) -> None:
            done = waiting[number] = trio.Event()
            reply = await committer.submit(route, None, number, size=8)
            if reply.status != 200:
                raise BenchFailed(f"a row was answered {reply.status}")
            await done.wait()
            del waiting[number]

        rate = ground.rate(_RATE)
        rounds = await ground.offered("processing", "committed to worked", one, rate)
    return [figure("processing", "committed to worked", rounds, asked=rate, p99_below_ms=_P99_MS)]


def _admit(ctx: Any, delivery: Any) -> IngestReply:
    return IngestReply(405, b"")  # nothing comes in by HTTP here
