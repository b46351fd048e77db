"""`GET /api/v1/transactions` and one of them, in the old shape with our own words beside it."""

from __future__ import annotations

from typing import Any

from wharfd import FieldError, Invalid, NotFound, PluginContext, Record, Request, sql

from ..config import Settings
from ..model.money import format_minor
from ..model.vocabulary import OLD_STATUS, Status
from .listing import (
    Filter,
    Paging,
    Table,
    answer,
    count_rows,
    list_rows,
    pagination,
    read_time,
    shown,
)

Context = PluginContext[Settings]

_COLUMNS = """t.id, t.source, t.type, t.external_id, t.owner, t.created_at, t.updated_at, t.status,
  t.status_at, t.amount, t.currency, t.merchant_ref, t.method, t.description, t.account_id, t.parent_id,
  t.settlement_status, t.reason, t.mode, t.metadata, t.event_id"""
TABLE = Table("netbanx.transactions", _COLUMNS, "created_at")
FIND = sql(
    "find_transaction",
    f"""SELECT {_COLUMNS} FROM netbanx.transactions t
WHERE (t.id = $1 OR t.external_id = $1) AND ($2::text IS NULL OR t.owner = $2)
ORDER BY t.type LIMIT 1""",
)
RELATED = sql(
    "find_related_transactions",
    f"""SELECT {_COLUMNS} FROM netbanx.transactions t
WHERE t.parent_id = $1 AND t.source = $2 AND ($3::text IS NULL OR t.owner = $3)
ORDER BY t.created_at LIMIT 50""",
)
TOTAL = sql(
    "total_of_transactions",
    """SELECT coalesce(sum(count), 0)::bigint FROM netbanx.rollups
WHERE grain = 'all' AND type <> 'EVENT' AND ($1::text IS NULL OR owner = $1)
  AND ($2::text[] IS NULL OR status = ANY ($2)) AND ($3::text IS NULL OR currency = $3)
  AND ($4::text IS NULL OR method = $4) AND ($5::text IS NULL OR type = $5)""",
)
_NAMES = {
    "id": "id",
    "externalId": "external_id",
    "merchantRefNum": "merchant_ref",
    "amount": "amount",
    "currency": "currency",
    "transactionType": "type",
    "paymentMethod": "method",
    "description": "description",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "transactionTime": "created_at",
    "statusTime": "status_at",
    "settlementStatus": "settlement_status",
    "reason": "reason",
    "accountId": "account_id",
    "parentId": "parent_id",
    "mode": "mode",
    "metadata": "metadata",
    "source": "source",
    "webhookEventId": "event_id",
    "companyId": "owner",
}


class TransactionQuery(Paging, kw_only=True, rename="camel"):
    """Filters. `status` takes the four old words as well as ours; `state` ours alone. Times are UTC."""

    status: str | None = None
    state: str | None = None
    currency: str | None = None
    method: str | None = None
    payment_method: str | None = None
    type: str | None = None
    merchant_ref_num: str | None = None
    account_id: str | None = None
    start_date: str | None = None
    end_date: str | None = None


async def list_transactions(ctx: Context, request: Request) -> dict[str, Any]:
    """List transactions, newest first."""
    query: TransactionQuery = request.query
    statuses = _statuses(query)
    method = query.method or query.payment_method
    currency = query.currency.upper() if query.currency else None
    start, end = read_time(query.start_date, "startDate"), read_time(query.end_date, "endDate")
    filters = [
        Filter("owner", request.owner),
        Filter("currency", currency),
        Filter("method", method),
        Filter("type", query.type.upper() if query.type else None),
        Filter("merchant_ref", query.merchant_ref_num),
        Filter("account_id", query.account_id),
        Filter("created_at", start, ">="),
        Filter("created_at", end, "<="),
    ]
    any_of = ("status", statuses) if statuses is not None else None
    found = await list_rows(ctx.db.read, request, TABLE, query, filters, any_of)
    if any(f.value is not None for f in filters[4:]):
        total, exact = await count_rows(ctx.db.read, TABLE, filters, any_of)
    else:
        # What the roll-ups know needs no counting.
        total = await ctx.db.read.fetchval(TOTAL, request.owner, statuses, currency, method, filters[3].value)
        exact = True
    data = {
        "transactions": [show(row) for row in found.rows],
        "pagination": pagination(query, total, exact, found.next_cursor),
    }
    return answer(data, ctx.now())


async def get_transaction(ctx: Context, request: Request) -> dict[str, Any]:
    """Return one transaction by our id or the provider's, and what belongs to it."""
    row = await ctx.db.read.fetchrow(FIND, request.path["id"], request.owner)
    if row is None:
        raise NotFound(f"there is no transaction {request.path['id']!r}")
    related = await ctx.db.read.fetch(RELATED, row["external_id"], row["source"], request.owner)
    return answer(show(row) | {"related": [show(other) for other in related]}, ctx.now())


def show(row: Record) -> dict[str, Any]:
    """Return a transaction as callers see it: `status` in the old words, `state` in ours."""
    state = row["status"]
    amount, currency = row["amount"], row["currency"]
    try:
        plain = format_minor(amount, currency) if amount is not None and currency else None
    except ValueError:  # a currency that ISO 4217 lacks
        plain = None
    return shown(row, _NAMES) | {
        "status": OLD_STATUS[Status(state)] if state else None,
        "state": state,
        "amountDecimal": plain,
    }


def _statuses(query: TransactionQuery) -> list[str] | None:
    if query.state:
        words = [part.strip().upper() for part in query.state.split(",")]
        if unknown := [word for word in words if word not in Status.__members__]:
            raise Invalid(FieldError("state", f"{unknown[0]!r} is none of {', '.join(Status)}", "query"))
        return words
    if not query.status:
        return None
    found: list[str] = []
    for word in (part.strip().upper() for part in query.status.split(",")):
        ours = [status.value for status, old in OLD_STATUS.items() if old == word]
        if not ours and word not in Status.__members__:
            known = ", ".join(dict.fromkeys([*OLD_STATUS.values(), *Status]))
            raise Invalid(FieldError("status", f"{word!r} is none of {known}", "query"))
        found += ours or [word]
    return list(dict.fromkeys(found))
