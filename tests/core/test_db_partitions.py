"""Monthly partitions: names, bounds, the turn of the year, and nobody touching them directly."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import asyncpg
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from wharfd.db import open_database, partitions, sql
from wharfd.db.migrations import apply
from wharfd.declare import Migrations

TABLE = "wharfd.logs"
NOVEMBER = datetime(2026, 11, 21, 12, tzinfo=UTC)
INSERT = sql("insert", "INSERT INTO wharfd.logs (at, body) VALUES ($1, $2)")


@pytest.fixture
async def logs(db):
    await db.owner.execute(
        sql(
            "make",
            """CREATE TABLE wharfd.logs (
                   id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL, body text DEFAULT 'none',
                   size int GENERATED ALWAYS AS (length(body)) STORED,
                   CHECK (body <> ''), PRIMARY KEY (at, id)
               ) PARTITION BY RANGE (at);
               CREATE INDEX ON wharfd.logs (body)""",
        )
    )
    return db


MONTHS = st.dates(min_value=date(1, 1, 1), max_value=date(9990, 1, 1))


@given(MONTHS)
def test_names_tell_their_month_and_bounds_meet(day):
    name = partitions.partition_name("netbanx.events", day)
    month = partitions.month_of(day)
    assert partitions.month_in_name(name) == month
    first, end = partitions.bounds_of(day)
    assert first.date() == month
    assert partitions.bounds_of(end)[0] == end
    assert first.tzinfo is UTC
    assert timedelta(days=28) <= end - first <= timedelta(days=31)
    assert partitions.partition_name("t", end.date()) > partitions.partition_name("t", day)


@given(MONTHS, st.integers(min_value=-11, max_value=100))
def test_adding_months_is_reversible_and_ordered(day, count):
    month = partitions.month_of(day.replace(year=max(2, day.year)))
    later = partitions.add_months(month, count)
    assert later.day == 1
    assert partitions.add_months(later, -count) == month
    assert (later > month) == (count > 0)


def test_the_month_is_that_of_utc():
    east = timezone(timedelta(hours=14))
    assert partitions.month_of(datetime(2027, 1, 1, 3, tzinfo=east)) == date(2026, 12, 1)


@pytest.mark.parametrize(
    "name", ["logs", "logs_y2026", "logs_y2026m13", "logs_y2026m1", "logs_y0000m01", "_yABCDm01"]
)
def test_other_names_have_no_month(name):
    assert partitions.month_in_name(name) is None


async def test_months_ahead_cross_the_year(logs):
    made = await partitions.ensure(logs.owner, [TABLE], at=NOVEMBER)
    assert made == [f"wharfd.logs_y{m}" for m in ("2026m11", "2026m12", "2027m01", "2027m02")]
    assert await partitions.ensure(logs.owner, [TABLE], at=NOVEMBER) == []
    listed = await partitions.listed(logs, TABLE)
    assert [p.name for p in listed] == made
    assert [p.first for p in listed] == [partitions.bounds_of(p.first)[0] for p in listed]
    assert all(p.end == q.first for p, q in pairwise(listed))
    assert all(p.bytes > 0 for p in listed)
    for moment in (listed[0].first, listed[-1].end - timedelta(microseconds=1)):
        await logs.execute(INSERT, moment, "x")
    with pytest.raises(asyncpg.CheckViolationError):
        await logs.execute(INSERT, listed[-1].end, "x")
    where = sql("where", "SELECT at, tableoid::regclass::text AS name, size FROM wharfd.logs ORDER BY at")
    assert [row["name"] for row in await logs.fetch(where)] == [made[0], made[-1]]


async def test_a_partition_has_everything_of_its_parent(logs):
    await partitions.ensure(logs.owner, [TABLE], at=NOVEMBER)
    await logs.execute(INSERT, NOVEMBER, "four")
    row = await logs.fetchrow(sql("read", "SELECT id, size FROM wharfd.logs"))
    assert (row["id"], row["size"]) == (1, 4)
    with pytest.raises(asyncpg.CheckViolationError):
        await logs.execute(INSERT, NOVEMBER, "")
    indexes = sql("indexes", "SELECT count(*) FROM pg_indexes WHERE tablename = 'logs_y2026m11'")
    assert await logs.fetchval(indexes) == 2


async def test_the_app_role_cannot_go_round_the_parent(logs):
    """DELETE is forbidden on the parent; a partition made later must not open a side door."""
    await logs.owner.execute(sql("forbid", "REVOKE DELETE ON wharfd.logs FROM wharfd_app"))
    made = await partitions.ensure(logs.owner, [TABLE], at=NOVEMBER, ahead=0)
    await logs.execute(INSERT, NOVEMBER, "x")
    for text in (f"DELETE FROM {made[0]}", f"SELECT * FROM {made[0]}", "DELETE FROM wharfd.logs"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await logs.execute(sql("around", text))


async def test_past_months_for_an_import_and_what_is_missing(logs):
    await partitions.ensure_range(
        logs.owner, TABLE, datetime(2025, 11, 5, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    )
    names = [p.name.rpartition("_")[2] for p in await partitions.listed(logs, TABLE)]
    assert names == ["y2025m11", "y2025m12", "y2026m01", "y2026m02"]
    missing = await partitions.missing(logs, [TABLE], at=datetime(2026, 2, 10, tzinfo=UTC), ahead=2)
    assert [m.month for m in missing] == [date(2026, 3, 1), date(2026, 4, 1)]
    with pytest.raises(ValueError, match="ends before it begins"):
        await partitions.ensure_range(logs.owner, TABLE, NOVEMBER, NOVEMBER - timedelta(days=60))


async def test_a_month_can_be_dropped(logs):
    await partitions.ensure(logs.owner, [TABLE], at=NOVEMBER, ahead=1)
    await logs.execute(INSERT, NOVEMBER, "x")
    await partitions.drop_month(logs.owner, TABLE, date(2026, 11, 1))
    assert [p.first.month for p in await partitions.listed(logs, TABLE)] == [12]
    assert await logs.fetchval(sql("count", "SELECT count(*) FROM wharfd.logs")) == 0


async def test_only_a_month_partitioned_table_is_accepted(db):
    await db.owner.execute(sql("plain", "CREATE TABLE wharfd.plain (at timestamptz)"))
    with pytest.raises(asyncpg.RaiseError, match="not partitioned by range of one timestamptz column"):
        await partitions.ensure(db.owner, ["wharfd.plain"])


async def test_two_daemons_make_each_month_once(bridge, database_settings, logs):
    made = []

    async def daemon():
        async with open_database(bridge, database_settings) as own:
            made.extend(await partitions.ensure(own.owner, [TABLE], at=NOVEMBER, ahead=11))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(daemon)
    assert len(made) == len(set(made)) == 12


async def test_migrating_makes_the_declared_partitions(db, tmp_path, monkeypatch):
    folder = tmp_path / "yard_fixture" / "migrations"
    folder.mkdir(parents=True)
    (tmp_path / "yard_fixture" / "__init__.py").write_text("")
    (folder / "0001_init.sql").write_text("CREATE TABLE yard.log (at timestamptz) PARTITION BY RANGE (at)")
    monkeypatch.syspath_prepend(tmp_path)
    declared = [("yard", Migrations("yard_fixture", partitioned=("yard.log",), keep_forever=("yard.log",)))]
    done = await apply(db, declared, at=NOVEMBER)
    assert [name[-8:] for name in done.partitions] == ["y2026m11", "y2026m12", "y2027m01", "y2027m02"]
    await db.execute(sql("insert_log", "INSERT INTO yard.log VALUES ($1)"), NOVEMBER)
    for table in ("yard.log", done.partitions[0]):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute(sql("delete_log", f"DELETE FROM {table}"))
    assert await partitions.missing(db, ["yard.log"], at=NOVEMBER, ahead=3) == []
