"""Processing: from a webhook coming due, over its commit and the work engine, to its committed effect."""

from __future__ import annotations

from typing import Any

import msgspec

from ...db import sql
from ...declare import WorkQueue
from ...work import Batch
from ..ground import Ground
from ..offering import Offers
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
    offers = Offers()

    async def work(ctx: Any, batch: Batch[Row]) -> None:
        numbers = [job.row.number for job in batch]
        async with batch.commit() as tx:
            await tx.execute(effect, numbers)
        offers.worked(numbers)

    queue = WorkQueue(name="jobs", table=f"{schema}.jobs", row=Row, handler=work, batch=100, concurrency=2)
    async with offers.to(queue, insert, ground) as one:
        rate = ground.rate(_RATE)
        rounds = await ground.offered("processing", "committed to worked", one, rate)
    return [figure("processing", "committed to worked", rounds, asked=rate, p99_below_ms=_P99_MS)]
