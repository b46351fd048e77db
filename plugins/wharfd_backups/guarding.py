"""A backup before tables are changed; no plugin runs yet, and no row tells of it: the catalogue does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog
import trio

from wharfd import WharfdError, new_id
from wharfd.contracts.database import DatabaseServer

from .config import Settings
from .engine.taking import take
from .upkeep import open_keeper
from .work import order_of

log = structlog.get_logger(plugin="backups")


async def back_up_before(
    settings: Settings, server: DatabaseServer, state_dir: Path, pending: Sequence[str]
) -> None:
    """Take a backup; raises what went wrong when the settings require one."""
    if settings.before_migrations == "off":
        return
    try:
        keeper = await open_keeper(settings, state_dir, server)
        await trio.to_thread.run_sync(keeper.storehouse.clear)
        note = f"before {', '.join(pending)}"[:200]
        entry = await take(
            order_of(keeper, new_id("bkp"), "migration", note=note),
            keeper.storehouse,
            keeper.programs,
            keeper.dsn,
        )
    except (WharfdError, OSError) as error:
        log.error("backup_before_migration_failed", reason=str(error))
        if settings.before_migrations == "require":
            raise WharfdError(
                f"tables are not changed without a backup, and it failed: {error}; mend that, or set "
                '[plugins.backups] before_migrations = "try"'
            ) from error
        return
    log.info("backup_before_migration_taken", backup=entry.id, bytes=entry.bytes)
