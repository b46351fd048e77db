"""The API through a whole daemon: shapes, filters, pages, owners, keys, queue, replay."""

from __future__ import annotations

import types
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import trio

import wharfd
from wharfd import Secret, sql
from wharfd.contracts.access import AUTHENTICATOR, Identity
from wharfd_netbanx.config import Source
from wharfd_netbanx.samples import SAMPLE_NAMES, make_sample
from wharfd_netbanx.sending import Plan, send

KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
NEXT = "UUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
CONFIG = f"""
[plugins.netbanx]
retry_seconds = 0.05
[plugins.netbanx.sources.netbanx]
keys = ["{KEY}"]
[plugins.netbanx.sources.acme]
keys = ["{KEY}"]
paths = ["/acme"]
owner = "acme"
[plugins.netbanx.sources.managed]
paths = ["/managed"]
stored_keys = true
"""


def owners():
    """A plugin that takes `owner:NAME` for the token of that owner, with every scope."""

    class Owners:
        async def authenticate(self, credentials):
            if not (credentials.bearer or "").startswith("owner:"):
                return None
            owner = credentials.bearer.partition(":")[2]
            return Identity(owner, "key", owner=owner, scopes=frozenset({"*"}))

        async def observe(self, identity, **facts):
            pass

    module = types.ModuleType("owners")

    @wharfd.hookimpl
    def register_services(settings):
        """Offer it."""
        return [wharfd.Provides(AUTHENTICATOR, lambda ctx: Owners())]

    module.register_services = register_services
    return module


class Client:
    """Sends samples and asks the API."""

    def __init__(self, daemon):
        self.daemon = daemon
        source = Source(keys=(Secret(KEY),))
        self.verifier = source.verifier(source.typed_keys())

    async def send(self, name, path=None, *, number=1, at=None, key=None):
        verifier = self.verifier
        if key:
            source = Source(keys=(Secret(key),))
            verifier = source.verifier(source.typed_keys())
        sample = make_sample(verifier, name, number=number, at=at or datetime.now(UTC))
        return await self.daemon.deliver(path or sample.path, sample.body, sample.headers)

    async def worked(self):
        await self.daemon.drain("netbanx.events")

    async def get(self, path, owner=None, status=200):
        answer = await self.daemon.get(path, token=f"owner:{owner}" if owner else "")
        assert answer.status == status, answer.body
        return answer.json()

    async def post(self, path, body, owner=None, status=200):
        answer = await self.daemon.post(path, body, token=f"owner:{owner}" if owner else "")
        assert answer.status == status, answer.body
        return answer.json()


@pytest.fixture
def client(daemon):
    @asynccontextmanager
    async def start(config=CONFIG):
        async with daemon(plugins={"owners": owners()}, config=config) as running:
            yield Client(running)

    return start


