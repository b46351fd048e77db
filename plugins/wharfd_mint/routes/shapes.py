"""What goes in and out: camelCase as older callers have it, money as `priceUsd` beside minor units."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from wharfd import BadRequest, FieldError, Forbidden, HttpProblem, NotFound, Record, Request

from .. import desk
from ..model.licenses import BadLicense, check_license
from ..model.wallets import BadWallet, check_wallet
from ..store.buyers import Buyer

# PostgreSQL keeps no zero byte.
Text = Annotated[str, msgspec.Meta(max_length=200, pattern="^[^\\x00]*$")]
Minor = Annotated[int, msgspec.Meta(ge=0, le=10**15)]


class NewBuyer(msgspec.Struct, rename="camel"):
    """A buyer to add. Without `licenseId` one is made up; `price` is in minor units."""

    wallet: str
    tier: str
    license_id: str | None = None
    status: Literal["active", "pending_wire"] | None = None
    price: Minor | None = None
    price_usd: Annotated[float, msgspec.Meta(ge=0, le=10**12)] | None = None
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")] | None = None
    payment_method: Text = ""
    payment_ref: Text | None = None
    email: Text | None = None
    name: Text | None = None


class BuyerView(msgspec.Struct, rename="camel", kw_only=True):
    """A buyer as callers see it."""

    id: str
    license_id: str
    wallet: str
    tier: str
    price_usd: float | int | None
    price: int | None
    currency: str
    payment_method: str
    status: str
    tx_hash: str | None
    token_id: str | None
    email: str | None
    name: str | None
    next_step: str
    receipt_sent: bool
    created_at: datetime
    updated_at: datetime
    delivered_at: datetime | None


def view(buyer: Buyer) -> BuyerView:
    """Return a buyer as callers see it."""
    return BuyerView(
        id=buyer.id,
        license_id=buyer.license_id,
        wallet=buyer.wallet,
        tier=buyer.tier,
        price_usd=in_dollars(buyer.price) if buyer.currency == "USD" else None,
        price=buyer.price,
        currency=buyer.currency,
        payment_method=buyer.payment_method,
        status=buyer.status,
        tx_hash=buyer.tx_hash,
        token_id=buyer.token_id,
        email=buyer.email,
        name=buyer.name,
        next_step=buyer.next_step,
        receipt_sent=buyer.receipt_sent,
        created_at=buyer.created_at,
        updated_at=buyer.updated_at,
        delivered_at=buyer.delivered_at,
    )


def shown(row: Record) -> dict[str, Any]:
    """Return a row as callers see it: with names in camelCase."""
    return {camel(name): value for name, value in row.items()}


def camel(name: str) -> str:
    """Write `license_id` as `licenseId`."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def in_dollars(cents: int | None) -> float | int | None:
    """Write cents the way the older system did: whole dollars as a whole number."""
    if cents is None:
        return None
    return cents // 100 if cents % 100 == 0 else cents / 100


def values_of(new: NewBuyer, *, status: str, owner: str | None) -> dict[str, Any]:
    """Check a new buyer; raises a 400 that names every wrong field."""
    errors = []
    wallet = license_id = ""
    try:
        wallet = check_wallet(new.wallet)
    except BadWallet as error:
        errors.append(FieldError("wallet", str(error)))
    if new.license_id is not None:
        try:
            license_id = check_license(new.license_id)
        except BadLicense as error:
            errors.append(FieldError("licenseId", str(error)))
    if new.email is not None and not _looks_like_mail(new.email):
        errors.append(FieldError("email", "is no e-mail address"))
    if new.price is not None and new.price_usd is not None:
        errors.append(FieldError("priceUsd", "give price or priceUsd, not both"))
    if errors:
        raise BadRequest("the buyer cannot be added as it is", errors=errors)
    price = new.price if new.price_usd is None else round(new.price_usd * 100)
    return {
        "wallet": wallet,
        "license_id": license_id or None,
        "tier": new.tier,
        "status": status,
        "price": price,
        "currency": "USD" if new.price_usd is not None else new.currency,
        "payment_method": new.payment_method,
        "payment_ref": new.payment_ref,
        "email": new.email,
        "name": new.name,
        "owner": owner,
    }


def _looks_like_mail(text: str) -> bool:
    name, at, domain = text.partition("@")
    plain = text.isprintable() and not any(mark in text for mark in " ,;<>\"'()")
    return bool(name and at and "." in domain and plain)


def refusal(error: desk.NotPossible) -> HttpProblem:
    """Return the answer for a step the rules refuse: 403 when sold out, 400 for the rest."""
    if error.why == "full":
        return Forbidden(str(error))
    return BadRequest(str(error), code=error.why)


def seen_by(request: Request, buyer: Buyer | None, what: str) -> Buyer:
    """Return the buyer when it is there and the caller's own to see; 404 otherwise."""
    if buyer is None or (request.owner is not None and buyer.owner != request.owner):
        raise NotFound(f"there is no {what}")
    return buyer


def wallet_in(path: Mapping[str, str]) -> str:
    """Return the wallet of a path; 400 for what is none."""
    try:
        return check_wallet(path["wallet"])
    except BadWallet as error:
        raise BadRequest(f"the wallet {error}") from None


def license_in(text: str) -> str:
    """Return a license id; 404 for what cannot be one."""
    try:
        return check_license(text)
    except BadLicense:
        raise NotFound("there is no such license") from None
