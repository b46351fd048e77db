"""The usage log: what a request leaves behind, when it is written, and how it is asked."""

from datetime import timedelta

import trio

from wharfd.db import sql
from wharfd.errors import DatabaseUnavailable
from wharfd_integrations.model.record import KeyIdentity
from wharfd_integrations.store.integration_rows import list_statement as integrations_statement
from wharfd_integrations.store.key_rows import COUNT_OF
from wharfd_integrations.store.key_rows import list_statement as keys_statement
from wharfd_integrations.store.lookup import FIND
from wharfd_integrations.store.usage_rows import UsageFilter, usage_statement

ROWS = sql("rows", "SELECT * FROM integrations.usage ORDER BY at, id")
COUNT = sql("count", "SELECT count(*) FROM integrations.usage")
KEY = sql("key", "SELECT use_count, last_used_at, host(last_used_from) FROM integrations.keys WHERE id = $1")


def identity(subject="key_1", **changes):
    values = {"subject": subject, "kind": "key", "owner": "ann", "method": "GET", "integration_id": "int_1"}
    return KeyIdentity(**(values | changes))


def note(n, count=1, **changes):
    for _ in range(count):
        n.parts.usage.note(identity(**changes), endpoint="/api/v1/x/{id}", status=200, seconds=0.0015)


async def test_a_real_request_leaves_a_row(node, db):
    async with node() as n:
        made = await n.make_key("keys:read")
        key_id = made["details"]["id"]
        await n.api.get(f"/api/v1/keys/{key_id}", token=made["key"])
        await n.api.post("/api/v1/keys", {}, token=made["key"])
        await n.parts.usage.flush()
        first, second = await db.fetch(ROWS)
        assert (first["key_id"], first["owner"], first["integration_id"]) == (key_id, "ann", None)
        assert (first["endpoint"], first["method"], first["status"]) == ("/api/v1/keys/{id}", "GET", 200)
        assert (second["method"], second["status"], second["error"]) == ("POST", 403, "Forbidden")
        assert 0 < first["ms"] < 5000
        assert str(first["client"]) == "127.0.0.1"
        assert made["key"] not in str([dict(first), dict(second)])

        page = (await n.api.get(f"/api/v1/keys/{key_id}/usage?failed=true")).json()
        assert [item["statusCode"] for item in page["items"]] == [403]
        shown = (await n.api.get(f"/api/v1/keys/{key_id}")).json()
        assert (shown["use_count"], shown["last_used_from"]) == (2, "127.0.0.1")
        assert n.metrics.registry.get_sample_value("wharfd_integrations_usage_written_total") == 2


async def test_an_integrations_usage_in_both_shapes(node):
    async with node() as n:
        made = await n.make_integration(scopes=["integrations:read"])
        path = f"/api/integrations/{made['id']}"
        await n.api.post(f"{path}/activate")
        for _ in range(3):
            assert (await n.api.get(path, token=made["apiKey"])).status == 200
            n.clock.advance(timedelta(seconds=1))
        await n.parts.usage.flush()
        answer = await n.api.get(f"{path}/usage?limit=2")
        rows = answer.json()
        assert {
            "id",
            "integrationId",
            "endpoint",
            "method",
            "statusCode",
            "responseTime",
            "error",
            "timestamp",
        } <= rows[0].keys()
        assert rows[0]["timestamp"] > rows[1]["timestamp"]
        rest = answer.headers["link"].partition(">")[0][1:]
        assert rest.startswith(f"{path}/usage?")
        assert len((await n.api.get(rest)).json()) == 1
        assert (await n.api.get(f"{path}/logs")).json()[:2] == rows
        page = (await n.api.get(f"/api/v1/integrations/{made['id']}/usage?limit=2")).json()
        assert page["items"] == rows
        last = await n.api.get(f"/api/v1/integrations/{made['id']}/usage?cursor={page['next_cursor']}")
        assert len(last.json()["items"]) == 1
        shown = (await n.api.get(path)).json()
        assert (shown["usageCount"], shown["lastUsedAt"] is not None) == (3, True)


async def test_the_last_use_is_written_once_a_minute(node, db):
    async with node(running=False) as n:
        made = (await n.make_key())["details"]["id"]
        for expected in (1, 1, 1):
            note(n, subject=made, integration_id=None)
            await n.parts.usage.flush()
            assert (await db.fetchrow(KEY, made))["use_count"] == expected
        n.parts.usage._written_at[made] -= 60
        await n.parts.usage.flush()
        assert (await db.fetchrow(KEY, made))["use_count"] == 3


async def test_over_the_bound_rows_are_dropped_and_counted(node, db):
    async with node(running=False, usage_buffer=100) as n:
        note(n, 130)
        assert (n.parts.usage.waiting, n.parts.usage.dropped) == (100, 30)
        await n.parts.usage.flush()
        assert await db.fetchval(COUNT) == 100
        assert n.metrics.registry.get_sample_value("wharfd_integrations_usage_dropped_total") == 30


async def test_rows_wait_while_postgresql_is_away(node, db, monkeypatch):
    from wharfd_integrations import watching

    async with node(running=False, usage_buffer=100) as n:
        usage, real = n.parts.usage, n.ctx.db

        class Away:
            async def copy_in(self, *args):
                raise DatabaseUnavailable("PostgreSQL is away")

        note(n, 90)
        usage._db = Away()
        await usage.flush()
        assert usage.waiting == 90
        health = await watching.look_at_usage(n.ctx)
        assert (health.state, "full" in health.reason) == ("degraded", True)
        usage._db = real
        await usage.flush()
        assert (usage.waiting, await db.fetchval(COUNT)) == (0, 90)
        assert (await watching.look_at_usage(n.ctx)).state == "ok"


