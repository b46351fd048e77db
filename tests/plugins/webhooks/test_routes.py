"""The API over HTTP: the old shapes, what was added to them, and everything that is refused."""

from __future__ import annotations

import pytest

import wharfd_webhooks as plugin
from wharfd.declare import Route
from wharfd.testing import answers
from wharfd_webhooks.config import Settings

from .serving import WHO, make, serve


@pytest.fixture
async def api(house):
    async with serve(house) as running:
        yield running


async def test_an_endpoint_lives_in_the_old_shape(api, receiver):
    made = await make(api, receiver)
    assert made["id"].startswith("wh_")
    assert made["userId"] == "acme"
    assert made["secret"].startswith("whsec_")
    assert made["active"] is True
    assert (made["failureCount"], made["lastTriggeredAt"]) == (0, None)
    for base in ("/api/webhooks", "/api/v1/webhooks"):
        shown = (await api.get(f"{base}/{made['id']}", token="acme")).json()
        assert shown == {**made, "secret": None}
        assert [one["id"] for one in (await api.get(base, token="acme")).json()] == [made["id"]]
    changed = await api.request(
        "PUT",
        f"/api/webhooks/{made['id']}",
        json={"events": ["payment.received"], "active": False},
        token="acme",
    )
    assert changed.json()["events"] == ["payment.received"]
    assert changed.json()["active"] is False
    assert (await api.request("DELETE", f"/api/webhooks/{made['id']}", token="acme")).status == 204
    assert (await api.get(f"/api/webhooks/{made['id']}", token="acme")).status == 404
    assert (await api.get("/api/webhooks", token="acme")).json() == []


async def test_every_change_is_audited(house, api, receiver):
    made = await make(api, receiver)
    await api.request("PUT", f"/api/webhooks/{made['id']}", json={"active": False}, token="acme")
    await api.request("DELETE", f"/api/webhooks/{made['id']}", token="acme")
    rows = await house.fetch(
        "SELECT action, actor FROM wharfd.audit WHERE subject = $1 ORDER BY id", made["id"]
    )
    assert [tuple(row) for row in rows] == [
        ("webhook.created", "key:acme"),
        ("webhook.changed", "key:acme"),
        ("webhook.deleted", "key:acme"),
    ]


async def test_no_secret_and_no_header_value_stands_in_the_database(house, api, receiver):
    made = await make(api, receiver, headers={"Authorization": "Bearer open-sesame"})
    assert made["headers"] == {"Authorization": "…"}
    dump = str(await house.fetch("SELECT e.*, s.* FROM webhooks.endpoints e, webhooks.secrets s"))
    assert "open-sesame" not in dump
    assert made["secret"].removeprefix("whsec_") not in dump
    kept = await api.request(
        "PUT",
        f"/api/webhooks/{made['id']}",
        json={"headers": {"Authorization": "…", "X-More": "1"}},
        token="acme",
    )
    assert kept.status == 200, kept.body
    await house.publish(house.created())
    await receiver.wait_for(1)
    assert receiver.requests[0].header("authorization") == "Bearer open-sesame"
    assert receiver.requests[0].header("x-more") == "1"


