"""The endpoints over the real API: shapes, what is shown once, what a maker may give, whose rows they are."""

from datetime import timedelta

import msgspec

from wharfd.db import sql

AUDIT = sql("audit", "SELECT action, subject, owner, detail FROM wharfd.audit ORDER BY recorded_at, id")


async def actions(db):
    return [row["action"] for row in await db.fetch(AUDIT)]


# -- keys ---------------------------------------------------------------------------------------------


async def test_a_key_is_shown_once(node, db):
    async with node() as n:
        made = await n.make_key("orders:read", name="nightly export")
        key = made["details"]
        assert made["key"].startswith(key["public"] + "_")
        assert made["secret"] is None
        shown = (await n.api.get(f"/api/v1/keys/{key['id']}")).json()
        listed = (await n.api.get("/api/v1/keys")).json()["items"]
        assert [shown] == listed == [key]
        assert made["key"] not in msgspec.json.encode([shown, listed]).decode()
        assert (key["state"], key["owner"], key["name"]) == ("active", "ann", "nightly export")
        (entry,) = await db.fetch(AUDIT)
        assert (entry["action"], entry["subject"], entry["owner"]) == ("key.created", key["id"], "ann")
        assert made["key"] not in str(entry["detail"])


async def test_rotation_keeps_rights_and_lets_the_old_key_go_on(node, db):
    async with node() as n:
        old = await n.make_key("keys:read", rate_per_minute=50, allow_list=["127.0.0.1/32"])
        path = f"/api/v1/keys/{old['details']['id']}"
        new = (await n.api.post(f"{path}/rotate", {"overlap_seconds": 3600})).json()
        assert new["details"]["rotated_from"] == old["details"]["id"]
        for name in ("scopes", "rate_per_minute", "allow_list", "owner", "name"):
            assert new["details"][name] == old["details"][name]
        for key in (old["key"], new["key"]):
            assert (await n.api.get("/api/v1/keys", token=key)).status == 200
        assert (await n.api.get(path)).json()["state"] == "replaced"
        again = await n.api.post(f"{path}/rotate")
        assert (again.status, "successor" in again.json()["detail"]) == (409, True)
        n.clock.advance(timedelta(seconds=3600))
        assert (await n.api.get("/api/v1/keys", token=old["key"])).status == 401
        assert (await n.api.get("/api/v1/keys", token=new["key"])).status == 200
        assert await actions(db) == ["key.created", "key.rotated"]


async def test_a_rotation_without_overlap_ends_the_old_key_at_once(node):
    async with node() as n:
        old = await n.make_key("keys:read")
        assert (await n.api.get("/api/v1/keys", token=old["key"])).status == 200
        await n.api.post(f"/api/v1/keys/{old['details']['id']}/rotate", {"overlap_seconds": 0})
        assert (await n.api.get("/api/v1/keys", token=old["key"])).status == 401


async def test_revoking_takes_the_keys_it_made_along_when_asked(node):
    async with node() as n:
        first = await n.make_key("keys:*")
        second = await n.make_key("keys:*", token=first["key"])
        third = await n.make_key("keys:read", token=second["key"])
        path = f"/api/v1/keys/{first['details']['id']}/revoke"
        gone = (await n.api.post(path, {"descendants": True})).json()["revoked"]
        assert set(gone) == {one["details"]["id"] for one in (first, second, third)}
        assert (await n.api.get("/api/v1/keys", token=third["key"])).status == 401


