"""Acceptance: what each delivery is answered, and what is in the database afterwards."""

from __future__ import annotations

import json

import asyncpg
import msgspec
import pytest
import trio

from wharfd.db import sql
from wharfd.secrets import Secret
from wharfd_netbanx.acceptance.admission import Admission
from wharfd_netbanx.acceptance.store import STORE, store_group
from wharfd_netbanx.config import Source, Success
from wharfd_netbanx.samples import SAMPLE_NAMES
from wharfd_netbanx.schemes import Reason

COUNT = "SELECT count(*) FROM netbanx.events"
BIG = {
    "payload": {"id": "p1", "status": "COMPLETED", "note": "x" * 900_000},
    "eventName": "PAYMENT_COMPLETED",
}


def told(reply):
    return msgspec.json.decode(reply.body)


async def test_a_genuine_delivery_is_answered_after_it_is_stored(plugin):
    reply = await plugin.send("payment-completed")
    assert reply.status == 200
    answer = told(reply)
    assert set(answer) == {"success", "webhookId", "duplicate"}
    assert answer["success"] is True
    assert answer["duplicate"] is False
    [row] = await plugin.fetch("SELECT * FROM netbanx.events")
    assert row["id"] == answer["webhookId"]
    assert row["body"] == plugin.sample("payment-completed").body
    assert (row["source"], row["name"], row["state"], row["priority"]) == (
        "netbanx",
        "PAYMENT_COMPLETED",
        "ready",
        10,
    )
    receipt = row["receipt"]
    assert receipt["verdict"] == "ok"
    assert receipt["client"] == "203.0.113.7"
    assert dict(receipt["headers"])["signature"]
    assert receipt["key_id"].startswith("key-")
    assert (receipt["arrived_at"], receipt["monotonic"]) == ("2026-08-03T12:00:00Z", 1.0)
    assert (receipt["path"], receipt["scheme"]) == (plugin.routes["netbanx"].paths[0], "paysafe")
    assert len(row["trace_id"]) == 32


@pytest.mark.parametrize("name", SAMPLE_NAMES)
async def test_every_documented_shape_is_taken_and_told_apart_from_its_repeat(plugin, name):
    first = told(await plugin.send(name))
    again = told(await plugin.send(name, attempt=2))
    assert again == {"success": True, "webhookId": first["webhookId"], "duplicate": True}
    assert await plugin.value(COUNT) == 1
    assert await plugin.value("SELECT copies FROM netbanx.dedup") == 2
    assert await plugin.value("SELECT count(*) FROM netbanx.conflicts") == 0


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({}, 401, Reason.SIGNATURE_MISSING),
        ({"Signature": ""}, 401, Reason.SIGNATURE_MISSING),
        ({"Signature": "x"}, 401, Reason.SIGNATURE_MALFORMED),
        ({"Signature": "A" * 43 + "="}, 401, Reason.SIGNATURE_MISMATCH),
        ({"Signature": "a" * 64}, 401, Reason.SIGNATURE_MALFORMED),
        ({"Signature": "A" * 5000}, 401, Reason.HEADER_TOO_LONG),
    ],
)
async def test_a_delivery_without_a_good_signature_is_stored_nowhere(plugin, headers, status, reason):
    reply = await plugin.post(b'{"eventName":"PAYMENT_COMPLETED"}', headers)
    assert reply.status == status
    assert told(reply) == {"success": False, "message": reason.value}
    for table in ("events", "dedup", "conflicts"):
        assert await plugin.value(f"SELECT count(*) FROM netbanx.{table}") == 0
    await plugin.intake.refusals.write(plugin.ctx.db)
    [row] = await plugin.fetch("SELECT source, reason, count, sample FROM netbanx.refusals")
    assert (row["source"], row["reason"], row["count"]) == ("netbanx", reason.value, 1)
    assert row["sample"]["client"] == "203.0.113.7"
    assert "PAYMENT_COMPLETED" not in json.dumps(row["sample"])


