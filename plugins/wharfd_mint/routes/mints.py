"""Mints: how far each is, every transaction signed for it, and what a person can do about it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from wharfd import (
    Conflict,
    NotFound,
    Page,
    PluginContext,
    Request,
    Route,
    ServiceUnavailable,
    Transaction,
    decode_cursor,
    page_of,
)

from ..config import Settings
from ..minters import find_minter
from ..store import buyers, claims, intents, lists, watching
from .shapes import Text, in_dollars, license_in, seen_by, shown

Ctx = PluginContext[Settings]


class Wanted(msgspec.Struct, kw_only=True):
    """Which mints to list."""

    state: Literal["ready", "running", "done", "buried", "held", "cancelled"] | None = None
    stage: Text | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: str | None = None


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """Why."""

    reason: Text = "held by hand"


class Spoken(msgspec.Struct, forbid_unknown_fields=True):
    """A transaction that a person has looked at."""

    txHash: Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{64}$")]


async def list_mints(ctx: Ctx, request: Request) -> Page[Any]:
    """List mints, newest first."""
    query: Wanted = request.query
    columns = {"state": query.state, "stage": query.stage, "owner": request.owner}
    after = decode_cursor(request, query.cursor, datetime, str)
    rows = await lists.mints(ctx.db.read, columns, after and (after[0], after[1]), query.limit + 1)
    return page_of(request, rows, query.limit, item=shown, key=lambda row: (row["created_at"], row["id"]))


async def show_mint(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Return a mint with every transaction that was signed for it."""
    license_id = license_in(request.path["licenseId"])
    row = await lists.mint(ctx.db, license_id)
    if row is None or (request.owner is not None and row["owner"] != request.owner):
        raise NotFound("there is no mint for this license")
    attempts = [shown(one) for one in await lists.attempts(ctx.db, row["id"])]
    return {**shown(row), "transactions": attempts}


_NOT_WAITING = {
    None: "there is no mint for this license; activate its buyer",
    "running": "the mint is being worked on at this moment; say it again in a moment",
    "done": "the mint is done",
    "held": "the mint is held already",
    "buried": "the mint was given up and is not tried any more",
    "cancelled": "the mint was withdrawn with its buyer",
}


async def _not_waiting(tx: Transaction, license_id: str) -> Conflict:
    state = await intents.state(tx, license_id)
    return Conflict(_NOT_WAITING.get(state, f"the mint is {state}"))


