"""The API over HTTP: the old shapes, everything that is refused, owners, idempotency, decisions."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec
import pytest
import trio

import wharfd_orders
from wharfd.clock import Clock
from wharfd.contracts.access import AUTHENTICATOR, Identity
from wharfd.db import sql
from wharfd.declare import Provides
from wharfd.hookspecs import hookimpl

ROWS = sql("test.rows", "SELECT count(*) FROM orders.items")
BATCHES = sql("test.batches", "SELECT count(*) FROM orders.batches")
REFS = sql("test.refs", "SELECT count(*) FROM orders.refs")
LEDGER = sql("test.ledger", "SELECT count(*) FROM orders.orders")
AUDIT = sql(
    "test.audit", "SELECT action FROM wharfd.audit WHERE action LIKE 'batch.%' ORDER BY recorded_at, id"
)
EVENTS = sql("test.events", "SELECT type, count(*) AS n FROM wharfd.events GROUP BY type ORDER BY type")
AGE = sql("test.age", "UPDATE orders.batches SET finished_at = now() - interval '91 days' WHERE id = $1")

ALL = frozenset({"orders:read", "orders:write", "orders:approve"})
CALLERS = {
    "acme": Identity("key:acme", "key", owner="acme", scopes=ALL),
    "boss": Identity("key:boss", "key", owner="acme", scopes=ALL),
    "other": Identity("key:other", "key", owner="other", scopes=ALL),
    "reader": Identity("key:reader", "key", owner="acme", scopes=frozenset({"orders:read"})),
    "nobody": Identity("key:nobody", "key", owner="acme", scopes=frozenset({"mint:read"})),
}


class Callers:
    """A plugin that knows the callers of these tests."""

    __name__ = "callers"

    @hookimpl
    def register_services(self):
        class Tokens:
            async def authenticate(self, credentials):
                return CALLERS.get(credentials.bearer or "")

            async def observe(self, identity, *, endpoint, status, seconds):
                pass

        return [Provides(AUTHENTICATOR, lambda ctx: Tokens())]


@asynccontextmanager
async def serving(daemon, kit, config=""):
    plugins = {"orders": wharfd_orders, "callers": Callers()}
    async with daemon(plugins=plugins, config=f"[plugins.orders]\n{config}\n") as d:
        yield kit.Orders(d)


async def stored(orders):
    return [await orders.d.db.fetchval(statement) for statement in (BATCHES, ROWS, REFS)]


# -- old shapes --------------------------------------------------------------------------------------------


async def test_an_old_caller(orders, kit):
    old = {
        "orders": [
            {
                "cartItems": [
                    {
                        "id": 1,
                        "productId": 7,
                        "schemeName": "Growth",
                        "transactionType": "purchase",
                        "amount": 5000,
                    }
                ],
                "transactionMode": {"mode": "email", "email": "a@example.org"},
                "optOutOfNomination": False,
            }
        ],
        "options": {"stopOnError": False},
    }
    view = await orders.send(old, "?currency=INR", headers={})
    assert view["batchId"].startswith("bat_")
    assert (view["total"], view["succeeded"] + view["pending"] + view["processing"]) == (1, 1)
    done = await orders.finished(view["batchId"])
    assert (done["status"], done["processed"], done["succeeded"], done["failed"]) == ("completed", 1, 1, 0)
    (result,) = done["results"]
    assert (result["index"], result["success"], result["error"]) == (0, True, None)
    assert done["amounts"] == {"INR": {"minor": 5000, "text": "50.00"}}
    listed = await orders.get("")
    assert [batch["batchId"] for batch in listed] == [view["batchId"]]
    answer = await orders.d.get("/api/v1/bulk-orders?limit=1")
    assert answer.json()["items"][0]["batchId"] == view["batchId"]
    found = (await orders.d.get("/api/v1/orders")).json()["items"]
    assert [(o["orderId"], o["amount"], o["amountText"]) for o in found] == [
        (result["orderId"], 5000, "50.00")
    ]
    one = await orders.get(f"/{view['batchId']}/orders/0")
    assert one["data"]["cartItems"][0]["schemeName"] == "Growth"


@pytest.mark.parametrize("orders", ['json_amounts = "major"\ncurrency = "INR"'], indirect=True)
async def test_an_old_caller_who_sends_rupees(orders):
    order = {"cartItems": [{"productId": 7, "transactionType": "purchase", "amount": 5000}]}
    view = await orders.send({"orders": [order]}, headers={})
    assert view["amounts"] == {"INR": {"minor": 500000, "text": "5000.00"}}


async def test_three_formats_and_a_template(orders, kit):
    for name, headers in (("csv", kit.CSV), ("jsonl", kit.NDJSON), ("json", {})):
        answer = await orders.d.get(f"/api/bulk-orders/template?format={name}")
        assert answer.status == 200
        checked = await orders.send(answer.body, "?validateOnly=true", headers=headers, expect=200)
        assert (checked["success"], checked["total"], checked["valid"]) == (True, 1, 1)
    assert await stored(orders) == [0, 0, 0]
    limits = await orders.get("/limits")
    assert limits["executors"] == ["ledger"]
    assert limits["maxRows"] == 1_000_000


# -- bad input: each with its answer, and nothing half-accepted --------------------------------------------

HEAD = "client_ref,product_id,transaction_type,amount,currency\n"


BAD = [
    (b"", "ndjson", "", 400, "empty"),
    (b"\n\n", "ndjson", "", 400, "empty"),
    (b'{"orders": []}', "json", "", 400, "empty"),
    (HEAD.encode(), "csv", "", 400, "empty"),
    (b"", "csv", "", 400, "empty"),
    (b"[{", "json", "", 400, "cut"),
    (b"{}", "pdf", "", 415, None),
    (b"{}", "form", "", 415, None),
    (f"{HEAD}a,F1,buy,1.00,EUR\nb,F1,buy,\"1,000.00\",EUR\n".encode(), "csv", "", 422, "invalid_rows"),
    (f"{HEAD}a,F1,buy,1.00,EUR\na,F1,buy,2.00,EUR\n".encode(), "csv", "", 422, "invalid_rows"),
    (f"{HEAD}a,F1,buy,1.00,EUR\na,F1,buy,1.00,EUR\n".encode(), "csv", "", 422, "invalid_rows"),
    (f"{HEAD}a,F1,buy,12.5e1,EUR\n".encode(), "csv", "?onInvalid=skip_rows", 422, "invalid_rows"),
    (f"{HEAD[:-1]},colour\n".encode(), "csv", "", 400, "unknown_column"),
    (f"{HEAD}a,F1,buy,1.00,EUR\n#TOTAL,2\n".encode(), "csv", "", 422, "control_totals"),
    (f"{HEAD}a,F1,buy,1.00,EUR\n#TOTAL,1,1.01,EUR\n".encode(), "csv", "", 422, "control_totals"),
    (f"{HEAD}a,F1,buy,1.00,EUR\n".encode(), "csv", "?exekutor=x", 422, None),
    (f"{HEAD}a,F1,buy,1.00,EUR\n".encode(), "csv", "?executor=x", 422, None),
    (f"{HEAD}a,F1,buy,1.00,EUR\n".encode(), "csv", "?map=x", 422, None),
    (f"{HEAD}a,F1,buy,1.00,EUR\n".encode(), "csv", "?delimiter=x", 422, None),
    (f"{HEAD}a,F1,buy,1.00,EUR\n".encode(), "csv", "?fifo=true", 422, "invalid_rows"),
]  # fmt: skip
KINDS = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "pdf": "application/pdf",
    "form": "multipart/form-data; boundary=x",
}


async def test_what_is_refused_leaves_nothing(orders):
    for body, kind, query, status, code in BAD:
        headers = {"Content-Type": KINDS[kind]}
        problem = await orders.send(body, query, headers=headers, expect=status)
        assert (problem["success"], problem.get("code")) == (False, code), body
        assert problem["message"]
        assert await stored(orders) == [0, 0, 0], body


async def test_every_wrong_row_is_told(orders, kit):
    body = kit.lines(5) + b"{broken\n" + kit.lines(2, 5) + msgspec.json.encode(kit.order(99, currency="XXQ"))
    problem = await orders.send(body, expect=422)
    assert [(e["index"], e["row"], e["column"], e["code"]) for e in problem["rowErrors"]] == [
        (5, 6, "", "malformed"), (8, 9, "currency", "unknown_currency"),
    ]  # fmt: skip
    assert problem["errors"][0]["field"] == "orders[5]"
    assert problem["invalidRows"] == 2
    assert "nothing was stored" in problem["message"]
    assert await stored(orders) == [0, 0, 0]


async def test_rows_can_be_skipped_and_sent_again_corrected(orders, kit):
    body = kit.lines(5) + b"{broken\n" + msgspec.json.encode(kit.order(99, currency="eur")) + b"\n"
    view = await orders.send(body, "?onInvalid=skip_rows")
    assert (view["total"], view["skipped"], view["rowErrorCount"]) == (7, 2, 2)
    done = await orders.finished(view["batchId"])
    assert (done["status"], done["succeeded"], done["failed"]) == ("partial", 5, 2)
    failed = await orders.d.get(f"/api/bulk-orders/{view['batchId']}/results?which=failed")
    first, second = map(msgspec.json.decode, failed.body.splitlines())
    assert first["_line"] == "{broken"
    assert (second["_code"], second["_row"], second["clientRef"]) == ("unknown_currency", 7, "R-99")
    second["currency"] = "EUR"
    again = await orders.send({"orders": [second]}, headers={})
    assert (await orders.finished(again["batchId"]))["status"] == "completed"


async def test_an_upload_cut_in_the_middle(orders, kit):
    host, _, port = orders.d.api.partition("://")[2].rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    head = (
        f"POST /api/bulk-orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {orders.d.token}\r\n"
        "Content-Type: application/x-ndjson\r\nIdempotency-Key: cut\r\nContent-Length: 100000\r\n\r\n"
    )
    await stream.send_all(head.encode() + kit.lines(100))
    released = sql("test.keys", "SELECT count(*) FROM orders.keys")
    uploads = orders.d.context("orders").state["parts"].uploads

    async def begun():
        return uploads.borrowed_tokens == 1 and await orders.d.db.fetchval(released) == 1

    async def given_up():
        return uploads.borrowed_tokens == 0

    await kit.until(begun)
    await stream.aclose()
    await kit.until(given_up)
    assert await stored(orders) == [0, 0, 0]
    assert await orders.d.db.fetchval(released) == 0
    view = await orders.send(kit.lines(100), headers=kit.NDJSON | {"Idempotency-Key": "cut"})
    assert view["total"] == 100


@pytest.mark.parametrize(
    "orders", ["max_rows = 10\nmax_upload_bytes = 20000\nmax_open_orders = 15"], indirect=True
)
async def test_limits(orders, kit):
    problem = await orders.send(kit.lines(11), expect=413)
    assert problem["code"] == "too_many_rows"
    await orders.send(kit.lines(200), expect=413)
    await orders.send(kit.lines(10), "?paused=true")
    answer = await orders.d.request("POST", "/api/bulk-orders", kit.lines(6, 50), headers=kit.NDJSON)
    assert answer.status == 429
    assert "room for 5 more" in answer.json()["message"]
    await orders.send(kit.lines(5, 50), "?paused=true")


# -- the same again: keys, references ----------------------------------------------------------------------


async def test_idempotency_key(orders, kit):
    headers = kit.NDJSON | {"Idempotency-Key": '"monday"'}
    first = await orders.send(kit.lines(3), headers=headers)
    answer = await orders.d.request("POST", "/api/bulk-orders", kit.lines(3), headers=headers)
    assert (answer.status, answer.json()["batchId"]) == (201, first["batchId"])
    assert answer.headers["idempotency-replayed"] == "true"
    for body, query in ((kit.lines(4), ""), (kit.lines(3), "?priority=5")):
        problem = await orders.send(body, query, headers=headers, expect=422)
        assert "another upload" in problem["message"]
    assert await stored(orders) == [1, 3, 3]
    await orders.send(b"", headers=kit.NDJSON | {"Idempotency-Key": "x" * 256}, expect=400)
    # A refused upload does not use the key up.
    again = kit.NDJSON | {"Idempotency-Key": "tuesday"}
    await orders.send(b"{", headers=again, expect=422)
    await orders.send(kit.lines(1, 50), headers=again)


async def test_two_requests_with_one_key_at_once(orders, kit):
    headers = kit.NDJSON | {"Idempotency-Key": "both"}
    statuses = []

    async def send():
        answer = await orders.d.request("POST", "/api/bulk-orders", kit.lines(2000), headers=headers)
        statuses.append(answer.status)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(send)
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    assert await stored(orders) == [1, 2000, 2000]


async def test_a_file_sent_again_returns_the_earlier_results(orders, kit):
    first = await orders.finished((await orders.send(kit.lines(20)))["batchId"])
    again = await orders.send(kit.lines(25))
    done = await orders.finished(again["batchId"])
    assert (done["status"], done["duplicates"], done["succeeded"]) == ("completed", 20, 5)
    before, after = first["results"][3], done["results"][3]
    assert (after["status"], after["duplicate"], after["success"]) == ("duplicate", True, True)
    assert after["orderId"] == before["orderId"]
    assert after["duplicateOf"] == {"batchId": first["batchId"], "index": 3}
    assert await orders.d.db.fetchval(LEDGER) == 25
    duplicates = await orders.get(f"/{again['batchId']}/orders?which=duplicates&limit=7")
    assert (len(duplicates["items"]), duplicates["next_cursor"] is not None) == (7, True)


async def test_one_answer_tells_of_everything_that_is_wrong(orders, kit):
    """Wrong rows, references and control totals, not one kind after the other."""
    totals = b'{"controlTotals": {"count": 4, "amounts": {"EUR": "9.00"}}}\n'
    body = kit.lines(1) + b"no json\n" + kit.lines(1) + totals
    problem = await orders.send(body, expect=422)
    assert problem["code"] == "control_totals"  # the count
    assert [error["row"] for error in problem["rowErrors"]] == [2]
    problem = await orders.send(body.replace(b": 4", b": 3"), expect=422)
    assert [(error["row"], error["code"]) for error in problem["rowErrors"]] == [
        (2, "malformed"), (3, "duplicate_ref_in_file"),
    ]  # fmt: skip
    assert "2 of 3 rows" in problem["message"]
    problem = await orders.send(body.replace(b": 4", b": 3"), "?onInvalid=skip_rows", expect=422)
    assert (problem["code"], problem["invalidRows"]) == ("control_totals", 1)
    assert "because 1 row is wrong" in problem["message"]
    checked = await orders.send(kit.lines(1), "?dryRun=true", expect=200)
    assert checked["amounts"] == {"EUR": {"minor": 100, "text": "1.00"}}
    problem = await orders.send(b'{"orders":[{"cartItems":[', headers={}, expect=400)
    assert (problem["code"], problem["row"]) == ("cut", 1)
    problem = await orders.send({"options": {"prioritty": 1}, "orders": []}, headers={}, expect=422)
    assert [(e["field"], e["in"]) for e in problem["errors"]] == [("options.prioritty", "body")]


async def test_the_same_reference_with_another_content_is_an_error(orders, kit):
    await orders.send(kit.lines(3), "?paused=true")
    changed = kit.order(1, account="ACC-X")
    problem = await orders.send({"orders": [kit.order(50), changed]}, headers={}, expect=422)
    (error,) = problem["rowErrors"]
    assert (error["index"], error["column"], error["code"]) == (1, "clientRef", "ref_reused")
    view = await orders.send({"orders": [kit.order(50), changed]}, "?onInvalid=skip_rows", headers={})
    done = await orders.finished(view["batchId"])
    assert (done["succeeded"], done["skipped"], done["status"]) == (1, 1, "partial")
    assert done["amounts"]["EUR"]["minor"] == 150


async def test_references_inside_one_file(orders, kit):
    body = kit.lines(3) + kit.lines(1) + kit.lines(1, 2)
    problem = await orders.send(body, expect=422)
    assert [(e["row"], e["code"]) for e in problem["rowErrors"]] == [
        (4, "duplicate_ref_in_file"), (5, "duplicate_ref_in_file"),
    ]  # fmt: skip
    assert "row 1" in problem["rowErrors"][0]["message"]
    view = await orders.send(body, "?onInvalid=skip_rows")
    assert (view["total"], view["skipped"]) == (5, 2)
    assert (await orders.finished(view["batchId"]))["succeeded"] == 3
    assert await orders.d.db.fetchval(LEDGER) == 3


async def test_an_order_that_came_to_nothing_gives_its_reference_back(orders, kit):
    first = await orders.send(kit.lines(5), "?paused=true")
    await orders.act(first["batchId"], "cancel", {"reason": "wrong file"})
    assert (await orders.finished(first["batchId"]))["status"] == "cancelled"
    changed = b"".join(msgspec.json.encode(kit.order(n, account="NEW")) + b"\n" for n in range(5))
    second = await orders.finished((await orders.send(changed))["batchId"])
    assert (second["status"], second["duplicates"], second["succeeded"]) == ("completed", 0, 5)
    assert (await orders.get(f"/{first['batchId']}"))["status"] == "cancelled"


async def test_two_uploads_with_the_same_references_at_once(orders, kit):
    found = []

    async def send(first):
        rows = [kit.order(n) for n in range(300)]
        body = {"orders": rows if first else rows[::-1]}
        found.append(await orders.send(body, headers={}))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, True)
        nursery.start_soon(send, False)
    views = [await orders.finished(view["batchId"]) for view in found]
    assert sorted((view["succeeded"], view["duplicates"]) for view in views) == [(0, 300), (300, 0)]
    assert await orders.d.db.fetchval(LEDGER) == 300


# -- decisions ---------------------------------------------------------------------------------------------


async def test_pause_resume_cancel(orders, kit):
    view = await orders.send(kit.lines(50), "?paused=true&label=today")
    batch = view["batchId"]
    assert (view["status"], view["phase"], view["pending"]) == ("pending", "paused", 50)
    await orders.act(batch, "pause", expect=409)
    await orders.act(batch, "resume")
    assert (await orders.finished(batch))["status"] == "completed"
    for action in ("pause", "resume", "cancel", "retry"):
        await orders.act(batch, action, expect=409)
    other = (await orders.send(kit.lines(50, 100), "?maxPerSecond=2"))["batchId"]
    await orders.wait(other, lambda v: v["succeeded"] >= 1)
    paused = await orders.act(other, "pause")
    assert paused["phase"] == "paused"
    cancelled = await orders.act(other, "cancel", {"reason": "the client called"})
    assert cancelled["error"] == "the client called"
    done = await orders.finished(other)
    assert done["status"] == "cancelled"
    assert done["succeeded"] + done["cancelled"] == 50
    assert done["cancelled"] > 30
    left = await orders.d.get(f"/api/bulk-orders/{other}/results?which=unprocessed&format=csv")
    assert len(left.body.splitlines()) == done["cancelled"] + 1
    again = await orders.send(left.body, headers=kit.CSV)
    assert (await orders.finished(again["batchId"]))["succeeded"] == done["cancelled"]
    actions = [row["action"] for row in await orders.d.db.fetch(AUDIT)]
    assert actions == [
        "batch.created", "batch.resumed", "batch.created", "batch.paused", "batch.cancelled", "batch.created",
    ]  # fmt: skip


async def test_approval_by_a_second_person(daemon, kit):
    config = "approval_rows = 100\napproval_above = { EUR = 1000 }"
    async with serving(daemon, kit, config) as orders:
        small = await orders.send(kit.lines(3), token="acme")
        assert small["needsApproval"] is False
        big = await orders.send(kit.lines(30, 100), token="acme")
        assert (big["phase"], big["needsApproval"], big["status"]) == ("awaiting_approval", True, "pending")
        batch = big["batchId"]
        await orders.act(batch, "approve", expect=403, token="acme")
        await orders.act(batch, "approve", expect=404, token="other")
        await orders.act(batch, "approve", expect=403, token="reader")
        problem = await orders.act(batch, "resume", expect=409, token="acme")
        assert "waits to be approved" in problem["message"]
        approved = await orders.act(batch, "approve", token="boss")
        assert approved["approvedBy"] == "key:boss"
        assert (await orders.finished(batch))["status"] == "completed"
        await orders.act(batch, "approve", expect=409, token="boss")
        checked = await orders.send(kit.lines(101, 500), "?validateOnly=true", expect=200, token="acme")
        assert checked["needsApproval"] is True
        events = {row["type"]: row["n"] for row in await orders.d.db.fetch(EVENTS)}
        assert (events["batch.approved"], events["batch.completed"]) == (1, 2)


@pytest.mark.parametrize("orders", ['opens = "06:00"\ncut_off = "06:00"'], indirect=True)
async def test_a_start_in_the_future(orders, kit):
    view = await orders.send(kit.lines(3), "?startAt=2999-01-01T00:00:00Z")
    assert (view["phase"], view["phaseUntil"]) == ("scheduled", "2999-01-01T00:00:00Z")
    await orders.act(view["batchId"], "cancel")
    assert (await orders.finished(view["batchId"]))["status"] == "cancelled"


async def test_after_the_cut_off_orders_wait_for_the_next_opening(daemon, kit, clock, monkeypatch):
    monkeypatch.setattr(Clock, "now", lambda _: clock.now())  # noon
    async with serving(daemon, kit, 'opens = "14:00"\ncut_off = "15:00"') as orders:
        view = await orders.send(kit.lines(3))
        assert (view["status"], view["phase"]) == ("pending", "after_cut_off")
        assert view["phaseUntil"] == "2026-11-20T14:00:00Z"
        limits = await orders.get("/limits")
        assert (limits["opens"], limits["cutOff"]) == ("14:00", "15:00")
        assert await orders.d.db.fetchval(LEDGER) == 0
        clock.advance(timedelta(hours=2))
        assert (await orders.finished(view["batchId"]))["status"] == "completed"
        clock.advance(timedelta(hours=1))
        view = await orders.send(kit.lines(3, 50))
        assert (view["phase"], view["phaseUntil"]) == ("after_cut_off", "2026-11-21T14:00:00Z")


# -- owners ------------------------------------------------------------------------------------------------


async def test_what_belongs_to_another_owner_is_not_there(daemon, kit):
    async with serving(daemon, kit) as orders:
        mine = (await orders.send(kit.lines(5), token="acme"))["batchId"]
        await orders.finished(mine)
        yours = (await orders.send(kit.lines(5), token="other"))["batchId"]
        done = await orders.finished(yours)
        assert (done["status"], done["duplicates"], done["owner"]) == ("completed", 0, "other")
        reads = (
            "", "/progress", "/events", "/results", "/results/checksum", "/orders", "/orders/0", "/verify",
        )  # fmt: skip
        for path in reads:
            await orders.get(f"/{mine}{path}", expect=404, token="other")
            if path != "/results" and path != "/events":
                await orders.get(f"/{mine}{path}", token="reader")
            await orders.get(f"/{mine}{path}", expect=403, token="nobody")
            await orders.get(f"/{mine}{path}", expect=401, token=None)
        for action in ("pause", "resume", "cancel", "retry", "approve"):
            await orders.act(mine, action, expect=404, token="other")
            await orders.act(mine, action, expect=403, token="reader")
        body = {"outcome": "failed", "reason": "because"}
        await orders.act(mine, "orders/0/resolve", body, expect=404, token="other")
        await orders.send(kit.lines(1, 77), expect=403, token="reader")
        assert [b["batchId"] for b in await orders.get("", token="other")] == [yours]
        assert len(await orders.get("")) == 2
        found = (await orders.d.get("/api/v1/orders?clientRef=R-0", token="other")).json()["items"]
        assert [o["batchId"] for o in found] == [yours]
        assert (await orders.d.get("/api/v1/orders?owner=acme", token="other")).status == 422
        by_admin = await orders.d.get("/api/v1/orders?owner=acme&account=ACC-1")
        assert [o["batchId"] for o in by_admin.json()["items"]] == [mine]
        await orders.send(kit.lines(1, 80), "?owner=acme", expect=422, token="other")
        named = await orders.send(kit.lines(1, 80), "?owner=acme")
        assert named["owner"] == "acme"
        headers = kit.NDJSON | {"Idempotency-Key": "same"}
        one = await orders.send(kit.lines(1, 90), headers=headers, token="acme")
        two = await orders.send(kit.lines(1, 90), headers=headers, token="other")
        assert one["batchId"] != two["batchId"]


# -- progress and downloads --------------------------------------------------------------------------------


async def test_progress_by_polling(orders, kit):
    view = await orders.send(kit.lines(30), "?paused=true")
    path = f"/api/bulk-orders/{view['batchId']}/progress"
    first = await orders.d.get(path)
    assert first.json()["percent"] == 0.0
    same = await orders.d.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (same.status, same.body) == (304, b"")
    await orders.act(view["batchId"], "resume")
    await orders.finished(view["batchId"])
    after = await orders.d.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert after.status == 200
    assert (after.json()["percent"], after.json()["status"]) == (100.0, "completed")


async def test_progress_as_events(orders, kit):
    view = await orders.send(kit.lines(40), "?maxPerSecond=40")
    host, _, port = orders.d.api.partition("://")[2].rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    await stream.send_all(
        f"GET /api/bulk-orders/{view['batchId']}/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {orders.d.token}\r\n\r\n".encode()
    )
    received = b""
    with trio.fail_after(60):
        while b"event: finished" not in received or not received.endswith(b"\n"):
            part = await stream.receive_some(65536)
            if not part:
                break
            received += part
    await stream.aclose()
    assert b"text/event-stream" in received
    counts = [
        msgspec.json.decode(line[6:])["processed"]
        for line in received.splitlines()
        if line.startswith(b"data: ")
    ]
    assert counts == sorted(counts)
    assert counts[-1] == 40


async def test_downloads(orders, kit):
    rows = [kit.order(n, data={"note": "=cmd()"}) for n in range(3)]
    rows[1]["clientRef"] = "=1+1"
    view = await orders.send(
        {"orders": [*rows, kit.order(9, currency="?")]}, "?onInvalid=skip_rows", headers={}
    )
    batch = view["batchId"]
    await orders.finished(batch)
    for kind in ("jsonl", "csv"):
        for which in ("all", "succeeded", "failed", "unprocessed", "duplicates"):
            query = f"which={which}&format={kind}"
            answer = await orders.d.get(f"/api/bulk-orders/{batch}/results?{query}")
            told = await orders.get(f"/{batch}/results/checksum?{query}")
            import hashlib

            assert told["sha256"] == hashlib.sha256(answer.body).hexdigest()
            assert told["bytes"] == len(answer.body)
            assert told["final"] is True
    csv_file = (await orders.d.get(f"/api/bulk-orders/{batch}/results?format=csv")).body.decode("utf-8-sig")
    assert "'=1+1" in csv_file
    assert ",=1+1" not in csv_file
    lines = (await orders.d.get(f"/api/bulk-orders/{batch}/results")).body.splitlines()
    assert [msgspec.json.decode(line)["index"] for line in lines] == [0, 1, 2, 3]
    await orders.get(f"/{batch}/results?which=some", expect=422)
    await orders.d.db.owner.execute(AGE, batch)
    await orders.get(f"/{batch}/results", expect=410)
    assert (await orders.get(f"/{batch}"))["succeeded"] == 3


async def test_an_order_with_several_items_does_not_fit_a_csv_row(orders, kit):
    two = kit.order(1)
    two["cartItems"] *= 2
    view = await orders.send({"orders": [two]}, "?paused=true", headers={})
    batch = view["batchId"]
    await orders.act(batch, "cancel")
    await orders.finished(batch)
    csv_file = (await orders.d.get(f"/api/bulk-orders/{batch}/results?which=unprocessed&format=csv")).body
    problem = await orders.send(csv_file, headers=kit.CSV, expect=422)
    assert {error["code"] for error in problem["rowErrors"]} >= {"amount_missing"}
    lines = (await orders.d.get(f"/api/bulk-orders/{batch}/results?which=unprocessed")).body
    done = await orders.finished((await orders.send(lines))["batchId"])
    assert (done["status"], done["amounts"]["EUR"]["minor"]) == ("completed", 202)


async def test_what_is_not_there(orders, kit):
    view = await orders.send(kit.lines(2))
    for path in (
        "/bat_nothing",
        f"/{view['batchId']}/orders/2",
        f"/{view['batchId']}/orders/-1",
        "/x/progress",
    ):
        await orders.get(path, expect=404)
    await orders.get("?limit=0", expect=422)
    await orders.get("?cursor=xyz", expect=422)
    await orders.act(view["batchId"], "cancel", b"{", expect=400)
    await orders.act(view["batchId"], "retry", {"indexes": []}, expect=422)
