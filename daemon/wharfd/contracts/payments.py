"""Payment and account events, as netbanx publishes them and everybody else may hear them."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from .events import Event


class PaymentEvent(Event, frozen=True, kw_only=True):
    """A payment changed state. `amount` is in minor units of `currency`."""

    transaction_id: str
    external_id: str
    merchant_ref: str | None
    amount: int | None
    currency: str | None
    status: str
    method: str | None
    source: str
    source_event_id: str
    happened_at: datetime


class PaymentReceived(PaymentEvent, frozen=True, kw_only=True):
    """Money has arrived for good: the payment is complete."""

    type: ClassVar[str] = "payment.received"


class PaymentFailed(PaymentEvent, frozen=True, kw_only=True):
    """A payment was refused, cancelled, expired or returned by the bank."""

    type: ClassVar[str] = "payment.failed"
    reason: str = ""


class PaymentRefunded(PaymentEvent, frozen=True, kw_only=True):
    """Money went back to the customer."""

    type: ClassVar[str] = "payment.refunded"


class AccountStatusChanged(Event, frozen=True, kw_only=True):
    """A merchant account moved to another status."""

    type: ClassVar[str] = "account.status_changed"
    account_id: str
    external_id: str
    old_status: str | None
    new_status: str
    source_event_id: str
