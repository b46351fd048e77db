"""Lost servers, cancelled callers, full pools: the pool heals by itself and says what happened."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest
import trio

from wharfd.db import DatabaseSettings, open_bridge, open_database, sql
from wharfd.db.settings import shown, split_hosts
from wharfd.errors import CommitUnknown, DatabaseBusy, DatabaseUnavailable, DatabaseUnsuitable

ONE = sql("one", "SELECT 1")
PID = sql("pid", "SELECT pg_backend_pid()")
SLEEP = sql("sleep", "SELECT pg_sleep($1)")
KILL = sql("kill", "SELECT pg_terminate_backend($1, 2000)")


async def settled(db):
    """Wait until the pool has mended what it had to."""
    with trio.fail_after(60):
        while db.statistics().pools[0].used:
            await trio.lowlevel.checkpoint()


async def test_deadlines_leave_the_pool_whole(db):
    async def one(round_number):
        with trio.move_on_after(0.002 * (round_number % 5)) as scope:
            if round_number % 2:
                await db.fetchval(SLEEP, 5)
            else:
                async with db.transaction() as tx:
                    await tx.fetchval(ONE)
                    await tx.fetchval(SLEEP, 5)
        assert scope.cancelled_caught

    for _ in range(10):
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(one, number)
    await settled(db)
    pool = db.statistics().pools[0]
    assert (pool.used, pool.waiting) == (0, 0)
    assert pool.open == pool.idle <= 10
    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(db.fetchval, ONE)
    no_sleepers = sql(
        "sleepers",
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(%' "
        "AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()",
    )
    assert await db.owner.fetchval(no_sleepers) == 0


async def test_backend_terminated_mid_query_is_unavailable_then_heals(db):
    async with db.transaction() as other, trio.open_nursery() as nursery:
        started = trio.Event()
        victim = []

        async def query():
            with pytest.raises(DatabaseUnavailable, match="lost in statement sleep") as caught:
                async with db.transaction() as tx:
                    victim.append(await tx.fetchval(PID))
                    started.set()
                    await tx.fetchval(SLEEP, 30)
            assert isinstance(caught.value.__cause__, asyncpg.PostgresConnectionError)

        nursery.start_soon(query)
        await started.wait()
        assert await other.fetchval(KILL, victim[0])
    assert await db.fetchval(ONE) == 1
    assert db.statistics().pools[0].lost == 1


async def test_idle_connections_killed_are_replaced(db):
    async with db.session() as killer:
        async with db.transaction() as a, db.transaction() as b:
            pids = [await a.fetchval(PID), await b.fetchval(PID)]
        for pid in pids:
            assert await killer.fetchval(KILL, pid) is True
    # The line may be seen to be dead only when it is used: one call may fail, the next must not.
    for _ in range(2):
        try:
            await db.fetchval(ONE)
        except DatabaseUnavailable:
            continue
    assert await db.fetchval(ONE) == 1


async def test_connection_lost_while_committing_is_its_own_error(db):
    await db.owner.execute(
        sql(
            "deferred",
            """CREATE TABLE wharfd.t (id int);
               CREATE FUNCTION wharfd.die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
               $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
               CREATE CONSTRAINT TRIGGER die AFTER INSERT ON wharfd.t DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW EXECUTE FUNCTION wharfd.die()""",
        )
    )
    calls = []

    async def unit(tx):
        calls.append(1)
        await tx.execute(sql("insert", "INSERT INTO wharfd.t VALUES ($1)"), 1)

    with pytest.raises(CommitUnknown):
        await db.owner.repeat(unit, attempts=3)
    assert len(calls) == 1
    with pytest.raises(CommitUnknown):
        await db.owner.repeat(unit, attempts=3, idempotent=True)
    assert len(calls) == 4


async def test_full_pool_says_busy_and_serves_in_order(bridge, database_settings):
    settings = replace(database_settings, pool_size=2, acquire_timeout_seconds=0.1)
    async with open_database(bridge, settings) as db:
        async with db.transaction(), db.transaction():
            with pytest.raises(DatabaseBusy, match=r"2 of 2 in use.*pool_size"):
                await db.fetchval(ONE)
        assert await db.fetchval(ONE) == 1
        assert db.statistics().pools[0].busy == 1
    async with open_database(bridge, replace(settings, pool_size=1, acquire_timeout_seconds=10)) as db:
        order = []

        async def ask(number):
            await db.fetchval(ONE)
            order.append(number)

        async with trio.open_nursery() as nursery, db.transaction():
            for number in range(5):
                nursery.start_soon(ask, number)
                while db.statistics().pools[0].waiting <= number:
                    await trio.lowlevel.checkpoint()
        assert order == [0, 1, 2, 3, 4]


async def test_cancelled_waiters_lose_no_connection(bridge, database_settings):
    async with open_database(bridge, replace(database_settings, pool_size=1)) as db:
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                async with db.transaction():
                    nursery.start_soon(db.fetchval, ONE)
                    nursery.start_soon(db.fetchval, ONE)
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        await settled(db)
        assert await db.fetchval(ONE) == 1
        assert db.statistics().pools[0].waiting == 0


async def test_closing_refuses_later_callers(bridge, database_settings):
    async with open_database(bridge, database_settings) as db:
        assert await db.fetchval(ONE) == 1
    with pytest.raises(DatabaseUnavailable, match="is closed"):
        await db.fetchval(ONE)


async def test_unreachable_server_is_one_sentence_without_the_password(bridge, tmp_path):
    url = f"postgresql://wharfd:hunter2@/wharfd?host={tmp_path}"
    with pytest.raises(DatabaseUnavailable, match="cannot be used") as caught:
        async with open_database(bridge, DatabaseSettings(url=url)):
            pytest.fail("opened")
    assert "hunter2" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.__cause__ is not None
    assert "hunter2" not in repr(DatabaseSettings(url=url, owner_url=url, read_url=url, listen_url=url))


@pytest.mark.parametrize(
    ("role", "database", "reason"),
    [("nobody_here", "postgres", "nobody_here"), ("wharfd_app", "nowhere", "nowhere")],
)
async def test_wrong_role_or_database_is_named(bridge, postgres, role, database, reason):
    with pytest.raises(DatabaseUnavailable, match=reason):
        async with open_database(bridge, DatabaseSettings(url=postgres.dsn(database, role))):
            pytest.fail("opened")


async def test_asynchronous_commit_is_refused_unless_allowed(bridge, postgres, database_settings):
    name = split_name(database_settings.url)
    postgres.psql("postgres", f"ALTER DATABASE {name} SET synchronous_commit = off")
    with pytest.raises(DatabaseUnsuitable, match="synchronous_commit is off"):
        async with open_database(bridge, database_settings):
            pytest.fail("opened")
    async with open_database(bridge, replace(database_settings, allow_asynchronous_commit=True)) as db:
        assert await db.fetchval(ONE) == 1


async def test_pgbouncer_mode_wants_the_timeout_on_the_role(bridge, postgres, database_settings):
    settings = replace(database_settings, pgbouncer=True)
    with pytest.raises(DatabaseUnsuitable, match="no statement_timeout"):
        async with open_database(bridge, settings):
            pytest.fail("opened")
    name = split_name(database_settings.url)
    postgres.psql("postgres", f"ALTER DATABASE {name} SET statement_timeout = '30s'")
    async with open_database(bridge, settings) as db:
        assert await db.fetchval(sql("json", "SELECT $1::jsonb"), {"a": 1}) == {"a": 1}
        # No statement stays prepared, so a connection shared by PgBouncer cannot trip over one.
        assert (
            await db.fetchval(sql("prepared", "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"))
            == 0
        )


async def test_second_host_is_used_when_the_first_is_away(bridge, postgres, database_settings, tcp_server):
    name = split_name(database_settings.url)
    url = f"postgresql://wharfd_app@127.0.0.1:{tcp_server.closed},127.0.0.1:{tcp_server.port}/{name}"
    async with open_database(bridge, replace(database_settings, url=url)) as db:
        assert await db.fetchval(ONE) == 1


async def test_a_server_that_never_answers_is_given_up(bridge, tcp_server):
    url = f"postgresql://wharfd@127.0.0.1:{tcp_server.silent}/wharfd"
    with pytest.raises(DatabaseUnavailable, match="no answer within the connect timeout"):
        async with open_database(bridge, DatabaseSettings(url=url, connect_timeout_seconds=0.1)):
            pytest.fail("opened")


def test_several_hosts_are_split_and_shown_without_credentials():
    url = "postgresql://me:secret@a:1,b:2/shop?sslmode=require"
    assert split_hosts(url) == (
        "postgresql://me:secret@a:1/shop?sslmode=require",
        "postgresql://me:secret@b:2/shop?sslmode=require",
    )
    assert shown(url) == "a:1,b:2/shop"


@pytest.mark.parametrize(
    "wrong", [{"pool_size": 0}, {"pool_size": 2, "pool_min_size": 3}, {"statement_timeout_seconds": 0}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=r"must be|above 0"):
        DatabaseSettings(url="postgresql:///x", **wrong)


async def test_two_bridges_in_a_row_are_whole(database_settings):
    for _ in range(2):
        async with open_bridge() as bridge, open_database(bridge, database_settings) as db:
            assert await db.fetchval(ONE) == 1


def split_name(url):
    return url.partition("@/")[2].partition("?")[0]


@pytest.fixture
async def tcp_server(postgres):
    """A TCP door to the cluster's socket, a port nobody listens on and one that never answers."""
    socket_path = f"{postgres.folder}/.s.PGSQL.5432"

    async def forward(stream):
        async with stream, await trio.open_unix_socket(socket_path) as server, trio.open_nursery() as nursery:

            async def pump(source, target):
                async for chunk in source:
                    await target.send_all(chunk)
                nursery.cancel_scope.cancel()

            nursery.start_soon(pump, stream, server)
            nursery.start_soon(pump, server, stream)

    class Ports:
        pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, forward, 0)
        Ports.port = listeners[0].socket.getsockname()[1]
        closed = trio.socket.socket()
        await closed.bind(("127.0.0.1", 0))
        Ports.closed = closed.getsockname()[1]
        silent = trio.socket.socket()
        await silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        Ports.silent = silent.getsockname()[1]
        yield Ports
        closed.close()
        silent.close()
        nursery.cancel_scope.cancel()
