"""How facts that arrive in any order, and more than once, end in one state.

Every value is offered with a stamp: a text that sorts. The greatest stamp wins, per field. Taking a maximum
gives the same result in every order and however often, which is all that is needed; the stamps are stored
with the row, so a fact that arrives a month later still finds its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from .envelope import Envelope

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A provider's clock may be ahead a little; a time further ahead would pin a state for ever.
_AHEAD = timedelta(days=1)


class Offer(NamedTuple):
    """A value for a field, and what it has to win over."""

    field: str
    value: Any
    stamp: str


def stamp(*, stage: int, at: datetime, rank: int, content: bytes) -> str:
    """Return a sortable stamp: stage before time before rank; a tie is broken by content, not by arrival."""
    microseconds = max(0, (at - _EPOCH) // timedelta(microseconds=1))
    return f"{stage:02d}.{microseconds:017d}.{rank:02d}.{content.hex()[:16]}"


def happened_at(envelope: Envelope, received_at: datetime) -> datetime:
    """Return when an event took place: the status' own time, else the event's, else when it came in."""
    others = [moment for moment in (envelope.event_date, envelope.txn_time) if moment is not None]
    at = envelope.status_time or max(others, default=received_at)
    return received_at if at > received_at + _AHEAD else at


def settle(stamps: Mapping[str, str], offers: Iterable[Offer]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values that win over what `stamps` remembers, and the stamps from now on.

    An offer of None is no offer: what is not said does not erase what was.
    """
    values: dict[str, Any] = {}
    after = dict(stamps)
    for field, value, mark in offers:
        if value is not None and mark > after.get(field, ""):
            values[field] = value
            after[field] = mark
    return values, after
