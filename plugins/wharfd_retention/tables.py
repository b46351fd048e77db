"""SQL on the tables whose rows go: their shape, what would go, the rows themselves, their end.

Names of tables and columns, and a rule's `where`, come from declarations that were checked at start; values
are always bound.
"""

from __future__ import annotations

from datetime import datetime

import asyncpg

from wharfd import Database, Queries, Statement, Transaction, quoted, sql

from .model import Gate, Policy, Shape

_SHAPE = sql(
    "table_shape",
    """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum""",
)
_ROWS = sql(
    "table_rows",
    """SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM pg_partition_tree(to_regclass($1)) t
    JOIN pg_class c ON c.oid = t.relid WHERE t.isleaf""",
)
_PENDING = sql(
    "detach_pending",
    """SELECT i.inhdetachpending FROM pg_inherits i
    WHERE i.inhrelid = to_regclass($1) AND i.inhparent = to_regclass($2)""",
)
_PATIENT = sql("detach_patient", "SET lock_timeout = 0")
_DETACH_SECONDS = 600
_SIZE = sql("table_size", "SELECT pg_total_relation_size(to_regclass($1))")
_KIND = sql(
    "table_kind",
    """SELECT c.relkind::text, i.inhparent::regclass::text AS parent
    FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.oid = to_regclass($1)""",
)
_EXISTS = sql("table_exists", "SELECT to_regclass($1) IS NOT NULL")


async def shape(db: Queries, table: str) -> Shape | None:
    """Return a table's columns, None when it is not there."""
    rows = await db.fetch(_SHAPE, quoted(table))
    return Shape({row[0]: row[1] for row in rows}) if rows else None


async def about_rows(db: Queries, table: str) -> int:
    """Return about how many rows a table has, by its statistics."""
    return int(await db.fetchval(_ROWS, quoted(table)) or 0)


async def size(db: Queries, table: str) -> int:
    """Return how many bytes a table takes, with its indexes."""
    return int(await db.fetchval(_SIZE, quoted(table)) or 0)


async def count_rows(db: Queries, table: str) -> int:
    """Count a table's rows, where its statistics are of no use."""
    return int(await db.fetchval(_named("count", f"SELECT count(*) FROM {quoted(table)}"), timeout=600))


def _named(name: str, text: str) -> Statement:
    return sql(f"table_{name}", text)


async def would_go(db: Queries, policy: Policy, gate: Gate) -> tuple[int, datetime | None, datetime | None]:
    """Return how many rows pass the gate, and the oldest and newest of them."""
    column = quoted(policy.column)
    text = (
        f"SELECT count(*), min(t.{column}), max(t.{column}) FROM {quoted(policy.table)} t WHERE {gate.text}"
    )
    row = await db.fetchrow(_named("would_go", text), *gate.values, timeout=600)
    assert row is not None
    return row[0], row[1], row[2]


async def spread(db: Queries, policy: Policy, month: str) -> tuple[int, datetime | None, datetime | None]:
    """Return how many rows a month has, and the oldest and newest of them."""
    column = quoted(policy.column)
    text = f"SELECT count(*), min(t.{column}), max(t.{column}) FROM {quoted(month)} t"
    row = await db.fetchrow(_named("spread", text), timeout=600)
    assert row is not None
    return row[0], row[1], row[2]


async def kept_back(db: Queries, table: str, gate: Gate) -> int:
    """Return how many rows of a month do not pass the gate: live work, held, or not of the rule."""
    text = f"SELECT count(*) FROM {quoted(table)} t WHERE NOT coalesce({gate.text}, false)"
    return int(await db.fetchval(_named("kept_back", text), *gate.values, timeout=600))


async def facts(db: Queries, policy: Policy, table: str) -> tuple[int, str]:
    """Return a month's number of rows and a hash over them that does not depend on their order."""
    text = (
        "SELECT count(*), coalesce(sum(hashtextextended(row_to_json(t)::text, 0)::numeric), 0)::text "
        f"FROM {quoted(table)} t"
    )
    row = await db.fetchrow(_named("facts", text), timeout=3600)
    assert row is not None
    return row[0], row[1]


def declare_rows(policy: Policy, table: str, gate: Gate, limit: int | None) -> Statement:
    """Return the cursor over the rows to export, by their key; a lot of rows with the oldest first."""
    order = ", ".join(f"t.{quoted(name)}" for name in policy.key)
    if limit is not None:
        order = f"t.{quoted(policy.column)}, {order}"
    tail = "" if limit is None else f" LIMIT {limit:d}"
    text = (
        f"DECLARE archive_rows NO SCROLL CURSOR FOR SELECT row_to_json(t)::text AS line, "
        f"t.{quoted(policy.column)} AS at FROM {quoted(table)} t WHERE {gate.text} ORDER BY {order}{tail}"
    )
    return _named("declare_rows", text)


FETCH = sql("table_fetch", "FETCH FORWARD 2000 FROM archive_rows")


# The gate holds a rule's own words, which may name columns plainly: no other table may have one of that name.
def _keys(policy: Policy, of: str) -> str:
    return ", ".join(f"{of}.{quoted(name)} AS wanted_{n}" for n, name in enumerate(policy.key))