BAD = [
    ({"url": "http://user:pass@127.0.0.1/"}, "url"),
    ({"url": "http://0x7f.1/"}, "url"),
    ({"url": "http://2130706433/"}, "url"),
    ({"url": "http://0177.0.0.1/"}, "url"),
    ({"url": "http://[::ffff:169.254.169.254]/"}, "url"),
    ({"url": "http://[64:ff9b::a9fe:a9fe]/"}, "url"),
    ({"url": "http://169.254.169.254/latest"}, "url"),
    ({"url": "http://10.0.0.1/"}, "url"),
    ({"url": "ftp://example.com/"}, "url"),
    ({"url": "http://example.com:22/"}, "url"),
    ({"url": "http://example.com/#x"}, "url"),
    ({"url": "http://exa mple.com/"}, "url"),
    ({"url": "http://xn--0.example/"}, "url"),
    ({"url": ""}, "url"),
    ({"events": []}, "events"),
    ({"events": ["order.*.x"]}, "events[0]"),
    ({"events": ["ok.fine", "Order.Created"]}, "events[1]"),
    ({"events": [f"x.y{i}" for i in range(101)]}, "events"),
    ({"secret": "whsec_c2hvcnQ="}, "secret"),
    ({"secret": "whsec_not base64"}, "secret"),
    ({"secret": "short"}, "secret"),
    ({"secret": "x" * 65}, "secret"),
    ({"secret": "whpk_AAAA"}, "secret"),
    ({"headers": {"webhook-id": "x"}}, "headers.webhook-id"),
    ({"headers": {"Host": "x"}}, "headers.Host"),
    ({"headers": {"X-A": "a\r\nX-B: b"}}, "headers.X-A"),
    ({"headers": {"Bad Name": "a"}}, "headers.Bad Name"),
    ({"headers": {f"X-{i}": "a" for i in range(21)}}, "headers"),
    ({"filter": {}}, "filter"),
    ({"filter": {"data.x": {"like": 1}}}, "filter.data.x.like"),
    ({"filter": {"or": []}}, "filter.or"),
    ({"filter": {"data.x": {"gt": 5, "lt": 3}}}, "filter.data.x"),
    ({"filter": {"amount": {"gt": 5}}}, "filter.amount"),
    ({"maxInFlight": 0}, "maxInFlight"),
    ({"maxInFlight": 1000}, "maxInFlight"),
    ({"ratePerSecond": 0}, "ratePerSecond"),
    ({"timeoutSeconds": 3600}, "timeoutSeconds"),
    ({"orderBy": "a..b"}, "orderBy"),
    ({"evnets": ["x"]}, "evnets"),
    ({"active": "yes"}, "active"),
]


async def test_what_is_wrong_is_named(api, receiver):
    for change, field in BAD:
        answer = await api.post(
            "/api/webhooks", {"url": receiver.url, "events": ["order.*"], **change}, token="acme"
        )
        assert answer.status == 422, (change, answer.body)
        problem = answer.json()
        assert field in [error["field"] for error in problem["errors"]], (change, problem)
        assert problem["success"] is False


async def test_a_change_of_what_no_endpoint_has_is_named(api, receiver):
    made = await make(api, receiver)
    path = f"/api/webhooks/{made['id']}"
    whole = await api.request("PUT", path, json={**made, "secret": None, "description": "new"}, token="acme")
    assert (whole.status, whole.json()["description"]) == (200, "new")
    for change, field in (({"maxInflight": 2}, "maxInflight"), ({"secret": "x" * 32}, "secret")):
        answer = await api.request("PUT", path, json=change, token="acme")
        assert answer.status == 422, answer.body
        assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_a_test_send_tells_how_it_went(api, receiver):
    made = await make(api, receiver)
    path = f"/api/webhooks/{made['id']}"
    good = (await api.post(f"{path}/test", token="acme")).json()
    assert good["success"] is True
    assert good["delivery"]["status"] == "delivered"
    assert good["delivery"]["responseCode"] == 200
    receiver.script(answers.status(404, b"nobody"))
    bad = (await api.post(f"{path}/test", token="acme")).json()
    assert bad["success"] is False
    assert (bad["delivery"]["status"], bad["delivery"]["responseCode"]) == ("failed", 404)
    await api.post(f"{path}/disable", {"reason": "maintenance"}, token="acme")
    off = (await api.post(f"{path}/test", token="acme")).json()
    assert off["success"] is True


