"""What may stand in `[plugins.loyalty]`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from wharfd import option


@dataclass(frozen=True)
class Settings:
    """The options of this plugin."""

    minor_per_point: int = option(100, help="minor units of a payment (cents) that earn one point")
    silver: int = option(1000, help="points that make a member silver")
    gold: int = option(5000, help="points that make a member gold")
    expire_after: timedelta = option(timedelta(days=365), help="points go when none were earned for so long")
    keep: timedelta = option(timedelta(days=730), help="how long booked awards are kept")

    def __post_init__(self) -> None:
        if self.minor_per_point < 1:
            raise ValueError("minor_per_point: must be at least 1")
        if not 0 < self.silver < self.gold:
            raise ValueError("gold: must be above silver, and silver above 0")
