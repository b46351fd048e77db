"""GET of batches, their progress, their orders, and the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import trio

from wharfd import (
    EventStream,
    FieldError,
    Invalid,
    NotFound,
    Record,
    Reply,
    Request,
    decode_cursor,
    encode_cursor,
)

from ..model.columns import COLUMNS
from ..model.order import ITEM_FIELDS, LONGEST_REF, MOST_ITEMS, ORDER_FIELDS
from ..model.state import Counts
from ..parts import Context, parts_of
from ..store import batches, items, ledger, results, tally
from .views import batch_view, order_view, result_view, stamp

_SHOWN_RESULTS = 100
_PROGRESS_SECONDS = 0.5


class ListQuery(msgspec.Struct, kw_only=True):
    """How to page a list."""

    limit: int = 50
    cursor: str | None = None


class OrdersQuery(ListQuery, kw_only=True):
    """How to look for orders in the ledger."""

    account: str | None = None
    client_ref: str | None = msgspec.field(default=None, name="clientRef")
    owner: str | None = None


class ItemsQuery(ListQuery, kw_only=True):
    """Which results of a batch."""

    which: Literal["all", "succeeded", "failed", "unprocessed", "duplicates"] = "all"


async def batch_of(ctx: Context, request: Request) -> Record:
    """Return the batch in the path; 404 when there is none or it is somebody else's."""
    found = await batches.find(ctx.db, request.path["batch"], request.owner)
    if found is None:
        raise NotFound(f"there is no batch {request.path['batch'][:60]!r}")
    return found


def limited(limit: int, most: int = 200) -> int:
    """Return a page size; 422 when it is none."""
    if not 1 <= limit <= most:
        raise Invalid(FieldError("limit", f"must be between 1 and {most}", "query"))
    return limit


async def list_batches(ctx: Context, request: Request) -> Reply:
    """List batches, the newest first: old callers get a list, `/api/v1` an object with `next_cursor`."""
    query: ListQuery = request.query
    limit = limited(query.limit)
    cursor = decode_cursor(request, query.cursor, int)
    rows = await batches.listed(ctx.db, request.owner, cursor[0] if cursor else None, limit + 1)
    counts = await tally.count_many(ctx.db, [row["number"] for row in rows])
    shown = [batch_view(ctx, row, counts[row["number"]]) for row in rows[:limit]]
    following = encode_cursor(request, rows[limit - 1]["number"]) if len(rows) > limit else None
    if request.url_path.startswith("/api/v1/"):
        return Reply(200, {"items": shown, "next_cursor": following})
    headers = (
        {"Link": f'<{request.url_path}?limit={limit}&cursor={following}>; rel="next"'} if following else {}
    )
    return Reply(200, shown, headers)


async def show_batch(ctx: Context, request: Request) -> dict[str, Any]:
    """Show a batch, with its results when there are not many."""
    batch = await batch_of(ctx, request)
    view = batch_view(ctx, batch, await tally.count(ctx.db, batch["number"]))
    rows = await results.page(ctx.db, batch["number"], "all", -1, _SHOWN_RESULTS)
    view["results"] = [result_view(row) for row in rows]
    view["resultsTruncated"] = batch["total"] > _SHOWN_RESULTS
    return view


async def show_progress(ctx: Context, request: Request) -> dict[str, Any]:
    """Show how far a batch is. It changes only when the batch does, so that polling gets 304."""
    batch = await batch_of(ctx, request)
    return progress_view(ctx, batch, await tally.count(ctx.db, batch["number"]))


def progress_view(ctx: Context, batch: Record, counts: Counts) -> dict[str, Any]:
    """Return counts, pace and the time it will be over at that pace."""
    view = batch_view(ctx, batch, counts)
    done, left = counts.processed + counts.cancelled, counts.of("waiting", "ready", "running")
    average = None
    if batch["started_at"] is not None:
        average = counts.succeeded / max(1.0, (ctx.now() - batch["started_at"]).total_seconds())
    pace = parts_of(ctx).rates.note(batch["number"], trio.current_time(), done, left, average)
    moving = view["phase"] in ("running", "cancelling")
    eta = None
    if moving and left and pace.eta_seconds is not None:
        # In whole seconds of the wall clock, so that it stays the same while the pace does.
        eta = stamp(datetime.fromtimestamp(round(ctx.now().timestamp() + pace.eta_seconds), UTC))
    names = (
        "batchId", "status", "phase", "phaseUntil", "waitsFor", "total", "processed", "succeeded", "failed",
        "pending", "processing", "unknown", "duplicates", "skipped", "cancelled", "startedAt", "completedAt",
    )  # fmt: skip
    return {name: view[name] for name in names} | {
        "percent": round(100 * (counts.total - counts.open) / counts.total, 2) if counts.total else 100.0,
        "ordersPerSecond": round(pace.per_second, 1) if moving else 0.0,
        "estimatedCompletion": eta,
    }