async def test_deliveries_are_listed_explained_retried_and_cancelled(house, api, receiver):
    made = await make(api, receiver)
    path = f"/api/webhooks/{made['id']}"
    receiver.answer = answers.status(400, b"no")
    await house.publish(house.created())
    await house.settled(1)
    (one,) = (await api.get(f"{path}/deliveries?limit=50", token="acme")).json()
    assert (one["status"], one["attempts"], one["responseCode"], one["responseBody"]) == (
        "failed",
        2,
        400,
        "no",
    )
    page = (await api.get("/api/v1/deliveries?status=failed", token="acme")).json()
    assert [item["id"] for item in page["items"]] == [one["id"]]
    assert (await api.get("/api/v1/deliveries?status=delivered", token="acme")).json()["items"] == []
    shown = (await api.get(f"/api/v1/deliveries/{one['id']}", token="acme")).json()
    assert shown["payload"]["data"]["order_id"] == "o1"
    sends = (await api.get(f"/api/v1/deliveries/{one['id']}/attempts", token="acme")).json()
    assert [send["number"] for send in sends] == [1, 2]
    why = (await api.get(f"/api/v1/deliveries/{one['id']}/explain", token="acme")).json()
    assert "given up after 2 tries" in why["reasons"][0]

    again = (await api.post(f"/api/v1/deliveries/{one['id']}/resend", token="acme")).json()
    assert (again["success"], again["delivery"]["status"], again["delivery"]["attempts"]) == (
        False,
        "failed",
        3,
    )
    receiver.answer = answers.status(200)
    retried = (await api.post(f"{path}/deliveries/{one['id']}/retry?maxRetries=5", token="acme")).json()
    assert (retried["success"], retried["delivery"]["status"]) == (True, "delivered")
    assert (await api.post(f"/api/v1/deliveries/{one['id']}/cancel", token="acme")).status == 409


async def test_what_failed_is_retried_as_a_whole(house, api, receiver):
    made = await make(api, receiver)
    receiver.answer = answers.status(400)
    await house.publish(house.created("o1"), house.created("o2"))
    await house.settled(2)
    receiver.answer = answers.status(200)
    answer = (await api.post(f"/api/webhooks/{made['id']}/retry-failed", token="acme")).json()
    assert answer["success"] is True
    assert len(answer["results"]) == 2
    assert await house.settled(2) == {"done": 2}


async def test_pause_parks_and_enable_releases(house, api, receiver):
    made = await make(api, receiver)
    path = f"/api/webhooks/{made['id']}"
    assert (await api.post(f"{path}/pause", token="acme")).json()["status"] == "paused"
    await house.publish(house.created("o1"), house.created("o2"))
    await house.reached(2, "held")
    (one, _) = (await api.get(f"{path}/deliveries?status=parked", token="acme")).json()
    why = (await api.get(f"/api/v1/deliveries/{one['id']}/explain", token="acme")).json()["reasons"]
    assert "the endpoint is paused (paused)" in why
    assert receiver.requests == []
    enabled = (await api.post(f"{path}/resume", token="acme")).json()
    assert "2 parked deliveries" in enabled["message"]
    assert await house.settled(2) == {"done": 2}


async def test_what_a_disabled_endpoint_missed_is_counted_and_recovered(house, api, receiver):
    made = await make(api, receiver)
    path = f"/api/webhooks/{made['id']}"
    since = "2020-01-01T00:00:00Z"
    old = await house.ctx.db.fetchval(_sql("SELECT now() - interval '1 hour'"))
    await api.post(f"{path}/disable", token="acme")
    await house.publish(house.created("o1"), house.created("o2"), house.failed("o3"))
    await house.until(lambda: _messages(house, 4))  # three, and that the endpoint was disabled
    refused = await api.post(f"{path}/recover", {"since": since}, token="acme")
    assert refused.status == 422
    since = old.isoformat()
    count = (await api.post(f"{path}/recover", {"since": since}, token="acme")).json()
    assert (count["total"], count["byKind"], count["complete"]) == (3, {"missing": 3}, True)
    body = {"since": since, "dryRun": False, "perSecond": 1000}
    assert (await api.post(f"{path}/recover", body, token="acme")).status == 409
    enabled = (await api.post(f"{path}/enable", token="acme")).json()
    assert enabled["recoverSince"] is not None
    begun = await api.post(f"{path}/recover", body, token="acme")
    assert begun.status == 202, begun.body
    assert await house.settled(3) == {"done": 3}
    await house.until(lambda: _over(api, path, begun.json()["id"]))
    shown = (await api.get(f"{path}/recoveries/{begun.json()['id']}", token="acme")).json()
    assert (shown["state"], shown["scheduled"], shown["percent"]) == ("done", 3, 100.0)
    again = (await api.post(f"{path}/recover", {"since": since}, token="acme")).json()
    assert again["total"] == 0


