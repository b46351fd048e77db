"""Whether a restored server holds the rows that were counted before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import trio

from wharfd import quoted

from ..engine.marking import ALIKE, HASH, NEWEST
from ..engine.taking import at
from ..model.catalogue import Changes, Marker, Tally
from .outcome import Failed, Skipped
from .scratch import Scratch

NO_CHANGES = Changes()
Changed = Callable[[], Awaitable[Changes]]
_TOLD_SECONDS = 11.0  # what a server's statistics say of a change comes up to ten seconds behind it
_SLACK = 50  # rows of a busy table that may go between its count and the point behind it
TABLES = r"""SELECT format('%I.%I', n.nspname, c.relname), n.nspname || '.' || c.relname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence = 'p'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_%' ORDER BY 1"""

# A row's transaction with its epoch: the next one less the row's age; of a frozen row, the first of all.
_VISIBLE = """pg_visible_in_snapshot(greatest(3, pg_snapshot_xmax(pg_current_snapshot())::text::bigint
  - age(xmin))::text::xid8, '{}'::pg_snapshot)"""


_LAST_COUNT = """SELECT at, snapshot, tables FROM backups.marks WHERE tables IS NOT NULL
 ORDER BY at DESC LIMIT 1"""
_FIRST_KEY = """SELECT a.attname FROM pg_index i JOIN pg_attribute a
  ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
 WHERE i.indrelid = '{}'::regclass AND i.indisprimary"""


# Months and tables that retention drops go with a line in the audit log, in one commit.
_DROPPED = """SELECT EXISTS (SELECT FROM wharfd.audit WHERE action LIKE 'retention.%'
  AND detail ->> 'part' = {} AND recorded_at >= '{}')"""


async def last_count(scratch: Scratch, database: str) -> Marker | None:
    """Return the newest count that the restored database holds itself; None where nobody counted."""
    if await missing(scratch, database, "backups.marks"):
        return None
    rows = await scratch.ask(_LAST_COUNT, database)
    if not rows:
        return None
    tables = msgspec.json.decode(rows[0][2], type=dict[str, Tally])
    return Marker("", at(rows[0][0]), rows[0][1], tables)


async def nothing_changed() -> Changes:
    """Where nobody can tell what changed, nothing may be missing."""
    return NO_CHANGES


async def compared(
    scratch: Scratch,
    database: str,
    marker: Marker | None,
    changed: Changed,
    *,
    told_seconds: float = _TOLD_SECONDS,
) -> str:
    """Compare as `as_counted` does, and once more with what is told a little later before it fails."""
    try:
        return await as_counted(scratch, database, marker, await changed())
    except Failed:
        if changed is nothing_changed:
            raise
    await trio.sleep(told_seconds)
    return await as_counted(scratch, database, marker, await changed())


async def as_counted(
    scratch: Scratch, database: str, marker: Marker | None, changes: Changes = NO_CHANGES
) -> str:
    """Compare what the tables hold with a count made before the point they were restored to.

    `changes` says how many rows somebody may have deleted since: those are no loss.
    """
    marker = marker or await last_count(scratch, database)
    if marker is None:
        raise Skipped("nothing was counted before the point the restore went to")
    there = {name: relation for relation, name in await scratch.ask(TABLES, database)}
    hashed = 0
    for name, tally in marker.tables.items():
        if name not in there:
            if await _dropped_since(scratch, database, name, marker):
                continue
            raise Failed(f"the table {name} had {tally.rows} rows and is not there")
        # A dump holds exactly what its snapshot saw, under transaction numbers of its own.
        seen = "true" if marker.lsn == "0/0" else _VISIBLE.format(marker.snapshot)
        key = await scratch.ask(_FIRST_KEY.format(there[name].replace("'", "''")), database)
        wanted = ["count(*)"]
        wanted.append("bit_xor(NULL::bigint)" if tally.hash is None else HASH)
        wanted.append(NEWEST.replace("%I", quoted(key[0][0])) if key else "max(NULL::text)")
        columns = ", ".join(f"{aggregate} FILTER (WHERE {seen})" for aggregate in wanted)
        text = f"BEGIN; {ALIKE} SELECT count(*), {columns} FROM {there[name]} of_it"
        every, count, digest, newest = (await scratch.ask(text, database))[0]
        room = changes.room(name, tally, marker.at) if changes is not NO_CHANGES else 0
        exact = tally.exact and name not in changes.deleted and not room
        slack = 0 if exact else int(every) - int(count) + _SLACK + room
        if not tally.rows - slack <= int(count) <= tally.rows:
            raise Failed(f"{name} has {count} of the {tally.rows} rows it had")
        if exact and newest != (tally.newest or ""):
            raise Failed(f"{name} has {newest!r} as its greatest key, and had {tally.newest!r}")
        if exact and tally.hash is not None and int(digest) != tally.hash:
            raise Failed(f"{name} has as many rows as it had, and not the same: their hash differs")
        hashed += exact and tally.hash is not None
    rows = sum(t.rows for t in marker.tables.values())
    return f"{len(marker.tables)} tables, {rows} rows, counted at {marker.at:%H:%M:%S}; {hashed} hashed"


async def _dropped_since(scratch: Scratch, database: str, table: str, marker: Marker) -> bool:
    """Tell whether the restored audit log says that the table was dropped after it was counted."""
    if await missing(scratch, database, "wharfd.audit"):
        return False
    said = (await scratch.ask(_DROPPED.format(_literal(table), marker.at.isoformat()), database))[0][0]
    return bool(said == "t")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def missing(scratch: Scratch, database: str, table: str) -> bool:
    """Tell whether a table is not there."""
    return bool((await scratch.ask(f"SELECT to_regclass('{table}') IS NULL", database))[0][0] == "t")