async def test_a_flood_of_bad_signatures_stays_one_row_and_one_sample(plugin):
    for number in range(2000):
        reply = await plugin.post(b"%d" % number, {"Signature": "A" * 43 + "=", "X-Junk": "j" * 2000})
        assert reply.status == 401
    assert len(plugin.intake.refusals.recent["netbanx"]) == 1
    assert await plugin.intake.refusals.write(plugin.ctx.db) == 2000
    assert await plugin.value("SELECT count(*) FROM netbanx.refusals") == 1
    assert await plugin.value("SELECT count FROM netbanx.refusals") == 2000
    assert await plugin.value("SELECT length(sample::text) FROM netbanx.refusals") < 600


async def test_refusals_that_cannot_be_written_are_counted_on(plugin):
    await plugin.post(b"1", {})

    class Broken:
        async def execute(self, *args):
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        await plugin.intake.refusals.write(Broken())
    await plugin.post(b"2", {})
    assert await plugin.intake.refusals.write(plugin.ctx.db) == 2


NESTED = b'{"a":' * 1000 + b"1" + b"}" * 1000
UNREADABLE = {
    "empty": b"",
    "blank": b"  \n",
    "no JSON": b"hello",
    "a list": b"[1,2]",
    "NUL bytes": b"\0\0\0",
    "not UTF-8": b"\xff\xfe{}",
    "nested 1,000 deep": NESTED,
    "cut off": b'{"payload":{"id":"1"',
    "a lone surrogate": b'{"eventName":"\\ud800","payload":{"id":"\\udfff"}}',
}
READABLE = {
    "no name": b"{}",
    "a NUL in a text": b'{"eventName":"PAYMENT_COMPLETED","payload":{"id":"a\\u0000b","merchantRefNum":"\\u0000"}}',
    "doubled keys": b'{"eventName":"PAYMENT_FAILED","eventName":"PAYMENT_COMPLETED","payload":{"id":"1"}}',
    "wrong types": b'{"eventName":{"a":1},"payload":[1],"resourceId":{},"eventDate":[]}',
    "huge numbers": b'{"eventName":"PAYMENT_COMPLETED","payload":{"id":"1","amount":1e400}}'.replace(
        b"1e400", b"9" * 400
    ),
    "an unknown name": b'{"eventName":"SOMETHING_NEW","payload":{"id":"1"}}',
    "900 KB": json.dumps(BIG).encode(),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_signed_body_nobody_understands_is_kept_and_acknowledged(plugin, body):
    reply = await plugin.post(body)
    assert reply.status == 200
    assert told(await plugin.post(body))["duplicate"] is True
    [row] = await plugin.fetch("SELECT body, receipt FROM netbanx.events")
    assert row["body"] == body
    assert row["receipt"]["shape"] == "unreadable"
    assert row["receipt"]["notes"]
    await plugin.worked()
    assert await plugin.value("SELECT state FROM netbanx.events") == "done"


@pytest.mark.parametrize("body", READABLE.values(), ids=READABLE)
async def test_odd_but_readable_bodies_are_kept_and_worked(plugin, body):
    assert (await plugin.post(body)).status == 200
    assert await plugin.value("SELECT body FROM netbanx.events") == body
    await plugin.worked()
    assert await plugin.value("SELECT state FROM netbanx.events") == "done"


async def test_the_same_identity_with_another_content_keeps_both_and_tells(plugin):
    document = json.loads(plugin.sample("payment-completed").body)
    first = told(await plugin.post(json.dumps(document).encode()))
    document["payload"]["amount"] += 1
    other = json.dumps(document).encode()
    for _ in range(2):  # its repeats are not kept again
        again = told(await plugin.post(other))
        assert again == {"success": True, "webhookId": first["webhookId"], "duplicate": True}
    [conflict] = await plugin.fetch("SELECT * FROM netbanx.conflicts")
    assert conflict["body"] == other
    assert conflict["event_id"] == first["webhookId"]
    assert conflict["id"].startswith("cfl_")
    assert await plugin.value(COUNT) == 1


async def test_duplicates_within_one_group_collapse_and_each_is_told(plugin):
    good = plugin.sample("payment-completed")
    other = plugin.sample("payment-completed", number=2)
    group = [
        plugin.routes["netbanx"].admit(plugin.ctx, plugin.delivery(s.body, s.headers))
        for s in (good, other, good, good)
    ]
    async with plugin.db.transaction() as tx:
        replies = await plugin.routes["netbanx"].store(plugin.ctx, tx, group)
    answers = [told(reply) for reply in replies]
    assert [a["duplicate"] for a in answers] == [False, False, True, True]
    assert answers[0]["webhookId"] == answers[2]["webhookId"] == answers[3]["webhookId"]
    assert await plugin.value(COUNT) == 2
    counted = plugin.metrics.expose().decode()
    assert 'wharfd_netbanx_accepted_total{source="netbanx"} 2.0' in counted
    assert 'wharfd_netbanx_duplicates_total{source="netbanx"} 2.0' in counted


async def test_a_group_that_comes_again_after_a_cut_off_commit_is_stored_once(plugin):
    sample = plugin.sample("payment-completed")
    admission = plugin.routes["netbanx"].admit(plugin.ctx, plugin.delivery(sample.body, sample.headers))
    for _ in range(2):
        async with plugin.db.transaction() as tx:
            [reply] = await plugin.routes["netbanx"].store(plugin.ctx, tx, [admission])
        assert told(reply)["duplicate"] is False
        assert told(reply)["webhookId"] == admission.entries[0].id
    assert await plugin.value(COUNT) == 1


async def test_one_row_that_cannot_be_stored_leaves_its_neighbours_alone(plugin):
    good = [
        plugin.routes["netbanx"].admit(plugin.ctx, plugin.delivery(s.body, s.headers))
        for s in (plugin.sample("payment-completed", number=n) for n in range(8))
    ]
    [entry] = good[3].entries
    good[3] = msgspec.structs.replace(good[3], entries=(msgspec.structs.replace(entry, receipt="no json"),))
    replies = {}

    async def submit(number):
        replies[number] = await plugin.committer.submit(plugin.routes["netbanx"], plugin.ctx, good[number])

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(submit, number)
    assert [replies[n].status for n in range(8)] == [200] * 3 + [503] + [200] * 4
    assert await plugin.value(COUNT) == 7
    assert await plugin.value("SELECT count(*) FROM netbanx.dedup") == 7


async def test_two_groups_that_share_duplicates_in_other_orders_do_not_deadlock(plugin):
    def admissions(numbers):
        for n in numbers:
            sample = plugin.sample("payment-completed", number=n)
            yield plugin.routes["netbanx"].admit(plugin.ctx, plugin.delivery(sample.body, sample.headers))

    fates = []

    async def store(group):
        async with plugin.db.transaction() as tx:
            fates.append(await store_group(tx, group))

    for start in range(0, 400, 40):
        groups = [list(admissions(range(start, start + 40))) for _ in range(4)]
        async with trio.open_nursery() as nursery:
            for number, group in enumerate(groups):
                nursery.start_soon(store, group if number % 2 else group[::-1])
    assert await plugin.value(COUNT) == 400
    assert sum(f.new for f in fates) == 400
    assert sum(len(f.duplicates) for f in fates) == 1200


@pytest.mark.parametrize(
    ("state", "attempts", "after"),
    [("buried", 4, "ready"), ("done", 1, "done"), ("held", 0, "held"), ("running", 1, "running")],
)
async def test_a_repeat_drives_on_what_was_given_up(plugin, state, attempts, after):
    await plugin.send("payment-completed")
    await plugin.fetch("UPDATE netbanx.events SET state = $1, attempts = $2", state, attempts)
    await plugin.send("payment-completed")
    [row] = await plugin.fetch("SELECT state, attempts, history FROM netbanx.events")
    assert (row["state"], row["attempts"]) == (after, attempts)
    assert (row["history"] is not None) == (state == "buried")


async def test_a_repeat_hurries_what_waits_for_its_next_try(plugin):
    await plugin.send("payment-completed")
    await plugin.fetch("UPDATE netbanx.events SET attempts = 1, due_at = now() + interval '1 hour'")
    await plugin.send("payment-completed")
    assert await plugin.value("SELECT due_at <= now() FROM netbanx.events")


async def test_what_is_spooled_is_answered_honestly_and_stored_as_if_it_had_not_been(plugin):
    sample = plugin.sample("payment-completed")
    route = plugin.routes["netbanx"]
    admission = route.admit(plugin.ctx, plugin.delivery(sample.body, sample.headers))
    reply = route.spooled(plugin.ctx, admission)
    assert told(reply) == {"success": True, "webhookId": admission.entries[0].id, "duplicate": None}
    thawed = msgspec.msgpack.decode(msgspec.msgpack.encode(admission), type=Admission)
    assert thawed == admission
    async with plugin.db.transaction() as tx:
        [stored] = await route.store(plugin.ctx, tx, [thawed])
    assert told(stored)["webhookId"] == admission.entries[0].id


async def test_the_portal_tests_the_address_with_a_get(plugin):
    for method in ("GET", "HEAD"):
        reply = await plugin.answerer.answer(
            plugin.routes["netbanx"], plugin.ctx, plugin.delivery(b"", {}, method=method)
        )
        assert reply.status == 200
        assert told(reply) == {"success": True, "status": "active"}


async def test_a_source_answers_as_its_provider_wants(with_settings):
    source = Source(keys=(Secret("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="),), success=Success(status=202))
    adyen = Source(scheme="adyen", paths=("/adyen",), keys=(Secret("44" * 32),))
    async with with_settings(sources={"netbanx": source, "adyen": adyen}) as plugin:
        assert (await plugin.send("payment-completed")).status == 202
        items = [
            {
                "NotificationRequestItem": {
                    "eventCode": "AUTHORISATION",
                    "pspReference": str(n),
                    "success": "true",
                }
            }
            for n in range(3)
        ]
        body = json.dumps({"live": "false", "notificationItems": items}).encode()
        reply = await plugin.post(body, source="adyen")
        assert (reply.status, reply.body) == (200, b"[accepted]")
        rows = await plugin.fetch(
            "SELECT name, receipt FROM netbanx.events WHERE source = 'adyen' ORDER BY id"
        )
        assert [row["name"] for row in rows] == ["AUTHORISATION"] * 3
        assert sorted(row["receipt"]["item"] for row in rows) == [0, 1, 2]


async def test_validation_off_takes_everything_and_marks_it(with_settings):
    async with with_settings(signature_validation=False) as plugin:
        assert (await plugin.post(b'{"eventName":"PAYMENT_COMPLETED"}', {})).status == 200
        assert (await plugin.send("payment-completed")).status == 200
        rows = await plugin.fetch("SELECT receipt->>'verdict' AS verdict FROM netbanx.events ORDER BY 1")
        assert [row["verdict"] for row in rows] == ["ok", "unchecked"]


async def test_another_schemes_events_are_kept_with_their_owner_and_change_nothing(plugin):
    body = b'{"action":"opened","id":"p1","eventName":"PAYMENT_COMPLETED","payload":{"id":"x","status":"COMPLETED"}}'
    assert (await plugin.post(body, source="github")).status == 200
    await plugin.worked()
    [row] = await plugin.fetch("SELECT owner, state, receipt FROM netbanx.events")
    assert (row["owner"], row["state"], row["receipt"]["kind"]) == ("acme", "done", "unknown")
    assert await plugin.value("SELECT count(*) FROM netbanx.transactions") == 0


async def test_the_sender_can_bring_a_trace_id(plugin):
    sample = plugin.sample("payment-completed")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {**sample.headers, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    await plugin.post(sample.body, headers)
    assert await plugin.value("SELECT trace_id FROM netbanx.events") == trace


async def test_a_database_that_refuses_leaves_nothing_behind(plugin):
    sample = plugin.sample("payment-completed")
    admission = plugin.routes["netbanx"].admit(plugin.ctx, plugin.delivery(sample.body, sample.headers))
    with pytest.raises(asyncpg.PostgresError):
        async with plugin.db.transaction() as tx:
            await store_group(tx, [admission])
            await tx.execute(sql("test.broken", "SELECT 1/0"))
    assert await plugin.value(COUNT) == 0
    assert await plugin.value("SELECT count(*) FROM netbanx.dedup") == 0
    assert STORE.name == "store_events"