async def test_a_key_gives_no_more_than_it_has(node):
    async with node() as n:
        ends = (n.clock.now() + timedelta(days=1)).isoformat()
        maker = await n.make_key(
            "keys:*", "orders:read", expires_at=ends, allow_list=["127.0.0.0/8"], rate_per_minute=100
        )
        strong = await n.make_key("orders:*")
        token = maker["key"]

        async def refused(**wanted):
            body = {"name": "x", "scopes": ["orders:read"], **wanted}
            answer = await n.api.post("/api/v1/keys", body, token=token)
            return answer.status, answer.json()["detail"]

        for scope in ("orders:write", "orders:*", "*", "integrations:read"):
            status, detail = await refused(scopes=[scope])
            assert (status, scope in detail) == (403, True)
        later = (n.clock.now() + timedelta(days=2)).isoformat()
        assert (await refused(expires_at=later))[0] == 422
        assert (await refused(allow_list=["0.0.0.0/0"]))[0] == 422
        assert (await refused(rate_per_minute=101))[0] == 422
        assert (await refused(owner="bob"))[0] == 422
        # A rotation shows a working key, so it is giving too.
        rotated = await n.api.post(f"/api/v1/keys/{strong['details']['id']}/rotate", token=token)
        assert rotated.status == 403

        child = (await n.make_key("orders:read", token=token))["details"]
        assert child["owner"] == "ann"
        assert child["created_by"] == maker["details"]["id"]
        assert (child["expires_at"], child["allow_list"], child["rate_per_minute"]) == (
            maker["details"]["expires_at"], ["127.0.0.0/8"], 100,
        )  # fmt: skip


async def test_regenerating_is_giving_too(node):
    async with node() as n:
        integration = await n.make_integration(scopes=["orders:*"])
        weak = await n.make_key("integrations:*")
        for action in ("regenerate-credentials", "rotate"):
            answer = await n.api.post(f"/api/integrations/{integration['id']}/{action}", token=weak["key"])
            assert (answer.status, "orders:*" in answer.json()["detail"]) == (403, True)
        less = {"scopes": ["integrations:read"]}
        path = f"/api/integrations/{integration['id']}/regenerate-credentials"
        assert (await n.api.post(path, less, token=weak["key"])).status == 200


WRONG_KEYS = [
    ({"name": ""}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"name": None}, "name"),
    ({"name": "a\n"}, "name"),
    ({"name": "a\0b"}, "name"),
    ({"integration_id": "int_\0"}, "integration_id"),
    ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
    ({"scopes": ["orders"]}, "scopes"),
    ({"scopes": "orders:read"}, "scopes"),
    ({"owner": ""}, "owner"),
    ({"owner": "x" * 200}, "owner"),
    ({"allow_list": ["10.0.0.1/8"]}, "allow_list"),
    ({"rate_per_minute": 0}, "rate_per_minute"),
    ({"rate_per_minute": 1.5}, "rate_per_minute"),
    ({"expires_at": "2027-01-01T00:00:00"}, "expires_at"),
    ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
    ({"integration_id": "int_none"}, "integration_id"),
    ({"scope": ["orders:read"]}, "scope"),
]


async def test_a_wrong_key_is_told_by_its_field(node):
    async with node(running=False) as n:
        for change, field in WRONG_KEYS:
            body = {"name": "a", "owner": "ann", "scopes": ["orders:read"], **change}
            answer = await n.api.post("/api/v1/keys", body)
            assert answer.status == 422, (change, answer.body)
            assert [error["field"] for error in answer.json()["errors"]] == [field], change


async def test_a_key_without_owner_must_be_meant(node):
    async with node(running=False) as n:
        body = {"name": "a", "scopes": ["orders:read"]}
        answer = await n.api.post("/api/v1/keys", body)
        assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "owner")
        assert (await n.api.post("/api/v1/keys", body | {"owner": None})).json()["details"]["owner"] is None


async def test_an_owner_has_so_many_keys_and_no_more(node):
    async with node(running=False, max_keys_per_owner=2, max_integrations_per_owner=1) as n:
        first = await n.make_key()
        await n.make_key()
        full = await n.api.post("/api/v1/keys", {"name": "c", "owner": "ann", "scopes": []})
        assert (full.status, "max_keys_per_owner" in full.json()["detail"]) == (409, True)
        assert (await n.api.post("/api/v1/keys", {"name": "c", "owner": "bob", "scopes": []})).status == 201
        await n.delete(f"/api/v1/keys/{first['details']['id']}")
        await n.make_integration()
        body = {"name": "b", "type": "rta", "owner": "ann"}
        assert (await n.api.post("/api/integrations", body)).status == 409


