"""The tables: counts that cannot drift, plans that use their indexes, rights, big uploads in little memory."""

from __future__ import annotations

import random
from types import SimpleNamespace

import msgspec
import pytest
import trio

from wharfd.db import sql
from wharfd.declare import Migrations
from wharfd.work import WorkEngine
from wharfd_orders import watching
from wharfd_orders.config import Settings
from wharfd_orders.intake import read_upload
from wharfd_orders.spool import Spool
from wharfd_orders.store import batches, items, ledger, results, tally
from wharfd_orders.work import queues

KEEP = ("orders.batches", "orders.items", "orders.orders", "orders.refs")
FILL = sql(
    "test.fill",
    """INSERT INTO orders.items (batch, idx, line, owner, lane, share, client_ref, account, currency, amount,
      payload, state, finished_at)
    SELECT b, n, n + 1, 'o' || b % 5, 'bulk', 'o' || b % 5, b || '-' || n, 'A' || n % 9, 'EUR', 100, '{}',
      (ARRAY['done', 'done', 'done', 'done', 'done', 'done', 'buried', 'waiting', 'ready'])[1 + n % 9], now()
    FROM generate_series(1, 40) b, generate_series(0, 499) n""",
)
BATCHES = sql(
    "test.fill_batches",
    """INSERT INTO orders.batches (id, owner, executor, lane, total, content_sha256, created_by, finished_at)
    SELECT 'bat_' || n, 'o' || n % 50, 'ledger', 'bulk', 1, '', 'x', CASE WHEN n % 100 > 0 THEN now() END
    FROM generate_series(1, 5000) n""",
)
ORDERS = sql(
    "test.fill_orders",
    """INSERT INTO orders.orders (id, owner, batch, idx, client_ref, account, currency, amount, executor, payload)
    SELECT 'ord_' || n, 'o' || n % 50, n / 500, n % 500, 'r' || n, 'A' || n % 20, 'EUR', 1, 'ledger', '{}'
    FROM generate_series(1, 20000) n""",
)
TALLY = sql(
    "test.fill_tally",
    "INSERT INTO orders.tally SELECT n % 2000 + 100, 'done', 1 FROM generate_series(1, 20000) n",
)
ANALYZE = sql(
    "test.analyze", "ANALYZE orders.items, orders.batches, orders.orders, orders.tally, orders.refs"
)
MOVE = sql(
    "test.move",
    """UPDATE orders.items SET state = $3 WHERE batch = $1 AND idx IN (
      SELECT idx FROM orders.items WHERE batch = $1 AND idx % 7 = $2 ORDER BY idx FOR UPDATE SKIP LOCKED)""",
)


@pytest.fixture
def migrations():
    return [("orders", Migrations("wharfd_orders", keep_forever=KEEP))]


async def agree(db, number):
    async with db.transaction(isolation="repeatable_read") as tx:
        shown, counted = await tally.count(tx, number), await tally.recount(tx, number)
    assert dict(shown.rows) == dict(counted.rows)
    return shown


async def test_counts_are_the_rows_whoever_changes_them(db):
    """Four sessions change rows at random, roll back at random, and add up at the same time."""
    await db.owner.execute(FILL)
    seed = random.Random(7)
    states = ("waiting", "ready", "running", "done", "buried", "held", "cancelled", "duplicate", "skipped")
    plan = [
        [(seed.randint(1, 3), seed.randint(0, 6), seed.choice(states), seed.random()) for _ in range(25)]
        for _ in range(4)
    ]

    async def change(steps):
        for number, rest, state, chance in steps:
            try:
                async with db.transaction() as tx:
                    await tx.execute(MOVE, number, rest, state)
                    if chance < 0.3:
                        raise LookupError
            except LookupError:
                pass
            if chance > 0.6:
                await tally.compact(db, number)
            await agree(db, number)

    async with trio.open_nursery() as nursery:
        for steps in plan:
            nursery.start_soon(change, steps)
    for number in (1, 2, 3):
        counts = await agree(db, number)
        assert counts.total == 500
        await tally.compact(db, number)
        assert (await agree(db, number)).rows == counts.rows