def _sql(text):
    from wharfd.db import sql

    return sql("test.value", text)


async def _messages(house, count):
    return len(await house.fetch("SELECT FROM webhooks.messages")) >= count


async def _over(api, path, recovery):
    return (await api.get(f"{path}/recoveries/{recovery}", token="acme")).json()["state"] == "done"


async def test_rotation_overlaps(house, api, receiver):
    made = await make(api, receiver)
    path = f"/api/webhooks/{made['id']}"
    rotated = (await api.post(f"{path}/rotate-secret", token="acme")).json()
    assert rotated["secret"] != made["secret"]
    assert [s["expiresAt"] is None for s in rotated["secrets"]] == [True, False]
    await house.publish(house.created())
    await receiver.wait_for(1)
    assert len(receiver.requests[0].header("webhook-signature").split(" ")) == 2
    at_once = await api.post(f"{path}/rotate-secret", {"overlapSeconds": 0, "signing": "v1a"}, token="acme")
    assert [s["kind"] for s in at_once.json()["secrets"]] == ["v1a"]
    assert at_once.json()["publicKey"].startswith("whpk_")
    await house.publish(house.created())
    await receiver.wait_for(2)
    assert receiver.requests[1].header("webhook-signature").startswith("v1a,")
    shown = (await api.get(f"{path}/secrets", token="acme")).json()
    assert "secret" not in shown[0]
    assert (await api.post(f"{path}/rotate-secret", {"overlapSeconds": -1}, token="acme")).status == 422


async def test_an_application_publishes_what_it_defined(house, api, receiver):
    made = await make(api, receiver, events=["cart.*"])
    event = {"type": "cart.left", "data": {"total": 5}}
    refused = await api.post("/api/v1/events", event, token="acme")
    assert refused.status == 422
    assert "PUT /api/v1/event-types/cart.left" in refused.json()["errors"][0]["message"]
    schema = {
        "type": "object",
        "required": ["total"],
        "properties": {"total": {"type": "integer", "minimum": 1}},
    }
    defined = await api.request(
        "PUT", "/api/v1/event-types/cart.left", json={"description": "a cart", "schema": schema}, token="acme"
    )
    assert defined.status == 200, defined.body
    wrong = await api.post("/api/v1/events", {"type": "cart.left", "data": {"total": 0}}, token="acme")
    assert [(e["field"], e["message"]) for e in wrong.json()["errors"]] == [
        ("data.total", "must be at least 1")
    ]
    key = {"Idempotency-Key": "k1"}
    first = await api.post("/api/v1/events", event, token="acme", headers=key)
    second = await api.post("/api/v1/events", event, token="acme", headers=key)
    assert (first.status, second.status) == (202, 202)
    assert first.json() == second.json()
    assert first.json()["deliveries"] == 1
    await house.settled(1)
    assert len(receiver.requests) == 1
    forged = await api.post("/api/v1/events", {"type": "order.created", "data": {}}, token="acme")
    assert forged.status == 422
    shown = (await api.get(f"/api/v1/messages/{first.json()['id']}", token="acme")).json()
    assert shown["deliveries"][0]["webhookId"] == made["id"]


async def test_the_catalogue_has_a_schema_for_every_declared_type(api):
    types = {one["type"]: one for one in (await api.get("/api/v1/event-types", token="acme")).json()}
    assert types["delivery.exhausted"]["source"] == "webhooks"
    assert types["order.created"]["schema"]["properties"]["order_id"] == {"type": "string"}
    assert (await api.get("/api/v1/event-types/no.such", token="acme")).status == 404


async def test_a_trace_is_followed_from_end_to_end(house, api, receiver):
    await make(api, receiver)
    await house.publish(house.created())
    await house.settled(1)
    found = (await api.get("/api/v1/lineage/trace-1", token="acme")).json()
    (message,) = found["messages"]
    assert message["message"]["type"] == "order.created"
    assert message["deliveries"][0]["attempts"][0]["outcome"] == "delivered"
    for one in (message["message"]["id"], message["deliveries"][0]["delivery"]["id"]):
        assert (await api.get(f"/api/v1/lineage/{one}", token="acme")).json() == found
        assert (await api.get(f"/api/v1/lineage/{one}", token="other")).status == 404
    assert (await api.get("/api/v1/lineage/trace-1", token="other")).status == 404