async def test_transactions_accounts_and_analytics_in_the_old_shapes(client):
    async with client() as c:
        for number in range(5):
            assert (await c.send("payment-completed", number=number)).status == 200
        await c.send("payment-failed", number=9)
        await c.send("payment-processing", number=10)
        await c.send("refund-completed", number=1)
        await c.send("account-enabled")
        await c.send("payment-completed", "/acme", number=50)
        await c.worked()

        found = await c.get("/api/v1/transactions?page=1&limit=3")
        assert found["success"] is True
        assert found["timestamp"].endswith("Z")
        pages = found["data"]["pagination"]
        assert (pages["page"], pages["limit"], pages["total"], pages["totalPages"]) == (1, 3, 9, 3)
        seen = [t["id"] for t in found["data"]["transactions"]]
        while pages["nextCursor"]:
            found = await c.get(f"/api/v1/transactions?limit=3&cursor={pages['nextCursor']}")
            pages = found["data"]["pagination"]
            seen += [t["id"] for t in found["data"]["transactions"]]
        assert len(seen) == len(set(seen)) == 9
        second = await c.get("/api/v1/transactions?page=2&limit=3")
        assert [t["id"] for t in second["data"]["transactions"]] == seen[3:6]

        one = next(t for t in found["data"]["transactions"] if t["transactionType"] == "PAYMENT")
        method, reference = one["paymentMethod"], one["merchantRefNum"]
        everything = (await c.get("/api/v1/transactions"))["data"]["transactions"]
        by_method = sum(t["paymentMethod"] == method for t in everything)
        by_reference = sum(t["merchantRefNum"] == reference for t in everything)  # two with its refund
        for query, count in {
            "status=COMPLETED": 7,
            "status=PENDING": 1,
            "status=failed": 1,
            "state=PROCESSING,FAILED": 2,
            "currency=eur": 9,
            "type=REFUND": 1,
            "status=COMPLETED&currency=EUR&type=PAYMENT": 6,
            f"method={method}": by_method,
            "paymentMethod=NEVER_SEEN": 0,
            f"merchantRefNum={reference}": by_reference,
            "startDate=2000-01-01": 9,
            "endDate=2000-01-01": 0,
        }.items():
            found = await c.get(f"/api/v1/transactions?{query}")
            assert len(found["data"]["transactions"]) == count, query
            assert found["data"]["pagination"]["total"] == count, query
        for query in ("status=NEVER", "limit=0", "limit=500", "startDate=soon", "cursor=AAAA", "page=0"):
            await c.get(f"/api/v1/transactions?{query}", status=422)

        one = (await c.get("/api/v1/transactions?type=REFUND"))["data"]["transactions"][0]
        assert one["state"] == "COMPLETED"
        assert (await c.get(f"/api/v1/transactions/{one['externalId']}"))["data"]["id"] == one["id"]
        await c.get("/api/v1/transactions/txn_nothing", status=404)

        [account] = (await c.get("/api/v1/accounts?includePaymentMethods=true"))["data"]["accounts"]
        assert (account["status"], account["state"], account["onboardingStage"]) == (
            "APPROVED",
            "ENABLED",
            "COMPLETE",
        )
        assert account["paymentMethods"] == []
        for query, count in {
            "status=APPROVED": 1,
            "status=REJECTED": 0,
            "onboardingStage=COMPLETE": 1,
        }.items():
            assert len((await c.get(f"/api/v1/accounts?{query}"))["data"]["accounts"]) == count, query
        [step] = (await c.get(f"/api/v1/accounts/{account['id']}"))["data"]["statusHistory"]
        assert (step["fromStatus"], step["toStatus"]) == (None, "ENABLED")

        totals = (await c.get("/api/v1/analytics?timeRange=day"))["data"]
        assert totals["totals"] == {
            "transactions": 9,
            "completed": 7,
            "pending": 1,
            "failed": 1,
            "cancelled": 0,
            "successRate": 0.875,
        }
        assert totals["byType"] == {"PAYMENT": 8, "REFUND": 1}
        assert sum(point["count"] for point in totals["series"]) == 9
        assert totals["accounts"] == {"ENABLED": 1}
        for name in ("hour", "week", "month"):
            assert (await c.get(f"/api/v1/analytics?timeRange={name}"))["data"]["totals"]["transactions"] == 9
        await c.get("/api/v1/analytics?timeRange=decade", status=422)