async def test_every_list_has_an_index(db):
    await db.owner.execute(FILL)
    await db.owner.execute(BATCHES)
    await db.owner.execute(ORDERS)
    await db.owner.execute(TALLY)
    await db.owner.execute(ANALYZE)
    for statement, arguments, index in (
        (batches.FIND, ("bat_7", None), "batches_id_key"),
        (batches.LIST_ALL, (4000, 50), "batches_pkey"),
        (batches.LIST_OWN, (4000, 50, "o7"), "batches_by_owner"),
        (batches.UNFINISHED, (0, 200), "batches_"),
        (tally.COUNT, ([3],), "tally_batch"),
        (items.FIND, (3, 3), "items_pkey"),
        (items.MOVE, (3, ["waiting"], "ready", 0, 10, ""), "items_"),
        (items.HELD, (["call"],), "items_parked"),
        (items.UNSURE, (["call"],), "items_parked"),
        (results.ALL, (3, -1, 50), "items_pkey"),
        (results.UNSUCCESSFUL, (3, -1, 50, ["buried"]), "items_unsuccessful"),
        (ledger.LIST_ALL, ("ord_9", 50), "orders_pkey"),
        (ledger.LIST_OWN, ("ord_9", 50, "o7"), "orders_by_owner"),
        (ledger.LIST_ACCOUNT, ("ord_9", 50, "o7", "A7"), "orders_by_account"),
        (ledger.BY_REF, ("o7", "r7"), "orders_by_ref"),
    ):
        plan = await db.explain(statement, *arguments)
        assert index in plan, (statement.name, plan)
        assert "Seq Scan on orders" not in plan, (statement.name, plan)
        assert "Seq Scan on items" not in plan, (statement.name, plan)


async def test_a_batch_that_was_loaded_a_moment_ago_is_not_read_as_a_whole(db):
    """Before the first ANALYZE the planner guesses, and working a big batch must not depend on its guess."""
    await db.owner.execute(FILL)
    engine = WorkEngine(db, node="test")
    queue = await engine.prepare("orders", queues(Settings())[0])
    rows = list(range(100))
    numbers, claims = [7] * 100, [1] * 100
    for statement, arguments in (
        (ledger.RECORD, (7, rows, "bat_7", "ledger", [None] * 100, [None] * 100)),
        (queue.statements.done, (numbers, rows, claims)),
        (queue.statements.ours, (numbers, rows, claims)),
        (queue.statements.extend, (numbers, rows, claims, 60.0)),
        (
            queue.statements.settle,
            (
                numbers,
                rows,
                claims,
                ["ready"] * 100,
                rows,
                [1.0] * 100,
                [None] * 100,
                [None] * 100,
                [False] * 100,
            ),
        ),
    ):
        plan = await db.explain(statement, *arguments)
        assert "Seq Scan on orders.items" not in plan, (statement.name, plan)
        wanted = [line for line in plan.splitlines() if "Index Cond" in line and "idx = ANY" in line]
        assert wanted, (statement.name, plan)
        # A set of pairs is looked up, never gone through once for each row.
        assert "Join Filter" not in plan, (statement.name, plan)


async def test_the_app_role_cannot_delete_what_is_kept(db):
    import asyncpg

    for table in KEEP:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute(sql("test.delete", f"DELETE FROM {table}"))


async def test_alert_queries_run(db):
    context = SimpleNamespace(db=db)
    assert await watching.find_stuck(context) == []
    assert await watching.find_unapproved(context) == []
    assert await watching.find_drifted(context) == []
    await db.owner.execute(BATCHES)
    rows = [
        (4999, n, n, "", "bulk", "", None, None, "EUR", 1, {}, None, None, None, "done", 100, None)
        for n in range(3)
    ]
    async with db.transaction() as tx:
        await items.load(tx, rows)
    assert await watching.find_drifted(context) == []
    await db.execute(sql("test.drift", "INSERT INTO orders.tally VALUES (4999, 'done', 1)"))
    findings = await watching.find_drifted(context)
    assert [finding.key for finding in findings] == ["bat_4999"]


def rss_kilobytes():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
async def test_reading_takes_no_memory(tmp_path, kind):
    """Some ten megabytes. A million lines are measured by bench/orders.py."""
    count = 60_000 if kind == "jsonl" else 20_000
    order = {
        "clientRef": "R-%07d", "cartItems": [{"productId": "F7", "transactionType": "purchase", "amount": 125}],
        "transactionMode": {"mode": "email", "email": "someone@example.org"},
    }  # fmt: skip
    line = msgspec.json.encode(order).decode()

    async def chunks():
        if kind == "csv":
            yield b"client_ref,product_id,transaction_type,amount,mode,email\r\n"
            part = "R-%07d,F7,purchase,1.25,email,someone@example.org\r\n"
        else:
            part = line + ("\n" if kind == "jsonl" else ",")
        if kind == "json":
            yield b"["
        for start in range(0, count, 500):
            text = "".join(part % n for n in range(start, start + 500))
            yield (text[:-1] if kind == "json" and start + 500 == count else text).encode()
        if kind == "json":
            yield b"]"

    types = {"jsonl": "application/x-ndjson", "json": "application/json", "csv": "text/csv"}
    spool = Spool(tmp_path)
    settings = Settings(currency="EUR")
    before = rss_kilobytes()
    upload = await read_upload(settings, spool, chunks(), content_type=types[kind], query={})
    rows = sum(len(chunk) for chunk in spool.chunks())
    grown = rss_kilobytes() - before
    spool.close()
    assert (upload.rows, upload.accepted, rows) == (count, count, count)
    assert upload.amounts == {"EUR": 125 * count}
    assert grown < 20_000, f"{grown} kB"
