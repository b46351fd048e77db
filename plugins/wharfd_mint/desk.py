"""What happens to buyers: they come, pay, are refunded, or never pay. Each step is one transaction.

Whoever becomes active has a mint in the same commit. Rows are locked in one order: buyer, tier, mint.
"""

from __future__ import annotations

from typing import Any

from wharfd import PluginContext, Transaction, new_id

from .config import Settings
from .model.licenses import new_license
from .store import buyers, intents
from .store.buyers import Buyer

MOVES = {
    "pending_wire": ("active", "expired"),
    "active": ("refunded",),
    "expired": ("pending_wire", "active"),
    "refunded": (),
}


class NotPossible(Exception):
    """A step that the rules refuse; `why` is for machines, the text for people."""

    def __init__(self, why: str, message: str) -> None:
        self.why = why
        super().__init__(message)


def _full(tier: str) -> NotPossible:
    return NotPossible("full", f"tier {tier} is sold out")


async def create(
    ctx: PluginContext[Settings],
    tx: Transaction,
    values: dict[str, Any],
    *,
    actor: str,
    minted: str | None = None,
) -> Buyer:
    """Add a buyer, `active` or `pending_wire`; takes a place in the tier and starts the mint where active.

    `minted` is the transaction of a buyer that has its token from elsewhere.
    """
    settings, tier = ctx.settings, values["tier"]
    if tier not in settings.tiers:
        known = ", ".join(sorted(settings.tiers)) or "none"
        raise NotPossible("tier", f"there is no tier {tier!r}; there are: {known}")
    given = values.get("license_id")
    license_id = given or new_license(settings.license_prefix, settings.license_digits)
    active = values["status"] == "active"
    holds = active or settings.wires_hold_places
    offer = settings.tiers[tier]
    row = {
        **values,
        "id": new_id("buy"),
        "license_id": license_id,
        "holds_place": holds,
        "price": values.get("price") if values.get("price") is not None else offer.price,
        "currency": values.get("currency") or offer.currency,
        "next_step": "mint" if active else "wire",
    }
    buyer = await buyers.add(tx, row)
    if buyer is None:
        raise NotPossible("taken", f"license {license_id} has a buyer already")
    if holds and not await buyers.take_place(tx, tier):
        raise _full(tier)
    await buyers.note(tx, buyer.id, buyer.status, actor, "created")
    if minted is not None:
        await intents.take_over(tx, buyer, settings.minting, minted)
    elif active:
        await start_mint(ctx, tx, buyer, revive=False)
    await _audit(ctx, tx, buyer, actor, "buyer.created", {"tier": tier, "status": buyer.status})
    return buyer


async def activate(
    ctx: PluginContext[Settings],
    tx: Transaction,
    buyer: Buyer,
    *,
    actor: str,
    reason: str,
    payment_ref: str | None = None,
) -> Buyer:
    """Make a buyer active and start the mint. `buyer` is locked. Doing it twice is doing it once.

    For one that is active and has no token it is a retry: a mint that waits for a person goes on.
    """
    if buyer.status == "active":
        if buyer.tx_hash is None:
            await start_mint(ctx, tx, buyer, revive=True)
        return buyer
    _check_move(buyer, "active")
    if not buyer.holds_place and not await buyers.take_place(tx, buyer.tier):
        raise _full(buyer.tier)
    changed = await buyers.set_status(
        tx,
        buyer,
        "active",
        holds_place=True,
        actor=actor,
        reason=reason,
        next_step="mint",
        payment_ref=payment_ref,
    )
    await start_mint(ctx, tx, changed, revive=True)
    await _audit(ctx, tx, changed, actor, "buyer.activated", {"reason": reason, "payment": payment_ref})
    return changed


async def leave(
    ctx: PluginContext[Settings], tx: Transaction, buyer: Buyer, status: str, *, actor: str, reason: str
) -> Buyer:
    """Make a buyer refunded or expired, or wait for its wire again; its place and its mint follow."""
    if buyer.status == status:
        return buyer
    _check_move(buyer, status)
    holds = status == "pending_wire" and ctx.settings.wires_hold_places
    if buyer.holds_place and not holds:
        await buyers.give_place_back(tx, buyer.tier)
    elif holds and not buyer.holds_place and not await buyers.take_place(tx, buyer.tier):
        raise _full(buyer.tier)
    step = "wire" if status == "pending_wire" else ""
    changed = await buyers.set_status(
        tx, buyer, status, holds_place=holds, actor=actor, reason=reason, next_step=step
    )
    await intents.hurry(tx, buyer.license_id, revive=True)
    ctx.work.wake(tx, "intents")
    await _audit(ctx, tx, changed, actor, f"buyer.{status}", {"reason": reason, "was": buyer.status})
    return changed


async def start_mint(ctx: PluginContext[Settings], tx: Transaction, buyer: Buyer, *, revive: bool) -> None:
    """Make sure the buyer's license is being minted."""
    await intents.ensure(tx, buyer, ctx.settings.minting, revive=revive)
    await intents.hurry(tx, buyer.license_id)
    ctx.work.wake(tx, "intents")


def _check_move(buyer: Buyer, status: str) -> None:
    if status not in MOVES[buyer.status]:
        raise NotPossible("move", f"buyer {buyer.id} is {buyer.status} and cannot become {status}")


async def _audit(
    ctx: PluginContext[Settings],
    tx: Transaction,
    buyer: Buyer,
    actor: str,
    action: str,
    detail: dict[str, Any],
) -> None:
    await ctx.audit.record(
        tx, actor=actor, action=action, subject=buyer.id, owner=buyer.owner,
        detail={"license": buyer.license_id, **detail},
    )  # fmt: skip
