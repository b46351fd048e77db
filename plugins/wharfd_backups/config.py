"""What may stand in `[plugins.backups]`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cronsim import CronSim, CronSimError

from wharfd import PlaceSettings, Secret, option

from .engine.extras import check_table
from .model.keeping import Keep

_SOME_TIME = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Settings:
    """The options of this plugin."""

    folder: Path | None = option(
        None, help="first place; by default in the state folder", example='"/var/backups/wharfd"'
    )
    second: PlaceSettings | None = option(
        None, help="second place, best on another machine", example='{ folder = "/mnt/elsewhere" }'
    )
    method: Literal["auto", "physical", "logical"] = option(
        "auto", help="physical needs the right to replicate; auto looks whether there is one"
    )
    daily_at: str = option("0 1 * * *", help="when a backup is taken, as cron in UTC")
    keep_daily: int = option(7, help="days of which the newest backup is kept")
    keep_weekly: int = option(0, help="weeks of which the newest backup is kept")
    keep_monthly: int = option(0, help="months of which the newest backup is kept")
    log_by: Literal["receiver", "archive_command", "nothing"] = option(
        "receiver", help="how the write-ahead log comes here; a receiver has each commit within its second"
    )
    incoming: Path | None = option(
        None,
        help="folder where the log is received, best on another disk than the database; "
        "when it changes, move its files along",
        example='"/mnt/log"',
    )
    commits_wait: bool = option(
        True, help="commits of the embedded server wait until the log of them is received, on disk"
    )
    archive_every: timedelta = option(
        timedelta(seconds=45), help="how often the log goes to the places; what a lost machine can cost"
    )
    encrypt: bool = option(True, help="encrypt for the recipients")
    recipients: tuple[str, ...] = option(
        (), help="age public keys; without any, a key is made in the state folder and must be put in escrow"
    )
    identity: Secret | None = option(
        None, help="age secret key to verify and drill with", example='{ credential = "backup_identity" }'
    )
    before_migrations: Literal["require", "try", "off"] = option(
        "require", help="take a backup before tables are changed; require ends the start when it fails"
    )
    csv_tables: tuple[str, ...] = option(
        ("mint.buyers",), help="tables put beside each backup as CSV; one that is not there is left out"
    )
    files: tuple[Path, ...] = option(
        (), help="files put beside each backup, as wharfd.toml is without its secrets; keys are refused"
    )
    drill_at: str = option("0 3 * * 0", help="when a restore is tried, as cron in UTC")
    drill_overdue: timedelta = option(timedelta(days=8), help="alert when no drill succeeded for so long")
    scratch: Path | None = option(
        None, help="folder for drills and mounts; by default in the state folder", example='"/var/tmp/wharfd"'
    )
    mount_for: timedelta = option(timedelta(hours=4), help="how long a mounted backup stays")
    pace: float = option(
        20.0, help="megabytes a second that backups and drills move, so that they slow nobody; 0 for no limit"
    )
    compression: int = option(1, help="level of zstd, 1 to 19; 3 takes twice the time and saves nothing")

    def __post_init__(self) -> None:
        for name in ("daily_at", "drill_at"):
            try:
                CronSim(getattr(self, name), _SOME_TIME)
            except CronSimError as error:
                raise ValueError(f"{name}: {getattr(self, name)!r} is no cron time: {error}") from None
        for table in self.csv_tables:
            try:
                check_table(table)
            except ValueError as error:
                raise ValueError(f"csv_tables: {error}") from None
        if not 1 <= self.compression <= 19:
            raise ValueError("compression: between 1 and 19")
        if self.pace and not 1 <= self.pace <= 100_000:
            raise ValueError("pace: 0, or between 1 and 100000")
        if self.archive_every < timedelta(seconds=1):
            raise ValueError("archive_every: at least one second")
        try:
            _ = self.keep
        except ValueError as error:
            raise ValueError(f"keep_daily: {error}") from None

    def incoming_in(self, state_dir: Path) -> Path:
        """Return the folder of the log as it is received."""
        return self.incoming or state_dir / "incoming"

    @property
    def keep(self) -> Keep:
        """Which backups are kept."""
        return Keep(self.keep_daily, self.keep_weekly, self.keep_monthly)
