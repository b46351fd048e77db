"""What may stand in `[plugins.feedback]`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from wharfd import option


@dataclass(frozen=True)
class Settings:
    """Limits, and how long feedback is kept."""

    max_comment: int = option(5000, help="characters a comment may have")
    max_reason: int = option(1000, help="characters the reason of a flag may have")
    changes_per_minute: int = option(600, help="changes one caller may make in a minute, for all its users")
    changes_per_user: int = option(60, help="changes one user may make in an hour")
    keep: timedelta = option(
        timedelta(days=730), help="how long feedback is kept after its last change; archived before it goes"
    )
    flags_wait: timedelta = option(timedelta(days=3), help="an open flag that waits longer is an alert")

    def __post_init__(self) -> None:
        if not 1 <= self.max_comment <= 20000 or not 1 <= self.max_reason <= 20000:
            raise ValueError("max_comment: must be between 1 and 20000, and max_reason too")
        if self.changes_per_minute < 1 or self.changes_per_user < 1:
            raise ValueError("changes_per_minute: must be at least 1, and changes_per_user too")
        if self.keep < timedelta(days=1):
            raise ValueError("keep: must be at least a day")