async def test_the_list_of_keys_pages_and_hides_what_ended(node):
    async with node(running=False) as n:
        made = [(await n.make_key())["details"]["id"] for _ in range(5)]
        await n.api.post(f"/api/v1/keys/{made[0]}/revoke")
        seen, cursor = [], ""
        while cursor is not None:
            page = (await n.api.get(f"/api/v1/keys?limit=2&cursor={cursor}")).json()
            seen += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
        assert seen == made[:0:-1]
        whole = (await n.api.get("/api/v1/keys?ended=true&owner=ann")).json()["items"]
        assert [item["state"] for item in whole] == ["active"] * 4 + ["revoked"]
        assert (await n.api.get("/api/v1/keys?owner=bob")).json()["items"] == []


# -- integrations -------------------------------------------------------------------------------------


async def test_an_integration_in_the_old_shape(node, db):
    async with node() as n:
        body = {"name": "Shop", "type": "payment_gateway", "config": {"baseUrl": "https://x.example", "apiKey": "k"},
                "webhookUrl": "https://hooks.example/in"}  # fmt: skip
        answer = await n.api.post("/api/integrations", body)
        assert answer.status == 201
        made = answer.json()
        assert made["id"].startswith("int_")
        assert (made["status"], made["type"], made["userId"]) == ("pending", "payment_gateway", None)
        assert made["apiKey"].startswith("whk_live_")
        assert made["apiSecret"].startswith("whs_")
        assert made["webhookSecret"].startswith("whsec_")
        assert made["config"] == {"baseUrl": "https://x.example", "apiKey": "**hidden**"}
        assert {"createdAt", "updatedAt", "lastUsedAt", "usageCount"} <= made.keys()

        shown = (await n.api.get(f"/api/integrations/{made['id']}")).json()
        assert "apiSecret" not in shown
        assert "webhookSecret" not in shown
        assert shown["apiKey"].endswith("_…")
        assert made["apiKey"].startswith(shown["apiKey"][:-1])
        assert (await n.api.get("/api/integrations?type=payment_gateway")).json() == [shown]
        assert (await n.api.get("/api/integrations?type=rta")).json() == []
        assert (await n.api.get("/api/v1/integrations?status=pending")).json()["items"] == [shown]
        assert await actions(db) == ["integration.created", "key.created"]


async def test_changing_an_integration_keeps_what_is_left_out(node, db):
    async with node() as n:
        made = await n.make_integration(config={"user": "joe", "password": "p1"})
        path = f"/api/integrations/{made['id']}"
        changed = (await n.put(path, {"name": "New", "status": "active"})).json()
        assert (changed["name"], changed["status"], changed["config"]) == ("New", "active", made["config"])
        hooked = (await n.put(path, {"webhookUrl": "https://hooks.example/in"})).json()
        assert hooked["webhookSecret"].startswith("whsec_")
        again = (await n.put(path, {"webhookUrl": "https://hooks.example/other"})).json()
        assert "webhookSecret" not in again
        cleared = (await n.put(path, {"webhookUrl": None, "config": None})).json()
        assert (cleared["webhookUrl"], cleared["config"]) == (None, {})
        assert (await n.delete(path)).status == 204
        assert (await n.api.get(path)).status == 404
        assert (await actions(db)).count("integration.updated") == 4
        assert (await actions(db))[-2:] == ["key.revoked", "integration.deleted"]


async def test_what_nobody_knows_is_refused_but_not_from_callers_of_the_old_system(node):
    async with node() as n:
        body = {"name": "Shop", "type": "custom", "webhookURL": "https://hooks.example/in"}
        for method, path in (("POST", ""), ("PUT", f"/{(await n.make_integration())['id']}")):
            new = await n.api.request(method, f"/api/v1/integrations{path}", json=body)
            assert (new.status, "webhookURL" in [one["field"] for one in new.json()["errors"]]) == (422, True)
            whole = body if method == "POST" else {**body, "userId": "7", "usageCount": 3}
            old = await n.api.request(method, f"/api/integrations{path}", json=whole)
            assert old.status in (200, 201), old.body


