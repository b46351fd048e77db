"""Wires: a buyer who pays by bank transfer waits until somebody says that the money is here."""

from __future__ import annotations

import msgspec

from wharfd import BadRequest, PluginContext, Request, Route

from .. import desk
from ..config import Settings
from ..store import buyers
from .buyers import create
from .shapes import BuyerView, NewBuyer, license_in, refusal, seen_by, values_of, view

Ctx = PluginContext[Settings]


class Activate(msgspec.Struct, rename="camel"):
    """Whose wire has arrived."""

    license_id: str


class Wired(msgspec.Struct, rename="camel"):
    """A buyer that waits for its wire, and what it has to do."""

    success: bool
    license_id: str
    instructions: str
    buyer: BuyerView


class Activated(msgspec.Struct, rename="camel"):
    """How an activation went; `txHash` is there when the token is."""

    success: bool
    message: str
    license_id: str
    tx_hash: str | None
    buyer: BuyerView


async def begin_wire(ctx: Ctx, request: Request) -> Wired:
    """Add a buyer who pays by wire."""
    new: NewBuyer = request.body
    new.payment_method = new.payment_method or "wire"
    buyer = await create(ctx, request, values_of(new, status="pending_wire", owner=request.owner))
    return Wired(True, buyer.license_id, ctx.settings.wire_instructions, view(buyer))


async def activate_wire(ctx: Ctx, request: Request) -> Activated:
    """Activate a buyer whose wire is here; for one that is active, try its mint again if it has no token."""
    body: Activate = request.body
    return await _activate(ctx, request, body.license_id)


async def activate_wire_in_path(ctx: Ctx, request: Request) -> Activated:
    """The same, as older callers have it."""
    return await _activate(ctx, request, request.path["licenseId"])


async def _activate(ctx: Ctx, request: Request, text: str) -> Activated:
    license_id = license_in(text)
    try:
        async with ctx.db.transaction() as tx:
            before = seen_by(request, await buyers.locked(tx, license_id), "such license")
            if before.status not in ("pending_wire", "active"):
                raise BadRequest(f"license {license_id} is {before.status}, not waiting for a wire")
            actor = request.identity.subject
            buyer = await desk.activate(ctx, tx, before, actor=actor, reason="the wire is here")
            if before.status == "active":
                await ctx.audit.record(
                    tx, actor=actor, action="mint.retried", subject=license_id, owner=buyer.owner,
                    detail={"minted": buyer.tx_hash is not None},
                )  # fmt: skip
    except desk.NotPossible as error:
        raise refusal(error) from None
    message = "active; its token is being minted"
    if buyer.tx_hash is not None:
        message = "minted already"
    elif before.status == "active":
        message = "active already; its mint is tried again"
    return Activated(True, message, license_id, buyer.tx_hash, view(buyer))


ROUTES = [
    Route(
        method="POST", path="/api/v1/wire-transfer", aliases=("/api/wire-transfer",), handler=begin_wire,
        scope="mint:write", body=NewBuyer, returns=Wired, status=201, idempotent=True,
        summary="Add a buyer who pays by wire",
    ),
    Route(
        method="POST", path="/api/v1/activate-wire", aliases=("/api/activate-wire",), handler=activate_wire,
        scope="mint:activate", body=Activate, returns=Activated, summary="The wire of a license is here",
    ),
    Route(
        method="POST", path="/api/v1/activate-wire-transfer/{licenseId}",
        aliases=("/api/activate-wire-transfer/{licenseId}",), handler=activate_wire_in_path,
        scope="mint:activate", returns=Activated, deprecated=True, summary="The same, the older path",
    ),
]  # fmt: skip
