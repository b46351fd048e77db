"""What `Database` and `Transaction` promise to their callers."""

from __future__ import annotations

from collections import Counter

import asyncpg
import pytest
import trio

from wharfd.db import codecs, open_database, sql
from wharfd.errors import StatementTimeout, TransactionAborted

ONE = sql("one", "SELECT 1")
BOTH = sql("both", "SELECT $1::int AS a, $2::jsonb AS b")
INSERT = sql("insert", "INSERT INTO wharfd.things (id, body) VALUES ($1, $2)")
COUNT = sql("count", "SELECT count(*) FROM wharfd.things")
SLEEP = sql("sleep", "SELECT pg_sleep($1)")


@pytest.fixture
async def things(db):
    await db.owner.execute(sql("make", "CREATE TABLE wharfd.things (id int PRIMARY KEY, body jsonb)"))
    return db


async def test_calls_return_what_they_say(things):
    db = things
    assert await db.fetchval(ONE) == 1
    row = await db.fetchrow(BOTH, 1, {"x": [1, None, "é"]})
    assert (row["a"], row["b"]) == (1, {"x": [1, None, "é"]})
    assert await db.execute(INSERT, 1, {"n": 1}) == 1
    await db.executemany(INSERT, [(2, None), (3, [1])])
    assert await db.copy_in("wharfd.things", ["id", "body"], [(4, {"c": 1}), (5, "text")]) == 2
    assert await db.execute(sql("update", "UPDATE wharfd.things SET body = $1 WHERE id > $2"), {}, 3) == 2
    rows = await db.fetch(sql("all", "SELECT id, body FROM wharfd.things ORDER BY id"))
    assert [tuple(row) for row in rows] == [(1, {"n": 1}), (2, None), (3, [1]), (4, {}), (5, {})]
    assert await db.fetchrow(sql("none", "SELECT 1 WHERE false")) is None


async def test_a_built_in_array_is_asked_about_once_and_what_servers_may_differ_in_by_each_connection(
    bridge, database_settings, monkeypatch
):
    asked = []
    ask = asyncpg.Connection._introspect_types

    async def count(connection, oids, timeout):
        asked.append({1016: "int8[]", 2842: "pg_authid"}.get(max(oids), "mood"))
        return await ask(connection, oids, timeout)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", count)
    monkeypatch.setattr(codecs, "_described", {})
    async with open_database(bridge, database_settings) as db:
        await db.owner.execute(sql("make_mood", "CREATE TYPE wharfd.mood AS ENUM ('glad', 'sad')"))
    for _ in range(2):
        async with open_database(bridge, database_settings) as db:
            assert await db.fetchval(sql("numbers", "SELECT $1::int8[]"), [1, None, 3]) == [1, None, 3]
            assert await db.fetchval(sql("moods", "SELECT '{sad}'::wharfd.mood[]")) == ["sad"]
            assert await db.fetchval(sql("role", "SELECT NULL::pg_authid")) is None
    assert Counter(asked) == {"int8[]": 1, "mood": 2, "pg_authid": 2}


async def test_session_limits_are_always_set(db):
    show = sql("show", "SELECT current_setting($1)")
    assert await db.fetchval(show, "statement_timeout") == "30s"
    assert await db.owner.fetchval(show, "statement_timeout") == "6h"
    for database, purpose in ((db, "app"), (db.owner, "owner")):
        assert await database.fetchval(show, "lock_timeout") == "10s"
        assert await database.fetchval(show, "idle_in_transaction_session_timeout") == "1min"
        assert await database.fetchval(show, "application_name") == f"wharfd-test {purpose}"
        assert await database.fetchval(show, "TimeZone") == "UTC"


async def test_a_statement_without_a_name_is_refused(db):
    with pytest.raises(TypeError, match="a statement needs a name"):
        await db.fetch("SELECT 1")


