"""The SQL of this plugin: one named statement and one function per operation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from wharfd import Database, Record, Transaction, new_id, sql

_COLUMNS = "id, reference, points, level, joined_at, earned_at"

JOIN = sql(
    "join",
    """INSERT INTO loyalty.members (id, owner, reference) VALUES ($1, $2, $3)
    ON CONFLICT (owner, reference) DO UPDATE SET reference = EXCLUDED.reference RETURNING id""",
)
LIST = sql(
    "list_members",
    f"""SELECT {_COLUMNS} FROM loyalty.members
    WHERE ($1::text IS NULL OR owner = $1)
      AND ($2::bigint IS NULL OR points < $2 OR (points = $2 AND id > $3))
    ORDER BY points DESC, id LIMIT $4""",
)
READ = sql(
    "read_member",
    f"SELECT {_COLUMNS} FROM loyalty.members WHERE id = $1 AND ($2::text IS NULL OR owner = $2)",
)
LOCK = sql(
    "lock_member", "SELECT owner, reference, points, level FROM loyalty.members WHERE id = $1 FOR UPDATE"
)
BOOK = sql(
    "book_points",
    """UPDATE loyalty.members
    SET points = $2, level = $3, earned_at = CASE WHEN $2 > points THEN now() ELSE earned_at END
    WHERE id = $1""",
)
AWARD = sql(
    "award",
    """INSERT INTO loyalty.awards (id, member_id, points, reason, made_by) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (made_by) DO NOTHING""",
)
IDLE = sql(
    "idle_members",
    "SELECT id, points, earned_at FROM loyalty.members WHERE points > 0 AND earned_at < now() - $1::interval",
)
WAITING = sql(
    "waiting_awards",
    "SELECT count(*) FROM loyalty.awards WHERE state = 'ready' AND due_at < now() - interval '5 minutes'",
)


async def join(tx: Transaction, owner: str | None, reference: str) -> str:
    """Return the id of the owner's member with this reference, who is one from now on."""
    return str(await tx.fetchval(JOIN, new_id("mem"), owner, reference))


async def award(tx: Transaction, member_id: str, points: int, reason: str, made_by: str) -> bool:
    """Add an award, which is work from this commit on; False when `made_by` made one before."""
    return await tx.execute(AWARD, new_id("awd"), member_id, points, reason, made_by) > 0


async def lock(tx: Transaction, member_id: str) -> Record:
    """Read a member that nobody else can book on until the commit."""
    row = await tx.fetchrow(LOCK, member_id)
    assert row is not None, "awards refer to members"
    return row


async def book(tx: Transaction, member_id: str, points: int, level: str) -> None:
    """Write what a member has now."""
    await tx.execute(BOOK, member_id, points, level)


async def page(db: Database, owner: str | None, after: Sequence[Any] | None, limit: int) -> list[Record]:
    """Return members, those with the most points first, after (points, id)."""
    points, member_id = after or (None, None)
    return await db.fetch(LIST, owner, points, member_id, limit)


async def read(db: Database, owner: str | None, member_id: str) -> Record | None:
    """Return a member of an owner (None: of anybody)."""
    return await db.fetchrow(READ, member_id, owner)


async def idle(db: Database, since: timedelta) -> list[Record]:
    """Return the members with points who earned none for so long."""
    return await db.fetch(IDLE, since)


async def waiting(db: Database) -> int:
    """Return how many awards wait too long."""
    return int(await db.fetchval(WAITING))
