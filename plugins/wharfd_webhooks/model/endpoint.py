"""An endpoint as a sender has to know it. How it is kept is the store's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from wharfd import ClientCertificate

from .filters import Test, compile_filter, path_steps, walk
from .filters import found as leads_somewhere
from .health import Health
from .keys import SigningKey
from .signing import LegacyScheme

Status = Literal["active", "paused", "disabled", "deleted"]
Lane = Literal["free", "ordered", "skipping"]

_LONGEST_KEY = 200


@dataclass(frozen=True)
class Target:
    """What decides whether an event goes to an endpoint, and into which lane."""

    id: str
    owner: str | None
    version: int
    order_by: str | None
    order_failed: str
    test: Test | None = field(default=None, compare=False)

    @property
    def lane(self) -> Lane:
        """How its deliveries are worked: freely, or one after the other per key."""
        if self.order_by is None:
            return "free"
        return "skipping" if self.order_failed == "skip" else "ordered"

    def order_key(self, payload: Any) -> str:
        """Return what deliveries of this payload queue behind. In the free lane that is the endpoint."""
        if self.order_by is None:
            return self.id
        value = walk(payload, path_steps(self.order_by, "orderBy")) if self.order_by != "*" else ""
        if not leads_somewhere(value) or value is None:
            return self.id
        text = value if isinstance(value, str) else msgspec.json.encode(value, order="deterministic").decode()
        return f"{self.id}/{text[:_LONGEST_KEY]}"

    def wants(self, payload: Any) -> bool:
        """Whether the filter lets the payload through."""
        return self.test is None or self.test(payload)


@dataclass(frozen=True)
class Endpoint:
    """Everything needed to send to it. `rest_until` is on the monotonic clock; None: the breaker is
    closed."""

    id: str
    owner: str | None
    url: str
    version: int
    status: Status
    status_reason: str
    headers: Mapping[str, str]
    legacy: LegacyScheme
    transform: str | None
    at_most_once: bool
    max_in_flight: int
    rate_per_second: float | None
    timeout_seconds: float | None
    health: Health
    rest_until: float | None
    keys: tuple[SigningKey, ...] = field(repr=False, default=())
    ca: str | None = field(repr=False, default=None)
    client_certificate: ClientCertificate | None = field(repr=False, default=None)

    @property
    def origin(self) -> str:
        """Scheme, host and port of its URL: the part that is fit for a log."""
        return origin_of(self.url)


def origin_of(url: str) -> str:
    """Return the part of a URL that is fit for a log."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.split('/', 1)[0].split('?', 1)[0]}"


def read_target(
    endpoint_id: str, owner: str | None, version: int, filter_: Any, order_by: str | None, order_failed: str
) -> Target:
    """Make a target from what the store keeps; the filter was checked when it was given."""
    test = None if filter_ is None else compile_filter(filter_)
    return Target(endpoint_id, owner, version, order_by, order_failed, test)
