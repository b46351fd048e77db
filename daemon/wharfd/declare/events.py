"""What a plugin publishes, and what it hears."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..contracts.events import Event
from .checks import NAME, PATTERN, Handler, check
from .work import Retry


@dataclass(frozen=True)
class Subscription:
    """Hear events: `async def handler(ctx, envelope)`, at least once each, by way of the inbox.

    `event` is an Event class, a type name, or a pattern such as `payment.*` or `*`.
    With `transactional=True` the handler is `async def handler(ctx, envelope, tx)` and its writes through
    `tx` commit together with the mark that the event was handled: exactly once. With `batch` above 1 it is
    `async def handler(ctx, envelopes, tx)` and gets up to so many at a time; when it fails, the batch is
    tried in halves until the event that is to blame fails alone.

    `name` tells the plugin's subscriptions apart and must stay the same over releases; it is the handler's
    name unless given. Several subscriptions with one name are one subscriber that hears several types.
    """

    event: type[Event] | str
    handler: Handler
    transactional: bool = False
    name: str = ""
    concurrency: int = 4
    batch: int = 1
    retry: Retry = field(default_factory=Retry)
    timeout_seconds: float | None = None

    def __post_init__(self) -> None:
        check(
            bool(NAME.match(self.subscriber)),
            self,
            f"the handler of {self.pattern!r} has no usable name ({self.subscriber!r}); give name=",
        )
        check(bool(PATTERN.match(self.pattern)), self, f"{self.pattern!r} is no event type and no pattern")
        check(1 <= self.concurrency <= 1000, self, f"{self.subscriber}: concurrency is between 1 and 1000")
        check(
            self.batch == 1 or (self.transactional and 1 < self.batch <= 1000),
            self,
            f"{self.subscriber}: batch is between 1 and 1000, and above 1 only with transactional=True",
        )

    @property
    def pattern(self) -> str:
        """The type name or pattern that is matched."""
        return self.event if isinstance(self.event, str) else self.event.type

    @property
    def subscriber(self) -> str:
        """The name that tells it apart within the plugin."""
        return self.name or getattr(self.handler, "__name__", "")


@dataclass(frozen=True)
class EventType:
    """An event type this plugin publishes, for the catalogue: its class is its schema."""

    event: type[Event]
    summary: str = ""