async def test_an_owner_sees_its_own_and_nothing_else(client):
    async with client() as c:
        await c.send("payment-completed", number=1)
        await c.send("payment-completed", "/acme", number=2)
        await c.worked()
        [mine] = (await c.get("/api/v1/transactions", "acme"))["data"]["transactions"]
        assert mine["companyId"] == "acme"
        assert (await c.get("/api/v1/transactions", "acme"))["data"]["pagination"]["total"] == 1
        assert (await c.get("/api/v1/transactions", "other"))["data"]["transactions"] == []
        everybody = (await c.get("/api/v1/transactions"))["data"]["transactions"]
        other = next(t for t in everybody if t["companyId"] is None)
        await c.get(f"/api/v1/transactions/{other['id']}", "acme", status=404)
        await c.get(f"/api/v1/transactions/{mine['id']}", "acme")
        assert (await c.get("/api/v1/analytics", "acme"))["data"]["totals"]["transactions"] == 1
        assert (await c.get("/api/v1/analytics", "other"))["data"]["totals"]["transactions"] == 0
        events = (await c.get("/api/v1/webhook-events", "acme"))["items"]
        assert [event["companyId"] for event in events] == ["acme"]
        await c.get(f"/api/v1/webhook-events/{other['webhookEventId']}", "acme", status=404)
        replayed = await c.post(
            "/api/v1/webhook-events/replay", {"ids": [other["webhookEventId"]], "dryRun": False}, "acme"
        )
        assert replayed["found"] == 0
        await c.post("/api/v1/webhook-events/replay", {}, status=400)
        await c.post("/api/v1/webhook-events/replay", {"state": "done"}, status=400)
        assert (await c.post("/api/v1/webhook-events/replay", {"state": "buried"}))["found"] == 0
        assert [s["name"] for s in (await c.get("/api/v1/webhook-sources", "acme"))["sources"]] == ["acme"]
        status = await c.get("/api/webhooks/netbanx", "acme")
        assert status["stats"]["totalReceived"] == 1


async def test_the_status_is_for_callers_with_a_key_and_the_public_gets_less(client):
    async with client() as c:
        await c.send("payment-completed")
        await c.worked()
        status = await c.get("/api/webhooks/netbanx")
        assert (status["status"], status["processing"]) == ("active", "async")
        assert status["stats"]["totalReceived"] == status["stats"]["successfullyProcessed"] == 1
        assert status["stats"]["failed"] == 0
        assert status["queue"]["waiting"] == 0
        refused = await c.daemon.get("/api/webhooks/netbanx", token=None)
        assert refused.status == 401
        public = await c.daemon.request("GET", "/api/webhooks/netbanx", token=None, base=c.daemon.ingest)
        assert public.json() == {"success": True, "status": "active"}
        sample = make_sample(c.verifier, "payment-failed", at=datetime.now(UTC))
        over_api = await c.daemon.post(sample.path, sample.body, token=None, headers=sample.headers)
        assert (over_api.status, over_api.json()["duplicate"]) == (200, False)


async def test_events_are_found_looked_into_and_worked_again(client):
    async with client() as c:
        before = datetime.now(UTC) - timedelta(minutes=1)
        for number in range(3):
            await c.send("payment-completed", number=number)
        await c.send("account-enabled")
        await c.send("payment-completed", "/acme", number=7)
        await c.worked()
        path = "/api/v1/webhook-events"
        everything = await c.get(path)
        assert len(everything["items"]) == 5
        first = await c.get(f"{path}?limit=3")
        rest = await c.get(f"{path}?limit=3&cursor={first['next_cursor']}")
        assert [e["id"] for e in first["items"] + rest["items"]] == [e["id"] for e in everything["items"]]
        start = before.isoformat().replace("+00:00", "Z")
        for query, count in {
            "source=netbanx": 4,
            "name=PAYMENT_COMPLETED": 4,
            "name=PAYMENT_COMPLETED&source=acme": 1,
            "state=done": 5,
            "state=buried": 0,
            f"startDate={start}": 5,
            f"endDate={start}": 0,
            "resourceId=nothing": 0,
        }.items():
            assert len((await c.get(f"{path}?{query}"))["items"]) == count, query
        event = (await c.get(f"{path}?source=acme"))["items"][0]
        await c.send("payment-completed", "/acme", number=8)
        await c.worked()
        whole = await c.get(f"{path}/{event['id']}")
        assert msgspec.json.decode(whole["body"])["eventName"] == "PAYMENT_COMPLETED"
        assert whole["copies"] == 1
        assert whole["ledTo"][0]["kind"] == "transaction"
        assert whole["receipt"]["scheme"] == "paysafe"
        explained = await c.get(f"{path}/{event['id']}/explain")
        assert explained["findings"][0]["fits"] is True
        assert explained["findings"][0]["settings"]["key_encoding"] == "base64"
        assert KEY not in str(explained)
        dry = await c.post(f"{path}/replay", {"source": "acme"})
        assert (dry["dryRun"], dry["found"], dry["replayed"]) == (True, 2, 0)
        wet = await c.post(f"{path}/replay", {"name": "PAYMENT_COMPLETED", "dryRun": False})
        assert wet["replayed"] == 5
        await c.worked()
        assert (await c.get("/api/v1/transactions"))["data"]["pagination"]["total"] == 5
        await c.post(f"{path}/replay", {}, status=400)
        await c.post(f"{path}/replay", {"state": "ready", "source": "acme"}, status=422)


