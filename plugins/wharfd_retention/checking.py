"""Looking after archives: each is read back in every place time and again, and mended from a whole copy."""

from __future__ import annotations

from typing import Any

import msgspec
import trio

from wharfd import Database, PluginContext, StorageError

from . import store
from .archiving import ArchiveDamaged
from .cold import archive_of, trusted
from .config import Settings
from .machine import KeptBack, Machine, manifest_of
from .store import Unit

Context = PluginContext[Settings]


class Checked(msgspec.Struct):
    """What a look at some archives found."""

    looked_at: int = 0
    mended: int = 0
    lost: int = 0


async def check_archives(ctx: Context, machine: Machine, count: int) -> Checked:
    """Read the archives back that were not for the longest time; those in trouble always.

    What is wrong stays with the unit, where the alert `archive_missing` finds it.
    """
    found = Checked()
    for unit in await store.unchecked(machine.db, count):
        mended, trouble = await _check(machine, unit)
        found.looked_at += 1
        found.mended += len(mended)
        found.lost += trouble is not None
        await store.checked(machine.db, unit.id, trouble)
        for place in mended:
            ctx.log.warning("archive_mended", unit=unit.id, table=unit.source, place=place)
        if trouble is not None:
            ctx.log.error("archive_missing", unit=unit.id, table=unit.source, reason=trouble)
    return found


async def _check(machine: Machine, unit: Unit) -> tuple[list[str], str | None]:
    try:
        manifest = await manifest_of(machine, unit)
        return await trio.to_thread.run_sync(machine.archive.mend, manifest), None
    except (ArchiveDamaged, KeptBack, StorageError, OSError) as error:
        return [], str(error)


async def verify(ctx: Context, unit: Unit) -> dict[str, Any]:
    """Read an archive back in every place and say how each copy is; raises when the manifest was changed."""
    manifest = await trusted(ctx, unit)
    found = await trio.to_thread.run_sync(archive_of(ctx).troubles, manifest)
    return {
        "id": unit.id,
        "whole": all(not why for _, why in found),
        "rows": manifest.rows,
        "bytes": manifest.size,
        "sha256": manifest.sha256,
        "signature": "fits",
        "places": {place.name: why or "whole" for place, why in found},
    }


async def trouble(db: Database) -> list[tuple[str, str]]:
    """Return archives that are not whole everywhere, as (unit, what is wrong)."""
    return [(row["id"], f"{row['rule']}: {row['trouble']}") for row in await db.fetch(store.TROUBLE)]
