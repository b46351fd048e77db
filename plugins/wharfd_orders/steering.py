"""The loop that makes rows follow what people and the clock decided, and announces batches that are over.

Every daemon runs it; each step is a short statement that two daemons can do at the same time without harm. It
derives what to do from the tables each time, so nothing is lost when it is killed anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg
import trio

from wharfd import DatabaseUnavailable, Record, StatementTimeout, Transaction
from wharfd.contracts.orders import BatchCancelled, BatchCompleted, BatchEvent, BatchFailed, BatchPartial

from .executing.gates import gate_for
from .model.flow import allowance
from .model.state import Counts
from .parts import Context, parts_of
from .store import batches, items, tally

CHUNK_ROWS = 5000
_CHUNKS_PER_LOOK = 10
_PAGE = 200
_IDLE_SECONDS = 1.0
_BUSY_SECONDS = 0.1
_UNSURE_SECONDS = 5.0
_CALL_LANES = ("call", "call_fifo")

_EVENTS: Mapping[str, type[BatchEvent]] = {
    "completed": BatchCompleted,
    "partial": BatchPartial,
    "failed": BatchFailed,
    "cancelled": BatchCancelled,
}


async def steer(ctx: Context, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Run until cancelled. A database that is away is waited for."""
    task_status.started()
    parts = parts_of(ctx)
    sweep_at = 0.0
    while True:
        parts.bell = trio.Event()
        parts.touched.clear()
        busy = False
        try:
            if trio.current_time() >= sweep_at:
                await items.hold_unsure(ctx.db, _CALL_LANES)
                sweep_at = trio.current_time() + _UNSURE_SECONDS
            busy = await look_at_all(ctx)
        except (DatabaseUnavailable, StatementTimeout, asyncpg.TransactionRollbackError) as error:
            ctx.log.warning("batches_not_steered", error=str(error))
        await trio.sleep(_BUSY_SECONDS)
        if not busy:
            with trio.move_on_after(_IDLE_SECONDS):
                await parts.bell.wait()


async def look_at_all(ctx: Context) -> bool:
    """Do what every unfinished batch needs now; True when there is more to do at once."""
    busy, after = False, 0
    while True:
        found = await batches.unfinished(ctx.db, after, _PAGE)
        if not found:
            return busy
        after = found[-1]["number"]
        numbers = [batch["number"] for batch in found]
        counts = await tally.count_many(ctx.db, numbers)
        for batch in found:
            busy |= await look_at(ctx, batch, counts[batch["number"]])
        for number in await tally.crowded(ctx.db, numbers):
            await tally.compact(ctx.db, number)
        if len(found) < _PAGE:
            return busy


async def look_at(ctx: Context, batch: Record, counts: Counts) -> bool:
    """Do what one batch needs now; True when it needs more soon."""
    number = batch["number"]
    if not counts.open:
        await finish(ctx, batch)
        return False
    gate = gate_for(ctx, batch)
    if gate.phase == "cancelling":
        if counts.of("waiting", "ready"):
            return await move_rows(ctx, number, ("waiting", "ready"), "cancelled", "the batch was cancelled")
    elif not gate.open:
        if counts.of("ready"):
            return await move_rows(ctx, number, ("ready",), "waiting")
    elif counts.of("waiting"):
        if batch["max_per_second"] is not None:
            await _let_go(ctx, batch, counts)
            return True
        more = await move_rows(ctx, number, ("waiting",), "ready")
        ctx.work.wake(None, batch["lane"], rows=min(counts.of("waiting"), CHUNK_ROWS))
        return more
    return False


async def move_rows(
    ctx: Context, number: int, states: tuple[str, ...], target: str, reason: str = ""
) -> bool:
    """Move rows in chunks, for a while; True when some may be left."""
    first = 0
    for _ in range(_CHUNKS_PER_LOOK):
        rows, last = await items.move(
            ctx.db, number, states, target, from_idx=first, limit=CHUNK_ROWS, reason=reason
        )
        if rows < CHUNK_ROWS or last is None:
            return False
        first = last + 1
    return True


async def _let_go(ctx: Context, batch: Record, counts: Counts) -> None:
    """Offer as many rows as the batch's rate allows, unless the workers do not keep up as it is."""
    number, rate = batch["number"], float(batch["max_per_second"])
    if counts.of("ready") > 2 * max(1.0, rate):
        return
    async with ctx.db.transaction() as tx:
        locked = await batches.try_lock(tx, number)
        if locked is None:
            return
        count, left = allowance(rate, locked["elapsed"])
        if not count:
            return
        moved, _ = await items.move(tx, number, ("waiting",), "ready", limit=count)
        await batches.released(tx, number, left)
        if moved:
            ctx.work.wake(tx, batch["lane"], rows=moved)


async def finish(ctx: Context, batch: Record) -> bool:
    """Announce that a batch is over; True for the one caller who did."""
    number = batch["number"]

    async def unit(tx: Transaction) -> Counts | None:
        if not await batches.finish(tx, number):
            return None
        counts = await tally.count(tx, number)
        event = _EVENTS[counts.status]
        await ctx.events.publish(
            tx,
            event(
                owner=batch["owner"] or None,
                subject=batch["id"],
                batch_id=batch["id"],
                status=counts.status,
                total=counts.total,
                succeeded=counts.succeeded,
                failed=counts.failed,
                duplicates=counts.duplicates,
                cancelled=counts.cancelled,
                label=batch["label"],
            ),
        )
        return counts

    counts = await ctx.db.repeat(unit)
    if counts is None:
        return False
    ctx.metrics["batches_total"].labels(counts.status).inc()
    ctx.log.info(
        "batch_finished", batch=batch["id"], status=counts.status, total=counts.total, failed=counts.failed
    )
    parts_of(ctx).begun.discard(number)
    return True