async def test_the_queue_is_paused_resumed_retried_and_cleaned(client):
    async with client() as c:
        path = "/api/webhooks/queue"
        assert (await c.post(path, {"action": "pause"}))["queue"]["paused"] is True
        await c.send("payment-completed", number=1)
        await c.send("payment-completed", number=2)
        assert (await c.get(path))["queue"]["waiting"] == 2
        await c.daemon.db.execute(
            sql(
                "test.bury",
                "UPDATE netbanx.events SET state = 'buried', last_error = 'broken', finished_at = now()",
            )
        )
        failed = (await c.get(path))["failed"]
        assert [row["reason"] for row in failed] == ["broken", "broken"]
        assert (await c.post(path, {"action": "retry", "id": failed[0]["id"]}))["changed"] == 1
        assert (await c.post(path, {"action": "retryAll"}))["changed"] == 1
        assert (await c.post(path, {"action": "resume"}))["queue"]["paused"] is False
        await c.worked()
        await c.daemon.db.execute(
            sql("test.bury", "UPDATE netbanx.events SET state = 'buried', finished_at = now()")
        )
        assert (await c.post(path, {"action": "clean"}))["changed"] == 2
        await c.post(path, {"action": "retry"}, status=422)
        await c.post(path, {"action": "explode"}, status=422)
        actions = await c.daemon.db.fetch(
            sql("test.audit", "SELECT action FROM wharfd.audit ORDER BY recorded_at")
        )
        assert {"work.paused", "work.resumed", "work.requeued", "work.cancelled"} <= {
            r["action"] for r in actions
        }


WRONG_KEYS = [
    ("validuntil", {"validuntil": "2999-01-01"}),  # a slip that would let a key count for ever
    ("validFrom", {"validFrom": "tomorrow"}),
    ("validFrom", {"validFrom": "0001-01-01T00:00:00+12:00"}),
    ("validUntil", {"validUntil": "2020-01-01"}),
    ("validUntil", {"validFrom": "2999-01-02", "validUntil": "2999-01-01"}),
    ("name", {"name": "a\0"}),
    ("name", {"name": "n" * 101}),
]