async def test_why_an_event_made_no_delivery(house, api, receiver):
    (event,) = await house.publish(house.created(amount=3))
    await house.until(lambda: _messages(house, 1))
    late = await make(api, receiver, events=["payment.*"], filter={"data.amount": {"gt": 5}})
    answer = (await api.get(f"/api/v1/messages/{event}/explain/{late['id']}", token="acme")).json()
    assert answer["reasons"] == [
        "the endpoint does not ask for order.created; it asks for payment.*",
        "the endpoint was added after the event; recover sends it what came before",
    ]


ROUTES = [route for route in plugin.register_routes(Settings()) if isinstance(route, Route)]


def _filled(path, ids):
    for name, value in ids.items():
        path = path.replace("{" + name + "}", value)
    return path


async def test_what_belongs_to_another_owner_is_not_there(house, api, receiver):
    made = await make(api, receiver)
    await house.publish(house.created())
    await house.settled(1)
    (delivery,) = await house.deliveries()
    await house.set(
        """INSERT INTO webhooks.recoveries (id, endpoint_id, owner, since, until, include, per_second, total, actor)
        VALUES ('rec_1', $1, 'acme', now(), now(), '{failed}', 1, 0, 'x')""",
        made["id"],
    )
    await api.request("PUT", "/api/v1/event-types/cart.left", json={}, token="acme")
    before = await house.get(made["id"])
    checked = 0
    for route in ROUTES:
        for path in route.paths:
            if "{" not in path or (path == "/api/v1/event-types/{type}" and route.method == "PUT"):
                continue
            ids = {
                "id": made["id"],
                "delivery_id": delivery["id"],
                "recovery_id": "rec_1",
                "trace_id": "trace-1",
            }
            ids |= {"type": "cart.left", "webhook_id": made["id"]}
            if path.startswith("/api/v1/deliveries/"):
                ids["id"] = delivery["id"]
            if path.startswith("/api/v1/messages/"):
                ids["id"] = delivery["message_id"]
            body = None
            if route.body is not None:
                body = {"since": "2099-01-01T00:00:00Z"} if path.endswith("/recover") else {}
            answer = await api.request(route.method, _filled(path, ids), json=body, token="other")
            assert answer.status == 404, (route.method, path, answer.body)
            checked += 1
    assert checked > 40
    assert await house.get(made["id"]) == before
    assert (await api.get("/api/v1/deliveries", token="other")).json()["items"] == []
    assert (await api.get("/api/webhooks", token="other")).json() == []


@pytest.mark.parametrize("token", ["nothing", "reader"])
async def test_scopes_open_their_routes_and_no_other(api, token):
    for route in ROUTES:
        path = _filled(
            route.path, dict.fromkeys(["id", "delivery_id", "recovery_id", "trace_id", "type"], "x")
        )
        path = path.replace("{webhook_id}", "x")
        answer = await api.request(route.method, path, json={} if route.body else None, token=token)
        allowed = WHO[token].may(route.scope)
        assert (answer.status != 403) is allowed, (route.method, path, answer.status)
        if allowed:
            continue
        assert (await api.request(route.method, path, token=None)).status == 401


async def test_only_an_admin_sets_up_for_others(api, receiver):
    body = {"url": receiver.url, "events": ["*"], "owner": "acme"}
    assert (await api.post("/api/webhooks", body, token="other")).status == 403
    made = await api.post("/api/webhooks", body)
    assert made.json()["userId"] == "acme"
    assert [one["id"] for one in (await api.get("/api/webhooks", token="acme")).json()] == [made.json()["id"]]


def test_no_path_collides_with_those_of_the_ingest_side():
    fixed = {path for route in ROUTES for path in route.paths if "{" not in path}
    assert fixed.isdisjoint({"/api/webhooks/netbanx", "/api/webhooks/queue", "/api/webhooks/account-status"})