@pytest.mark.parametrize("name", ["", "Upper", "a b", "1a", "a..b", "x" * 121])
def test_a_statement_name_is_checked(name):
    with pytest.raises(ValueError, match="not snake_case"):
        sql(name, "SELECT 1")


async def test_transaction_commits_and_rolls_back(things):
    done = []
    async with things.transaction() as tx:
        tx.after_commit(lambda: done.append("committed"))
        await tx.execute(INSERT, 1, None)
        assert done == []
        assert await things.fetchval(COUNT) == 0
    assert done == ["committed"]
    with pytest.raises(ZeroDivisionError):
        async with things.transaction() as tx:
            tx.after_commit(lambda: done.append("never"))
            await tx.execute(INSERT, 2, None)
            raise ZeroDivisionError
    assert await things.fetchval(COUNT) == 1
    assert done == ["committed"]
    with pytest.raises(RuntimeError, match="the transaction is over"):
        await tx.fetchval(ONE)


async def test_savepoint_undoes_only_its_block(things):
    done = []
    async with things.transaction() as tx:
        await tx.execute(INSERT, 1, None)
        with pytest.raises(asyncpg.UniqueViolationError):
            async with tx.savepoint():
                tx.after_commit(lambda: done.append("never"))
                await tx.execute(INSERT, 2, None)
                await tx.execute(INSERT, 1, None)
        async with tx.savepoint():
            await tx.execute(INSERT, 3, None)
    rows = await things.fetch(sql("ids", "SELECT id FROM wharfd.things ORDER BY id"))
    assert [row["id"] for row in rows] == [1, 3]
    assert done == []


async def test_a_deadline_in_a_savepoint_costs_only_the_savepoint(things):
    async with things.transaction() as tx:
        await tx.execute(INSERT, 1, None)
        for number in range(2, 7):
            with trio.move_on_after(0.01) as scope:
                async with tx.savepoint():
                    await tx.execute(INSERT, number, None)
                    await tx.fetchval(SLEEP, 30)
            assert scope.cancelled_caught
        with pytest.raises(StatementTimeout):
            async with tx.savepoint():
                await tx.execute(INSERT, 8, None)
                await tx.fetchval(SLEEP, 30, timeout=0.01)
        with pytest.raises(TypeError, match="not subscriptable"):
            async with tx.savepoint():
                await tx.copy_in("wharfd.things", ["id", "body"], [(9, None), 10])
        await tx.execute(INSERT, 7, None)
    rows = await things.fetch(sql("ids", "SELECT id FROM wharfd.things ORDER BY id"))
    assert [row["id"] for row in rows] == [1, 7]


async def test_a_swallowed_timeout_does_not_pass_for_a_commit(things):
    with pytest.raises(TransactionAborted):
        async with things.transaction() as tx:
            await tx.execute(INSERT, 1, None)
            with pytest.raises(StatementTimeout):
                await tx.fetchval(SLEEP, 30, timeout=0.01)
    assert await things.fetchval(COUNT) == 0


async def test_a_swallowed_error_does_not_pass_for_a_commit(things):
    with pytest.raises(TransactionAborted):
        async with things.transaction() as tx:
            await tx.execute(INSERT, 1, None)
            with pytest.raises(asyncpg.UniqueViolationError):
                await tx.execute(INSERT, 1, None)
    assert await things.fetchval(COUNT) == 0


async def test_cancelling_a_transaction_rolls_it_back(things):
    with trio.move_on_after(0.1) as scope:
        async with things.transaction() as tx:
            await tx.execute(INSERT, 1, None)
            await tx.fetchval(SLEEP, 30)
    assert scope.cancelled_caught
    assert await things.fetchval(COUNT) == 0


async def test_cancelling_between_statements_rolls_back(things):
    with trio.CancelScope() as scope:
        async with things.transaction() as tx:
            await tx.execute(INSERT, 1, None)
            scope.cancel()
    assert scope.cancelled_caught
    assert await things.fetchval(COUNT) == 0


