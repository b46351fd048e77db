"""What may stand in `[plugins.orders]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Literal

from wharfd import Secret, option

from .model.gate import Window
from .model.money import EXPONENTS

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True)
class HttpSettings:
    """An order system that orders are sent to over HTTP: the executor `http`."""

    url: str = option(help="where each order is POSTed to")
    secret: Secret = option(help="signs every call: HMAC-SHA256 over id, time and body")
    find_url: str | None = option(
        None, help="where the outcome of an order is asked for; {key} is its idempotency key"
    )
    missing_after: timedelta = option(
        timedelta(seconds=60),
        help="how long after a call its answer that it does not have the order is believed",
    )
    idempotent: bool = option(
        False, help="whether the order system knows Idempotency-Key, so that an order can be sent again"
    )
    timeout: timedelta = option(timedelta(seconds=15), help="how long one call may take")
    concurrency: int = option(8, help="calls at a time, in each daemon")
    max_per_second: float | None = option(None, help="calls a second at most, over all daemons")
    breaker_failures: int = option(5, help="after so many failures in a row no more is sent for a while")
    breaker_pause: timedelta = option(timedelta(seconds=30), help="how long that while is")
    allow_networks: tuple[str, ...] = option((), help="private networks that the order system may be in")

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= 200:
            raise ValueError("concurrency: must be between 1 and 200")
        if self.max_per_second is not None and self.max_per_second <= 0:
            raise ValueError("max_per_second: must be above 0")
        if self.breaker_failures < 1:
            raise ValueError("breaker_failures: must be at least 1")
        if self.missing_after < timedelta(0):
            raise ValueError("missing_after: must not be below 0")
        if self.find_url is not None and "{key}" not in self.find_url:
            raise ValueError("find_url: must hold {key}")


@dataclass(frozen=True)
class Settings:
    """The options of the plugin."""

    executor: str = option("ledger", help="what carries out orders where a batch does not say")
    currency: str | None = option(
        None, help="the currency of orders that name none", example='currency = "EUR"'
    )
    json_amounts: Literal["minor", "major"] = option(
        "minor", help="the unit of whole JSON numbers: cents (minor) or euros (major); text is always major"
    )
    max_rows: int = option(1_000_000, help="orders in a batch at most", live=True)
    max_upload_bytes: int = option(1 << 30, help="bytes of an upload at most")
    max_row_bytes: int = option(65_536, help="bytes of one order at most", live=True)
    max_open_orders: int = option(
        5_000_000, help="orders of one owner that are not finished at most", live=True
    )
    uploads_at_once: int = option(4, help="uploads read at a time by one daemon; more are answered 503")
    ledger_batch: int = option(500, help="orders that the ledger writes in one transaction")
    ledger_workers: int = option(2, help="transactions of the ledger at a time, in each daemon")
    lease: timedelta = option(
        timedelta(seconds=60), help="how long an order stays with a daemon that is not heard of any more"
    )
    attempts: int = option(8, help="tries of an order before it counts as failed")
    order_events: tuple[Literal["created", "updated", "completed", "failed"], ...] = option(
        ("updated", "completed", "failed"), help="which order.* events are published"
    )
    fifo_after_failure: Literal["continue", "hold"] = option(
        "continue", help="what a failed order does to the later ones of its account in a fifo batch"
    )
    approval_above: dict[str, int] = option(
        default_factory=dict,
        help="a batch whose orders add up to more minor units of a currency needs a second person",
        example="approval_above = { EUR = 10_000_000 }",
    )
    approval_rows: int | None = option(None, help="a batch with more orders needs a second person")
    opens: str | None = option(
        None, help="time of day, UTC, from which orders are worked", example='opens = "06:00"'
    )
    cut_off: str | None = option(
        None,
        help="time of day, UTC, from which orders wait for the next opening",
        example='cut_off = "15:30"',
    )
    keep_results: timedelta = option(timedelta(days=90), help="how long results can be downloaded")
    keep_batches: timedelta = option(timedelta(days=400), help="how long batches and references are known")
    http: HttpSettings | None = option(None, help="the order system for the executor http")

    def __post_init__(self) -> None:
        for name in ("opens", "cut_off"):
            value = getattr(self, name)
            if value is not None and not _CLOCK.fullmatch(value):
                raise ValueError(f"{name}: must be written HH:MM, not {value!r}")
        if (self.opens is None) != (self.cut_off is None):
            raise ValueError("cut_off: opens and cut_off are given together or not at all")
        for currency in (*self.approval_above, *([self.currency] if self.currency else [])):
            if currency not in EXPONENTS:
                raise ValueError(f"currency: {currency!r} is no code of ISO 4217")
        if not 1 <= self.ledger_batch <= 1000:
            raise ValueError("ledger_batch: must be between 1 and 1000")
        if not 1 <= self.max_rows <= 10_000_000:
            raise ValueError("max_rows: must be between 1 and 10,000,000")
        if not 1024 <= self.max_row_bytes <= 1 << 20:
            raise ValueError("max_row_bytes: must be between 1,024 and 1,048,576")
        if self.lease < timedelta(seconds=1):
            raise ValueError("lease: must be at least one second")
        if self.attempts < 1 or self.ledger_workers < 1 or self.uploads_at_once < 1:
            raise ValueError("attempts: attempts, ledger_workers and uploads_at_once start at 1")
        if self.keep_batches < self.keep_results:
            raise ValueError("keep_batches: must not be shorter than keep_results")

    @property
    def window(self) -> Window:
        """The hours in which orders are worked."""
        return Window(_clock(self.opens), _clock(self.cut_off))


def _clock(text: str | None) -> time | None:
    return None if text is None else time.fromisoformat(text)
