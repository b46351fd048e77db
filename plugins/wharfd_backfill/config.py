"""What may stand in `[plugins.backfill]`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from wharfd import option


@dataclass(frozen=True)
class Settings:
    """The options of the plugin."""

    stale_after: timedelta = option(
        timedelta(minutes=15), help="a running job that reports nothing for so long is stale", live=True
    )
    cache: timedelta = option(
        timedelta(minutes=5), help="how long answers are kept; every report renews them"
    )
    keep: timedelta = option(timedelta(days=180), help="how long finished jobs are kept")

    def __post_init__(self) -> None:
        if self.stale_after < timedelta(seconds=1) or self.cache < timedelta(seconds=1):
            raise ValueError("stale_after: stale_after and cache must be at least one second")
