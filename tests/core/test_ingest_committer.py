"""The group commit, the keeper and the answerer, on a real PostgreSQL that comes and goes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import msgspec
import pytest
import structlog
import trio
import trio.testing
from structlog.testing import capture_logs

from wharfd.db import sql
from wharfd.declare import IngestRoute
from wharfd.errors import DatabaseUnavailable, Overloaded
from wharfd.ingest import (
    Answerer,
    CommitPolicy,
    Delivery,
    GroupCommitter,
    Keeper,
    Observer,
    Reply,
    RouteTable,
    SpoolBudget,
    Spools,
    serve_ingest,
)
from wharfd.sockets import open_sockets

CREATE = sql("create", "CREATE TABLE events (id text PRIMARY KEY, size int NOT NULL, n serial)")
GRANT = sql("grant", "GRANT SELECT, INSERT, UPDATE ON events TO wharfd_app")
GRANT_N = sql("grant_n", "GRANT USAGE ON SEQUENCE events_n_seq TO wharfd_app")
INSERT = sql(
    "insert",
    "INSERT INTO events (id, size) SELECT * FROM unnest($1::text[], $2::int[])"
    " ON CONFLICT DO NOTHING RETURNING id",
)
STORED = sql("stored", "SELECT id FROM events ORDER BY n")
HOLD = sql("hold", "SELECT pg_advisory_xact_lock(1)")


class Admission(msgspec.Struct, frozen=True):
    id: str
    size: int = 1
    hold: bool = False


async def store(ctx, tx, admissions):
    """Insert; a size below zero offends, a hold waits for an advisory lock."""
    ctx.groups.append([a.id for a in admissions])
    if any(a.hold for a in admissions):
        await tx.execute(HOLD)
    if any(a.size < 0 for a in admissions):
        raise ValueError("a secret value")
    ordered = sorted(admissions, key=lambda a: a.id)
    fresh = {r["id"] for r in await tx.fetch(INSERT, [a.id for a in ordered], [a.size for a in ordered])}
    replies = []
    for admission in admissions:
        first = admission.id in fresh
        fresh.discard(admission.id)  # the same id twice in a group: the second is the duplicate
        replies.append(Reply(200, b"%s %s" % (admission.id.encode(), b"new" if first else b"duplicate")))
    return replies


def admit(ctx, delivery):
    if delivery.body == b"forged":
        return Reply(401)
    if delivery.body == b"trap":
        raise KeyError("a secret value")
    return Admission(delivery.body.decode())


def spooled(ctx, admission):
    return Reply(200, b"%s spooled" % admission.id.encode())


ROUTE = IngestRoute(
    source="test",
    paths=("/hook",),
    admit=admit,
    store=store,
    admission=Admission,
    spooled=spooled,
    answer=lambda ctx, delivery: Reply(200, b"here"),
)
PLAIN = IngestRoute(source="plain", paths=("/plain",), admit=admit, store=store, spool=False)
QUICK = {"retry_seconds": 0.02, "attempt_seconds": 2.0}


class Recorder(Observer):
    def __init__(self):
        self.heard = []

    def committed(self, rows, seconds):
        self.heard.append(("committed", rows))

    def outage(self, active):
        self.heard.append(("outage", active))

    def spooled(self, source, rows, size):
        self.heard.append(("spooled", rows))

    def drained(self, source, rows):
        self.heard.append(("drained", rows))

    def quarantined(self, source, reason):
        self.heard.append(("quarantined", reason))


class Harness:
    """The committer and its keeper on a database; `away` makes the database refuse transactions."""

    def __init__(self, db, folder):
        self.db = db
        self.folder = folder
        self.away = 0
        self.tries = 0
        self.groups = []
        self.routes = RouteTable()
        self.observer = Recorder()

    def transaction(self):
        self.tries += 1
        return self._refuse() if self.away else self.db.transaction()

    @asynccontextmanager
    async def _refuse(self):
        self.away -= 1
        await trio.lowlevel.checkpoint()
        raise DatabaseUnavailable
        yield

    async def send(self, *admissions, route=ROUTE):
        """Submit them all at once and return the bodies or status codes they were answered."""
        replies = {}

        async def one(number, admission):
            reply = await self.committer.submit(route, self, admission)
            replies[number] = reply.body if reply.status == 200 else reply.status

        async with trio.open_nursery() as nursery:
            for number, admission in enumerate(admissions):
                nursery.start_soon(one, number, admission)
        return [replies[number] for number in range(len(admissions))]

    async def stored(self):
        return [r["id"] for r in await self.db.fetch(STORED)]

    async def drained(self):
        """Come back when nothing is left in the spool and the database is known to be there."""
        while self.spools.waiting() or self.keeper.outage:
            await trio.testing.wait_all_tasks_blocked(0.01)

    @asynccontextmanager
    async def running(self, *, budget=None, drain_attempt_seconds=5.0, **policy):
        log = structlog.get_logger()
        self.spools = await Spools.open(self.folder, budget or SpoolBudget(min_free_bytes=1))
        common = {"log": log, "observer": self.observer}
        self.keeper = Keeper(
            self.spools, self.routes, self.transaction, attempt_seconds=drain_attempt_seconds, **common
        )
        self.committer = GroupCommitter(
            self.transaction, policy=CommitPolicy(**{**QUICK, **policy}), keeper=self.keeper, **common
        )
        self.answerer = Answerer(self.committer, log=log)
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            await nursery.start(self.committer.run)
            await nursery.start(self.keeper.run)
            yield self
            nursery.cancel_scope.cancel()
        await self.spools.close()


@pytest.fixture
async def harness(db, tmp_path):
    await db.owner.execute(CREATE)
    await db.owner.execute(GRANT)
    await db.owner.execute(GRANT_N)
    harness = Harness(db, tmp_path / "spool")
    harness.routes.mount(ROUTE, harness, plugin="test")
    with trio.fail_after(60):
        yield harness


def several(count, prefix="e"):
    return [Admission(f"{prefix}{number:04d}") for number in range(count)]


@asynccontextmanager
async def held(db):
    """Hold the advisory lock that admissions with `hold` wait for."""
    async with db.transaction() as tx:
        await tx.execute(HOLD)
        yield


# -- groups --------------------------------------------------------------------------------------------------


async def test_lone_row_is_committed_at_once_and_alone(harness):
    async with harness.running():
        assert await harness.send(Admission("a")) == [b"a new"]
        assert await harness.send(Admission("a")) == [b"a duplicate"]
        assert await harness.stored() == ["a"]
        assert harness.groups == [["a"], ["a"]]


async def test_rows_that_arrive_together_share_a_commit(harness):
    async with harness.running(max_rows=100):
        answers = await harness.send(*several(450))
        assert answers == [b"e%04d new" % number for number in range(450)]
        assert len(await harness.stored()) == 450
        assert max(map(len, harness.groups)) == 100
        assert len(harness.groups) <= 6
        assert harness.committer.statistics.queued_rows == 0
        assert harness.committer.statistics.queued_bytes == 0
        assert sum(rows for event, rows in harness.observer.heard if event == "committed") == 450


async def test_rows_arriving_during_a_commit_wait_for_the_next(harness):
    async with harness.running(max_wait_seconds=60):
        async with trio.open_nursery() as nursery, held(harness.db):
            nursery.start_soon(harness.send, Admission("first", hold=True))
            await trio.testing.wait_all_tasks_blocked(0.02)
            for one in several(5):
                nursery.start_soon(harness.send, one)
                await trio.testing.wait_all_tasks_blocked(0.002)
            assert harness.groups == [["first"]]
        assert harness.groups == [["first"], [a.id for a in several(5)]]


async def test_slow_commit_is_overtaken_after_max_wait(harness):
    async with harness.running(max_wait_seconds=0.02), trio.open_nursery() as nursery:
        async with held(harness.db):
            nursery.start_soon(harness.send, Admission("slow", hold=True))
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert await harness.send(*several(5)) == [b"e%04d new" % number for number in range(5)]
        assert len(harness.groups) == 2


async def test_full_group_does_not_wait_behind_a_slow_commit(harness):
    running = harness.running(max_wait_seconds=60, max_rows=5)
    async with running, trio.open_nursery() as nursery, held(harness.db):
        nursery.start_soon(harness.send, Admission("slow", hold=True))
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert len(await harness.send(*several(5))) == 5


async def test_duplicates_within_a_group(harness):
    async with harness.running():
        answers = await harness.send(Admission("a"), Admission("b"), Admission("a"))
        assert answers[1] == b"b new"
        assert sorted(answers[::2]) == [b"a duplicate", b"a new"]
        assert len(harness.groups) == 1


async def test_bad_row_fails_alone(harness):
    async with harness.running():
        with capture_logs() as logs:
            rows = several(20)
            rows[7] = Admission("bad", -1)
            answers = await harness.send(*rows)
        assert answers[7] == 503
        assert [a for a in answers if a != 503] == [b"%s new" % r.id.encode() for r in rows if r.size > 0]
        assert len(await harness.stored()) == 19
        assert harness.committer.statistics.poisoned == 1
    assert "ingest_row_not_storable" in [entry["event"] for entry in logs]
    assert "secret" not in str(logs)


async def test_client_that_leaves_does_not_cancel_the_commit(harness):
    async with harness.running():
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(harness.send, Admission("a"))
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                scope.cancel()
        harness.committer.stop()
        while not await harness.stored():
            await trio.lowlevel.checkpoint()
        assert await harness.stored() == ["a"]


# -- bounds --------------------------------------------------------------------------------------------------


async def test_queue_is_bounded_in_rows_and_bytes(harness):
    running = harness.running(queue_rows=3, queue_bytes=10_000, lanes=1)
    async with running, trio.open_nursery() as nursery, held(harness.db):
        nursery.start_soon(harness.send, Admission("slow", hold=True))
        await trio.testing.wait_all_tasks_blocked(0.02)
        with pytest.raises(Overloaded):
            await harness.committer.submit(ROUTE, harness, Admission("huge"), size=10_000)
        nursery.start_soon(harness.send, *several(3))
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert harness.committer.statistics.queued_rows == 3
        reply = await harness.answerer.answer(ROUTE, harness, delivery(b"late"))
        assert reply.status == 503
        assert ("Retry-After", "2") in reply.headers
        assert harness.committer.statistics.overloaded == 2


async def test_wait_is_bounded(harness):
    async with harness.running(queue_seconds=0.05, lanes=1):
        async with trio.open_nursery() as nursery, held(harness.db):
            nursery.start_soon(harness.send, Admission("slow", hold=True))
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert await harness.send(Admission("late")) == [503]
        harness.committer.stop()
        while not await harness.stored():
            await trio.lowlevel.checkpoint()
        assert await harness.stored() == ["slow"]  # the other was told to come again, so it is left out
        assert harness.committer.statistics.given_up >= 1


async def test_commit_that_hangs_is_cut_off_and_spooled(harness):
    async with harness.running(attempt_seconds=0.1, spool_after_seconds=0), held(harness.db):
        assert await harness.send(Admission("a", hold=True)) == [b"a spooled"]


async def test_stop_finishes_what_was_admitted(harness):
    async with harness.running():
        answers = []

        async def send():
            answers.extend(await harness.send(Admission("first", hold=True), *several(300)))

        async with trio.open_nursery() as nursery, held(harness.db):
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.02)
            harness.committer.stop()
            with pytest.raises(Overloaded, match="stopping"):
                await harness.committer.submit(ROUTE, harness, Admission("late"))
        assert len(answers) == len(await harness.stored()) == 301


async def test_cancelled_committer_answers_503(harness):
    async with held(harness.db), trio.open_nursery() as nursery:
        answers = []

        async def send():
            answers.extend(await harness.send(Admission("a", hold=True), Admission("b", hold=True)))

        async with harness.running():
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.02)
    assert answers == [503, 503]


# -- the database comes and goes -----------------------------------------------------------------------------


async def test_lost_connection_is_tried_again_at_once(harness):
    async with harness.running():
        harness.away = 1
        assert await harness.send(Admission("a")) == [b"a new"]
        assert not harness.keeper.outage
        assert harness.committer.statistics.spooled == 0


async def test_without_a_spool_it_is_tried_until_the_budget_is_spent(harness):
    async with harness.running(retries=3):
        harness.away = 3
        assert await harness.send(Admission("a"), route=PLAIN) == [b"a new"]
        harness.away = 4
        before = harness.tries
        reply = await harness.committer.submit(PLAIN, harness, Admission("b"))
        assert (reply.status, dict(reply.headers)["Retry-After"]) == (503, "5")
        assert harness.tries - before == 4
        assert await harness.stored() == ["a"]


async def test_budget_ends_the_retries(harness):
    async with harness.running(retries=50, retry_seconds=0.05, retry_budget_seconds=0.2):
        harness.away = 1000
        assert await harness.send(Admission("a"), route=PLAIN) == [503]
        assert harness.tries < 6
        harness.away = 0


async def test_outage_goes_to_the_spool_and_comes_back_in_order(harness):
    async with harness.running():
        harness.away = 1000
        assert await harness.send(Admission("z1")) == [b"z1 spooled"]
        assert harness.keeper.outage
        tries = harness.tries
        assert await harness.send(Admission("y2"), Admission("y3")) == [b"y2 spooled", b"y3 spooled"]
        assert harness.tries <= tries + 1  # nobody waits for a database that is known to be away
        assert await harness.send(Admission("x4")) == [b"x4 spooled"]
        assert sum(s.records for s in harness.spools.statistics()) == 4
        harness.away = 0
        await harness.drained()
        assert sorted(await harness.stored()) == ["x4", "y2", "y3", "z1"]
        assert harness.groups[-1] in (["z1", "y2", "y3", "x4"], ["z1", "y3", "y2", "x4"])
        assert await harness.send(Admission("x4"), Admission("w5")) == [b"x4 duplicate", b"w5 new"]
        heard = [e for e in harness.observer.heard if e[0] in ("outage", "drained")]
        assert heard == [("outage", True), ("outage", False), ("drained", 4)]


async def test_real_outage(harness, postgres):
    name = await harness.db.fetchval(sql("name", "SELECT current_database()"))
    async with harness.running():
        assert await harness.send(Admission("before")) == [b"before new"]
        postgres.psql("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        postgres.psql(
            "postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        answers = await harness.send(*several(50))
        assert answers == [b"e%04d spooled" % number for number in range(50)]
        postgres.psql("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await harness.drained()
        assert sorted(await harness.stored()) == ["before", *(a.id for a in several(50))]
        assert await harness.send(Admission("after")) == [b"after new"]


async def test_killed_backend_in_the_middle_of_a_commit(harness, postgres):
    async with harness.running(), trio.open_nursery() as nursery:
        answers = []

        async def send():
            answers.extend(await harness.send(Admission("a", hold=True)))

        async with held(harness.db):
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.05)
            postgres.psql(
                "postgres",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'advisory'",
            )
            await trio.testing.wait_all_tasks_blocked(0.05)
    assert answers in ([b"a new"], [b"a spooled"])


async def test_spool_outlives_the_process(harness):
    async with harness.running():
        harness.away = 1000
        await harness.send(*several(10))
    harness.away = 0
    async with harness.running():
        await harness.drained()
    assert await harness.stored() == [a.id for a in several(10)]


async def test_full_spool_is_503(harness):
    async with harness.running(budget=SpoolBudget(max_bytes=10, min_free_bytes=1)):
        harness.away = 1000
        reply = await harness.committer.submit(ROUTE, harness, Admission("a"))
        assert reply.status == 503
        assert dict(reply.headers)["Retry-After"] == "10"
        harness.away = 0
        await harness.drained()
        assert await harness.send(Admission("a")) == [b"a new"]


async def test_admission_that_cannot_be_encoded_is_503(harness):
    async with harness.running():
        harness.away = 1000
        assert await harness.send(object()) == [503]
        harness.away = 0


async def test_bad_rows_in_the_spool_are_quarantined(harness):
    async with harness.running():
        harness.away = 1000
        await harness.send(Admission("a"), Admission("bad", -1), Admission("b"))
        await harness.spools.append("test", [b"\xc1 no admission"])
        harness.away = 0
        await harness.drained()
        assert sorted(await harness.stored()) == ["a", "b"]
        reasons = [what for event, what in harness.observer.heard if event == "quarantined"]
        assert sorted(reason.split(":")[0] for reason in reasons) == ["cannot be decoded", "cannot be stored"]
        assert "secret" not in str(reasons)
        [statistics] = harness.spools.statistics()
        assert (statistics.records, statistics.quarantined) == (0, 2)


async def test_broken_store_function_leaves_the_spool_alone(harness):
    async with harness.running():
        harness.away = 1000
        await harness.send(*[Admission(f"bad{number}", -1) for number in range(10)])
        harness.away = 0
        while harness.keeper.outage or not any("bad0" in group for group in harness.groups):
            await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.testing.wait_all_tasks_blocked(0.05)
        [statistics] = harness.spools.statistics()
        assert (statistics.records, statistics.quarantined) == (10, 0)


async def test_spool_of_a_plugin_that_is_down_waits_and_holds_up_nobody(harness):
    await seed_spool(harness, "gone", [Admission("g")])
    await seed_spool(harness, "test", [Admission("t")])
    async with harness.running():
        while "test" in harness.spools.waiting():
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert await harness.stored() == ["t"]
        assert list(harness.spools.waiting()) == ["gone"]


async def seed_spool(harness, source, admissions):
    spools = await Spools.open(harness.folder, SpoolBudget(min_free_bytes=1))
    await spools.append(source, [msgspec.msgpack.encode(admission) for admission in admissions])
    await spools.close()


async def test_without_a_spooled_function_the_answer_is_plain(harness):
    def broken(ctx, admission):
        raise KeyError("x")

    for source, function in (("none", None), ("broken", broken)):
        route = IngestRoute(
            source=source,
            paths=(f"/{source}",),
            admit=admit,
            store=store,
            admission=Admission,
            spooled=function,
        )
        harness.routes.mount(route, harness, plugin=source)
        async with harness.running():
            harness.away = 1000
            assert await harness.send(Admission(source), route=route) == [b'{"success":true}']
            harness.away = 0
            await harness.drained()
    assert await harness.stored() == ["none", "broken"]


async def test_stuck_source_holds_up_nobody(harness):
    """One source's rows wait for a lock that is held; the other's are stored all the same."""
    route = IngestRoute(source="also", paths=("/also",), admit=admit, store=store, admission=Admission)
    harness.routes.mount(route, harness, plugin="also")
    await seed_spool(harness, "also", [Admission("stuck", hold=True)])
    await seed_spool(harness, "test", [Admission("free")])
    async with held(harness.db), harness.running(drain_attempt_seconds=0.1):
        while "test" in harness.spools.waiting():
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert await harness.stored() == ["free"]
        assert list(harness.spools.waiting()) == ["also"]


# -- the answerer --------------------------------------------------------------------------------------------


def delivery(body, method="POST"):
    return Delivery(
        source="test",
        path="/hook",
        method=method,
        headers=[],
        body=body,
        client="192.0.2.1",
        received_at=datetime.now(UTC),
        received_monotonic=0.0,
    )


async def test_answers(harness):
    async with harness.running():

        async def ask(body, method="POST", route=ROUTE):
            return await harness.answerer.answer(route, harness, delivery(body, method))

        assert (await ask(b"a")).body == b"a new"
        assert (await ask(b"forged")).status == 401
        assert (await ask(b"", "GET")).body == b"here"
        refused = await ask(b"", "GET", PLAIN)
        assert (refused.status, refused.headers) == (405, (("Allow", "POST"),))
        with capture_logs() as logs:
            failed = await ask(b"trap")
        assert (failed.status, dict(failed.headers)["Retry-After"]) == (503, "10")
        assert await harness.stored() == ["a"]
    assert [entry["event"] for entry in logs] == ["ingest_plugin_failed"]
    assert "secret" not in str(logs)


def test_policy_must_make_sense():
    with pytest.raises(ValueError, match="max_rows"):
        CommitPolicy(max_rows=0)
    assert CommitPolicy(max_wait_seconds=0, retries=0)


def test_spool_needs_to_know_the_admission():
    with pytest.raises(ValueError, match=r"give admission=… or spool=False"):
        IngestRoute(source="x", paths=("/x",), admit=admit, store=store)


# -- all of it together --------------------------------------------------------------------------------------


async def post(port, name):
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        body = name.encode()
        head = b"POST /hook HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        await stream.send_all(head % len(body) + body)
        answer = b""
        while chunk := await stream.receive_some():
            answer += chunk
        return answer


async def test_from_the_socket_to_the_table_and_through_an_outage(harness):
    acknowledged = []
    sockets = open_sockets(["127.0.0.1:0"])
    port = sockets[0].getsockname()[1]
    drain = trio.Event()

    async def send(name):
        answer = await post(port, name)
        if answer.startswith(b"HTTP/1.1 200 "):
            acknowledged.append(name)

    async with harness.running(), trio.open_nursery() as serving:
        serve = partial(
            serve_ingest,
            harness.routes,
            harness.answerer.answer,
            sockets=sockets,
            log=structlog.get_logger(),
            drain=drain,
        )
        await serving.start(serve)
        for wave, away in enumerate((0, 1000, 0)):
            harness.away = away
            async with trio.open_nursery() as nursery:
                for number in range(40):
                    nursery.start_soon(send, f"w{wave}-{number}")
        drain.set()
        harness.committer.stop()
        await harness.drained()
    assert len(acknowledged) == 120
    assert sorted(await harness.stored()) == sorted(acknowledged)
