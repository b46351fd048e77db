"""Deliveries: list, read, explain, send again, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import trio
from msgspec import UNSET, Meta

from wharfd import (
    Conflict,
    NotFound,
    Page,
    PluginContext,
    Record,
    Request,
    Route,
    decode_cursor,
    new_id,
    page_of,
)

from ..config import Settings
from ..fanout import body_of
from ..model.endpoint import read_target
from ..model.explaining import explain_delivery
from ..sending.sender import QUEUES
from ..store import deliveries as store
from ..store import endpoints, messages
from .endpoints import CHANGES, READ, WRITE, both, endpoint_of
from .shapes import AttemptOut, DeliveryOut, attempt_out, delivery_out

MOST_TRIES = 50
_WAIT_MARGIN = 3.0
_POLL_SECONDS = 0.05

Status = Literal["", "pending", "retrying", "delivered", "failed", "parked", "cancelled"]


class ListQuery(msgspec.Struct, kw_only=True, rename="camel"):
    """Which deliveries, and how many."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    status: Status = ""
    event: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    cursor: str | None = None
    webhook_id: str | None = None


class RetryQuery(msgspec.Struct, kw_only=True, rename="camel"):
    """How often it is tried at most; the usual schedule unless given."""

    max_retries: Annotated[int, Meta(ge=1, le=MOST_TRIES)] | None = None


class Handled(msgspec.Struct, kw_only=True):
    """What was done, in the old shape."""

    success: bool
    message: str
    delivery: DeliveryOut


class RetriedAll(msgspec.Struct, kw_only=True):
    """Which deliveries are tried again."""

    success: bool
    message: str
    results: list[dict[str, Any]]


class Explanation(msgspec.Struct, kw_only=True):
    """Why a delivery is where it is."""

    delivery: DeliveryOut
    reasons: list[str]
    attempts: list[AttemptOut]


def routes(settings: Settings) -> list[Route]:
    """Return the routes of deliveries."""
    one = "/api/v1/deliveries/{id}"
    wait = settings.timeout.total_seconds() + 2 * _WAIT_MARGIN
    return [
        Route(
            method="POST", **both("/{id}/test"), handler=test, scope=WRITE, returns=Handled, rate=CHANGES,
            timeout_seconds=wait, summary="send a test event now and tell how it went",
        ),
        Route(
            method="GET", **both("/{id}/deliveries"), handler=list_of_endpoint, scope=READ, query=ListQuery,
            returns=list[DeliveryOut], summary="list the deliveries of an endpoint, the newest first",
        ),
        Route(
            method="POST", **both("/{id}/deliveries/{delivery_id}/retry"), handler=retry, scope=WRITE,
            query=RetryQuery, returns=Handled, rate=CHANGES, timeout_seconds=wait,
            summary="try a delivery now, with all its tries again, and tell how the first one went",
        ),
        Route(
            method="POST", **both("/{id}/retry-failed"), handler=retry_failed, scope=WRITE,
            returns=RetriedAll, rate=CHANGES,
            summary="try the deliveries that were given up again, the oldest 1000 first",
        ),
        Route(
            method="GET", path="/api/v1/deliveries", handler=search, scope=READ, query=ListQuery,
            returns=Page[DeliveryOut], summary="search all deliveries, the newest first",
        ),
        Route(
            method="GET", path=one, handler=show, scope=READ, returns=DeliveryOut, summary="read a delivery",
        ),
        Route(
            method="GET", path=f"{one}/attempts", handler=attempts, scope=READ,
            returns=list[AttemptOut], summary="list every send of a delivery",
        ),
        Route(
            method="GET", path=f"{one}/explain", handler=explain, scope=READ, returns=Explanation,
            summary="why was it not delivered?",
        ),
        Route(
            method="POST", path=f"{one}/resend", handler=resend, scope=WRITE, returns=Handled, rate=CHANGES,
            timeout_seconds=wait, summary="send it once more; its schedule stays as it is when that fails",
        ),
        Route(
            method="POST", path=f"{one}/retry", handler=retry, scope=WRITE, query=RetryQuery, returns=Handled,
            rate=CHANGES, timeout_seconds=wait, summary="try it now with all its tries again",
        ),
        Route(
            method="POST", path=f"{one}/cancel", handler=cancel, scope=WRITE, returns=Handled, rate=CHANGES,
            summary="do not send it any more",
        ),
    ]  # fmt: skip


