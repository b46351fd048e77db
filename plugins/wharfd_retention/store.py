"""The SQL of this plugin's own tables, one function per operation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from wharfd import Database, Queries, Transaction, sql

from .model import Hold, Policy, State

SEEN = sql("rule_seen", "SELECT fingerprint FROM retention.rules WHERE name = $1")
SEE = sql(
    "rule_see",
    """INSERT INTO retention.rules (name, fingerprint) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET fingerprint = excluded.fingerprint, seen_at = now()""",
)
ADD_RUN = sql(
    "run_add", "INSERT INTO retention.runs (id, actor, dry, forced, rule) VALUES ($1, $2, $3, $4, $5)"
)
BEGIN_RUN = sql(
    "run_begin",
    """UPDATE retention.runs SET state = 'running' WHERE id = $1 AND state IN ('waiting', 'running')
    RETURNING dry, forced, rule, actor""",
)
END_RUN = sql(
    "run_end",
    "UPDATE retention.runs SET state = $2, error = $3, result = $4, finished_at = now() WHERE id = $1",
)
TELL_RUN = sql("run_tell", "UPDATE retention.runs SET result = $2 WHERE id = $1 AND state = 'running'")
GET_RUN = sql("run_get", "SELECT * FROM retention.runs WHERE id = $1")
RUNS = sql("runs_list", "SELECT * FROM retention.runs ORDER BY asked_at DESC LIMIT $1")
OPEN = sql(
    "units_open",
    "SELECT * FROM retention.units WHERE rule = $1 AND state <> 'dropped' ORDER BY planned_at, id",
)
ADD = sql(
    "unit_add",
    """INSERT INTO retention.units (id, rule, source, part, archive, cutoff, rows)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT DO NOTHING""",
)
MOVE = sql("unit_move", "UPDATE retention.units SET state = $2, error = NULL WHERE id = $1")
EXPORTED = sql(
    "unit_exported",
    """UPDATE retention.units SET state = 'exported', rows = $2, first_at = $3, last_at = $4, manifest = $5,
    error = NULL WHERE id = $1""",
)
DETACHED = sql(
    "unit_detached",
    """UPDATE retention.units SET state = 'detached', detached_at = now(), error = NULL
    WHERE id = $1""",
)
STAY = sql(
    "unit_stay",
    """UPDATE retention.units SET state = CASE WHEN archive THEN 'exporting' ELSE 'planned' END,
    stays_until = $2, error = NULL WHERE id = $1 AND state <> 'dropped'""",
)
GO_ON = sql("unit_go_on", "UPDATE retention.units SET state = $2, stays_until = $3 WHERE id = $1")
DELETED = sql("unit_deleted", "UPDATE retention.units SET deleted = deleted + $2 WHERE id = $1")
DROPPED = sql(
    "unit_dropped",
    "UPDATE retention.units SET state = 'dropped', dropped_at = now(), error = NULL WHERE id = $1",
)
FORGET = sql(
    "unit_forget",
    """DELETE FROM retention.units WHERE id = $1 AND state IN ('planned', 'exporting')
    AND detached_at IS NULL""",
)
FAILED = sql("unit_failed", "UPDATE retention.units SET error = $2 WHERE id = $1")
GRACE_OVER = sql(
    "unit_grace_over",
    "SELECT detached_at + $2::interval <= now() FROM retention.units WHERE id = $1 AND state = 'detached'",
)
BEFORE = sql(
    "units_before",
    """SELECT sum(deleted)::bigint FROM retention.units WHERE rule = $1 AND state = 'dropped'
    GROUP BY date_trunc('day', dropped_at) ORDER BY date_trunc('day', dropped_at) DESC LIMIT 10""",
)
UNITS = sql(
    "units_list",
    """SELECT * FROM retention.units WHERE ($1::text IS NULL OR source = $1)
    AND planned_at < coalesce($2, 'infinity'::timestamptz)
    ORDER BY planned_at DESC LIMIT $3""",
)
COLD = sql(
    "units_cold",
    """SELECT * FROM retention.units WHERE source = $1 AND archive AND first_at < $3 AND last_at >= $2
    AND (state = 'dropped' OR (state = 'detached' AND part IS NOT NULL)) ORDER BY first_at""",
)
COLUMNS = sql(
    "units_columns",
    """SELECT DISTINCT jsonb_object_keys(manifest->'columns') FROM retention.units
    WHERE source = $1 AND archive AND manifest IS NOT NULL""",
)
GET = sql("unit_get", "SELECT * FROM retention.units WHERE id = $1")
OLD = sql(
    "units_old",
    """SELECT * FROM retention.units WHERE rule = $1 AND state = 'dropped' AND archive
    AND manifest IS NOT NULL AND last_at < now() - $2::interval""",
)
UNCHECKED = sql(
    "units_unchecked",
    """(SELECT * FROM retention.units WHERE trouble IS NOT NULL ORDER BY id LIMIT 1000)
    UNION ALL (SELECT * FROM retention.units
      WHERE trouble IS NULL AND manifest IS NOT NULL AND state IN ('detached', 'dropped')
      ORDER BY checked_at NULLS FIRST LIMIT $1)""",
)
CHECKED = sql("unit_checked", "UPDATE retention.units SET checked_at = now(), trouble = $2 WHERE id = $1")
TROUBLE = sql(
    "units_trouble",
    "SELECT id, rule, trouble FROM retention.units WHERE trouble IS NOT NULL ORDER BY id LIMIT 20",
)
CLEARED = sql(
    "unit_cleared",
    "UPDATE retention.units SET manifest = NULL, archive = false, trouble = NULL WHERE id = $1",
)
HOLDS = sql(
    "holds_open",
    """SELECT id, source, owner, key FROM wharfd.holds
    WHERE released_at IS NULL AND (expires_at IS NULL OR expires_at > now())""",
)
HOLDS_ALL = sql("holds_list", "SELECT * FROM wharfd.holds ORDER BY made_at DESC LIMIT 500")
HOLD = sql(
    "hold_add",
    """INSERT INTO wharfd.holds (id, source, owner, key, reason, made_by, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)""",
)
RELEASE = sql(
    "hold_release",
    "UPDATE wharfd.holds SET released_at = now(), released_by = $2 WHERE id = $1 AND released_at IS NULL",
)
ENDING = sql(
    "holds_ending",
    """SELECT id, source, expires_at FROM wharfd.holds WHERE released_at IS NULL
    AND expires_at BETWEEN now() AND now() + interval '14 days'""",
)
CLOCK = sql("clock_read", "SELECT now() AS now, (SELECT last_seen FROM retention.clock) AS last_seen")
TICK = sql(
    "clock_tick",
    """INSERT INTO retention.clock (last_seen) VALUES (now())
    ON CONFLICT (one) DO UPDATE SET last_seen = greatest(retention.clock.last_seen, excluded.last_seen)""",
)


class Unit(msgspec.Struct, frozen=True):
    """One row of `retention.units`."""

    id: str
    rule: str
    source: str
    part: str | None
    archive: bool
    state: State
    cutoff: datetime
    rows: int
    deleted: int
    first_at: datetime | None
    last_at: datetime | None
    manifest: dict[str, Any] | None
    planned_at: datetime
    detached_at: datetime | None
    dropped_at: datetime | None
    error: str | None
    checked_at: datetime | None = None
    trouble: str | None = None
    stays_until: datetime | None = None

    @property
    def table(self) -> str:
        """Where its rows are: the month's own table, or the rule's."""
        return self.part or self.source


class Run(msgspec.Struct, frozen=True):
    """One row of `retention.runs`."""

    id: str
    actor: str
    dry: bool
    forced: bool
    state: str
    asked_at: datetime
    finished_at: datetime | None
    error: str | None
    result: dict[str, Any]
    rule: str | None = None


class HoldRow(msgspec.Struct, frozen=True):
    """One row of `wharfd.holds`."""

    id: str
    source: str
    owner: str | None
    key: str | None
    reason: str
    made_by: str
    made_at: datetime
    expires_at: datetime | None
    released_at: datetime | None
    released_by: str | None


async def seen(db: Queries, policy: Policy) -> bool:
    """Tell whether a rule has reported before as it is now."""
    return bool(await db.fetchval(SEEN, policy.name) == policy.fingerprint)


async def see(db: Queries, policy: Policy) -> None:
    """Note that a rule has reported as it is now."""
    await db.execute(SEE, policy.name, policy.fingerprint)


async def open_units(db: Queries, rule: str) -> list[Unit]:
    """Return the units of a rule that are not done."""
    return [Unit(**dict(row)) for row in await db.fetch(OPEN, rule)]


async def holds(db: Queries) -> list[Hold]:
    """Return the legal holds that are in force."""
    return [
        Hold(id=row["id"], table=row["source"], owner=row["owner"], key=row["key"])
        for row in await db.fetch(HOLDS)
    ]


async def before(db: Queries, rule: str) -> list[int]:
    """Return how many rows a rule deleted on each of its last days."""
    return [row[0] for row in await db.fetch(BEFORE, rule)]


async def get(db: Queries, unit_id: str) -> Unit | None:
    """Return a unit."""
    row = await db.fetchrow(GET, unit_id)
    return None if row is None else Unit(**dict(row))


async def units(db: Queries, source: str | None, until: datetime | None, limit: int) -> list[Unit]:
    """Return the newest units, of one table or of all."""
    return [Unit(**dict(row)) for row in await db.fetch(UNITS, source, until, limit)]


async def cold(db: Queries, source: str, first: datetime, last: datetime) -> list[Unit]:
    """Return the units whose archive holds rows of that time that are in no table any more."""
    return [Unit(**dict(row)) for row in await db.fetch(COLD, source, first, last)]


async def archived_columns(db: Queries, source: str) -> set[str]:
    """Return every column that archives of a table have; empty when there are none."""
    return {row[0] for row in await db.fetch(COLUMNS, source)}


async def unchecked(db: Queries, limit: int) -> list[Unit]:
    """Return the units whose archives are in trouble, and those that were not read back for longest."""
    return [Unit(**dict(row)) for row in await db.fetch(UNCHECKED, limit)]


async def checked(db: Queries, unit_id: str, trouble: str | None) -> None:
    """Note that an archive was read back, and what was wrong."""
    await db.execute(CHECKED, unit_id, trouble)


async def get_run(db: Queries, run_id: str) -> Run | None:
    """Return a run."""
    row = await db.fetchrow(GET_RUN, run_id)
    return None if row is None else Run(**dict(row))


async def runs(db: Queries, limit: int) -> list[Run]:
    """Return the newest runs."""
    return [Run(**dict(row)) for row in await db.fetch(RUNS, limit)]


async def all_holds(db: Queries) -> Sequence[HoldRow]:
    """Return all holds, newest first."""
    return [HoldRow(**dict(row)) for row in await db.fetch(HOLDS_ALL)]


async def hold(
    tx: Transaction, hold_id: str, wanted: Hold, *, reason: str, by: str, until: datetime | None
) -> None:
    """Add a hold."""
    await tx.execute(HOLD, hold_id, wanted.table, wanted.owner, wanted.key, reason, by, until)


async def release(tx: Transaction, hold_id: str, by: str) -> bool:
    """End a hold; return whether there was one."""
    return await tx.execute(RELEASE, hold_id, by) == 1


async def clock(db: Database) -> tuple[datetime, datetime | None]:
    """Return the database's time, and the latest it ever told."""
    row = await db.fetchrow(CLOCK)
    assert row is not None
    return row["now"], row["last_seen"]


async def tick(db: Queries) -> None:
    """Note the database's time."""
    await db.execute(TICK)