async def test_rows_that_the_database_refuses_do_not_hold_up_others(node, db):
    async with node(running=False) as n:
        n.clock.advance(timedelta(days=4000))  # no partition for that month
        note(n, 3)
        await n.parts.usage.flush()
        n.clock.advance(timedelta(days=-4000))
        note(n, 2)
        await n.parts.usage.flush()
        assert (n.parts.usage.dropped, await db.fetchval(COUNT)) == (3, 2)


async def test_what_waits_is_written_when_the_plugin_stops(node, db):
    async with node(running=False) as n, trio.open_nursery() as nursery:
        await nursery.start(n.parts.usage.run)
        note(n, 7)
        nursery.cancel_scope.cancel()
    assert await db.fetchval(COUNT) == 7


async def test_a_cancelled_flush_loses_nothing(node, db):
    async with node(running=False) as n:
        note(n, 10)
        with trio.CancelScope() as scope:
            scope.cancel()
            await n.parts.usage.flush()
        assert n.parts.usage.waiting == 10
        await n.parts.usage.flush(everything=True)
        assert await db.fetchval(COUNT) == 10


# -- plans --------------------------------------------------------------------------------------------

FILL = sql(
    "fill_usage",
    """INSERT INTO integrations.usage (at, key_id, integration_id, owner, endpoint, method, status, ms)
       SELECT now() + n * interval '1 millisecond', 'key_' || n % 200, 'int_' || n % 100, 'owner_' || n % 50,
              '/x', 'GET', CASE WHEN n % 20 = 0 THEN 500 ELSE 200 END, 1
         FROM generate_series(1, 20000) n""",
)
FILL_KEYS = sql(
    "fill_keys",
    """INSERT INTO integrations.keys (id, short, hash, mode, owner, integration_id, name, scopes, created_by)
       SELECT 'key_' || lpad(n::text, 8, '0'), 's' || n, 'x', 'live', 'owner_' || n % 50, 'int_' || n % 1000, 'n',
              '{}', 'admin' FROM generate_series(1, 5000) n""",
)
FILL_INTEGRATIONS = sql(
    "fill_integrations",
    """INSERT INTO integrations.integrations (id, owner, name, type, status, created_by)
       SELECT 'int_' || lpad(n::text, 8, '0'), 'owner_' || n % 50, 'n',
              CASE WHEN n % 100 = 0 THEN 'rta' ELSE 'custom' END,
              CASE WHEN n % 100 = 1 THEN 'suspended' ELSE 'active' END, 'admin'
         FROM generate_series(1, 5000) n""",
)
ANALYZE = sql("analyze", "ANALYZE integrations.usage, integrations.keys, integrations.integrations")


async def test_every_list_is_served_by_an_index(db):
    for statement in (FILL, FILL_KEYS, FILL_INTEGRATIONS):
        await db.execute(statement)
    await db.owner.execute(ANALYZE)
    now = await db.fetchval(sql("now", "SELECT now()"))
    for wanted, index in (
        (UsageFilter(), "pkey"),
        (UsageFilter(since=now - timedelta(hours=1)), "pkey"),
        (UsageFilter(owner="owner_1"), "_owner_"),
        (UsageFilter(owner="owner_1", failed=True), "_owner_"),
        (UsageFilter(key_id="key_1"), "_key_id_"),
        (UsageFilter(integration_id="int_1"), "_integration_id_"),
        (UsageFilter(owner="owner_1", integration_id="int_1"), "_integration_id_"),
    ):
        for after in (None, (now, 5)):
            statement, arguments = usage_statement(wanted, 50, after)
            plan = await db.explain(statement, *arguments)
            used = [
                line for line in plan.splitlines() if "Index" in line and "Scan" in line and index in line
            ]
            assert used, (wanted, after, plan)
            assert (
                "Seq Scan" not in plan.replace("Seq Scan on integrations.usage_y", "Seq Scan on empty_y")
                or used
            )
    plan = await db.explain(COUNT_OF, ["int_1", "int_2"])
    assert "keys_integration" in plan, plan
    for given, ended, index in (
        (("owner",), True, "keys_owner"),
        (("owner", "id"), False, "keys_owner"),
        (("integration_id",), True, "keys_integration"),
        ((), True, "keys_pkey"),
        (("id",), False, "keys_pkey"),
    ):
        values = [
            {"owner": "owner_1", "integration_id": "int_1", "id": "key_00004000"}[name] for name in given
        ]
        assert index in await db.explain(keys_statement(given, ended=ended), *values, 50), given
    for given, index in (
        (("owner",), "integrations_owner"),
        (("owner", "id"), "integrations_owner"),
        (("type",), "integrations_type"),
        (("status",), "integrations_status"),
        ((), "integrations_pkey"),
    ):
        table = {"owner": "owner_1", "type": "rta", "status": "suspended", "id": "int_00004000"}
        values = [table[name] for name in given]
        assert index in await db.explain(integrations_statement(given), *values, 50), given
    assert "keys_short_key" in await db.explain(FIND, "s17")


async def test_a_wrong_question_is_422(node):
    wrong = [
        "limit=0",
        "limit=501",
        "status=99",
        "since=yesterday",
        "since=2026-01-01T00:00:00",
        "cursor=abc",
    ]
    async with node(running=False) as n:
        wrong += ["endpoint=%00", "keyId=%0a", "until=0001-01-01T00:00:00%2B14:00"]
        for query in [*wrong, "failed=maybe", "limit=2&limit=3"]:
            answer = await n.api.get(f"/api/v1/usage?{query}")
            name = query.partition("=")[0]
            assert (answer.status, answer.json()["errors"][0]["field"]) == (422, name), query
