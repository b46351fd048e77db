"""Loading an upload that was read: batch, rows, references, events and audit in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from wharfd import Conflict, FieldError, Invalid, Request, TooMany, Transaction, new_id
from wharfd.contracts.orders import BatchCreated, OrderCreated

from .intake import Upload, rejected
from .model.gate import Steering, gate_of
from .model.options import lane_of
from .parts import Context
from .spool import SpooledRow
from .store import batches, items, keys, refs, tally


@dataclass(frozen=True)
class Key:
    """The Idempotency-Key that an upload holds."""

    owner: str
    text: str
    claim: int


@dataclass(frozen=True)
class Loaded:
    """The batch that came of it."""

    number: int
    batch_id: str


class _Rolled(Exception):
    """Ends the transaction of a dry run."""


@dataclass
class Plan:
    """Everything that is decided before the rows go in."""

    owner: str
    actor: str
    batch_id: str
    executor: str
    lane: str
    transactional: bool
    needs_approval: bool
    state: str
    start_at: datetime | None


def plan_load(ctx: Context, request: Request, upload: Upload, owner: str, transactional: bool) -> Plan:
    """Decide lane, approval and whether rows can be worked at once."""
    options, settings = upload.options, ctx.settings
    needs_approval = (settings.approval_rows is not None and upload.accepted > settings.approval_rows) or any(
        amount > settings.approval_above[currency]
        for currency, amount in upload.amounts.items()
        if currency in settings.approval_above
    )
    steering = Steering(needs_approval=needs_approval, paused=options.paused, start_at=options.start_at)
    gate = gate_of(steering, settings.window, ctx.now())
    return Plan(
        owner=owner,
        actor=request.identity.subject,
        batch_id=new_id("bat"),
        executor=options.executor or settings.executor,
        lane=lane_of(transactional=transactional, fifo=options.fifo),
        transactional=transactional,
        needs_approval=needs_approval,
        state="ready" if gate.open and options.max_per_second is None else "waiting",
        start_at=options.start_at,
    )


async def load(ctx: Context, request: Request, upload: Upload, plan: Plan, key: Key | None) -> Loaded:
    """Store the upload; raises 422 when references make rows wrong and the batch is to be rejected then.

    Repeated after a deadlock with another upload: nothing outside the transaction is touched.
    """

    async def unit(tx: Transaction) -> Loaded:
        return await _store(ctx, tx, request, upload, plan, key)

    return await ctx.db.repeat(unit)


async def check_load(ctx: Context, request: Request, upload: Upload, plan: Plan) -> dict[str, Any]:
    """Do everything that `load` does and undo it; return what would have become of the rows."""
    found: dict[str, Any] = {}

    async def unit(tx: Transaction) -> None:
        loaded = await _store(ctx, tx, request, upload, plan, None)
        found.update((await tally.count(tx, loaded.number)).rows)
        raise _Rolled

    with suppress(_Rolled):
        await ctx.db.repeat(unit)
    return found


async def _store(
    ctx: Context, tx: Transaction, request: Request, upload: Upload, plan: Plan, key: Key | None
) -> Loaded:
    options = upload.options
    room = ctx.settings.max_open_orders - await batches.open_orders(tx, plan.owner)
    if upload.accepted > room:
        raise TooMany(
            f"{plan.owner or 'the house'} has room for {max(0, room)} more orders that are not finished",
            retry_after=60,
        )
    source = {**upload.detected, "bytes": upload.size, "rows": upload.rows}
    record = await batches.add(
        tx,
        (
            plan.batch_id, plan.owner, options.label, plan.executor, plan.lane, options.priority, upload.rows,
            upload.amounts, msgspec.to_builtins(options), source, upload.sha256, plan.actor,
            plan.needs_approval, plan.actor if options.paused else None, plan.start_at,
            options.max_per_second, options.stop_on_error,
        ),
    )  # fmt: skip
    number: int = record["number"]
    now: datetime = record["created_at"]
    for chunk in upload.spool.chunks():
        await items.load(tx, [_row(number, plan, options.priority, now, row) for row in chunk])
        if "created" in ctx.settings.order_events:
            await _announce_orders(ctx, tx, plan, chunk)
    judged = await refs.claim(tx, number, upload.rows, upload.with_refs)
    if judged.conflicts:
        await _look_at_conflicts(tx, upload, number)
    await tally.compact(tx, number)
    counts = await tally.count(tx, number)
    if key is not None and not await keys.settle(
        tx, key.owner, key.text, key.claim, number, upload.fingerprint
    ):
        raise Conflict("another request with this Idempotency-Key took over; ask for its batch")
    await ctx.audit.record(
        tx,
        actor=plan.actor,
        action="batch.created",
        subject=plan.batch_id,
        owner=plan.owner or None,
        ip=str(request.client) if request.client else None,
        detail={"rows": upload.rows, "amounts": upload.amounts, "executor": plan.executor,
                "sha256": upload.sha256.hex()},
    )  # fmt: skip
    await ctx.events.publish(
        tx,
        BatchCreated(
            owner=plan.owner or None, subject=plan.batch_id, batch_id=plan.batch_id, status=counts.status,
            total=counts.total, failed=counts.failed, duplicates=counts.duplicates, label=options.label,
        ),
        trace_id=request.trace_id,
    )  # fmt: skip
    if plan.state == "ready":
        ctx.work.wake(tx, plan.lane, rows=counts.of("ready"))
    return Loaded(number, plan.batch_id)


def _row(number: int, plan: Plan, priority: int, now: datetime, row: SpooledRow) -> tuple[Any, ...]:
    skipped = row.code is not None
    share = f"{plan.owner}|{row.account}" if plan.lane.endswith("fifo") else plan.owner
    return (
        number, row.idx, row.line, plan.owner, plan.lane, share, row.client_ref, row.account, row.currency,
        row.amount, msgspec.Raw(row.payload), row.fingerprint, row.code, row.error,
        "skipped" if skipped else plan.state, priority, now if skipped else None,
    )  # fmt: skip


async def _look_at_conflicts(tx: Transaction, upload: Upload, number: int) -> None:
    """Say which references are taken; raises 422 unless wrong rows are to be skipped."""
    sums = await refs.sums(tx, number)
    wrong = sum(record["wrong"] for record in sums)
    if not wrong:
        return
    if upload.options.on_invalid == "reject_batch" or upload.options.validate_only:
        for record in await refs.wrong(tx, number, 1000):
            if record["code"] == "duplicate_ref_in_file":
                message = f"{record['client_ref']} is there already, in row {record['first_line']}"
            else:
                message = (
                    f"{record['client_ref']} is the reference of an order with another content, "
                    f"in batch {record['other_batch']}"
                )
            column = "client_ref" if upload.detected["format"] == "csv" else "clientRef"
            upload.report(record["idx"], record["line"], column, record["code"], message)
        upload.invalid += wrong
        if upload.options.on_invalid == "reject_batch":
            raise rejected(upload)
    amounts = {record["currency"]: record["amount"] for record in sums}
    await batches.set_amounts(tx, number, amounts)


async def _announce_orders(ctx: Context, tx: Transaction, plan: Plan, rows: Sequence[SpooledRow]) -> None:
    await ctx.events.publish_many(
        tx,
        [
            OrderCreated(
                owner=plan.owner or None, subject=f"{plan.batch_id}/{row.idx}", batch_id=plan.batch_id,
                index=row.idx, client_ref=row.client_ref, account=row.account, currency=row.currency,
                amount=row.amount,
            )
            for row in rows
            if row.code is None
        ],
    )  # fmt: skip


def owner_of(request: Request, upload: Upload) -> str:
    """Return whose batch it is: the caller's own; an admin may name an owner. Raises 422."""
    named = upload.options.owner
    if request.owner is None:
        return named or ""
    if named not in (None, request.owner):
        raise Invalid(FieldError("owner", "can only be chosen by an admin", "query"))
    return request.owner