async def list_of_endpoint(ctx: PluginContext[Settings], request: Request) -> list[DeliveryOut]:
    """List what an endpoint got and is to get."""
    row = await endpoint_of(ctx, request)
    query: ListQuery = request.query
    cursor = decode_cursor(request, query.cursor, str)
    rows = await store.page(
        ctx.db.read,
        owner=request.owner,
        endpoint_id=row["id"],
        status=query.status,
        event_type=query.event,
        since=query.since,
        until=query.until,
        before=cursor[0] if cursor else None,
        limit=query.limit,
    )
    return [delivery_out(row) for row in rows[: query.limit]]


async def search(ctx: PluginContext[Settings], request: Request) -> Page[DeliveryOut]:
    """List deliveries of all the caller's endpoints."""
    query: ListQuery = request.query
    cursor = decode_cursor(request, query.cursor, str)
    rows = await store.page(
        ctx.db.read,
        owner=request.owner,
        endpoint_id=query.webhook_id,
        status=query.status,
        event_type=query.event,
        since=query.since,
        until=query.until,
        before=cursor[0] if cursor else None,
        limit=query.limit,
    )
    return page_of(request, rows, query.limit, item=delivery_out, key=lambda row: (row["id"],))


async def show(ctx: PluginContext[Settings], request: Request) -> DeliveryOut:
    """Read a delivery with its payload."""
    row = await _delivery_of(ctx, request)
    message = await messages.find(ctx.db, row["message_id"])
    payload = UNSET if message is None else msgspec.json.decode(message["body"])
    return delivery_out(row, payload=payload)


async def attempts(ctx: PluginContext[Settings], request: Request) -> list[AttemptOut]:
    """List the sends of a delivery."""
    row = await _delivery_of(ctx, request)
    return [attempt_out(one) for one in await store.attempts(ctx.db, row["id"], row["created_at"])]


async def explain(ctx: PluginContext[Settings], request: Request) -> Explanation:
    """Say why a delivery is where it is."""
    row = await _delivery_of(ctx, request)
    endpoint = await endpoints.get(ctx.db, row["endpoint_id"], request.owner)
    made = await store.attempts(ctx.db, row["id"], row["created_at"])
    reasons = ["the endpoint was deleted"] if endpoint is None else _explained(row, endpoint, made)
    return Explanation(
        delivery=delivery_out(row), reasons=reasons, attempts=[attempt_out(one) for one in made]
    )


def _explained(row: Record, endpoint: Record, made: Sequence[Record]) -> list[str]:
    return explain_delivery(dict(row), dict(endpoint), [dict(one) for one in made])


async def retry(ctx: PluginContext[Settings], request: Request) -> Handled:
    """Try a delivery now with a fresh budget, and wait for how the first try goes."""
    query: RetryQuery = request.query
    return await _again(ctx, request, "delivery.retried", query.max_retries, resend_only=False)


async def resend(ctx: PluginContext[Settings], request: Request) -> Handled:
    """Send a delivery once more, beside its schedule."""
    return await _again(ctx, request, "delivery.resent", None, resend_only=True)


async def _again(
    ctx: PluginContext[Settings], request: Request, action: str, budget: int | None, *, resend_only: bool
) -> Handled:
    row = await _delivery_of(ctx, request)
    async with ctx.db.transaction() as tx:
        lane = await (store.resend(tx, row) if resend_only else store.retry(tx, row, budget))
        if lane is None:
            raise Conflict("the delivery is being sent at this moment; look at it again in a while")
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action=action,
            subject=row["id"],
            detail={"webhook": row["endpoint_id"], "before": row["state"]},
            owner=request.owner,
        )
        ctx.work.wake(tx, QUEUES[lane])
    return await _told(ctx, row["id"], request.owner, row["created_at"], row["number"] or 0)


