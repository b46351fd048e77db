"""What people decide about a batch or an order: pause, resume, cancel, retry, approve, resolve."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from wharfd import (
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    Record,
    Request,
    Transaction,
)
from wharfd.contracts.orders import BatchApproved, OrderUpdated

from ..executing.results import order_id
from ..parts import Context, parts_of
from ..steering import CHUNK_ROWS, look_at
from ..store import batches, items, ledger, tally
from .reading import batch_of
from .views import batch_view

T = TypeVar("T", bound=msgspec.Struct)


class Reason(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why somebody does something."""

    reason: str = ""

    def checked(self) -> str:
        """Return the reason; 422 when it is too long."""
        if len(self.reason) > 500 or "\x00" in self.reason:
            raise Invalid(FieldError("reason", "must have at most 500 characters"))
        return self.reason


class Retried(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which failed orders to try again: all, those with these indexes, or those with this code."""

    indexes: list[int] | None = None
    code: str | None = None


class Resolution(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What became of an order whose outcome nobody knew."""

    outcome: Literal["succeeded", "failed", "retry"]
    reason: str
    external_id: str | None = msgspec.field(default=None, name="modelOrderId")


async def pause(ctx: Context, request: Request) -> dict[str, Any]:
    """Let no further order of a batch begin. What is under way is finished."""
    batch = await batch_of(ctx, request)
    async with ctx.db.transaction() as tx:
        if not await batches.pause(tx, batch["number"], request.identity.subject):
            raise Conflict(_why_not(await batches.lock(tx, batch["number"]), "paused"))
        await _record(ctx, tx, request, batch, "batch.paused")
    return await _after(ctx, batch)


async def resume(ctx: Context, request: Request) -> dict[str, Any]:
    """Let a paused batch go on."""
    batch = await batch_of(ctx, request)
    async with ctx.db.transaction() as tx:
        if not await batches.resume(tx, batch["number"]):
            raise Conflict(_why_not(await batches.lock(tx, batch["number"]), "resumed"))
        await _record(ctx, tx, request, batch, "batch.resumed")
    return await _after(ctx, batch)


async def cancel(ctx: Context, request: Request) -> dict[str, Any]:
    """Cancel a batch: orders under way are finished, the rest is reported as not carried out."""
    batch = await batch_of(ctx, request)
    reason = _optional(request, Reason).checked() or f"cancelled by {request.identity.subject}"
    async with ctx.db.transaction() as tx:
        if not await batches.cancel(tx, batch["number"], request.identity.subject, reason):
            raise Conflict(_why_not(await batches.lock(tx, batch["number"]), "cancelled"))
        await _record(ctx, tx, request, batch, "batch.cancelled", reason=reason)
    return await _after(ctx, batch)


async def approve(ctx: Context, request: Request) -> dict[str, Any]:
    """Approve a batch that needs a second person; whoever sent it is not one."""
    batch = await batch_of(ctx, request)
    if batch["created_by"] == request.identity.subject:
        raise Forbidden("a batch is approved by somebody other than who sent it")
    async with ctx.db.transaction() as tx:
        if not await batches.approve(tx, batch["number"], request.identity.subject):
            raise Conflict(_why_not(await batches.lock(tx, batch["number"]), "approved"))
        await _record(ctx, tx, request, batch, "batch.approved")
        counts = await tally.count(tx, batch["number"])
        await ctx.events.publish(
            tx,
            BatchApproved(
                owner=batch["owner"] or None,
                subject=batch["id"],
                batch_id=batch["id"],
                status=counts.status,
                total=counts.total,
                label=batch["label"],
                approved_by=request.identity.subject,
            ),
        )
    return await _after(ctx, batch)


async def retry(ctx: Context, request: Request) -> dict[str, Any]:
    """Try failed orders again, all or some, with all their attempts. Invalid rows must be sent anew."""
    batch = await batch_of(ctx, request)
    wanted = _optional(request, Retried)
    if wanted.indexes is not None and not 1 <= len(wanted.indexes) <= 10_000:
        raise Invalid(FieldError("indexes", "must be 1 to 10,000 indexes"))
    number, total, first = batch["number"], 0, 0
    async with ctx.db.transaction() as tx:
        # Locked, so that the batch is not announced as finished between here and the commit.
        await batches.lock(tx, number)
        while True:
            rows, last = await items.retry(
                tx, number, first, wanted.indexes, wanted.code, CHUNK_ROWS, request.identity.subject
            )
            total += rows
            if rows < CHUNK_ROWS or last is None:
                break
            first = last + 1
        if total:
            await batches.reopen(tx, number)
            await _record(ctx, tx, request, batch, "batch.retried", orders=total, code=wanted.code)
    if not total:
        raise Conflict("no failed order of this batch fits; rows that were invalid must be sent anew")
    return {"success": True, "retried": total, **await _after(ctx, batch)}


async def resolve(ctx: Context, request: Request) -> dict[str, Any]:
    """Say what became of an order whose outcome is unknown."""
    batch = await batch_of(ctx, request)
    wanted: Resolution = request.body
    text = request.path["index"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise NotFound(f"batch {batch['id']} has no order {text[:20]!r}")
    if not 3 <= len(wanted.reason) <= 500 or "\x00" in wanted.reason:
        raise Invalid(FieldError("reason", "must have 3 to 500 characters: how you know"))
    number, idx, actor = batch["number"], int(text), request.identity.subject
    state = {"succeeded": "done", "failed": "buried", "retry": "waiting"}[wanted.outcome]
    error = f"resolved: {wanted.reason}" if state == "buried" else None
    async with ctx.db.transaction() as tx:
        await batches.lock(tx, number)
        found = await items.find(tx, number, idx)
        if found is None:
            raise NotFound(f"batch {batch['id']} has no order {idx}")
        if found["state"] != "held":
            raise Conflict("only an order whose outcome is unknown can be resolved; see its status")
        await items.decide(tx, number, idx, state, error, f"{wanted.outcome} by {actor}: {wanted.reason}")
        if state == "done":
            written = await ledger.record(
                tx, number, batch["id"], batch["executor"], [idx], [wanted.external_id], [None]
            )
            if idx not in written:
                raise Conflict("a later upload has the clientRef of this order")
        await batches.reopen(tx, number)
        await _record(
            ctx, tx, request, batch, "order.resolved", index=idx, outcome=wanted.outcome, reason=wanted.reason
        )
        if "updated" in ctx.settings.order_events:
            await ctx.events.publish(
                tx,
                OrderUpdated(
                    owner=batch["owner"] or None,
                    subject=f"{batch['id']}/{idx}",
                    batch_id=batch["id"],
                    index=idx,
                    client_ref=found["client_ref"],
                    account=found["account"],
                    currency=found["currency"],
                    amount=found["amount"],
                    order_id=order_id(batch["id"], idx) if state == "done" else None,
                    status=wanted.outcome,
                    reason=wanted.reason,
                ),
            )
    return await _after(ctx, batch)


async def verify(ctx: Context, request: Request) -> dict[str, Any]:
    """Count the rows themselves and compare with the counts that are shown."""
    batch = await batch_of(ctx, request)
    async with ctx.db.transaction(isolation="repeatable_read", readonly=True) as tx:
        shown = await tally.count(tx, batch["number"])
        counted = await tally.recount(tx, batch["number"])
    return {
        "batchId": batch["id"],
        "agrees": dict(shown.rows) == dict(counted.rows),
        "shown": shown.rows,
        "counted": counted.rows,
    }


def _optional(request: Request, kind: type[T]) -> T:
    """Decode a body that may be left out; raises 422."""
    if not request.body:
        return kind()
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        raise Invalid(FieldError(path.rstrip("`"), message[:1].lower() + message[1:])) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest("the body is not JSON") from error


async def _after(ctx: Context, batch: Record) -> dict[str, Any]:
    """Let the rows follow at once, as far as that is quick, and show the batch."""
    found = await batches.find(ctx.db, batch["id"], None)
    assert found is not None
    await look_at(ctx, found, await tally.count(ctx.db, batch["number"]))
    parts_of(ctx).touch(batch["number"])
    found = await batches.find(ctx.db, batch["id"], None)
    assert found is not None
    return batch_view(ctx, found, await tally.count(ctx.db, batch["number"]))


def _why_not(batch: Record, what: str) -> str:
    if batch["finished_at"] is not None:
        return f"the batch is over and cannot be {what}"
    if batch["cancelled_at"] is not None:
        return f"the batch is cancelled and cannot be {what}"
    if what == "approved":
        return (
            "the batch needs no approval" if not batch["needs_approval"] else "the batch is approved already"
        )
    if what == "resumed" and batch["needs_approval"] and batch["approved_at"] is None:
        return "the batch is not paused; it waits to be approved by somebody other than who sent it"
    if what == "resumed":
        return "the batch is not paused"
    return f"the batch is {what} already"


async def _record(
    ctx: Context, tx: Transaction, request: Request, batch: Record, action: str, **detail: Any
) -> None:
    await ctx.audit.record(
        tx,
        actor=request.identity.subject,
        action=action,
        subject=batch["id"],
        owner=batch["owner"] or None,
        ip=str(request.client) if request.client else None,
        detail=detail,
    )
