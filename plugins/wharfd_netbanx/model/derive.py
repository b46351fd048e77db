"""From events to transactions: what one event changes, and what the world should be told of it.

`read_change` says which transaction an event is about, `apply` folds it in. The result does not depend on
the order of events nor on repeats (see `ordering`): a late PROCESSING never undoes COMPLETED, a RETURN does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from wharfd.contracts.payments import PaymentEvent, PaymentFailed, PaymentReceived, PaymentRefunded

from .envelope import Envelope, short_text
from .identity import Identity
from .money import MAX_MINOR
from .ordering import Offer, happened_at, settle, stamp
from .vocabulary import Kind, Status

Type = Literal["PAYMENT", "REFUND", "PAYOUT", "SETTLEMENT"]

_TYPES: dict[Kind, Type] = {
    Kind.PAYMENT: "PAYMENT",
    Kind.RETURN: "PAYMENT",
    Kind.REFUND: "REFUND",
    Kind.PAYOUT: "PAYOUT",
    Kind.SETTLEMENT: "SETTLEMENT",
}

# Open states give way to settled ones whatever their times say; among equals the later time wins, and at
# one and the same time the higher rank.
STAGES = {
    Status.RECEIVED: (0, 10),
    Status.PENDING: (0, 20),
    Status.PROCESSING: (0, 30),
    Status.HELD: (0, 40),
    Status.EXPIRED: (1, 10),
    Status.CANCELLED: (1, 20),
    Status.FAILED: (1, 30),
    Status.COMPLETED: (1, 40),
    Status.CLEARED: (2, 10),
    Status.RETURNED: (3, 10),
}
_MAX_METADATA = 24
_NO_METADATA = frozenset(
    {
        *("accountId", "id", "merchantRefNum", "amount", "currencyCode", "currency", "status", "paymentType"),
        *("description", "txnTime", "statusTime", "updatedTime", "settlementStatus", "paymentId"),
        *("settlementId", "customerIp", "paymentHandleToken", "email", "phone"),
    }
)
_FAILURES = frozenset({Status.FAILED, Status.CANCELLED, Status.EXPIRED, Status.RETURNED})


class TransactionChange(msgspec.Struct, frozen=True):
    """What one event says about one transaction."""

    source: str
    type: Type
    external_id: str
    happened_at: datetime
    created_at: datetime
    offers: tuple[Offer, ...]


class Transaction(msgspec.Struct, frozen=True):
    """A payment, refund, payout or settlement as known so far. `amount` is in minor units of `currency`.

    (`source`, `type`, `external_id`) identify it: a settlement may share its payment's id.
    """

    source: str
    type: Type
    external_id: str
    created_at: datetime
    status: Status | None = None
    status_at: datetime | None = None
    amount: int | None = None
    currency: str | None = None
    merchant_ref: str | None = None
    method: str | None = None
    description: str | None = None
    account_id: str | None = None
    parent_id: str | None = None
    settlement_status: str | None = None
    reason: str = ""
    mode: str | None = None
    metadata: dict[str, Any] = {}
    stamps: dict[str, str] = {}


def read_change(
    source: str, envelope: Envelope, identity: Identity, received_at: datetime
) -> TransactionChange | None:
    """Return what the event changes; None when it is about no transaction (or does not say which)."""
    meaning, payload = envelope.meaning, envelope.payload
    kind = _TYPES.get(meaning.kind)
    returned = meaning.kind is Kind.RETURN
    # A return has an id of its own; the payment that bounced stands in paymentId.
    external_id = short_text(payload.get("paymentId") if returned else envelope.resource_id)
    if kind is None or external_id is None:
        return None
    at = happened_at(envelope, received_at)
    # What a return repeats of its payment counts only while the payment itself has not been heard of.
    fact = stamp(stage=0 if returned else 1, at=at, rank=0, content=identity.content)
    offers = [Offer(name, value, fact) for name, value in _facts(envelope, payload).items()]
    if meaning.status is not None:
        stage, rank = STAGES[meaning.status]
        mark = stamp(stage=stage, at=at, rank=rank, content=identity.content)
        offers += [Offer("status", meaning.status, mark), Offer("status_at", at, mark)]
        failed = meaning.status in _FAILURES
        # Empty text is an offer: a payment that came good after all carries no old reason along.
        offers.append(Offer("reason", (_reason(payload) or meaning.status.lower()) if failed else "", mark))
    created = envelope.txn_time if envelope.txn_time and not returned else at
    return TransactionChange(source, kind, external_id, at, min(created, at), tuple(offers))


def apply(state: Transaction | None, change: TransactionChange) -> Transaction:
    """Fold one change into what is known; folding it in again changes nothing."""
    if state is None:
        state = Transaction(change.source, change.type, change.external_id, change.created_at)
    values, stamps = settle(state.stamps, change.offers)
    created = min(state.created_at, change.created_at)
    if not values and created == state.created_at:
        return state
    return msgspec.structs.replace(state, created_at=created, stamps=stamps, **values)


def announce(
    before: Transaction | None,
    after: Transaction,
    *,
    transaction_id: str,
    source_event_id: str,
    owner: str | None,
) -> PaymentEvent | None:
    """Return the event to publish when the state has just become one the business cares about."""
    if after.status is None or (before is not None and before.status is after.status):
        return None
    facts: dict[str, Any] = {
        "owner": owner,
        "subject": transaction_id,
        "transaction_id": transaction_id,
        "external_id": after.external_id,
        "merchant_ref": after.merchant_ref,
        "amount": after.amount,
        "currency": after.currency,
        "status": after.status.value,
        "method": after.method,
        "source": after.source,
        "source_event_id": source_event_id,
        "happened_at": after.status_at,
    }
    if after.type == "REFUND" and after.status is Status.COMPLETED:
        return PaymentRefunded(**facts)
    if after.type != "PAYMENT":
        return None
    if after.status is Status.COMPLETED:
        return PaymentReceived(**facts)
    if after.status in _FAILURES:
        return PaymentFailed(**facts, reason=after.reason)
    return None


def read_amount(value: Any) -> int | None:
    """Read an amount in minor units; None for anything that is not a whole number a column can hold."""
    if isinstance(value, str) and value.isascii() and value.removeprefix("-").isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_MINOR:
        return None
    return value


def read_currency(value: Any) -> str | None:
    """Read a currency code; None unless it is three letters."""
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha():
        return value.upper()
    return None


def _facts(envelope: Envelope, payload: dict[str, Any]) -> dict[str, Any]:
    method = short_text(payload.get("paymentType"))
    if method is None and ("card" in payload or "cardType" in payload):
        method = "CARD"
    return {
        "amount": read_amount(payload.get("amount")),
        "currency": read_currency(payload.get("currencyCode") or payload.get("currency")),
        "merchant_ref": short_text(payload.get("merchantRefNum")),
        "method": method,
        "description": short_text(payload.get("description")),
        "account_id": short_text(payload.get("accountId")),
        "parent_id": _parent(envelope, payload),
        "settlement_status": short_text(payload.get("settlementStatus"), 32),
        "mode": short_text(envelope.mode, 16),
        "metadata": _metadata(payload) or None,
    }


def _metadata(payload: dict[str, Any]) -> dict[str, Any]:
    """The plain values of a payload that no column holds: few, short, and nothing that pays or identifies."""
    found: dict[str, Any] = {}
    for key, value in payload.items():
        if len(found) == _MAX_METADATA:
            break
        if key in _NO_METADATA or len(key) > 64 or "\0" in key:
            continue
        if isinstance(value, bool) or (isinstance(value, int) and abs(value) <= MAX_MINOR):
            found[key] = value
        elif isinstance(value, str) and value:
            found[key] = short_text(value)
    return found


def _parent(envelope: Envelope, payload: dict[str, Any]) -> str | None:
    if envelope.meaning.kind in (Kind.PAYMENT, Kind.RETURN):
        return None
    return short_text(payload.get("paymentId")) or short_text(payload.get("settlementId"))


def _reason(payload: dict[str, Any]) -> str | None:
    """The provider's own words for why, from the places they were seen in."""
    for place in ("reason", "statusReason"):
        if text := short_text(payload.get(place)):
            return text
    for place in ("error", "bankResponse", "gatewayResponse"):
        part = payload.get(place)
        if isinstance(part, dict) and (text := short_text(part.get("message"))):
            return text
    return None
