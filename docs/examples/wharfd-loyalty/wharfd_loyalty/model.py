"""What is true without a database: how points are earned, what they make, and what is told about it."""

from __future__ import annotations

from typing import ClassVar

from wharfd.contracts.events import Event

from .config import Settings

LEVELS = ("bronze", "silver", "gold")


class MemberPromoted(Event, frozen=True, kw_only=True):
    """A member has reached a higher level."""

    type: ClassVar[str] = "member.promoted"
    member_id: str
    reference: str
    level: str
    points: int


def points_for(amount: int | None, settings: Settings) -> int:
    """Return the points that a payment of this many minor units earns."""
    return max(0, amount or 0) // settings.minor_per_point


def level_of(points: int, settings: Settings) -> str:
    """Return the level that so many points make."""
    if points >= settings.gold:
        return "gold"
    return "silver" if points >= settings.silver else "bronze"


def is_promotion(before: str, after: str) -> bool:
    """Whether the second level is the higher one."""
    return LEVELS.index(after) > LEVELS.index(before)
