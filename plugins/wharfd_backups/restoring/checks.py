"""What a restored server is asked before anybody believes in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from ..engine.programs import Programs
from ..model.catalogue import Entry, Marker
from .counts import TABLES, Changed, compared, missing, nothing_changed
from .outcome import Check, Failed, Skipped, one
from .scratch import Scratch

QUICK = frozenset({"tables_open", "audit_chain", "master_keys"})  # a moment each, however large it is
DEEP = QUICK | {"counts_agree", "visibility_map", "indexes_and_heap", "foreign_keys"}  # need nothing but it


async def check_all(
    scratch: Scratch,
    programs: Programs,
    entry: Entry,
    *,
    at_marker: Marker | None,
    changed: Changed = nothing_changed,
    only: Collection[str] | None = None,
) -> list[Check]:
    """Make every check on a promoted server, or `only` some, and return what they said; none raises."""
    database = entry.database
    wanted: list[tuple[str, Callable[[], Awaitable[str]]]] = [
        ("tables_open", lambda: _tables_open(scratch, database)),
        ("counts_agree", lambda: _counts_agree(scratch, database)),
        ("counts_as_marked", lambda: compared(scratch, database, at_marker, changed)),
        ("visibility_map", lambda: _visibility(scratch, programs, database)),
        ("indexes_and_heap", lambda: _amcheck(scratch, programs, database)),
        ("foreign_keys", lambda: _foreign_keys(scratch, database)),
        ("audit_chain", lambda: _audit_chain(scratch, database)),
        ("master_keys", lambda: _master_keys(scratch, database, entry)),
    ]
    return [await one(name, check) for name, check in wanted if only is None or name in only]


async def _tables_open(scratch: Scratch, database: str) -> str:
    tables = await scratch.ask(TABLES, database)
    invalid = await scratch.ask("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid", database)
    if invalid:
        raise Failed(f"the index {invalid[0][0]} is not valid")
    return f"{len(tables)} tables"


async def _counts_agree(scratch: Scratch, database: str) -> str:
    """Count by index and by table: a damaged visibility map makes an index-only scan see dead rows."""
    indexed = "AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid) ORDER BY"
    tables = await scratch.ask(TABLES.replace("ORDER BY", indexed), database)
    by_index = "SET enable_seqscan = off; SET enable_bitmapscan = off; "
    by_table = "SET enable_indexonlyscan = off; SET enable_indexscan = off; SET enable_bitmapscan = off; "
    for start in range(0, len(tables), 100):
        some = tables[start : start + 100]
        union = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {quoted}" for quoted, name in some)
        by_scan = await scratch.ask(by_table + union, database)
        seen = {row[0]: row[1] for row in by_scan}
        for name, count in await scratch.ask(by_index + union, database):
            if seen[name] != count:
                raise Failed(f"{name} has {seen[name]} rows, and {count} when counted by its index")
    return f"{len(tables)} tables, counted twice"


async def _visibility(scratch: Scratch, programs: Programs, database: str) -> str:
    if not programs.binaries.has("pg_visibility"):
        raise Skipped("the extension pg_visibility is not installed")
    rows = await scratch.ask(
        "CREATE EXTENSION IF NOT EXISTS pg_visibility; SELECT c.oid::regclass, "
        "(SELECT count(*) FROM pg_check_visible(c.oid)), (SELECT count(*) FROM pg_check_frozen(c.oid)) "
        "FROM pg_class c WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p'",
        database,
    )
    for table, visible, frozen in rows:
        if visible != "0" or frozen != "0":
            raise Failed(f"{table} has {visible} rows wrongly marked as visible to all, {frozen} as frozen")
    return f"{len(rows)} tables"


async def _amcheck(scratch: Scratch, programs: Programs, database: str) -> str:
    if not programs.binaries.has("amcheck"):
        raise Skipped("the extension amcheck is not installed")
    options = ["--install-missing", "--heapallindexed", "--rootdescend"]
    if programs.version[0] >= 17:
        options.append("--checkunique")
    where = ["-h", str(scratch.socket_folder), "-p", "5432", "-U", scratch.superuser, "-d", database]
    await programs.call("pg_amcheck", *options, "-w", *where)  # it takes no URL
    return "every table and index of the database"


_KEYS = """SELECT c.conname, c.conrelid::regclass, c.confrelid::regclass,
  (SELECT string_agg(format('%s.%I IS NOT NULL', 'a', a.attname), ' AND ')
     FROM unnest(c.conkey) k JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k),
  (SELECT string_agg(format('a.%I = b.%I', a.attname, b.attname), ' AND ')
     FROM unnest(c.conkey, c.confkey) AS k (x, y)
     JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = x
     JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = y)
  FROM pg_constraint c WHERE c.contype = 'f' AND c.convalidated AND c.conparentid = 0"""


async def _foreign_keys(scratch: Scratch, database: str) -> str:
    keys = await scratch.ask(_KEYS, database)
    for name, table, other, present, equal in keys:
        text = (
            f"SELECT count(*) FROM {table} a WHERE {present} "
            f"AND NOT EXISTS (SELECT FROM {other} b WHERE {equal})"
        )
        if (count := (await scratch.ask(text, database))[0][0]) != "0":
            raise Failed(f"{count} rows of {table} point to rows of {other} that are not there ({name})")
    return f"{len(keys)} foreign keys"


# Each seal's hash is SHA-256 of the hash before, its number and the hash of its row (docs/secrets.md).
_CHAIN = """SELECT count(*), count(*) FILTER (WHERE before IS NOT NULL AND (seq <> seq_before + 1
    OR hash <> sha256(before || int8send(seq) || row_hash)))
  FROM (SELECT seq, hash, row_hash, lag(hash) OVER w AS before, lag(seq) OVER w AS seq_before
          FROM wharfd.audit_seals WINDOW w AS (ORDER BY seq)) s"""


async def _audit_chain(scratch: Scratch, database: str) -> str:
    if await missing(scratch, database, "wharfd.audit_seals"):
        raise Skipped("there is no audit log in this database")
    count, wrong = (await scratch.ask(_CHAIN, database))[0]
    if wrong != "0":
        raise Failed(f"{wrong} of {count} seals of the audit log do not continue the one before")
    return f"{count} seals, each continues the one before"


async def _master_keys(scratch: Scratch, database: str, entry: Entry) -> str:
    if await missing(scratch, database, "wharfd.data_keys"):
        raise Skipped("no secrets are sealed in this database")
    rows = await scratch.ask("SELECT DISTINCT kek_id FROM wharfd.data_keys", database)
    unknown = {row[0] for row in rows} - set(entry.master_keys)
    if unknown:
        raise Failed(f"secrets are sealed with the master key {unknown.pop()}, unknown to the catalogue")
    return f"sealed with {', '.join(entry.master_keys) or 'no key'}"


async def page_checksums(scratch: Scratch, programs: Programs) -> Any:
    """Verify the checksum of every page of a stopped server."""
    text = await programs.confined("pg_checksums", "--check", "-D", str(scratch.data))
    if "Bad checksums:  0" not in text:
        raise Failed(text.strip().splitlines()[-1])
    return next(line.strip() for line in text.splitlines() if line.startswith("Blocks scanned"))
