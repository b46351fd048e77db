"""Orders: what the orders plugin publishes, and what carries out an order for it.

A plugin adds an executor by implementing the hook `register_order_executors(ctx)` of the orders plugin and
returning objects of the two kinds below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from .events import Event

if TYPE_CHECKING:
    from ..db import Transaction


# -- events ------------------------------------------------------------------------------------------------


class OrderEvent(Event, frozen=True, kw_only=True):
    """Something happened to one order of a batch. `amount` is in minor units of `currency`."""

    batch_id: str
    index: int
    client_ref: str | None = None
    account: str | None = None
    currency: str | None = None
    amount: int | None = None
    order_id: str | None = None


class OrderCreated(OrderEvent, frozen=True, kw_only=True):
    """An order was accepted and waits to be carried out."""

    type: ClassVar[str] = "order.created"


class OrderUpdated(OrderEvent, frozen=True, kw_only=True):
    """A person decided about an order: it was resolved or put back to be tried again."""

    type: ClassVar[str] = "order.updated"
    status: str
    reason: str = ""


class OrderCompleted(OrderEvent, frozen=True, kw_only=True):
    """An order was carried out."""

    type: ClassVar[str] = "order.completed"
    executor: str
    external_id: str | None = None


class OrderFailed(OrderEvent, frozen=True, kw_only=True):
    """An order was refused or given up."""

    type: ClassVar[str] = "order.failed"
    executor: str
    code: str
    reason: str


class BatchEvent(Event, frozen=True, kw_only=True):
    """Something happened to a batch of orders; the counts are of that moment."""

    batch_id: str
    status: str
    total: int
    succeeded: int = 0
    failed: int = 0
    duplicates: int = 0
    cancelled: int = 0
    label: str | None = None


class BatchCreated(BatchEvent, frozen=True, kw_only=True):
    """A batch was accepted."""

    type: ClassVar[str] = "batch.created"


class BatchApproved(BatchEvent, frozen=True, kw_only=True):
    """Somebody other than the sender approved a batch."""

    type: ClassVar[str] = "batch.approved"
    approved_by: str


class BatchCompleted(BatchEvent, frozen=True, kw_only=True):
    """Every order of a batch was carried out."""

    type: ClassVar[str] = "batch.completed"


class BatchPartial(BatchEvent, frozen=True, kw_only=True):
    """A batch is over; some orders were carried out and some were not."""

    type: ClassVar[str] = "batch.partial"


class BatchFailed(BatchEvent, frozen=True, kw_only=True):
    """A batch is over and no order was carried out."""

    type: ClassVar[str] = "batch.failed"


class BatchCancelled(BatchEvent, frozen=True, kw_only=True):
    """A batch was cancelled and what was under way is over."""

    type: ClassVar[str] = "batch.cancelled"


# -- executors ---------------------------------------------------------------------------------------------


class OrderToExecute(msgspec.Struct, frozen=True, kw_only=True):
    """One order as an executor gets it. `payload` is its normal form; amounts are in minor units.

    `idempotency_key` is the same for every try of the same order, also from a later upload of the same
    client reference. `sent_at` is when it was sent last without anybody knowing what came of it.
    """

    batch_id: str
    index: int
    order_id: str
    owner: str | None
    client_ref: str | None
    account: str | None
    currency: str
    amount: int
    payload: dict[str, Any]
    attempt: int
    idempotency_key: str
    sent_at: datetime | None = None


@dataclass(frozen=True)
class Executed:
    """The order was carried out. `external_id` is what the other system calls it."""

    external_id: str | None = None
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refused:
    """The order cannot be carried out, now or later; `code` is for programs, `reason` for people."""

    code: str
    reason: str
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NotDone:
    """The order was certainly not carried out and can be tried again.

    With `all_wait` the trouble is not this order's: it costs no attempt. From `find`, `all_wait` says only
    that nobody can tell now: an order that may have been carried out stays one, and is asked for again.
    """

    reason: str
    retry_after: float | None = None
    all_wait: bool = False


@dataclass(frozen=True)
class Unknown:
    """Nobody knows whether the order was carried out: an answer got lost, for example.

    `final` says that asking again is of no use: a person has to find out.
    """

    reason: str
    result: dict[str, Any] = field(default_factory=dict)
    final: bool = False


class TransactionalExecutor(Protocol):
    """Carries out orders by writing to wharfd's own database, in the commit that marks them done."""

    name: str

    async def execute_many(
        self, tx: Transaction, orders: Sequence[OrderToExecute]
    ) -> Sequence[Executed | Refused]:
        """Carry out the orders through `tx` and return one outcome each, in the same order.

        What is raised rolls everything back; the orders are then tried in halves until the one that is to
        blame is alone.
        """
        ...


class ExternalExecutor(Protocol):
    """Carries out orders elsewhere, one call each.

    With `idempotent=True` it may be called again for an order whose outcome is unknown, because the other
    side knows the idempotency key. Otherwise `find` is asked, and when that does not know either, the order
    is held until a person says what became of it. It is never sent twice blindly.
    """

    name: str
    idempotent: bool
    max_per_second: float | None

    async def execute(self, order: OrderToExecute) -> Executed | Refused | NotDone | Unknown:
        """Carry out one order. What is raised counts as `Unknown`."""
        ...

    async def find(self, order: OrderToExecute) -> Executed | Refused | NotDone | Unknown:
        """Find out what became of an order; `NotDone` when the other side certainly does not have it.

        An order may still be under way over there when it is asked for soon after a call that got no answer.
        """
        ...