async def test_new_credentials_replace_or_overlap(node):
    async with node() as n:
        made = await n.make_integration(scopes=["keys:read"], webhookUrl="https://hooks.example/in")
        path = f"/api/integrations/{made['id']}"
        await n.api.post(f"{path}/activate")

        async def works(pair):
            return (await n.api.get("/api/v1/keys", token=pair["apiKey"])).status == 200

        second = (await n.api.post(f"{path}/regenerate-credentials")).json()
        assert second["webhookSecret"] != made["webhookSecret"]
        assert (await works(made), await works(second)) == (False, True)
        third = (await n.api.post(f"{path}/rotate", {"overlapSeconds": 60})).json()
        assert (await works(second), await works(third)) == (True, True)
        assert (await n.api.get(path)).json()["keyId"] == third["keyId"]
        n.clock.advance(timedelta(seconds=61))
        assert (await works(second), await works(third)) == (False, True)
        beyond = await n.api.post(f"{path}/rotate", {"overlapSeconds": 10**9})
        assert beyond.status == 422


async def test_what_the_house_suspended_its_owner_cannot_activate(node):
    async with node() as n:
        ann = await n.make_key("integrations:*")
        made = await n.make_integration()
        path = f"/api/integrations/{made['id']}"
        own = await n.api.post(f"{path}/suspend", token=ann["key"])
        assert own.json()["status"] == "suspended"
        assert (await n.api.post(f"{path}/activate", token=ann["key"])).json()["status"] == "active"
        await n.api.post(f"{path}/suspend")
        assert (await n.api.post(f"{path}/activate", token=ann["key"])).status == 403
        assert (await n.put(path, {"status": "active"}, token=ann["key"])).status == 403
        assert (await n.put(path, {"name": "still mine"}, token=ann["key"])).status == 200
        assert (await n.api.post(f"{path}/activate")).json()["status"] == "active"


WRONG_INTEGRATIONS = [
    ({"name": ""}, "name"),
    ({"type": "shop"}, "type"),
    ({"config": []}, "config"),
    ({"config": {"a": "x" * 40_000}}, "config"),
    ({"config": {"a": ["\0"]}}, "config.a[0]"),
    ({"config": {"a\0": 1}}, "config.a\0"),
    ({"webhookUrl": "https://x.example/\0"}, "webhookUrl"),
    ({"config": {"password": "**hidden**"}}, "config"),
    ({"webhookUrl": "ftp://x.example/"}, "webhookUrl"),
    ({"webhookUrl": "http://10.0.0.1/"}, "webhookUrl"),
    ({"webhookUrl": "http://0x7f.1/"}, "webhookUrl"),
    ({"webhookUrl": "http://169.254.169.254/latest"}, "webhookUrl"),
    ({"webhookUrl": "http://user:pw@x.example/"}, "webhookUrl"),
    ({"scopes": ["everything"]}, "scopes"),
    ({"scopes": ["orders:read"], "owner": msgspec.UNSET}, "owner"),
    ({"allowList": ["x"]}, "allowList"),
]


async def test_a_wrong_integration_is_told_by_its_field(node):
    async with node(running=False, allow_loopback=False) as n:
        for change, field in WRONG_INTEGRATIONS:
            body = {"name": "a", "type": "custom", "owner": "ann", **change}
            body = {name: value for name, value in body.items() if value is not msgspec.UNSET}
            answer = await n.api.post("/api/integrations", body)
            assert answer.status == 422, (change, answer.body)
            assert [error["field"] for error in answer.json()["errors"]] == [field], change


async def test_a_wrong_optional_body_is_422(node):
    async with node(running=False) as n:
        made = await n.make_key()
        path = f"/api/v1/keys/{made['details']['id']}/rotate"
        for body in (
            b"[1]",
            b"{",
            b'{"overlap_seconds": -1}',
            b'{"overlap_seconds": 99999999999999999}',
            b'{"overlap": 1}',
            b"\xff",
        ):
            assert (await n.api.request("POST", path, body=body)).status == 422, body


# -- whose it is, and who may -------------------------------------------------------------------------