async def follow_progress(ctx: Context, request: Request) -> EventStream:
    """Send progress as it changes, until the batch is over."""
    batch = await batch_of(ctx, request)
    return EventStream(_progress(ctx, batch["id"]))


async def _progress(ctx: Context, batch_id: str) -> AsyncIterator[tuple[str, Any]]:
    last: dict[str, Any] = {}
    while True:
        batch = await batches.find(ctx.db, batch_id, None)
        if batch is None:
            return
        view = progress_view(ctx, batch, await tally.count(ctx.db, batch["number"]))
        over = batch["finished_at"] is not None
        if view != last or over:
            yield "finished" if over else "progress", view
            last = view
        if over:
            return
        await trio.sleep(_PROGRESS_SECONDS)


async def list_items(ctx: Context, request: Request) -> dict[str, Any]:
    """List the results of a batch in the order of the file."""
    query: ItemsQuery = request.query
    limit = limited(query.limit, 1000)
    batch = await batch_of(ctx, request)
    cursor = decode_cursor(request, query.cursor, int)
    after = cursor[0] if cursor else -1
    rows = await results.page(ctx.db, batch["number"], query.which, after, limit + 1)
    following = encode_cursor(request, rows[limit - 1]["idx"]) if len(rows) > limit else None
    return {"items": [result_view(row) for row in rows[:limit]], "next_cursor": following}


async def show_item(ctx: Context, request: Request) -> dict[str, Any]:
    """Show one order of a batch with everything that is known of it."""
    batch = await batch_of(ctx, request)
    text = request.path["index"]
    found = None
    if text.isascii() and text.isdigit() and len(text) < 10:
        found = await items.find(ctx.db, batch["number"], int(text))
    if found is None:
        raise NotFound(f"batch {batch['id']} has no order {text[:20]!r}")
    rows = await results.page(ctx.db, batch["number"], "all", found["idx"] - 1, 1)
    view = result_view(rows[0])
    return view | {
        "batchId": batch["id"],
        "account": found["account"],
        "currency": found["currency"],
        "amount": found["amount"],
        "data": found["payload"],
        "answer": found["answer"] or found["result"],
        "sentAt": stamp(found["sent_at"]),
        "executedAt": stamp(found["executed_at"]),
        "history": found["history"] or [],
    }


async def list_orders(ctx: Context, request: Request) -> dict[str, Any]:
    """List orders of the ledger, the newest first; by account or client reference when asked."""
    query: OrdersQuery = request.query
    limit = limited(query.limit)
    owner = request.owner if request.owner is not None else query.owner
    if request.owner is not None and query.owner not in (None, request.owner):
        raise Invalid(FieldError("owner", "can only be chosen by an admin", "query"))
    if query.client_ref is not None:
        row = await ledger.by_ref(ctx.db, owner or "", query.client_ref)
        return {"items": [order_view(row)] if row is not None else [], "next_cursor": None}
    if query.account is not None and owner is None:
        raise Invalid(FieldError("owner", "is needed with account", "query"))
    cursor = decode_cursor(request, query.cursor, str)
    rows = await ledger.listed(ctx.db, owner, query.account, cursor[0] if cursor else None, limit + 1)
    following = encode_cursor(request, rows[limit - 1]["id"]) if len(rows) > limit else None
    return {"items": [order_view(row) for row in rows[:limit]], "next_cursor": following}


async def show_limits(ctx: Context, request: Request) -> dict[str, Any]:
    """Say what an upload may be: formats, limits, columns, executors."""
    settings = ctx.settings
    return {
        "formats": {
            "json": "application/json",
            "jsonl": "application/x-ndjson",
            "csv": "text/csv",
        },
        "maxRows": settings.max_rows,
        "maxBytes": settings.max_upload_bytes,
        "maxRowBytes": settings.max_row_bytes,
        "maxOpenOrders": settings.max_open_orders,
        "maxItemsPerOrder": MOST_ITEMS,
        "maxReferenceCharacters": LONGEST_REF,
        "orderFields": ORDER_FIELDS,
        "itemFields": ITEM_FIELDS,
        "csvColumns": COLUMNS,
        "encodings": ["utf-8", "utf-16", "windows-1252", "iso-8859-1", "iso-8859-15"],
        "wholeJsonNumbersAre": f"{settings.json_amounts} units",
        "currency": settings.currency,
        "executors": await parts_of(ctx).executors.names(),
        "executor": settings.executor,
        "opens": settings.opens,
        "cutOff": settings.cut_off,
    }