async def test_keys_are_stored_sealed_used_rotated_and_counted(client):
    async with client() as c:
        path = "/api/webhook-secrets"
        assert (await c.send("payment-completed", "/managed")).status == 503
        await c.post(path, {"source": "netbanx", "key": KEY}, status=409)
        await c.post(path, {"source": "nothing", "key": KEY}, status=422)
        await c.post(path, {"source": "managed", "key": "not base64!"}, status=422)
        for field, wrong in WRONG_KEYS:
            refused = await c.post(path, {"source": "managed", "key": KEY} | wrong, status=422)
            assert [error["field"] for error in refused["errors"]] == [field]
        made = {"endpoint": "managed", "key": KEY, "validUntil": "2999-01-01"}
        made = (await c.post(path, made, status=201))["data"]
        assert made["keyVersion"] == 1
        later = {"endpoint": "managed", "key": NEXT, "name": "later", "validFrom": "2999-01-01T00:00"}
        await c.post(path, later | {"name": "both", "validUntil": "2999-02-01"}, status=201)
        later = (await c.post(path, later, status=201))["data"]
        assert (later["validFrom"], later["validUntil"]) == ("2999-01-01T00:00:00Z", None)
        assert KEY not in str(made)
        await c.post(path, {"endpoint": "managed", "key": KEY}, status=409)
        assert (await c.send("payment-completed", "/managed", number=1)).status == 200
        assert (await c.send("payment-completed", "/managed", number=1, key=NEXT)).status == 401
        new = (await c.post(f"{path}/{made['id']}/rotate", {"key": NEXT, "overlapSeconds": 3600}))["data"]
        assert (new["keyVersion"], new["name"]) == (2, "default")
        await c.post(f"{path}/{made['id']}/rotate", {"key": NEXT}, status=409)
        for key in (KEY, NEXT):
            assert (await c.send("payment-completed", "/managed", number=2, key=key)).status == 200
        ctx = c.daemon.context("netbanx")
        from wharfd_netbanx import upkeep

        await upkeep.write_down(ctx, ctx.state["intake"])
        listed = {k["id"]: k for k in (await c.get(path))["data"]["secrets"]}
        assert listed[made["id"]]["usageCount"] == 2
        assert listed[new["id"]]["usageCount"] == 1
        assert listed[new["id"]]["lastUsedAt"]
        assert (await c.daemon.request("PATCH", f"{path}/{made['id']}", {"isActive": False})).status == 200
        assert (await c.send("payment-completed", "/managed", number=3)).status == 401
        assert (await c.daemon.request("DELETE", f"{path}/{new['id']}")).status == 204
        assert (await c.send("payment-completed", "/managed", number=4, key=NEXT)).status == 503
        dump = str(
            [dict(r) for r in await c.daemon.db.fetch(sql("test.dump", "SELECT * FROM netbanx.secrets"))]
        )
        assert KEY not in dump
        await c.get(f"{path}/{made['id']}", "acme", status=404)
        await c.daemon.db.owner.execute(sql("test.lost", "UPDATE netbanx.secrets SET source = 'gone'"))
        lost = await c.post(f"{path}/{made['id']}/rotate", {"key": NEXT}, status=409)
        assert "not configured any more" in lost["detail"]


async def test_answers_are_kept_until_events_change_them(client):
    async with client() as c:
        await c.send("payment-completed", number=1)
        await c.worked()
        first = await c.daemon.get("/api/v1/transactions")
        again = await c.daemon.get("/api/v1/transactions")
        assert again.body == first.body  # the timestamp too: it is the kept answer
        not_modified = await c.daemon.get(
            "/api/v1/transactions", headers={"If-None-Match": first.headers["etag"]}
        )
        assert not_modified.status == 304
        await c.send("payment-completed", number=2)
        await c.worked()
        with trio.fail_after(60):
            while (await c.get("/api/v1/transactions"))["data"]["pagination"]["total"] != 2:
                await trio.sleep(0.05)


@pytest.mark.parametrize("over", ["api", "ingest"])
async def test_samples_are_sent_to_a_running_daemon(client, over):
    async with client() as c:
        url = c.daemon.api if over == "api" else c.daemon.ingest

        def sent(**more):
            given = {"count": 26, "rate": None, "connections": 4, "first": 7} | more
            plan = Plan(url=url, paths=Source(keys=(Secret(KEY),)).paths, names=SAMPLE_NAMES, **given)
            return send(plan, c.verifier, show=False)

        first = await trio.to_thread.run_sync(sent)
        assert (first.accepted, first.duplicates, first.refused, first.failed) == (26, 0, 0, 0)
        again = await trio.to_thread.run_sync(sent)
        assert (again.accepted, again.duplicates) == (26, 26)
        paced = await trio.to_thread.run_sync(lambda: sent(count=5, rate=50.0, first=None))
        assert (paced.accepted, paced.duplicates) == (5, 0)
        assert paced.seconds >= 4 / 50
        assert {"per_second", "p99_ms"} <= set(paced.facts())
        await c.worked()


async def test_sending_says_what_is_wrong(client):
    async with client() as c:
        other = Source(keys=(Secret(NEXT),))
        plan = Plan(c.daemon.ingest, other.paths, ("payment-completed",), 2, None, 1, None)
        result = await trio.to_thread.run_sync(
            lambda: send(plan, other.verifier(other.typed_keys()), show=False)
        )
        assert result.refused == 2
        assert "signature_mismatch" in result.problem
    with pytest.raises(wharfd.WharfdError, match="above 0"):
        Plan("http://x", ("/",), ("payment-completed",), 0, None, 1, None)
