"""What Paysafe's event names mean: kind of thing, its state, how urgent, and which caches it touches.

The names are those of Paysafe's pages, its own plugins and SDKs, and of the systems wharfd replaces. A name
that is not listed is read by its pattern, marked as not known, and never refused.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple


class Kind(StrEnum):
    """What an event is about."""

    PAYMENT = "payment"
    RETURN = "return"
    REFUND = "refund"
    PAYOUT = "payout"
    SETTLEMENT = "settlement"
    HANDLE = "handle"
    VERIFICATION = "verification"
    DISPUTE = "dispute"
    MANDATE = "mandate"
    ACCOUNT = "account"
    WALLET = "wallet"
    TEST = "test"
    UNKNOWN = "unknown"


class Status(StrEnum):
    """The state of a payment, refund, payout or settlement, in wharfd's words."""

    RECEIVED = "RECEIVED"
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    HELD = "HELD"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    COMPLETED = "COMPLETED"
    CLEARED = "CLEARED"
    RETURNED = "RETURNED"


class AccountStatus(StrEnum):
    """The state of a merchant account, as Paysafe names it."""

    SUBMITTED = "SUBMITTED"
    WAITING = "WAITING"
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    DEFERRED = "DEFERRED"
    RETURNED = "RETURNED"
    APPROVED = "APPROVED"
    ENABLED = "ENABLED"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"
    DISABLED = "DISABLED"


class Meaning(NamedTuple):
    """How one event is to be taken. `priority` is the work queue's: lower goes first."""

    kind: Kind
    status: Status | None
    account_status: AccountStatus | None
    known: bool
    priority: int
    tags: tuple[str, ...]


# Payment events first (N8); the numbers leave room between them.
_PRIORITY = {
    Kind.PAYMENT: 10,
    Kind.RETURN: 10,
    Kind.REFUND: 20,
    Kind.PAYOUT: 20,
    Kind.DISPUTE: 20,
    Kind.SETTLEMENT: 30,
    Kind.ACCOUNT: 40,
    Kind.HANDLE: 50,
    Kind.TEST: 200,
}
_ANALYTICS = ("analytics",)
_MONEY = ("transactions", "analytics")
_ALL = ("transactions", "accounts", "analytics")
_TAGS: dict[Kind, tuple[str, ...]] = {
    Kind.PAYMENT: _MONEY,
    Kind.RETURN: _MONEY,
    Kind.REFUND: _MONEY,
    Kind.PAYOUT: _MONEY,
    Kind.SETTLEMENT: _MONEY,
    Kind.ACCOUNT: ("accounts",),
    Kind.TEST: (),
}

# Longest first, so that PAYMENT_HANDLE_ is not taken for PAYMENT_. A name ends in its state.
_FAMILIES = (
    ("AP_PAYMENT_RETURN_", Kind.RETURN),
    ("PAYMENT_HANDLE_", Kind.HANDLE),
    ("PAYMENT_RETURN_", Kind.RETURN),
    ("VERIFICATION_", Kind.VERIFICATION),
    ("SETTLEMENT_", Kind.SETTLEMENT),
    ("DD_PAYMENT_", Kind.PAYMENT),
    ("DD_MANDATE_", Kind.MANDATE),
    ("AP_PAYMENT_", Kind.PAYMENT),
    ("AP_REFUND_", Kind.REFUND),
    ("SA_CREDIT_", Kind.PAYOUT),
    ("MANDATE_", Kind.MANDATE),
    ("PAYMENT_", Kind.PAYMENT),
    ("REFUND_", Kind.REFUND),
    ("ACCT_", Kind.ACCOUNT),
)

# States as the provider spells them in names and in `payload.status`.
_STATES = {
    "INITIATED": Status.RECEIVED,
    "RECEIVED": Status.RECEIVED,
    "PAYABLE": Status.PENDING,
    "PENDING": Status.PENDING,
    "PROCESSING": Status.PROCESSING,
    "HELD": Status.HELD,
    "EXPIRED": Status.EXPIRED,
    "DELETED": Status.CANCELLED,
    "CANCELLED": Status.CANCELLED,
    "CANCELED": Status.CANCELLED,
    "FAILED": Status.FAILED,
    "DECLINED": Status.FAILED,
    "ERRORED": Status.FAILED,
    "ERROR": Status.FAILED,
    "COMPLETED": Status.COMPLETED,
    "CLEARED": Status.CLEARED,
    "RETURNED": Status.RETURNED,
}

_DOCUMENTED = {
    "PAYMENT_HANDLE_": "INITIATED PROCESSING PAYABLE COMPLETED FAILED EXPIRED ERRORED DELETED",
    "PAYMENT_": "RECEIVED PROCESSING PENDING HELD COMPLETED FAILED CANCELLED EXPIRED ERRORED",
    "PAYMENT_RETURN_": "COMPLETED",
    "SETTLEMENT_": "RECEIVED PENDING PROCESSING COMPLETED FAILED CANCELLED CLEARED",
    "REFUND_": "PENDING COMPLETED FAILED CANCELLED ERRORED",
    "SA_CREDIT_": "PENDING HELD COMPLETED FAILED CANCELLED ERRORED",
    "AP_PAYMENT_": "COMPLETED FAILED PENDING CANCELLED",
    "ACCT_": " ".join(AccountStatus),
}
KNOWN_NAMES = frozenset(prefix + state for prefix, states in _DOCUMENTED.items() for state in states.split())

