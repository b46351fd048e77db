"""Payments that name a license: who paid is active, who got the money back is not."""

from __future__ import annotations

import re

from wharfd import PluginContext, Transaction
from wharfd.contracts.events import Envelope

from . import desk
from .config import Settings
from .model.licenses import BadLicense, check_license
from .model.money import in_words
from .store import buyers, watching
from .store.buyers import Buyer

_ACTOR = "payments"


def license_of(settings: Settings, envelope: Envelope) -> str | None:
    """Return the license a payment is for; None when it is none of ours."""
    rule = settings.payments
    if rule.sources and envelope.data.get("source") not in rule.sources:
        return None
    text = envelope.data.get(rule.license_in)
    match = re.search(rule.pattern, text) if isinstance(text, str) and len(text) <= 300 else None
    if match is None:
        return None
    try:
        return check_license(match["license"])
    except BadLicense:
        return None


async def on_payment(ctx: PluginContext[Settings], envelope: Envelope, tx: Transaction) -> None:
    """Activate the buyer that a payment is for. What does not fit is kept for a person and never lost."""
    license_id = license_of(ctx.settings, envelope)
    if license_id is None:
        return
    buyer = await buyers.locked(tx, license_id)
    outcome, needs_person = await _receive(ctx, tx, license_id, buyer, envelope)
    await _note(ctx, tx, envelope, "received", license_id, outcome, needs_person)


async def _receive(
    ctx: PluginContext[Settings], tx: Transaction, license_id: str, buyer: Buyer | None, envelope: Envelope
) -> tuple[str, bool]:
    payment = envelope.data
    if buyer is None:
        return await _nobody(tx, license_id), True
    wrong = _amount_wrong(ctx.settings, buyer, payment.get("amount"), payment.get("currency"))
    if wrong is not None:
        return wrong, True
    if buyer.status == "active":
        again = buyer.payment_ref is not None and buyer.payment_ref != payment.get("transaction_id")
        return ("paid again" if again else "active already"), again
    reason = f"payment {payment.get('transaction_id')}"
    try:
        # A savepoint: a sold-out tier must not undo the note that the money is here.
        async with tx.savepoint():
            await desk.activate(
                ctx, tx, buyer, actor=_ACTOR, reason=reason, payment_ref=payment.get("transaction_id")
            )
    except desk.NotPossible as error:
        return str(error), True
    return "activated", False


async def _nobody(tx: Transaction, license_id: str) -> str:
    status = await buyers.archived(tx, license_id)
    return "no buyer has this license" if status is None else f"its buyer is {status} and in the archive"


def _amount_wrong(settings: Settings, buyer: Buyer, amount: object, currency: object) -> str | None:
    if not settings.payments.check_amount or buyer.price is None:
        return None
    if not isinstance(amount, int) or currency != buyer.currency:
        return f"paid {in_words(amount, currency)} for a price of {in_words(buyer.price, buyer.currency)}"
    if amount < buyer.price:
        return f"paid {in_words(amount, currency)} of {in_words(buyer.price, buyer.currency)}"
    return None


async def on_refund(ctx: PluginContext[Settings], envelope: Envelope, tx: Transaction) -> None:
    """Make the buyer refunded whose money went back; a part of it is for a person to judge."""
    license_id = license_of(ctx.settings, envelope)
    if license_id is None:
        return
    buyer = await buyers.locked(tx, license_id)
    amount = envelope.data.get("amount")
    if buyer is None:
        outcome, needs_person = await _nobody(tx, license_id), True
    elif buyer.status != "active":
        outcome, needs_person = f"the buyer is {buyer.status}", buyer.status != "refunded"
    elif buyer.price is not None and isinstance(amount, int) and amount < buyer.price:
        part = f"{in_words(amount, buyer.currency)} of {in_words(buyer.price, buyer.currency)}"
        outcome, needs_person = f"a part went back: {part}", True
    else:
        reason = f"refund {envelope.data.get('transaction_id')}"
        await desk.leave(ctx, tx, buyer, "refunded", actor=_ACTOR, reason=reason)
        outcome = "refunded" if buyer.tx_hash is None else "refunded; the token stays with the buyer"
        needs_person = buyer.tx_hash is not None
    await _note(ctx, tx, envelope, "refunded", license_id, outcome, needs_person)


async def _note(
    ctx: PluginContext[Settings],
    tx: Transaction,
    envelope: Envelope,
    kind: str,
    license_id: str,
    outcome: str,
    needs_person: bool,
) -> None:
    data = envelope.data
    await watching.note_payment(
        tx, envelope.id, str(data.get("transaction_id", "")), kind, license_id, data.get("amount"),
        data.get("currency"), outcome[:300], needs_person,
    )  # fmt: skip
    log = ctx.log.warning if needs_person else ctx.log.info
    log("payment_for_license", license=license_id, kind=kind, outcome=outcome)
