"""What may stand in `[plugins.console]`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from wharfd import option


@dataclass(frozen=True)
class Settings:
    """The plugin's options."""

    label: str = option("", help="shown beside the name, to tell installations apart, such as production")
    sample_every: timedelta = option(
        timedelta(seconds=2), help="how often the overview's figures are taken (1s to 30s)"
    )
    history: timedelta = option(timedelta(minutes=10), help="how far back the overview's charts go (to 1h)")
    viewers: int = option(50, help="browsers that may follow the overview live at a time")

    def __post_init__(self) -> None:
        if len(self.label) > 40:
            raise ValueError("label: is longer than 40 characters")
        if not timedelta(seconds=1) <= self.sample_every <= timedelta(seconds=30):
            raise ValueError("sample_every: must be between 1s and 30s")
        if not 10 * self.sample_every <= self.history <= timedelta(hours=1):
            raise ValueError("history: must be at least ten samples and at most 1h")
        if self.viewers < 1:
            raise ValueError("viewers: must be at least 1")