async def retry_mint(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Try a mint again now; everything known about it is asked first, so this can never mint twice."""
    license_id = license_in(request.path["licenseId"])
    async with ctx.db.transaction() as tx:
        seen_by(request, await buyers.locked(tx, license_id), "such license")
        if not await intents.retry(tx, license_id):
            raise await _not_waiting(tx, license_id)
        await _audit(ctx, tx, request, "mint.retried", license_id, {})
        ctx.work.wake(tx, "intents")
    return {"success": True, "licenseId": license_id}


async def adopt_mint(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Say that a transaction made this license's token, where only the logs tell; then try again."""
    return await _say(ctx, request, "mint.adopted", theirs=True)


async def disown_mint(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Say that a transaction made no license's token known here; then try the mint again."""
    return await _say(ctx, request, "mint.disowned", theirs=False)


async def _say(ctx: Ctx, request: Request, action: str, *, theirs: bool) -> dict[str, Any]:
    license_id, tx_hash = license_in(request.path["licenseId"]), request.body.txHash.lower()
    evm = ctx.settings.evm
    if evm is None or evm.lookup_answer != "logs":
        raise Conflict('a person\'s word counts with lookup_answer = "logs" only; this contract is asked')
    async with ctx.db.transaction() as tx:
        seen_by(request, await buyers.locked(tx, license_id), "such license")
        if not await intents.retry(tx, license_id):
            raise await _not_waiting(tx, license_id)
        if await claims.of_others(tx, [tx_hash], license_id) and theirs:
            raise Conflict("that transaction is known to have made something else")
        actor = request.identity.subject
        await claims.say(tx, tx_hash, license_id if theirs else None, actor)
        await _audit(ctx, tx, request, action, license_id, {"tx_hash": tx_hash})
        ctx.work.wake(tx, "intents")
    return {"success": True, "licenseId": license_id}


async def hold_mint(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Leave a mint alone until it is retried; not possible while a transaction is under way for it."""
    license_id = license_in(request.path["licenseId"])
    reason = request.body.reason
    async with ctx.db.transaction() as tx:
        seen_by(request, await buyers.locked(tx, license_id), "such license")
        if not await intents.hold(tx, license_id, reason):
            if await intents.under_way(tx, license_id):
                raise Conflict(
                    "a transaction is under way for it, and later mints wait behind its nonce; "
                    "refund the buyer to take it back"
                )
            raise await _not_waiting(tx, license_id)
        await _audit(ctx, tx, request, "mint.held", license_id, {"reason": reason})
    return {"success": True, "licenseId": license_id}


async def examine(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Look at what minting depends on: endpoints, chain, contract, balance, nonces, fees."""
    name = ctx.settings.minting
    minter = await find_minter(ctx, name)
    if minter is None:
        raise ServiceUnavailable(f"no running plugin offers the minter {name!r}")
    checks = await minter.examine()
    counts = await watching.count_open(ctx.db)
    waiting = counts.get("held", 0) + counts.get("buried", 0)
    under_way = counts.get("ready", 0) + counts.get("running", 0)
    state = "warn" if waiting else "ok"
    detail = f"{under_way} under way, {waiting} wait for a person"
    checks.append({"check": "mints", "state": state, "detail": detail})
    return {"checks": checks}


async def list_tiers(ctx: Ctx, request: Request) -> dict[str, Any]:
    """List what is sold, and how much of it is left."""
    return {
        "items": [
            {
                "tier": row["tier"],
                "cap": row["cap"],
                "taken": row["taken"],
                "left": None if row["cap"] is None else max(0, row["cap"] - row["taken"]),
                "price": row["price"],
                "currency": row["currency"],
                "priceUsd": in_dollars(row["price"]) if row["currency"] == "USD" else None,
            }
            for row in await buyers.tiers(ctx.db)
        ]
    }


async def list_payments(ctx: Ctx, request: Request) -> dict[str, Any]:
    """List payments that a person has to look at."""
    return {"items": [shown(row) for row in await watching.open_payments(ctx.db)]}


async def settle_payment(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Note that a person has dealt with a payment."""
    async with ctx.db.transaction() as tx:
        if not await watching.settle_payment(tx, request.path["id"]):
            raise NotFound("there is no open payment of this id")
        await _audit(ctx, tx, request, "mint.payment_settled", request.path["id"], {})
    return {"success": True}


async def _audit(
    ctx: Ctx, tx: Any, request: Request, action: str, subject: str, detail: dict[str, Any]
) -> None:
    await ctx.audit.record(tx, actor=request.identity.subject, action=action, subject=subject, detail=detail)


def _route(method: Any, path: str, handler: Any, scope: str, summary: str, **more: Any) -> Route:
    return Route(method=method, path=path, handler=handler, scope=scope, summary=summary, **more)


ROUTES = [
    _route("GET", "/api/v1/mints", list_mints, "mint:read", "List mints", query=Wanted),
    _route("GET", "/api/v1/mints/{licenseId}", show_mint, "mint:read", "A mint and its transactions"),
    _route("POST", "/api/v1/mints/{licenseId}/retry", retry_mint, "mint:activate", "Try a mint again"),
    _route(
        "POST", "/api/v1/mints/{licenseId}/hold", hold_mint, "mint:activate", "Leave a mint alone",
        body=Reason,
    ),
    _route(
        "POST", "/api/v1/mints/{licenseId}/adopt", adopt_mint, "mint:operate",
        "This transaction made its token", body=Spoken, house=True,
    ),
    _route(
        "POST", "/api/v1/mints/{licenseId}/disown", disown_mint, "mint:operate",
        "This transaction made no token of ours", body=Spoken, house=True,
    ),
    _route(
        "GET", "/api/v1/mint/doctor", examine, "mint:operate", "Look at what minting depends on",
        timeout_seconds=60, house=True,
    ),
    _route("GET", "/api/v1/mint/tiers", list_tiers, "mint:read", "What is sold and how much is left"),
    _route(
        "GET", "/api/v1/mint/payments", list_payments, "mint:operate", "Payments for a person to look at",
        house=True,
    ),
    _route(
        "POST", "/api/v1/mint/payments/{id}/settle", settle_payment, "mint:operate",
        "A payment was dealt with", house=True,
    ),
]  # fmt: skip