_CATEGORIES = {
    "PAYMENT": Kind.PAYMENT,
    "PAYMENT_RETURN": Kind.RETURN,
    "PAYMENT_HANDLE": Kind.HANDLE,
    "SETTLEMENT": Kind.SETTLEMENT,
    "REFUND": Kind.REFUND,
    "STANDALONE_CREDIT": Kind.PAYOUT,
    "SA_CREDIT": Kind.PAYOUT,
    "VERIFICATION": Kind.VERIFICATION,
}


def normalise_name(name: str) -> str:
    """Return the one spelling of an event name: upper case, underscores, RETURN for RETURNED.

    Paysafe's tables say PAYMENT_RETURNED_COMPLETED and its examples PAYMENT_RETURN_COMPLETED.
    """
    text = name.strip().upper().replace(".", "_").replace("-", "_").replace(" ", "_")
    return text.replace("PAYMENT_RETURNED_", "PAYMENT_RETURN_", 1)


def read_status(text: str | None) -> Status | None:
    """Return wharfd's word for a status as the provider writes it; None when it is none of the known."""
    return _STATES.get(text.strip().upper()) if text else None


def read_account_status(text: str | None) -> AccountStatus | None:
    """Return the account status for Paysafe's word, in any case; None when it is none of the known."""
    try:
        return AccountStatus(text.strip().upper()) if text else None
    except ValueError:
        return None


def interpret(name: str, category: str | None = None, payload_status: str | None = None) -> Meaning:
    """Say what an event means, by its normalised name, else its resource category, else not at all.

    The name's own state counts before `payload.status`; for a return the state is RETURNED once it completed.
    """
    # Real words are few and short and come again and again; only those are remembered.
    if len(name) + len(category or "") + len(payload_status or "") <= _MAX_REMEMBERED:
        return _remembered(name, category, payload_status)
    return _interpret(name, category, payload_status)


def _interpret(name: str, category: str | None, payload_status: str | None) -> Meaning:
    kind, ending = _family(name)
    if kind is Kind.UNKNOWN and not name:
        kind = _CATEGORIES.get((category or "").upper(), Kind.UNKNOWN)
    known = name in KNOWN_NAMES or kind is Kind.TEST
    priority = _PRIORITY.get(kind, 100)
    if kind is Kind.ACCOUNT:
        account_status = read_account_status(ending) or read_account_status(payload_status)
        return Meaning(kind, None, account_status, known, priority, _TAGS[kind])
    status = read_status(ending) or read_status(payload_status)
    if kind is Kind.RETURN:
        status = Status.RETURNED if status in (Status.COMPLETED, Status.RETURNED) else None
    if kind not in _TRANSACTIONS:
        status = None
    failed = "ERROR" in name or "FAIL" in name
    return Meaning(kind, status, None, known, priority, _ALL if failed else _TAGS.get(kind, _ANALYTICS))


_MAX_REMEMBERED = 120
_remembered = lru_cache(maxsize=1024)(_interpret)
_TRANSACTIONS = frozenset({Kind.PAYMENT, Kind.RETURN, Kind.REFUND, Kind.PAYOUT, Kind.SETTLEMENT})


def _family(name: str) -> tuple[Kind, str]:
    if name == "TEST":
        return Kind.TEST, ""
    # Names of these are not documented for every product: they are recognised, kept, and change no state.
    if "CHARGEBACK" in name or "DISPUTE" in name:
        return Kind.DISPUTE, ""
    for prefix, kind in _FAMILIES:
        if name.startswith(prefix):
            return kind, name[len(prefix) :]
    if name == "IBAN_ASSIGNED":
        return Kind.WALLET, ""
    return Kind.UNKNOWN, ""


# What callers of the old dashboard know: four states of a transaction, five of an account.
OLD_STATUS = {
    Status.RECEIVED: "PENDING",
    Status.PENDING: "PENDING",
    Status.PROCESSING: "PENDING",
    Status.HELD: "PENDING",
    Status.EXPIRED: "CANCELLED",
    Status.CANCELLED: "CANCELLED",
    Status.FAILED: "FAILED",
    Status.RETURNED: "FAILED",
    Status.COMPLETED: "COMPLETED",
    Status.CLEARED: "COMPLETED",
}
OLD_ACCOUNT_STATUS = {
    AccountStatus.SUBMITTED: "PENDING",
    AccountStatus.WAITING: "PENDING",
    AccountStatus.PENDING: "PENDING",
    AccountStatus.PROCESSING: "IN_REVIEW",
    AccountStatus.DEFERRED: "IN_REVIEW",
    AccountStatus.RETURNED: "IN_REVIEW",
    AccountStatus.APPROVED: "APPROVED",
    AccountStatus.ENABLED: "APPROVED",
    AccountStatus.REJECTED: "REJECTED",
    AccountStatus.WITHDRAWN: "REJECTED",
    AccountStatus.DISABLED: "SUSPENDED",
}
ONBOARDING_STAGE = {
    AccountStatus.SUBMITTED: "KYC",
    AccountStatus.WAITING: "DOCUMENTS",
    AccountStatus.RETURNED: "DOCUMENTS",
    AccountStatus.PENDING: "VERIFICATION",
    AccountStatus.PROCESSING: "VERIFICATION",
    AccountStatus.DEFERRED: "VERIFICATION",
    AccountStatus.APPROVED: "SETUP",
    AccountStatus.ENABLED: "COMPLETE",
    AccountStatus.DISABLED: "COMPLETE",
}
