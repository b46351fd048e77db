"""The handler of the event queue: a batch of events in, one transaction, everything that follows from them.

Reading happens before the transaction, and an event that cannot be read so that its code fails is buried by
itself. What only the database refuses is found by the engine, which halves a failing batch.
"""

from __future__ import annotations

import trio

from wharfd import Batch, Bury, Job, PluginContext, Retry, WorkQueue, new_id

from ..acceptance.gates import Intake
from ..config import Settings
from . import store
from .folding import Change, EventRow, Folded, account_key, fold, read, tally, transaction_key

Context = PluginContext[Settings]
_AT_ONCE = 8  # so many events are read or folded before others have their turn: a fraction of a millisecond


def event_queue(settings: Settings) -> WorkQueue:
    """Return the queue of stored events; payment events carry the better priority."""
    retry = settings.retry_seconds
    return WorkQueue(
        name="events",
        table="netbanx.events",
        row=EventRow,
        handler=process,
        key=("id", "received_at"),
        batch=settings.batch,
        concurrency=settings.concurrency,
        retry=Retry(
            attempts=settings.max_retries + 1,
            delays=tuple(retry * 2**step for step in range(max(1, settings.max_retries))),
        ),
    )


async def process(ctx: Context, batch: Batch[EventRow]) -> None:
    """Work a batch: transactions, accounts, roll-ups and domain events in one commit with its outcomes."""
    intake: Intake = ctx.state["intake"]
    started = trio.current_time()
    changes = await _read_all(ctx, intake, batch)
    wanted = {transaction_key(c.transaction) for c in changes if c.transaction is not None}
    named = {account_key(c.account) for c in changes if c.account is not None}
    async with batch.commit() as tx:
        await store.lock_states(tx, wanted, named)
        folded = Folded(
            await store.read_transactions(tx, list(wanted)), await store.read_accounts(tx, list(named))
        )
        for _ in fold(folded, changes, new_id=new_id, at_once=_AT_ONCE):
            await trio.lowlevel.checkpoint()
        tally(folded, (job.row for job in batch if job.outcome is None), ctx.now())
        await store.write(tx, folded)
        if folded.events:
            await ctx.events.publish_many(tx, folded.events, trace_id=folded.traces)
        if folded.tags:
            tx.after_commit(lambda: intake.stale.add(folded.tags))
        tx.after_commit(lambda: ctx.metrics["processed_total"].inc(len(batch)))
    await intake.news.give_way(trio.current_time() - started)


async def _read_all(ctx: Context, intake: Intake, batch: Batch[EventRow]) -> list[Change]:
    """Read the batch, and let those through every few events who wait for their answer."""
    changes = []
    for number, job in enumerate(batch, 1):
        if intake.derives(job.row.source) and (change := _read(ctx, job)) is not None:
            changes.append(change)
        if not number % _AT_ONCE:
            await trio.lowlevel.checkpoint()
    return changes


def _read(ctx: Context, job: Job[EventRow]) -> Change | None:
    try:
        return read(job.row)
    except Exception as error:
        # A body this code trips over would trip every try: a person has to look, its batch goes on.
        ctx.log.exception("event_not_readable", event_id=job.row.id)
        job.finish(Bury(f"{type(error).__name__} while reading it"))
        return None