async def test_after_commit_failure_does_not_undo_or_raise(things):
    done = []
    async with things.transaction() as tx:
        tx.after_commit(lambda: 1 / 0)
        tx.after_commit(lambda: done.append(1))
        await tx.execute(INSERT, 1, None)
    assert done == [1]
    assert await things.fetchval(COUNT) == 1


async def test_readonly_and_isolation(things):
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with things.transaction(readonly=True) as tx:
            await tx.execute(INSERT, 1, None)
    async with things.transaction(isolation="serializable") as tx:
        assert await tx.fetchval(sql("level", "SHOW transaction_isolation")) == "serializable"
    with pytest.raises(ValueError, match="isolation 'chaos'"):
        things.transaction(isolation="chaos")


async def test_timeout_stops_the_statement(db):
    with pytest.raises(StatementTimeout, match="statement sleep did not end within"):
        await db.fetchval(SLEEP, 30, timeout=0.05)
    assert await db.fetchval(ONE) == 1


async def test_server_side_timeout_names_the_statement(db):
    with pytest.raises(StatementTimeout, match="statement sleep was stopped by PostgreSQL"):
        async with db.transaction() as tx:
            await tx.execute(sql("limit", "SET LOCAL statement_timeout = '50ms'"))
            await tx.fetchval(SLEEP, 30)


async def test_session_keeps_one_connection_and_leaves_nothing_behind(db):
    pid = sql("pid", "SELECT pg_backend_pid()")
    async with db.session() as session:
        first = await session.fetchval(pid)
        await session.execute(sql("set", "SET statement_timeout = '1s'; SELECT pg_advisory_lock(1)"))
        async with session.transaction() as tx:
            assert await tx.fetchval(pid) == first
        assert await session.fetchval(pid) == first
    with pytest.raises(RuntimeError, match="the database session is over"):
        await session.fetchval(pid)
    assert await db.fetchval(sql("free", "SELECT pg_try_advisory_xact_lock(1)"))
    assert await db.fetchval(sql("show", "SELECT current_setting('statement_timeout')")) == "30s"


async def test_a_cancelled_session_frees_its_locks_before_it_ends(db):
    for _ in range(5):
        with trio.move_on_after(0.02) as scope:
            async with db.session() as session:
                await session.execute(sql("lock", "SELECT pg_advisory_lock(1)"))
                async with session.transaction() as tx:
                    await tx.fetchval(SLEEP, 30)
        assert scope.cancelled_caught
        assert await db.fetchval(sql("free", "SELECT pg_try_advisory_xact_lock(1)"))


async def test_statistics_count_by_name_without_arguments(db):
    view = db.named("loyalty")
    for _ in range(3):
        await view.fetch(ONE)
    with pytest.raises(asyncpg.UndefinedTableError):
        await view.read.fetch(sql("broken", "SELECT 'secret' FROM nowhere"))
    async with view.transaction() as tx:
        await tx.fetch(sql("inside", "SELECT 1 FROM generate_series(1, 5)"))
    await view.fetchval(SLEEP, 0.25)
    shown = db.statistics()
    figures = {s.name: s for s in shown.statements}
    assert (figures["loyalty.one"].count, figures["loyalty.one"].rows) == (3, 3)
    assert figures["loyalty.broken"].errors == 1
    assert figures["loyalty.inside"].rows == 5
    assert figures["loyalty.one"].p50_seconds <= figures["loyalty.one"].p99_seconds
    assert [(s.name, s.failed) for s in shown.slow] == [("loyalty.sleep", False)]
    assert {p.purpose for p in shown.pools} == {"app", "owner", "urgent"}
    assert "secret" not in repr(shown)


async def test_explain_shows_the_plan_without_running(db):
    plan = await db.explain(sql("nap", "SELECT pg_sleep(60), $1::int"), 5)
    assert "Result" in plan
