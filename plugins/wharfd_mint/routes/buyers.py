"""Buyers: add, find, edit."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from wharfd import (
    BadRequest,
    Conflict,
    Page,
    PluginContext,
    Request,
    Route,
    Transaction,
    decode_cursor,
    page_of,
)

from .. import desk
from ..config import Settings
from ..model.wallets import BadWallet, check_wallet
from ..store import buyers, intents, lists
from ..store.buyers import Buyer
from .shapes import BuyerView, NewBuyer, Text, license_in, refusal, seen_by, values_of, view, wallet_in

Ctx = PluginContext[Settings]


class Wanted(msgspec.Struct, kw_only=True):
    """Which buyers to list."""

    wallet: str | None = None
    tier: Text | None = None
    status: Literal["active", "pending_wire", "refunded", "expired"] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: str | None = None


class Edit(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What to change; what is left out stays."""

    status: Literal["active", "pending_wire", "refunded", "expired"] | None = None
    wallet: str | None = None
    email: Text | msgspec.UnsetType | None = msgspec.UNSET
    name: Text | msgspec.UnsetType | None = msgspec.UNSET
    next_step: Text | None = None
    receipt_sent: bool | None = None
    reason: Text = ""


async def add_buyer(ctx: Ctx, request: Request) -> BuyerView:
    """Add a buyer; active unless a wire is awaited."""
    new: NewBuyer = request.body
    status = new.status or ("pending_wire" if new.payment_method == "wire" else "active")
    values = values_of(new, status=status, owner=request.owner)
    return view(await create(ctx, request, values))


async def create(ctx: Ctx, request: Request, values: dict[str, object]) -> Buyer:
    """Add the buyer; raises the problem to answer where the rules refuse."""
    try:
        async with ctx.db.transaction() as tx:
            return await desk.create(ctx, tx, values, actor=request.identity.subject)
    except desk.NotPossible as error:
        raise refusal(error) from None


async def list_buyers(ctx: Ctx, request: Request) -> Page[BuyerView]:
    """List buyers, newest first."""
    query: Wanted = request.query
    wallet = None if query.wallet is None else wallet_in({"wallet": query.wallet})
    columns = {"wallet": wallet, "tier": query.tier, "status": query.status, "owner": request.owner}
    after = decode_cursor(request, query.cursor, datetime, str)
    rows = await lists.buyers(ctx.db.read, columns, after and (after[0], after[1]), query.limit + 1)
    return page_of(request, rows, query.limit, item=view, key=lambda row: (row.created_at, row.id))


async def get_buyer(ctx: Ctx, request: Request) -> BuyerView:
    """Return one buyer."""
    return view(seen_by(request, await buyers.get(ctx.db, request.path["id"]), "such buyer"))


async def get_by_license(ctx: Ctx, request: Request) -> BuyerView:
    """Return the buyer of a license."""
    license_id = license_in(request.path["licenseId"])
    return view(seen_by(request, await buyers.of_license(ctx.db, license_id), "such license"))


async def get_by_wallet(ctx: Ctx, request: Request) -> list[BuyerView]:
    """Return the buyers of a wallet."""
    return [view(one) for one in await buyers.of_wallet(ctx.db, wallet_in(request.path), request.owner)]


async def get_history(ctx: Ctx, request: Request) -> dict[str, object]:
    """Return what happened to a buyer."""
    buyer = seen_by(request, await buyers.get(ctx.db, request.path["id"]), "such buyer")
    return {"items": [dict(row) for row in await buyers.history(ctx.db, buyer.id)]}


async def edit_buyer(ctx: Ctx, request: Request) -> BuyerView:
    """Change a buyer's status by the rules, or its details; the wallet until a mint was signed for it."""
    edit: Edit = request.body
    found = seen_by(request, await buyers.get(ctx.db, request.path["id"]), "such buyer")
    try:
        async with ctx.db.transaction() as tx:
            buyer = seen_by(request, await buyers.locked(tx, found.license_id), "such buyer")
            buyer = await _change_details(ctx, tx, request, buyer, edit)
            if edit.status is not None and edit.status != buyer.status:
                buyer = await _change_status(ctx, tx, request, buyer, edit)
    except desk.NotPossible as error:
        raise refusal(error) from None
    return view(buyer)


async def _change_status(ctx: Ctx, tx: Transaction, request: Request, buyer: Buyer, edit: Edit) -> Buyer:
    actor, reason = request.identity.subject, edit.reason or "changed by hand"
    if edit.status == "active":
        return await desk.activate(ctx, tx, buyer, actor=actor, reason=reason)
    assert edit.status is not None
    return await desk.leave(ctx, tx, buyer, edit.status, actor=actor, reason=reason)


async def _change_details(ctx: Ctx, tx: Transaction, request: Request, buyer: Buyer, edit: Edit) -> Buyer:
    wallet = buyer.wallet
    if edit.wallet is not None:
        try:
            wallet = check_wallet(edit.wallet)
        except BadWallet as error:
            raise BadRequest(f"the wallet {error}") from None
    details = {
        "wallet": wallet,
        "email": buyer.email if edit.email is msgspec.UNSET else edit.email,
        "name": buyer.name if edit.name is msgspec.UNSET else edit.name,
        "next_step": buyer.next_step if edit.next_step is None else edit.next_step,
        "receipt": buyer.receipt_sent if edit.receipt_sent is None else edit.receipt_sent,
    }
    now = (buyer.wallet, buyer.email, buyer.name, buyer.next_step, buyer.receipt_sent)
    if tuple(details.values()) == now:
        return buyer
    if wallet != buyer.wallet:
        if buyer.tx_hash is not None or await intents.was_sent_on(tx, buyer.license_id):
            raise Conflict(
                "a mint for the present wallet is signed already; the wallet cannot change any more"
            )
        await intents.move(tx, buyer.license_id, wallet)
    changed = await buyers.change(tx, buyer.id, **details)  # type: ignore[arg-type]
    await ctx.audit.record(
        tx, actor=request.identity.subject, action="buyer.edited", subject=buyer.id, owner=buyer.owner,
        detail={"wallet": wallet} if wallet != buyer.wallet else {"details": True},
    )  # fmt: skip
    return changed


def _read(path: str, handler: object, summary: str, **more: object) -> Route:
    both = {"path": f"/api/v1{path}", "aliases": (f"/api{path}",)}
    return Route(method="GET", handler=handler, scope="mint:read", summary=summary, **both, **more)  # type: ignore[arg-type]


ROUTES = [
    Route(
        method="POST", path="/api/v1/buyers", aliases=("/api/buyers",), handler=add_buyer, scope="mint:write",
        body=NewBuyer, returns=BuyerView, status=201, idempotent=True, summary="Add a buyer",
    ),
    _read("/buyers", list_buyers, "List buyers", query=Wanted, returns=Page[BuyerView]),
    _read("/buyers/{id}", get_buyer, "Read a buyer", returns=BuyerView),
    _read("/buyers/{id}/history", get_history, "What happened to a buyer"),
    _read("/buyers/wallet/{wallet}", get_by_wallet, "Buyers of a wallet", returns=list[BuyerView]),
    _read("/buyers/license/{licenseId}", get_by_license, "Buyer of a license", returns=BuyerView),
    Route(
        method="PATCH", path="/api/v1/buyers/{id}", aliases=("/api/buyers/{id}",), handler=edit_buyer,
        scope="mint:write", body=Edit, returns=BuyerView, summary="Edit a buyer",
    ),
]  # fmt: skip