def _same(policy: Policy) -> str:
    return " AND ".join(f"t.{quoted(name)} = e.wanted_{n}" for n, name in enumerate(policy.key))


async def delete_archived(tx: Transaction, policy: Policy, gate: Gate, lines: list[str]) -> int:
    """Delete rows that are, to the last character, as they were archived, and still pass the gate."""
    where = f"${len(gate.values) + 1}"
    table = quoted(policy.table)
    text = f"""DELETE FROM {table} t
        USING (SELECT {_keys(policy, "r")}, l.line AS as_archived FROM unnest({where}::text[]) AS l (line),
               LATERAL json_populate_record(NULL::{table}, l.line::json) r) e
        WHERE {_same(policy)} AND {gate.text} AND row_to_json(t)::text = e.as_archived"""
    return await tx.execute(_named("delete_archived", text), *gate.values, lines)


async def delete_plain(tx: Transaction, policy: Policy, gate: Gate, limit: int) -> int:
    """Delete some of the oldest rows that pass the gate, for a rule without an archive."""
    table, column = quoted(policy.table), quoted(policy.column)
    text = f"""WITH old AS (SELECT {_keys(policy, "t")} FROM {table} t WHERE {gate.text} ORDER BY t.{column}
                 LIMIT {limit:d} FOR UPDATE SKIP LOCKED)
        DELETE FROM {table} t USING old e
        WHERE {_same(policy)} AND {gate.text}"""
    return await tx.execute(_named("delete_plain", text), *gate.values)


async def detach(db: Database, parent: str, part: str) -> None:
    """Take a month out of its table without blocking anybody; finish a detach that was cut short.

    A detach that was interrupted leaves the month invisible and its range closed: only FINALIZE cures it. The
    server may itself still be at one whose client is gone; then whoever comes second finds it done.
    """
    async with db.session() as session:
        # It waits until nobody reads by an old snapshot: a lock_timeout would leave it half done.
        await session.execute(_PATIENT)
        try:
            await _detach_once(session, parent, part)
        except asyncpg.PostgresError:
            await _detach_once(session, parent, part)


async def attach(db: Database, parent: str, part: str) -> None:
    """Put a month that is out, or half out, back into its table; nothing happens when it is there."""
    if await is_attached(db, parent, part):
        return
    await detach(db, parent, part)
    year, month = (int(number) for number in part.rpartition("_y")[2].split("m"))
    first, end = f"{year:04}-{month:02}-01", f"{year + month // 12:04}-{month % 12 + 1:02}-01"
    text = (
        f"ALTER TABLE {quoted(parent)} ATTACH PARTITION {quoted(part)} "
        f"FOR VALUES FROM ('{first} 00:00:00+00') TO ('{end} 00:00:00+00')"
    )
    await db.execute(_named("attach", text), timeout=_DETACH_SECONDS)


async def _detach_once(db: Queries, parent: str, part: str) -> None:
    pending = await db.fetchval(_PENDING, quoted(part), quoted(parent))
    if pending is None:
        return
    how = "FINALIZE" if pending else "CONCURRENTLY"
    text = f"ALTER TABLE {quoted(parent)} DETACH PARTITION {quoted(part)} {how}"
    await db.execute(_named("detach", text), timeout=_DETACH_SECONDS)


async def is_attached(db: Queries, parent: str, part: str) -> bool:
    """Tell whether a month is in its table, and all of it."""
    return await db.fetchval(_PENDING, quoted(part), quoted(parent)) is False


async def exists(db: Queries, table: str) -> bool:
    """Tell whether a table is there."""
    return bool(await db.fetchval(_EXISTS, quoted(table)))


async def why_no_hold(db: Queries, table: str) -> str:
    """Return why a hold on that name would keep nothing; "" for a table whose rows can be held."""
    row = await db.fetchrow(_KIND, quoted(table))
    if row is None or row["relkind"] not in ("r", "p"):
        return "there is no such table"
    return f"it is a part of {row['parent']}, hold that" if row["parent"] else ""


async def lock_and_drop(tx: Transaction, table: str) -> None:
    """Drop a table."""
    await tx.execute(_named("drop", f"DROP TABLE {quoted(table)}"))


async def lock(tx: Transaction, table: str) -> None:
    """Keep everybody else from changing a table until the transaction ends."""
    await tx.execute(_named("lock", f"LOCK TABLE {quoted(table)} IN SHARE ROW EXCLUSIVE MODE"))


def drop_if_there(table: str) -> Statement:
    """Return the statement that drops a table of ours."""
    return _named("drop_if_there", f"DROP TABLE IF EXISTS {quoted(table)}")


async def make_like(tx: Transaction, like: str, target: str) -> None:
    """Make a table with the columns of another."""
    await tx.execute(_named("make_like", f"CREATE TABLE {quoted(target)} (LIKE {quoted(like)})"))


async def refill(tx: Transaction, like: str, target: str, lines: list[str]) -> int:
    """Put archived rows into a table; return how many."""
    text = (
        f"INSERT INTO {quoted(target)} SELECT r.* FROM unnest($1::text[]) AS l (line), "
        f"LATERAL json_populate_record(NULL::{quoted(like)}, l.line::json) r"
    )
    return await tx.execute(_named("refill", text), lines, timeout=600)
