"""`GET /api/v1/accounts` and one of them, with its status history and payment methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wharfd import FieldError, Invalid, NotFound, PluginContext, Record, Request, sql

from ..config import Settings
from ..model.accounts import HistoryEntry, order_history
from ..model.vocabulary import OLD_ACCOUNT_STATUS, AccountStatus
from .listing import Filter, Paging, Table, answer, count_rows, list_rows, pagination, shown

Context = PluginContext[Settings]

_COLUMNS = """t.id, t.source, t.external_id, t.owner, t.first_seen_at, t.updated_at, t.status, t.status_at,
  t.stage, t.approved_at, t.activated_at, t.merchant_id, t.account_name, t.business_name, t.email, t.phone,
  t.sub_status, t.mode, t.metadata, t.event_id"""
TABLE = Table("netbanx.accounts", _COLUMNS, "first_seen_at")
FIND = sql(
    "find_account",
    f"""SELECT {_COLUMNS} FROM netbanx.accounts t
WHERE (t.id = $1 OR t.external_id = $1) AND ($2::text IS NULL OR t.owner = $2) LIMIT 1""",
)
HISTORY = sql(
    "list_account_history",
    """SELECT identity, at, status, sub_status, reason, mark FROM netbanx.account_status_history
WHERE account_id = $1 ORDER BY mark DESC LIMIT 500""",
)
METHODS = sql(
    "list_payment_methods",
    """SELECT account_id, type, external_id, added_at FROM netbanx.payment_methods
WHERE account_id = ANY ($1::text[]) ORDER BY type, external_id""",
)
_NAMES = {
    "id": "id",
    "externalId": "external_id",
    "merchantId": "merchant_id",
    "accountName": "account_name",
    "businessName": "business_name",
    "email": "email",
    "phone": "phone",
    "subStatus": "sub_status",
    "onboardingStage": "stage",
    "createdAt": "first_seen_at",
    "updatedAt": "updated_at",
    "statusTime": "status_at",
    "approvedAt": "approved_at",
    "activatedAt": "activated_at",
    "mode": "mode",
    "metadata": "metadata",
    "source": "source",
    "webhookEventId": "event_id",
    "companyId": "owner",
}


class AccountQuery(Paging, kw_only=True, rename="camel"):
    """Filters. `status` takes the five old words as well as the provider's."""

    status: str | None = None
    onboarding_stage: str | None = None
    include_payment_methods: bool = False


async def list_accounts(ctx: Context, request: Request) -> dict[str, Any]:
    """List accounts, the newest first."""
    query: AccountQuery = request.query
    filters = [
        Filter("owner", request.owner),
        Filter("stage", query.onboarding_stage.upper() if query.onboarding_stage else None),
    ]
    statuses = _statuses(query.status)
    any_of = ("status", statuses) if statuses is not None else None
    found = await list_rows(ctx.db.read, request, TABLE, query, filters, any_of)
    total, exact = await count_rows(ctx.db.read, TABLE, filters, any_of)
    accounts = [show(row) for row in found.rows]
    if query.include_payment_methods:
        methods = await _methods(ctx, [account["id"] for account in accounts])
        accounts = [account | {"paymentMethods": methods.get(account["id"], [])} for account in accounts]
    data = {"accounts": accounts, "pagination": pagination(query, total, exact, found.next_cursor)}
    return answer(data, ctx.now())


async def get_account(ctx: Context, request: Request) -> dict[str, Any]:
    """Return one account by our id or the provider's, with how it came to its status."""
    row = await ctx.db.read.fetchrow(FIND, request.path["id"], request.owner)
    if row is None:
        raise NotFound(f"there is no account {request.path['id']!r}")
    entries = [
        HistoryEntry(
            e["identity"], e["at"], AccountStatus(e["status"]), e["sub_status"], e["reason"], e["mark"]
        )
        for e in await ctx.db.read.fetch(HISTORY, row["id"])
    ]
    history = [
        {
            "timestamp": step.at,
            "fromStatus": step.from_status,
            "toStatus": step.to_status,
            "subStatus": step.sub_status,
            "reason": step.reason,
        }
        for step in order_history(entries)
    ]
    methods = await _methods(ctx, [row["id"]])
    return answer(
        show(row) | {"statusHistory": history, "paymentMethods": methods.get(row["id"], [])}, ctx.now()
    )


def show(row: Record) -> dict[str, Any]:
    """Return an account as callers see it: `status` in the old words, `state` in the provider's."""
    state = row["status"]
    return shown(row, _NAMES) | {
        "status": OLD_ACCOUNT_STATUS[AccountStatus(state)] if state else None,
        "state": state,
    }


async def _methods(ctx: Context, accounts: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in await ctx.db.read.fetch(METHODS, list(accounts)):
        method = {"type": row["type"], "externalId": row["external_id"], "createdAt": row["added_at"]}
        found.setdefault(row["account_id"], []).append(method)
    return found


def _statuses(text: str | None) -> list[str] | None:
    if not text:
        return None
    found: list[str] = []
    for word in (part.strip().upper() for part in text.split(",")):
        ours = [status.value for status, old in OLD_ACCOUNT_STATUS.items() if old == word]
        if not ours and word not in AccountStatus.__members__:
            known = ", ".join(dict.fromkeys([*OLD_ACCOUNT_STATUS.values(), *AccountStatus]))
            raise Invalid(FieldError("status", f"{word!r} is none of {known}", "query"))
        found += ours or [word]
    return list(dict.fromkeys(found))
