"""The handler of the lanes `call` and `call_fifo`: one order, one call to another system.

Before a call the row says that it is about to happen; afterwards the same commit says what came of it. A row
found with the first and without the second was interrupted, and nobody knows whether the order was carried
out: it is asked for, or sent again to a system that knows its idempotency key, or held. Never sent blindly.
"""

from __future__ import annotations

from typing import Any, cast

import trio

from wharfd import Hold, Job, LeaseLost, Rate, Record, RetryAfter, Snooze
from wharfd.contracts.orders import Executed, ExternalExecutor, NotDone, OrderToExecute, Refused, Unknown

from ..parts import Context, parts_of
from ..store import items
from . import results
from .executors import is_transactional
from .gates import ItemRow, gate_for, look_up, refusal

Answer = Executed | Refused | NotDone | Unknown

_NO_EXECUTOR_SECONDS = 30.0
_LONGEST_RATE_WAIT = 20.0
_BACKOFF = (2.0, 5.0, 15.0, 60.0, 180.0, 600.0)


async def work_one(ctx: Context, job: Job[ItemRow]) -> object:
    """Carry out one order."""
    row = job.row
    found = await look_up(ctx, [job])
    batch = found.get(row.batch)
    if batch is None:
        return Snooze(_NO_EXECUTOR_SECONDS, reason="its batch is not there")
    refused = refusal(gate_for(ctx, batch))
    if refused is not None and row.sent_at is None:
        return refused
    executor = await parts_of(ctx).executors.find(batch["executor"])
    if executor is None or is_transactional(executor):
        return Snooze(_NO_EXECUTOR_SECONDS, reason=f"the executor {batch['executor']} is not running")
    external = cast(ExternalExecutor, executor)
    if row.sent_at is None and not await items.holds_ref(
        ctx.db, row.owner, row.client_ref, row.batch, row.idx
    ):
        return await _settle(ctx, job, batch, results.SUPERSEDED, doubtful=False)
    payload = (await items.payloads(ctx.db, row.batch, [row.idx]))[row.idx]
    order = results.order_to_execute(job, batch, payload)
    answer, doubtful = await _answer(ctx, job, external, order, may_send=refused is None)
    return await _settle(ctx, job, batch, answer, doubtful=doubtful)


async def _answer(
    ctx: Context, job: Job[ItemRow], executor: ExternalExecutor, order: OrderToExecute, *, may_send: bool
) -> tuple[Answer, bool]:
    """Return what came of it, and whether an earlier call may have carried the order out all the same."""
    doubtful = job.row.sent_at is not None
    if doubtful and not (executor.idempotent and may_send):
        before = await _guarded(ctx, executor.find, order)
        if not isinstance(before, NotDone) or before.all_wait:
            return before, doubtful
        doubtful = False
    if not may_send:
        return NotDone("the batch is not worked now", 2.0, all_wait=True), doubtful
    waited = await _wait_for_rate(ctx, executor)
    if waited is not None:
        return waited, doubtful
    if not await items.mark_sending(ctx.db, job.row.batch, job.row.idx, job.claim):
        raise LeaseLost
    with ctx.metrics["call_seconds"].labels(executor.name).time():
        return await _guarded(ctx, executor.execute, order), doubtful


async def _guarded(ctx: Context, call: Any, order: OrderToExecute) -> Answer:
    """Call the executor; what it raises leaves the outcome unknown."""
    try:
        answer: Answer = await call(order)
    except Exception as error:
        ctx.log.exception("order_executor_failed", batch=order.batch_id, index=order.index)
        return Unknown(f"the executor raised {type(error).__name__}: {str(error)[:200]}")
    return answer


async def _wait_for_rate(ctx: Context, executor: ExternalExecutor) -> NotDone | None:
    """Wait for room under the executor's rate; over all daemons, by the shared limiter."""
    if executor.max_per_second is None:
        return None
    calls = max(1, int(executor.max_per_second))
    rate = Rate(calls, calls / executor.max_per_second)
    with trio.move_on_after(_LONGEST_RATE_WAIT):
        while True:
            verdict = await ctx.limits.take("executor", executor.name, rate)
            if verdict.allowed:
                return None
            await trio.sleep(max(0.005, verdict.reset_seconds))
    return NotDone(f"{executor.name} takes {executor.max_per_second:g} orders a second", 1.0, all_wait=True)


async def _settle(
    ctx: Context, job: Job[ItemRow], batch: Record, answer: Answer, *, doubtful: bool
) -> object:
    """Write what came of it; return the outcome of the job where it is not written with that."""
    row, parts = job.row, parts_of(ctx)
    if isinstance(answer, Executed | Refused):
        async with job.commit() as tx:
            if answer.result:
                await items.answered(tx, row.batch, row.idx, answer.result)
            else:
                await items.not_sent(tx, row.batch, row.idx)
            await results.write(ctx, tx, batch, [(job, answer)])
        parts.touch(row.batch)
        return None
    if isinstance(answer, NotDone):
        if doubtful:
            return _still_unknown(ctx, job, answer)
        return await _not_done(ctx, job, batch, answer)
    ctx.metrics["orders_total"].labels(batch["executor"], "unknown").inc()
    if job.last or answer.final:
        parts.touch(row.batch)
        return Hold(f"unknown: {answer.reason}; find out and resolve it")
    # The mark that it was sent stays: the next try asks first, or sends with the same key.
    return RetryAfter(_backoff(job.attempt), f"unknown: {answer.reason}")


def _still_unknown(ctx: Context, job: Job[ItemRow], answer: NotDone) -> object:
    """Nothing was done now, but what came of an earlier call is not known: its mark stays."""
    reason = f"it was sent and got no answer; {answer.reason}"
    wait = answer.retry_after if answer.retry_after is not None else _backoff(job.attempt)
    if answer.all_wait:
        return Snooze(wait, reason=reason)
    if job.last:
        parts_of(ctx).touch(job.row.batch)
        return Hold(f"unknown: {reason}; find out and resolve it")
    return RetryAfter(wait, f"unknown: {reason}")


async def _not_done(ctx: Context, job: Job[ItemRow], batch: Record, answer: NotDone) -> object:
    row = job.row
    wait = answer.retry_after if answer.retry_after is not None else _backoff(job.attempt)
    async with job.commit() as tx:
        await items.not_sent(tx, row.batch, row.idx)
        if answer.all_wait:
            job.finish(Snooze(wait, reason=answer.reason))
        elif job.last:
            gave_up = Refused("gave_up", f"it failed {job.attempt} times, at last with: {answer.reason}")
            await results.write(ctx, tx, batch, [(job, gave_up)])
        else:
            job.finish(RetryAfter(wait, f"not_done: {answer.reason}"))
    parts_of(ctx).touch(row.batch)
    return None


def _backoff(attempt: int) -> float:
    return _BACKOFF[min(attempt, len(_BACKOFF)) - 1]
