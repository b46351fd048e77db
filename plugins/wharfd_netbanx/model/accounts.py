"""From events to merchant accounts: current status, the way there, and the payment methods that came along.

An account moves back and forth (enabled, disabled, enabled again), so here time alone decides; only at one
and the same time does the further status win.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from wharfd.contracts.payments import AccountStatusChanged

from .envelope import Envelope, short_text
from .identity import Identity
from .ordering import Offer, happened_at, settle, stamp
from .vocabulary import OLD_ACCOUNT_STATUS, ONBOARDING_STAGE, AccountStatus, Kind

_RANKS = {status: rank for rank, status in enumerate(AccountStatus)}
# Payload fields that name a payment method of the account, and the type it is kept under.
_METHODS = {"creditCardId": "CREDIT_CARD", "directDebitId": "DIRECT_DEBIT"}
_FACTS = {
    "merchant_id": ("merchantId", "partnerId"),
    "account_name": ("accountName", "name"),
    "business_name": ("businessName", "legalEntity"),
    "email": ("email",),
    "phone": ("phone",),
    "sub_status": ("subStatus",),
}


class PaymentMethod(msgspec.Struct, frozen=True, order=True):
    """A way to pay or be paid that an account has."""

    type: str
    external_id: str


class HistoryEntry(msgspec.Struct, frozen=True):
    """One status an account was reported in. `key` is the event's identity: an entry is written once."""

    key: bytes
    at: datetime
    status: AccountStatus
    sub_status: str | None
    reason: str | None
    mark: str


class Step(msgspec.Struct, frozen=True):
    """One change of status in the right order, whenever it was heard of."""

    at: datetime
    from_status: AccountStatus | None
    to_status: AccountStatus
    sub_status: str | None
    reason: str | None


class AccountChange(msgspec.Struct, frozen=True):
    """What one event says about one account."""

    source: str
    external_id: str
    happened_at: datetime
    offers: tuple[Offer, ...]
    methods: tuple[PaymentMethod, ...]
    entry: HistoryEntry | None


class Account(msgspec.Struct, frozen=True):
    """A merchant account as known so far; (`source`, `external_id`) identify it."""

    source: str
    external_id: str
    first_seen_at: datetime
    status: AccountStatus | None = None
    status_at: datetime | None = None
    approved_at: datetime | None = None
    activated_at: datetime | None = None
    merchant_id: str | None = None
    account_name: str | None = None
    business_name: str | None = None
    email: str | None = None
    phone: str | None = None
    sub_status: str | None = None
    mode: str | None = None
    methods: tuple[PaymentMethod, ...] = ()
    stamps: dict[str, str] = {}

    @property
    def old_status(self) -> str | None:
        """The status in the words of the system wharfd replaces."""
        return OLD_ACCOUNT_STATUS[self.status] if self.status else None

    @property
    def onboarding_stage(self) -> str | None:
        """How far the account has come; None where the status says nothing about it."""
        return ONBOARDING_STAGE.get(self.status) if self.status else None


def read_account_change(
    source: str, envelope: Envelope, identity: Identity, received_at: datetime
) -> AccountChange | None:
    """Return what the event changes; None when it is about no account (or does not say which)."""
    meaning, payload = envelope.meaning, envelope.payload
    external_id = short_text(payload.get("accountNumber")) or short_text(envelope.resource_id)
    if meaning.kind is not Kind.ACCOUNT or external_id is None:
        return None
    at = happened_at(envelope, received_at)
    status = meaning.account_status
    mark = stamp(stage=0, at=at, rank=_RANKS[status] if status else 0, content=identity.content)
    facts: dict[str, Any] = {
        field: next(filter(None, (short_text(payload.get(place)) for place in places)), None)
        for field, places in _FACTS.items()
    }
    facts |= {"mode": short_text(envelope.mode, 16), "status": status, "status_at": at if status else None}
    entry = None
    if status is not None:
        reason = short_text(payload.get("reason"))
        entry = HistoryEntry(identity.key, at, status, facts["sub_status"], reason, mark)
    found = ((kind, short_text(payload.get(field))) for field, kind in _METHODS.items())
    return AccountChange(
        source=source,
        external_id=external_id,
        happened_at=at,
        offers=tuple(Offer(field, value, mark) for field, value in facts.items()),
        methods=tuple(PaymentMethod(kind, name) for kind, name in found if name),
        entry=entry,
    )


def apply_account(state: Account | None, change: AccountChange) -> Account:
    """Fold one change into what is known; folding it in again changes nothing."""
    if state is None:
        state = Account(change.source, change.external_id, change.happened_at)
    values, stamps = settle(state.stamps, change.offers)
    status = change.entry.status if change.entry else None
    if status in (AccountStatus.APPROVED, AccountStatus.ENABLED):
        values["approved_at"] = _earliest(state.approved_at, change.happened_at)
    if status is AccountStatus.ENABLED:
        values["activated_at"] = _earliest(state.activated_at, change.happened_at)
    values["first_seen_at"] = min(state.first_seen_at, change.happened_at)
    values["methods"] = tuple(sorted({*state.methods, *change.methods}))
    return msgspec.structs.replace(state, stamps=stamps, **values)


def order_history(entries: Iterable[HistoryEntry]) -> list[Step]:
    """Put the entries of one account in order and leave out those that changed nothing."""
    steps: list[Step] = []
    status: AccountStatus | None = None
    for entry in sorted({entry.key: entry for entry in entries}.values(), key=lambda entry: entry.mark):
        if entry.status is not status:
            steps.append(Step(entry.at, status, entry.status, entry.sub_status, entry.reason))
        status = entry.status
    return steps


def announce_account(
    before: Account | None,
    after: Account,
    *,
    account_id: str,
    source_event_id: str,
    owner: str | None,
) -> AccountStatusChanged | None:
    """Return the event to publish when the account's status has just changed."""
    old = before.status if before is not None else None
    if after.status is None or after.status is old:
        return None
    return AccountStatusChanged(
        owner=owner,
        subject=account_id,
        account_id=account_id,
        external_id=after.external_id,
        old_status=old.value if old else None,
        new_status=after.status.value,
        source_event_id=source_event_id,
    )


def _earliest(known: datetime | None, moment: datetime) -> datetime:
    return moment if known is None else min(known, moment)
