"""What is written about orders that were worked: ledger, events, metrics, stopping a batch on an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from wharfd import Bury, Job, Record, Transaction
from wharfd.contracts.events import Event
from wharfd.contracts.orders import Executed, OrderCompleted, OrderFailed, OrderToExecute, Refused

from ..parts import Context
from ..store import batches, ledger
from .gates import ItemRow

SUPERSEDED = Refused("superseded", "a later upload has this clientRef and was taken instead")


def order_id(batch_id: str, idx: int) -> str:
    """Return the id of an order; the ledger makes the same."""
    return f"ord_{batch_id[4:]}_{idx:07d}"


def idempotency_key(batch_id: str, row: ItemRow) -> str:
    """Return the key that stays the same for every try of an order."""
    if row.client_ref is not None:
        return f"{row.owner or 'house'}:{row.client_ref}"
    return order_id(batch_id, row.idx)


def order_to_execute(job: Job[ItemRow], batch: Record, payload: dict[str, Any]) -> OrderToExecute:
    """Return an order in the form executors get."""
    row = job.row
    return OrderToExecute(
        batch_id=batch["id"],
        index=row.idx,
        order_id=order_id(batch["id"], row.idx),
        owner=row.owner or None,
        client_ref=row.client_ref,
        account=row.account,
        currency=row.currency or "",
        amount=row.amount or 0,
        payload=payload,
        attempt=job.attempt,
        idempotency_key=idempotency_key(batch["id"], row),
        sent_at=row.sent_at,
    )


async def write(
    ctx: Context,
    tx: Transaction,
    batch: Record,
    ends: Sequence[tuple[Job[ItemRow], Executed | Refused]],
) -> None:
    """Write how orders of one batch ended, and set the outcomes of their jobs."""
    executed = [(job, end) for job, end in ends if isinstance(end, Executed)]
    kept: set[int] = set()
    if executed:
        kept = await ledger.record(
            tx,
            batch["number"],
            batch["id"],
            batch["executor"],
            [job.row.idx for job, _ in executed],
            [end.external_id for _, end in executed],
            [msgspec.json.encode(end.result).decode() if end.result else None for _, end in executed],
        )
    wanted, events, failed = ctx.settings.order_events, list[Event](), 0
    for job, end in ends:
        if isinstance(end, Executed) and job.row.idx not in kept:
            end = SUPERSEDED
        if isinstance(end, Refused):
            failed += 1
            job.finish(Bury(f"{end.code}: {end.reason}"))
            if "failed" in wanted:
                events.append(failed_event(job.row, batch, end))
        elif "completed" in wanted:
            events.append(_completed(job.row, batch, end))
    if events:
        await ctx.events.publish_many(tx, events)
    if failed and batch["stop_on_error"]:
        await batches.cancel(tx, batch["number"], "stop_on_error", "an order failed and stopOnError is set")
    counted = ctx.metrics["orders_total"]
    if failed:
        tx.after_commit(lambda: counted.labels(batch["executor"], "failed").inc(failed))
    if len(ends) > failed:
        tx.after_commit(lambda: counted.labels(batch["executor"], "succeeded").inc(len(ends) - failed))


def _completed(row: ItemRow, batch: Record, end: Executed) -> OrderCompleted:
    return OrderCompleted(
        owner=row.owner or None,
        subject=f"{batch['id']}/{row.idx}",
        batch_id=batch["id"],
        index=row.idx,
        client_ref=row.client_ref,
        account=row.account,
        currency=row.currency,
        amount=row.amount,
        order_id=order_id(batch["id"], row.idx),
        executor=batch["executor"],
        external_id=end.external_id,
    )


def failed_event(row: ItemRow, batch: Record, end: Refused) -> OrderFailed:
    """Return the event that tells of a failed order."""
    return OrderFailed(
        owner=row.owner or None,
        subject=f"{batch['id']}/{row.idx}",
        batch_id=batch["id"],
        index=row.idx,
        client_ref=row.client_ref,
        account=row.account,
        currency=row.currency,
        amount=row.amount,
        executor=batch["executor"],
        code=end.code,
        reason=end.reason,
    )
