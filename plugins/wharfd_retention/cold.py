"""Reading the archive: rows of a time, and a search."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec

from wharfd import PluginContext

from . import store
from .archiving import PURPOSE, Archive, ArchiveDamaged, Manifest, lots
from .config import Settings
from .store import Unit

Context = PluginContext[Settings]


class Cold:
    """The archive as other plugins see it: `contracts.archives.ColdRows`."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def rows(self, table: str, first: datetime, last: datetime) -> AsyncIterator[dict[str, Any]]:
        """Give the archived rows of a table whose retention column lies in [first, last)."""
        for unit in await store.cold(self._ctx.db, table, first, last):
            column = await column_of(self._ctx, unit)
            manifest = await trusted(self._ctx, unit)
            async with lots(archive_of(self._ctx), manifest) as lines:
                async for lot in lines:
                    for line in lot:
                        row = msgspec.json.decode(line, type=dict[str, Any])
                        if column is None or first <= _time(row[column]) < last:
                            yield row


def archive_of(ctx: Context) -> Archive:
    """Return the places of the archive."""
    archive: Archive = ctx.state["archive"]
    return archive


async def trusted(ctx: Context, unit: Unit) -> Manifest:
    """Return a unit's manifest; raises when its signature does not fit."""
    if unit.manifest is None:
        raise ArchiveDamaged(f"the archive of {unit.id} is not there any more")
    manifest = msgspec.convert(unit.manifest, type=Manifest)
    signature = (await ctx.secrets.fingerprint(PURPOSE, manifest.signed_part())).hex()
    if signature != manifest.signature:
        raise ArchiveDamaged(f"the manifest of {unit.id} was changed: its signature does not fit")
    return manifest


async def column_of(ctx: Context, unit: Unit) -> str | None:
    """Return the column by which a unit's rows grow old, None when its rule is gone."""
    from .nightly import policies_of

    return next((policy.column for policy in policies_of(ctx)[0] if policy.name == unit.rule), None)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def search(
    ctx: Context, table: str, first: datetime, last: datetime, wanted: dict[str, Any], limit: int
) -> list[dict[str, Any]]:
    """Return archived rows of that time whose columns have the wanted values, at most `limit`."""
    found: list[dict[str, Any]] = []
    rows = Cold(ctx).rows(table, first, last)
    try:
        async for row in rows:
            if all(row.get(name) == value for name, value in wanted.items()):
                found.append(row)
                if len(found) >= limit:
                    break
    finally:
        await rows.aclose()  # type: ignore[attr-defined]
    return found