def paths(key, integration):
    one = f"/api/v1/keys/{key}"
    routes = [
        ("GET", one, "keys:read"),
        ("GET", f"{one}/usage", "keys:read"),
        ("POST", f"{one}/rotate", "keys:write"),
        ("POST", f"{one}/revoke", "keys:write"),
        ("DELETE", one, "keys:write"),
    ]
    for base in ("/api/integrations", "/api/v1/integrations"):
        one = f"{base}/{integration}"
        routes += [
            ("GET", one, "integrations:read"),
            ("GET", f"{one}/usage", "integrations:read"),
            ("PUT", one, "integrations:write"),
            ("POST", f"{one}/suspend", "integrations:write"),
            ("POST", f"{one}/activate", "integrations:write"),
            ("POST", f"{one}/regenerate-credentials", "integrations:write"),
            ("POST", f"{one}/rotate", "integrations:write"),
            ("POST", f"{one}/test", "integrations:write"),
            ("DELETE", one, "integrations:write"),
        ]
    return routes


async def call(n, method, path, token):
    body = {} if method == "PUT" else None
    return await n.api.request(method, path, json=body, token=token)


async def test_another_owners_rows_are_not_there(node):
    async with node() as n:
        key = (await n.make_key("orders:read"))["details"]["id"]
        integration = (await n.make_integration())["id"]
        bob = (await n.make_key("keys:*", "integrations:*", "orders:*", owner="bob"))["key"]
        for method, path, _ in paths(key, integration):
            answer = await call(n, method, path, bob)
            assert answer.status == 404, (method, path, answer.body)
            unknown = await call(n, method, path.replace(key, "key_0").replace(integration, "int_0"), bob)
            assert unknown.status == 404
        for path in (
            "/api/v1/keys?owner=ann",
            "/api/v1/integrations",
            f"/api/v1/usage?integrationId={integration}",
        ):
            assert (await n.api.get(path, token=bob)).json()["items"] == []
        assert (await n.api.get("/api/integrations", token=bob)).json() == []
        into = {"name": "x", "scopes": [], "integration_id": integration}
        assert (await n.api.post("/api/v1/keys", into, token=bob)).status == 422
        verdict = await n.api.post("/api/integrations/verify", {"apiKey": "x", "apiSecret": "y"}, token=bob)
        assert verdict.json() == {"valid": False, "integrationId": None, "scopes": []}
        assert (await n.api.get(f"/api/v1/keys/{key}")).json()["state"] == "active"


async def test_a_pair_of_another_owner_is_not_told(node):
    async with node() as n:
        made = await n.make_integration()
        await n.api.post(f"/api/integrations/{made['id']}/activate")
        pair = {"apiKey": made["apiKey"], "apiSecret": made["apiSecret"]}
        ann, bob = await n.make_key("integrations:read"), await n.make_key("integrations:read", owner="bob")
        assert (await n.api.post("/api/integrations/verify", pair, token=ann["key"])).json()["valid"]
        assert not (await n.api.post("/api/integrations/verify", pair, token=bob["key"])).json()["valid"]


async def test_every_route_needs_its_scope(node):
    async with node() as n:
        key = (await n.make_key("orders:read"))["details"]["id"]
        integration = (await n.make_integration())["id"]
        every = paths(key, integration) + [
            ("GET", "/api/v1/keys", "keys:read"),
            ("POST", "/api/v1/keys", "keys:write"),
            ("GET", "/api/integrations", "integrations:read"),
            ("GET", "/api/v1/integrations", "integrations:read"),
            ("POST", "/api/integrations", "integrations:write"),
            ("POST", "/api/v1/integrations", "integrations:write"),
            ("POST", "/api/integrations/verify", "integrations:read"),
            ("GET", "/api/v1/usage", "integrations:read"),
        ]
        names = ("keys:read", "keys:write", "integrations:read", "integrations:write")
        tokens = {
            name: (await n.make_key(*[other for other in names if other != name]))["key"] for name in names
        }
        for method, path, scope in every:
            answer = await call(n, method, path, tokens[scope])
            assert (answer.status, answer.json().get("scope")) == (403, scope), (method, path)
            assert (await call(n, method, path, None)).status == 401
