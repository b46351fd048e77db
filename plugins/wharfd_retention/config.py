"""What may stand in `[plugins.retention]`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cronsim import CronSim, CronSimError

from wharfd import PlaceSettings, Secret, option

_SOME_TIME = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Override:
    """What the operator wants otherwise than a plugin declared."""

    keep: timedelta | None = option(None, help="how long rows are kept", example='"30d"')
    archive: bool | None = option(None, help="false deletes without an archive", example="true")
    enabled: bool = option(True, help="false keeps everything")
    cold: timedelta | None = option(
        None, help="how old archived rows may get; without, any age", example='"365d"'
    )

    def __post_init__(self) -> None:
        for name in ("keep", "cold"):
            value = getattr(self, name)
            if value is not None and value < timedelta(days=1):
                raise ValueError(f"{name}: at least one day")


@dataclass(frozen=True)
class Settings:
    """The options of this plugin."""

    at: str = option("0 2 * * *", help="when it runs, as cron in UTC")
    folder: Path | None = option(
        None, help="folder of the archive; by default in the state folder", example='"/var/lib/archive"'
    )
    second: PlaceSettings | None = option(
        None, help="second place, best on another machine", example='{ folder = "/mnt/elsewhere" }'
    )
    recipients: tuple[str, ...] = option((), help="age public keys to encrypt the archive for")
    identity: Secret | None = option(
        None, help="age secret key, to read archives back", example='{ credential = "archive_identity" }'
    )
    policies: dict[str, Override] = option(
        default_factory=dict, help="what is kept otherwise than declared, by plugin.rule"
    )
    dry_run_first: bool = option(True, help="a rule that is new or changed only reports in its first run")
    grace: timedelta = option(
        timedelta(days=7), help="how long a month stays after it was taken out of its table"
    )
    unit_rows: int = option(50_000, help="most rows archived and deleted at a time")
    batch_rows: int = option(1000, help="rows deleted in one statement")
    pause_ms: int = option(20, help="wait between two such statements")
    max_share: float = option(0.5, help="stop when more than this share of a table would go")
    max_factor: float = option(10.0, help="stop when more than this many times the usual would go")
    rehydrated_for: timedelta = option(
        timedelta(days=14), help="how long archived rows stay that were put beside their table"
    )
    check_archives: int = option(50, help="archives read back each night, those longest ago first; 0 none")
    compression: int = option(6, help="level of zstd, 1 to 19")

    def __post_init__(self) -> None:
        try:
            CronSim(self.at, _SOME_TIME)
        except CronSimError as error:
            raise ValueError(f"at: {self.at!r} is no cron time: {error}") from None
        if self.recipients and self.identity is None:
            raise ValueError(
                "identity: what is archived is read back before it is deleted; that takes the identity"
            )
        if not 1 <= self.batch_rows <= 10_000 or not 1 <= self.unit_rows <= 1_000_000:
            raise ValueError("batch_rows: between 1 and 10000, and unit_rows between 1 and 1000000")
        if not 0 < self.max_share <= 1 or self.max_factor < 1:
            raise ValueError("max_share: between 0 and 1, and max_factor at least 1")
        if self.rehydrated_for < timedelta(hours=1):
            raise ValueError("rehydrated_for: at least one hour")
        if not 0 <= self.check_archives <= 100_000:
            raise ValueError("check_archives: between 0 and 100000")
        if not 1 <= self.compression <= 19:
            raise ValueError("compression: between 1 and 19")
        if self.grace < timedelta(0) or self.pause_ms < 0:
            raise ValueError("grace: cannot be below zero")