async def test(ctx: PluginContext[Settings], request: Request) -> Handled:
    """Send a test event to one endpoint, whether or not it is active, and wait for how it goes."""
    endpoint = await endpoint_of(ctx, request)
    message_id, delivery_id, now = new_id("evt"), new_id("dlv"), ctx.now()
    data = {"message": "This is a test event from wharfd.", "webhookId": endpoint["id"]}
    message = messages.Message(
        id=message_id,
        type="webhook.test",
        owner=endpoint["owner"],
        source="test",
        body=body_of(message_id, "webhook.test", now, data),
        subject=endpoint["id"],
        trace_id=request.trace_id,
    )
    target = read_target(endpoint["id"], endpoint["owner"], endpoint["version"], None, None, "block")
    planned = messages.Planned(delivery_id, message, target, target.id)
    async with ctx.db.transaction() as tx:
        await messages.add(tx, [message])
        ((_, made_at),) = await messages.deliver(tx, [planned], trigger="test", priority=1)
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="webhook.tested",
            subject=endpoint["id"],
            owner=endpoint["owner"],
        )
        ctx.work.wake(tx, QUEUES["free"])
    return await _told(ctx, delivery_id, request.owner, made_at, 0)


async def _told(
    ctx: PluginContext[Settings], delivery_id: str, owner: str | None, at: datetime, before: int
) -> Handled:
    """Wait until one more attempt has ended, as long as a send may take, and tell how it went."""
    row = None
    with trio.move_on_after(ctx.settings.timeout.total_seconds() + _WAIT_MARGIN):
        while True:
            row = await store.get(ctx.db, delivery_id, owner)
            if row is None or row["state"] not in ("ready", "running"):
                break
            if (row["number"] or 0) > before and row["outcome"] != "started" and row["state"] == "ready":
                break
            await trio.sleep(_POLL_SECONDS)
    if row is None:
        raise NotFound(f"there is no delivery {delivery_id!r}")
    shown = delivery_out(row)
    success = (row["number"] or 0) > before and row["outcome"] == "delivered"
    if success:
        message = f"delivered: the receiver answered {row['status']}"
    elif (row["number"] or 0) <= before:
        message = f"not sent yet: {row['last_error'] or 'it waits for its turn'}"
    else:
        message = f"not delivered: {row['error'] or 'its end is not known yet'}"
    return Handled(success=success, message=message, delivery=shown)


async def retry_failed(ctx: PluginContext[Settings], request: Request) -> RetriedAll:
    """Try what was given up again; the results come with the deliveries, not with this answer."""
    endpoint = await endpoint_of(ctx, request)
    async with ctx.db.transaction() as tx:
        rows = await store.retry_failed(tx, endpoint["id"], 1000, ctx.settings.ramp_per_second)
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="webhook.failed_retried",
            subject=endpoint["id"],
            detail={"deliveries": len(rows)},
            owner=endpoint["owner"],
        )
        for lane in {row["lane"] for row in rows}:
            ctx.work.wake(tx, QUEUES[lane], rows=len(rows))
    results = [{"id": row["id"], "status": "pending", "attempts": 0, "error": None} for row in rows]
    return RetriedAll(
        success=True, message=f"{len(results)} failed deliveries are tried again", results=results
    )


async def cancel(ctx: PluginContext[Settings], request: Request) -> Handled:
    """Cancel a delivery that waits, is parked or was given up."""
    row = await _delivery_of(ctx, request)
    async with ctx.db.transaction() as tx:
        if not await store.cancel(tx, row, "cancelled by hand"):
            raise Conflict(
                f"the delivery is {delivery_out(row).status} or being sent; it cannot be cancelled"
            )
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="delivery.cancelled",
            subject=row["id"],
            detail={"webhook": row["endpoint_id"], "before": row["state"]},
            owner=request.owner,
        )
    after = await store.get(ctx.db, row["id"], request.owner)
    assert after is not None
    return Handled(success=True, message="the delivery is cancelled", delivery=delivery_out(after))


async def _delivery_of(ctx: PluginContext[Settings], request: Request) -> Record:
    """Return the delivery of the path; 404 for one that is not there or is somebody else's."""
    delivery_id = request.path.get("delivery_id") or request.path["id"]
    endpoint_id = request.path["id"] if "delivery_id" in request.path else None
    row = await store.get(ctx.db, delivery_id, request.owner, endpoint_id)
    if row is None:
        raise NotFound(f"there is no delivery {delivery_id[:80]!r}")
    return row
