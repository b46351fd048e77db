"""What the webhooks plugin tells about endpoints and deliveries; delivered like any other event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from .events import Event


class EndpointEvent(Event, frozen=True, kw_only=True):
    """Something happened to an endpoint. `origin` is scheme, host and port of its URL."""

    endpoint_id: str
    origin: str
    failures: int = 0
    failing_since: datetime | None = None


class EndpointFailing(EndpointEvent, frozen=True, kw_only=True):
    """An endpoint has failed for 50, 70 or 90 percent of what makes wharfd disable it."""

    type: ClassVar[str] = "endpoint.failing"
    percent: int


class EndpointDisabled(EndpointEvent, frozen=True, kw_only=True):
    """An endpoint gets nothing more: it failed for too long, answered 410, or somebody switched it off."""

    type: ClassVar[str] = "endpoint.disabled"
    reason: str


class EndpointRecovered(EndpointEvent, frozen=True, kw_only=True):
    """An endpoint that had failed for a while takes deliveries again."""

    type: ClassVar[str] = "endpoint.recovered"


class DeliveryExhausted(Event, frozen=True, kw_only=True):
    """A delivery was given up after its last try; it is kept and can be sent again."""

    type: ClassVar[str] = "delivery.exhausted"
    delivery_id: str
    endpoint_id: str
    message_id: str
    event_type: str
    attempts: int
    status: int | None = None
    error: str = ""


OPERATIONAL: tuple[type[Event], ...] = (
    EndpointFailing,
    EndpointDisabled,
    EndpointRecovered,
    DeliveryExhausted,
)
OPERATIONAL_TYPES = frozenset(event.type for event in OPERATIONAL)


# -- The hook before_delivery ------------------------------------------------------------------------


@dataclass(frozen=True)
class Outgoing:
    """A delivery that is about to be sent, for plugins that implement `before_delivery`.

    `transform` is the name the endpoint asks for; a plugin answers only to names it knows. `body` is what
    would be sent, as JSON data.
    """

    transform: str
    delivery_id: str
    endpoint_id: str
    owner: str | None
    url: str
    event_type: str
    attempt: int
    body: Any


@dataclass(frozen=True)
class Change:
    """Send `body` instead, with these headers on top. It is signed as it is sent."""

    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Skip:
    """Do not send this delivery at all; it is cancelled with the reason."""

    reason: str
