"""Stored keys on their way into the verifiers, and their use on its way back into the table."""

from __future__ import annotations

from wharfd import PluginContext, SecretError

from ..acceptance.gates import Intake
from ..config import Settings
from ..schemes import Key, KeyEncoding, make_key
from . import store

TABLE = "netbanx.secrets"
COLUMN = "sealed"

Context = PluginContext[Settings]


async def load(ctx: Context, intake: Intake) -> None:
    """Use the keys that are in the database now. One that cannot be opened is left out, by name."""
    by_source: dict[str, list[Key]] = {
        name: [] for name, source in ctx.settings.sources.items() if source.stored_keys
    }
    if not by_source:
        return
    for row in await store.usable(ctx.db):
        keys = by_source.get(row["source"])
        if keys is None:
            continue
        source = ctx.settings.sources[row["source"]]
        encoding: KeyEncoding = row["key_encoding"]
        try:
            text = (await ctx.secrets.open(TABLE, COLUMN, row["id"], row["sealed"])).decode()
            keys.append(
                make_key(
                    source.scheme,
                    text,
                    encoding,
                    id=row["id"],
                    valid_from=row["valid_from"],
                    valid_until=row["valid_until"],
                )
            )
        except (SecretError, ValueError) as error:
            ctx.log.error("stored_key_not_usable", key_id=row["id"], source=row["source"], error=str(error))
    for name, keys in by_source.items():
        if keys != intake.stored_keys.get(name, []):
            intake.take_keys(name, keys)
            ctx.log.info("stored_keys_loaded", source=name, keys=[key.id for key in keys])


async def write_uses(ctx: Context, intake: Intake) -> None:
    """Write down the use of stored keys; keys of the file are counted by metrics alone."""
    uses, intake.uses = intake.uses, {}
    rows = [
        (key_id, use.count, use.last_at) for (_, key_id), use in uses.items() if key_id.startswith("whs_")
    ]
    if not rows:
        return
    try:
        await store.count_uses(ctx.db, rows)
    except BaseException:
        for (source, key_id), use in uses.items():
            kept = intake.uses.setdefault((source, key_id), use)
            if kept is not use:
                kept.count += use.count
        raise
