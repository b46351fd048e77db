"""The work engine: how many rows that do nothing it claims and finishes, in batches and one by one."""

from __future__ import annotations

from typing import Any

import msgspec
import trio

from ...db import sql
from ...declare import Handler, WorkQueue
from ..ground import Ground
from ..openloop import Measured
from ..plan import Figure, figure

_LONGEST_SECONDS = 300.0


class Row(msgspec.Struct):
    """What the handlers get."""

    id: int


async def run(ground: Ground) -> list[Figure]:
    """Fill the table and work it off, round by round."""
    table = f"{ground.plan.schema}.tasks"
    empty = sql("bench.empty", f"TRUNCATE {table}")
    fill = sql("bench.fill", f"INSERT INTO {table} (number) SELECT generate_series(1, $1::int)")
    left = sql("bench.left", f"SELECT EXISTS (SELECT FROM {table} WHERE state IN ('ready', 'running'))")

    async def many(ctx: Any, batch: Any) -> None:
        """Do nothing with a batch."""

    async def one(ctx: Any, job: Any) -> None:
        """Do nothing with a row."""

    async def off(handler: Handler, batch: int, concurrency: int, rows: int) -> Measured:
        await ground.db.owner.execute(empty)
        await ground.db.owner.execute(fill, rows)
        await ground.db.owner.execute(sql("bench.analyze", f"ANALYZE {table}"))
        queue = WorkQueue(
            name="tasks", table=table, row=Row, handler=handler, batch=batch, concurrency=concurrency
        )
        began = trio.current_time()
        with trio.fail_after(_LONGEST_SECONDS):
            async with ground.working(queue):
                while await ground.db.fetchval(left):  # noqa: ASYNC110  the table says it, nobody else
                    await trio.sleep(0.01)
                took = trio.current_time() - began
        return Measured(asked=rows, done=rows, failed=0, seconds=took, slots=[], maximum=0.0)

    found = []
    for name, handler, batch, concurrency in (("rows in batches", many, 100, 4), ("single rows", one, 1, 16)):

        async def measure(
            seconds: float,
            first: int,
            *,
            handler: Handler = handler,
            batch: int = batch,
            concurrency: int = concurrency,
        ) -> Measured:
            rows = ground.plan.rows if first else max(100, ground.plan.rows // 10)
            return await off(handler, batch, concurrency, rows)

        rounds = await ground.rounds("work", name, measure)
        line = figure("work", name, rounds)
        found.append(
            msgspec.structs.replace(
                line,
                count=sum(one.done for one in rounds),
                p50_ms=None,
                p90_ms=None,
                p99_ms=None,
                p999_ms=None,
                max_ms=None,
            )
        )
    return found
