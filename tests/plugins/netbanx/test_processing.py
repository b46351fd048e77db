"""Processing: what stored events lead to, in batches, whatever their order and however often they come."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
import trio

from wharfd.work import Batch, Job
from wharfd_netbanx.processing import handler

EVENTS = "SELECT type, owner, subject, trace_id, data FROM wharfd.events ORDER BY published_at, id"
TRANSACTIONS = "SELECT * FROM netbanx.transactions ORDER BY type, external_id"
ROLLUPS = """SELECT grain, type, status, currency, sum(count)::int AS count, sum(amount)::int AS amount
FROM netbanx.rollups WHERE type <> 'EVENT' GROUP BY 1, 2, 3, 4 HAVING sum(count) <> 0 OR sum(amount) <> 0 ORDER BY 1, 2, 3, 4"""


async def test_a_payment_becomes_a_transaction_an_event_and_a_count(plugin):
    await plugin.send("payment-processing")
    await plugin.send("payment-completed")
    await plugin.worked()
    sample = msgspec.json.decode(plugin.sample("payment-completed").body)
    [row] = await plugin.fetch(TRANSACTIONS)
    assert row["id"].startswith("txn_")
    assert (row["source"], row["type"], row["status"]) == ("netbanx", "PAYMENT", "COMPLETED")
    assert (row["external_id"], row["amount"]) == (sample["payload"]["id"], sample["payload"]["amount"])
    assert (row["currency"], row["merchant_ref"]) == ("EUR", sample["payload"]["merchantRefNum"])
    assert row["metadata"] == {"settleWithAuth": True}
    [event] = await plugin.fetch(EVENTS)
    assert (event["type"], event["subject"]) == ("payment.received", row["id"])
    [stored] = await plugin.fetch("SELECT id, trace_id FROM netbanx.events WHERE name = 'PAYMENT_COMPLETED'")
    assert event["data"]["source_event_id"] == stored["id"] == row["event_id"]
    assert event["trace_id"] == stored["trace_id"]
    cells = await plugin.fetch(ROLLUPS)
    assert [(c["grain"], c["status"], c["count"], c["amount"]) for c in cells] == [
        (grain, "COMPLETED", 1, row["amount"]) for grain in ("all", "day", "hour", "minute")
    ]


async def test_an_account_has_status_history_and_methods(plugin):
    def body(name, at, **payload):
        return msgspec.json.encode(
            {
                "resourceId": "1003",
                "mode": "live",
                "eventDate": f"2026-08-03T{at}Z",
                "eventType": name,
                "payload": {"accountNumber": "1003", **payload},
            }
        )

    for document in (
        body("ACCT_ENABLED", "12:00:00", acctStatus="Enabled", creditCardId="cc1"),
        body("ACCT_SUBMITTED", "10:00:00", acctStatus="Submitted", merchantId="m1"),
        body("ACCT_DISABLED", "13:00:00", acctStatus="Disabled", reason="fraud", directDebitId="dd1"),
    ):
        await plugin.post(document)
    await plugin.worked()
    [row] = await plugin.fetch("SELECT * FROM netbanx.accounts")
    assert (row["status"], row["stage"], row["merchant_id"]) == ("DISABLED", "COMPLETE", "m1")
    history = await plugin.fetch("SELECT status FROM netbanx.account_status_history ORDER BY mark")
    assert [entry["status"] for entry in history] == ["SUBMITTED", "ENABLED", "DISABLED"]
    methods = await plugin.fetch("SELECT type, external_id FROM netbanx.payment_methods ORDER BY 1")
    assert [tuple(m.values()) for m in methods] == [("CREDIT_CARD", "cc1"), ("DIRECT_DEBIT", "dd1")]
    told = [event["data"]["new_status"] for event in await plugin.fetch(EVENTS)]
    assert "DISABLED" in told


@pytest.mark.parametrize("seed", range(4))
async def test_any_order_and_any_batches_end_in_the_same_state(with_settings, seed):
    names = (
        "payment-processing",
        "payment-completed",
        "payment-failed",
        "refund-completed",
        "debit-completed",
        "debit-cleared",
        "debit-returned",
        "account-enabled",
    )
    rng = random.Random(seed)
    async with with_settings(batch=rng.choice((2, 5, 50)), concurrency=3) as plugin:
        deliveries = [(name, number) for name in names for number in range(6)] * 2
        rng.shuffle(deliveries)
        for name, number in deliveries:
            await plugin.send(name, number=number)
        await plugin.worked()
        rows = await plugin.fetch(TRANSACTIONS)
        by_status = Counter((row["type"], row["status"]) for row in rows)
        assert by_status == {
            ("PAYMENT", "COMPLETED"): 6,  # of the same minute as the failure, and further
            ("PAYMENT", "RETURNED"): 6,
            ("REFUND", "COMPLETED"): 6,
            ("SETTLEMENT", "CLEARED"): 6,
        }
        for grain in ("minute", "hour", "day", "all"):
            cells = [c for c in await plugin.fetch(ROLLUPS) if c["grain"] == grain]
            counted = {(c["type"], c["status"]): c["count"] for c in cells}
            assert counted == {key: by_status[key] for key in counted}
            assert sum(c["amount"] for c in cells) == sum(row["amount"] for row in rows)
        events = Counter(event["type"] for event in await plugin.fetch(EVENTS))
        assert events["payment.refunded"] == 6
        assert events["account.status_changed"] == 6
        assert events["payment.received"] >= 6
        assert {row["state"] for row in await plugin.fetch("SELECT state FROM netbanx.events")} == {"done"}


async def test_payment_events_go_before_everything_else(plugin):
    await plugin.send("connectivity-test")
    await plugin.send("account-enabled")
    await plugin.send("payment-completed")
    rows = await plugin.fetch("SELECT name FROM netbanx.events ORDER BY priority, due_at")
    assert [row["name"] for row in rows] == ["PAYMENT_COMPLETED", "ACCT_ENABLED", "TEST"]


async def test_an_event_our_code_trips_over_is_buried_and_its_batch_goes_on(plugin, monkeypatch):
    for number in range(5):
        await plugin.send("payment-completed", number=number)
    [poison] = await plugin.fetch("SELECT id FROM netbanx.events ORDER BY id OFFSET 2 LIMIT 1")
    real = handler.read

    def read(row):
        if row.id == poison["id"]:
            raise ZeroDivisionError
        return real(row)

    monkeypatch.setattr(handler, "read", read)
    await plugin.worked()
    assert await plugin.value("SELECT count(*) FROM netbanx.transactions") == 4
    [row] = await plugin.fetch("SELECT id, state, last_error FROM netbanx.events WHERE state <> 'done'")
    assert (row["id"], row["state"]) == (poison["id"], "buried")
    assert "ZeroDivisionError" in row["last_error"]
    monkeypatch.setattr(handler, "read", real)
    assert await plugin.ctx.work.retry_all("events", actor="test") == 1
    await plugin.worked()
    assert await plugin.value("SELECT count(*) FROM netbanx.transactions") == 5


async def test_an_event_the_database_refuses_is_found_and_buried_alone(plugin):
    for number in range(6):
        await plugin.send("payment-completed", number=number)
    bad = msgspec.json.decode(plugin.sample("payment-completed", number=3).body)["payload"]["id"]
    await plugin.db.owner.execute(
        sql_text(f"ALTER TABLE netbanx.transactions ADD CHECK (external_id <> '{bad}')")
    )
    await plugin.worked()
    rows = await plugin.fetch("SELECT state, attempts FROM netbanx.events ORDER BY state")
    assert Counter(row["state"] for row in rows) == {"done": 5, "buried": 1}
    assert [row["attempts"] for row in rows if row["state"] == "buried"] == [4]
    assert await plugin.value("SELECT count(*) FROM netbanx.transactions") == 5


def sql_text(text):
    from wharfd.db import sql

    return sql("test.ddl", text)


async def test_a_batch_whose_commit_is_lost_leaves_nothing_and_is_worked_again(plugin):
    for number in range(3):
        await plugin.send("payment-completed", number=number)
    rows = await plugin.fetch(
        "UPDATE netbanx.events SET state = 'running', claim = 7, attempts = 1, lease_until = now() + '1 minute'"
        " RETURNING id, received_at, source, owner, trace_id, identity, content, body"
    )
    from wharfd.errors import LeaseLost
    from wharfd.work.finishing import Finisher

    finisher = Finisher(plugin.db, plugin.queue, plugin.engine.wakeups.bell("netbanx.events"), print)
    jobs = [
        Job(finisher, "netbanx.events", handler.EventRow(**row), (row["id"], row["received_at"]), 7, 1)
        for row in rows
    ]
    await plugin.fetch("UPDATE netbanx.events SET claim = 8 WHERE id = $1", rows[0]["id"])
    with pytest.raises(LeaseLost):
        await handler.process(plugin.ctx, Batch(finisher, jobs))
    assert await plugin.value("SELECT count(*) FROM netbanx.transactions") == 0
    assert await plugin.value("SELECT count(*) FROM wharfd.events") == 0
    await plugin.fetch("UPDATE netbanx.events SET state = 'ready', claim = NULL")
    await plugin.worked()
    assert await plugin.value("SELECT count(*) FROM netbanx.transactions") == 3
    assert await plugin.value("SELECT count(*) FROM wharfd.events") == 3
    assert await plugin.value("SELECT sum(count) FROM netbanx.rollups WHERE grain = 'day'") == 3


async def test_processing_tells_the_caches_what_is_stale(plugin):
    heard = []

    class Listener:
        async def invalidate(self, *tags):
            heard.append(tags)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(plugin.intake.stale.run, Listener())
        await plugin.send("payment-completed")
        await plugin.worked()
        nursery.cancel_scope.cancel()
    assert heard == [("analytics", "transactions")]
