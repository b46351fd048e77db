"""Sample deliveries of every documented shape, signed as the provider would sign them.

For `wharfd send`, the load generator and the tests. The shapes follow Paysafe's public pages; every value is
made up. A number makes each sample another event; the same number makes the same event again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec

from .schemes import Signer

# A debit takes six business days to clear: samples begin it then, so that the last step is now.
_DEBITED = -8 * 24 * 60
_METHODS = ("EPS", "PAYSAFECARD", "VENMO", "INTERAC_ETRANSFER")


@dataclass(frozen=True)
class Sample:
    """One delivery, ready to be posted."""

    name: str
    path: str
    body: bytes
    headers: Mapping[str, str]


class _Maker:
    """The made-up values of one sample, the same for the same number."""

    def __init__(self, number: int, at: datetime) -> None:
        self.number = number
        self.at = at.astimezone(UTC).replace(microsecond=0)

    def id(self, what: str) -> str:
        return str(uuid5(NAMESPACE_URL, f"https://example.com/wharfd/{what}/{self.number}"))

    def time(self, minutes: float = 0) -> str:
        return (self.at + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def epoch_ms(self, minutes: float) -> int:
        return int((self.at + timedelta(minutes=minutes)).timestamp()) * 1000

    @property
    def amount(self) -> int:
        return 100 + self.number * 37 % 50_000

    @property
    def account(self) -> str:
        return f"10{self.number % 10_000:08d}"


def _handle(make: _Maker, state: str) -> dict[str, Any]:
    name, handle = f"PAYMENT_HANDLE_{state}", make.id("handle")
    return {
        "payload": {
            "accountId": make.account,
            "id": handle,
            "merchantRefNum": make.id("order"),
            "paymentHandleToken": f"PHsample{make.number}",
            "transactionType": "PAYMENT",
            "amount": make.amount,
            "currencyCode": "EUR",
            "status": state,
            "paymentType": "EPS",
            "statusTime": make.time(1),
            "updatedTime": make.time(1),
            "usage": "SINGLE_USE",
            "executionMode": "SYNCHRONOUS",
            "txnTime": make.time(),
        },
        "eventType": name,
        "attemptNumber": "1",
        "resourceId": handle,
        "eventDate": make.time(),
        "links": [{"href": f"https://api.example.com/paymenthandles/{handle}", "rel": "payment_handle"}],
        "mode": "live",
        "eventName": name,
    }


def _payments(make: _Maker, name: str, status: str, minutes: float) -> dict[str, Any]:
    payment = make.id("payment")
    return {
        "payload": {
            "accountId": make.account,
            "id": payment,
            "merchantRefNum": make.id("order"),
            "amount": make.amount,
            "currencyCode": "EUR",
            "status": status,
            "paymentType": _METHODS[make.number % len(_METHODS)],
            "statusTime": make.time(minutes),
            "txnTime": make.time(),
            "settleWithAuth": True,
        },
        "eventType": name,
        "attemptNumber": "1",
        "resourceId": payment,
        "eventDate": make.time(minutes),
        "links": [{"href": f"https://api.example.com/payments/{payment}", "rel": "payment"}],
        "mode": "live",
        "eventName": name,
    }


def _direct_debit(make: _Maker) -> dict[str, Any]:
    payment = make.id("debit")
    return {
        "payload": {
            "accountId": make.account,
            "id": payment,
            "merchantRefNum": make.id("debit order"),
            "amount": make.amount,
            "currencyCode": "USD",
            "status": "COMPLETED",
            "paymentType": "ACH",
            "txnTime": make.time(_DEBITED),
            "statusTime": make.time(_DEBITED + 2),
            "settlementId": payment,
            "settlementAmount": make.amount,
            "settlementStatus": "PENDING",
        },
        "attemptNumber": "1",
        "type": "PAYMENT",
        "eventDate": make.time(_DEBITED + 2),
        "eventName": "PAYMENT_COMPLETED",
    }


def _settlement(make: _Maker) -> dict[str, Any]:
    # On the sixth business day; its time of transaction comes as epoch milliseconds.
    return {
        "payload": {
            "accountId": make.account,
            "id": make.id("debit"),
            "merchantRefNum": make.id("debit order"),
            "amount": make.amount,
            "currencyCode": "USD",
            "status": "COMPLETED",
            "paymentType": "ACH",
            "txnTime": make.epoch_ms(_DEBITED),
        },
        "attemptNumber": "1",
        "type": "SETTLEMENT",
        "eventDate": make.time(),
        "eventName": "SETTLEMENT_CLEARED",
    }


def _bank_return(make: _Maker) -> dict[str, Any]:
    inner = {
        "payload": {
            "accountId": make.account,
            "id": make.id("return"),
            "merchantRefNum": make.id("debit order"),
            "amount": make.amount,
            "currencyCode": "USD",
            "status": "COMPLETED",
            "paymentType": "BACS",
            "txnTime": make.time(_DEBITED + 3 * 24 * 60),
            "statusTime": make.time(_DEBITED + 3 * 24 * 60),
            "paymentId": make.id("debit"),
            "reason": "No Funds",
        },
        "attemptNumber": "1",
        "type": "PAYMENT_RETURN",
        "eventDate": make.time(_DEBITED + 3 * 24 * 60),
    }
    return {"variables": inner, "type": "PAYMENT_RETURN", "eventName": "PAYMENT_RETURN_COMPLETED"}


def _refund(make: _Maker) -> dict[str, Any]:
    refund = make.id("refund")
    return {
        "payload": {
            "accountId": make.account,
            "id": refund,
            "merchantRefNum": make.id("order"),
            "amount": make.amount // 2,
            "currencyCode": "EUR",
            "status": "COMPLETED",
            "paymentType": "EPS",
            "txnTime": make.time(60),
        },
        "eventType": "REFUND_COMPLETED",
        "attemptNumber": "1",
        "resourceId": refund,
        "eventDate": make.time(60),
        "_links": [{"href": f"https://api.example.com/refunds/{refund}", "rel": "refund"}],
        "mode": "live",
        "eventName": "REFUND_COMPLETED",
    }


def _payout(make: _Maker) -> dict[str, Any]:
    credit = make.id("payout")
    return {
        "payload": {
            "accountId": make.account,
            "id": credit,
            "merchantRefNum": make.id("payout order"),
            "amount": make.amount,
            "currencyCode": "CAD",
            "status": "COMPLETED",
            "paymentType": "RAPID_TRANSFER",
            "txnTime": make.time(),
        },
        "eventType": "SA_CREDIT_COMPLETED",
        "attemptNumber": "1",
        "resourceId": credit,
        "eventDate": make.time(5),
        "links": [],
        "mode": "live",
        # The official shop plugin reads this spelling too.
        "EventName": "SA_CREDIT_COMPLETED",
    }


def _alternate(make: _Maker) -> dict[str, Any]:
    payment = make.id("alternate")
    return {
        "resourceId": payment,
        "mode": "test",
        "eventDate": make.time(1),
        "eventType": "AP_PAYMENT_COMPLETED",
        "attemptNumber": 1,
        "payload": {
            "id": payment,
            "accountId": make.account,
            "merchantRefNum": make.id("alternate order"),
            "paymentType": "PAYSAFECARD",
            "amount": make.amount,
            "currencyCode": "EUR",
            "status": "COMPLETED",
            "txnTime": make.time(),
        },
        "links": [{"rel": "payment", "href": f"https://api.example.com/alternatepayments/{payment}"}],
    }


def _account(make: _Maker) -> dict[str, Any]:
    return {
        "id": make.id("account event"),
        "resourceId": make.account,
        "mode": "live",
        "eventDate": make.time(),
        "eventType": "ACCT_ENABLED",
        "attemptNumber": 0,
        "payload": {"partnerId": 1000, "acctStatus": "Enabled", "accountNumber": make.account},
        "links": [{"rel": "accounts", "href": f"https://api.example.com/accounts/{make.account}"}],
    }


def _wallet(make: _Maker) -> dict[str, Any]:
    return {
        "customerId": make.id("customer"),
        "accountId": make.account,
        "type": "IBAN_ASSIGNED",
        "value": "XX00SAMPLE",
        "timestamp": make.time(),
    }


def _connectivity(make: _Maker) -> dict[str, Any]:
    # Nothing but its time tells one from another, so the number is in there.
    at = make.at + timedelta(milliseconds=make.number % 1000)
    when = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"mode": "test", "eventDate": when, "eventType": "test", "attemptNumber": 1}


_NETBANX = "/api/webhooks/netbanx"
_SHAPES: dict[str, tuple[str, Callable[[_Maker], dict[str, Any]]]] = {
    "handle-payable": (_NETBANX, lambda make: _handle(make, "PAYABLE")),
    "payment-processing": (_NETBANX, lambda make: _payments(make, "PAYMENT_PROCESSING", "PROCESSING", 1)),
    "payment-completed": (_NETBANX, lambda make: _payments(make, "PAYMENT_COMPLETED", "COMPLETED", 2)),
    "payment-failed": (_NETBANX, lambda make: _payments(make, "PAYMENT_FAILED", "FAILED", 2)),
    "refund-completed": (_NETBANX, _refund),
    "payout-completed": (_NETBANX, _payout),
    "debit-completed": ("/api/webhooks/direct-debit", _direct_debit),
    "debit-cleared": ("/api/webhooks/direct-debit", _settlement),
    "debit-returned": ("/api/webhooks/direct-debit", _bank_return),
    "alternate-completed": ("/api/webhooks/alternate-payments", _alternate),
    "account-enabled": ("/api/webhooks/account-status", _account),
    "wallet-iban": (_NETBANX, _wallet),
    "connectivity-test": (_NETBANX, _connectivity),
}

SAMPLE_NAMES = tuple(_SHAPES)


def sample_document(
    name: str, *, number: int = 1, at: datetime, attempt: int | None = None
) -> dict[str, Any]:
    """Return the JSON of a sample, unsigned; raises ValueError for a name that is not in `SAMPLE_NAMES`.

    `attempt` sets the number of the try in the shape's own type (text or number), as a repeat would.
    """
    if name not in _SHAPES:
        raise ValueError(f"sample {name!r} is unknown; known: {', '.join(SAMPLE_NAMES)}")
    document = _SHAPES[name][1](_Maker(number, at))
    if attempt is not None:
        holder = document.get("variables", document)
        if "attemptNumber" in holder:
            holder["attemptNumber"] = type(holder["attemptNumber"])(attempt)
    return document


def make_sample(
    signer: Signer, name: str, *, number: int = 1, at: datetime, attempt: int | None = None
) -> Sample:
    """Return a sample delivery that was made and signed at `at`."""
    body = msgspec.json.encode(sample_document(name, number=number, at=at, attempt=attempt))
    body, headers = signer.sign(body, at, f"evt_sample_{name}_{number}")
    return Sample(name, _SHAPES[name][0], body, {"Content-Type": "application/json"} | headers)


def make_samples(
    signer: Signer, count: int, *, at: datetime, names: tuple[str, ...] = SAMPLE_NAMES
) -> Iterator[Sample]:
    """Yield `count` different samples, going round `names`; a load generator's supply."""
    for number in range(count):
        yield make_sample(signer, names[number % len(names)], number=number, at=at)
