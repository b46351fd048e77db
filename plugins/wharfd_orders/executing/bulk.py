"""The handler of the lanes `bulk` and `bulk_fifo`: hundreds of orders and their outcomes in one commit."""

from __future__ import annotations

from collections import defaultdict

from wharfd import Batch, Job, LeaseLost, Outcome, Record, Snooze, Transaction
from wharfd.contracts.orders import Executed, Refused, TransactionalExecutor

from ..parts import Context, parts_of
from ..store import items
from . import results
from .executors import LedgerExecutor, is_transactional
from .gates import ItemRow, gate_for, look_up, refusal

_NO_EXECUTOR_SECONDS = 30.0

Group = list[Job[ItemRow]]


async def work_many(ctx: Context, batch: Batch[ItemRow]) -> None:
    """Carry out orders of any batches; the engine finds a poisonous one by halves."""
    found = await look_up(ctx, batch.jobs)
    groups: dict[int, Group] = defaultdict(list)
    for job in batch:
        owner_batch = found.get(job.row.batch)
        refused = (
            Snooze(_NO_EXECUTOR_SECONDS, reason="its batch is not there")
            if owner_batch is None
            else refusal(gate_for(ctx, owner_batch))
        )
        if refused is None:
            groups[job.row.batch].append(job)
        else:
            job.finish(refused)
    try:
        async with batch.commit() as tx:
            for number, jobs in groups.items():
                await _carry_out(ctx, tx, found[number], jobs)
    except (Outcome, LeaseLost):
        raise
    except Exception as error:
        if len(batch) > 1 or not batch.jobs[0].last:
            raise
        await _give_up(ctx, batch.jobs[0], found[batch.jobs[0].row.batch], error)
    parts_of(ctx).touch(*found)


async def _carry_out(ctx: Context, tx: Transaction, batch: Record, jobs: Group) -> None:
    executor = await parts_of(ctx).executors.find(batch["executor"])
    if executor is None or not is_transactional(executor):
        for job in jobs:
            job.finish(
                Snooze(_NO_EXECUTOR_SECONDS, reason=f"the executor {batch['executor']} is not running")
            )
        return
    ends = await _ask(tx, executor, batch, jobs)
    await results.write(ctx, tx, batch, list(zip(jobs, ends, strict=True)))


async def _ask(
    tx: Transaction, executor: TransactionalExecutor, batch: Record, jobs: Group
) -> list[Executed | Refused]:
    if isinstance(executor, LedgerExecutor):  # it looks at nothing, so nothing is fetched for it
        return [Executed()] * len(jobs)
    payloads = await items.payloads(tx, batch["number"], [job.row.idx for job in jobs])
    orders = [results.order_to_execute(job, batch, payloads[job.row.idx]) for job in jobs]
    return list(await executor.execute_many(tx, orders))


async def _give_up(ctx: Context, job: Job[ItemRow], batch: Record, error: Exception) -> None:
    """Bury an order whose last try raised, together with the event that tells of it."""
    words = str(error).strip().rstrip(".") or type(error).__name__
    ctx.log.warning("order_given_up", batch=batch["id"], index=job.row.idx, exc_info=error)
    async with job.commit() as tx:
        end = Refused("gave_up", f"it failed {job.attempt} times, at last with: {words[:300]}")
        await results.write(ctx, tx, batch, [(job, end)])
