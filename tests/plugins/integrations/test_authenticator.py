"""Who gets in, over the real API: bearer, pair, signature; at once out again when revoked."""

import base64
import hmac
from datetime import timedelta

import pytest
import trio
import trio.lowlevel

from wharfd.db import sql
from wharfd.declare import Route
from wharfd.errors import DatabaseUnavailable
from wharfd_integrations.model.key_text import checksum, make_key
from wharfd_integrations.model.signing import signed_headers


async def who(ctx, request):
    identity = request.identity
    return {"subject": identity.subject, "owner": identity.owner, "body": request.raw.decode()}


WHO = [
    Route(method="GET", path="/who", handler=who, scope="things:read"),
    Route(method="POST", path="/who", handler=who, scope="things:read", body=bytes),
]
KILL_LISTENERS = sql(
    "kill_listeners",
    """SELECT count(pg_terminate_backend(pid, 2000)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE '% listen'""",
)
COUNT_NONCES = sql("count_nonces", "SELECT count(*) FROM integrations.nonces")


def outcome(node, name):
    return node.metrics.registry.get_sample_value(
        "wharfd_integrations_authentications_total", {"outcome": name}
    )


def basic(key, secret):
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()}


async def test_a_key_opens_what_its_scopes_say_and_its_owner_sees(node):
    async with node(extra_routes=WHO) as n:
        made = await n.make_key("things:read")
        seen = await n.api.get("/who", token=made["key"])
        by_header = await n.api.get("/who", token=None, headers={"X-API-Key": made["key"]})
        assert seen.json() | {"body": ""} == {
            "subject": made["details"]["id"], "owner": "ann", "body": "",
        }  # fmt: skip
        assert by_header.status == 200
        assert (await n.api.get("/api/v1/keys", token=made["key"])).status == 403
        assert outcome(n, "accepted") == 3


@pytest.mark.parametrize(
    ("wrong", "expected", "word"),
    [
        (lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"), "malformed", "checksum"),
        (lambda key: make_key("live").text, "unknown", "not known"),
        (lambda key: make_key("test").text, "unknown", "live keys only"),
    ],
)
async def test_a_wrong_key_is_401_and_counted(node, wrong, expected, word):
    async with node(extra_routes=WHO) as n:
        made = await n.make_key("things:read")
        answer = await n.api.get("/who", token=wrong(made["key"]))
        assert (answer.status, word in answer.json()["detail"]) == (401, True)
        assert outcome(n, expected) == 1
        assert n.parts.refusals.recent() == 1


async def test_the_right_short_id_with_another_secret_is_not_known(node, monkeypatch):
    async with node(extra_routes=WHO) as n:
        made = await n.make_key("things:read")
        public = made["details"]["public"]
        other = make_key("live")
        # A key with a good checksum, the short id of the one and the secret of the other.
        body = f"{public}_{other.text[20:63]}"
        forged = body + checksum(body)
        compared, compare = [], hmac.compare_digest

        def watched(ours, theirs):
            compared.append((len(ours), len(theirs)))
            return compare(ours, theirs)

        monkeypatch.setattr("wharfd_integrations.authenticator.hmac.compare_digest", watched)
        answer = await n.api.get("/who", token=forged)
        assert (answer.status, answer.json()["detail"]) == (401, "the key is not known")
        assert outcome(n, "wrong_secret") == 1
        # A key that nobody has is compared just the same, so the time tells nothing about short ids.
        known = compared.copy()
        compared.clear()
        answer = await n.api.get("/who", token=other.text)
        assert (answer.status, answer.json()["detail"]) == (401, "the key is not known")
        assert compared == known


async def test_tokens_of_other_kinds_are_left_to_others(node):
    async with node(extra_routes=WHO) as n:
        assert (await n.api.get("/who", token="ghp_something")).status == 401
        assert (await n.api.get("/who", token=None, headers=basic("joe", "pw"))).status == 401
        assert (await n.api.get("/who", token=None, headers={"Authorization": "Basic ###"})).status == 401
        assert n.parts.refusals.recent() == 0


async def test_expiry_allow_list_and_rate(node):
    async with node(extra_routes=WHO) as n:
        soon = (n.clock.now() + timedelta(hours=1)).isoformat()
        ends = await n.make_key("things:read", expires_at=soon)
        assert (await n.api.get("/who", token=ends["key"])).status == 200
        n.clock.advance(timedelta(hours=1))
        over = await n.api.get("/who", token=ends["key"])
        assert (over.status, "expired" in over.json()["detail"]) == (401, True)

        here = await n.make_key("things:read", allow_list=["127.0.0.0/8"])
        away = await n.make_key("things:read", allow_list=["198.51.100.0/24"])
        assert (await n.api.get("/who", token=here["key"])).status == 200
        refused = await n.api.get("/who", token=away["key"])
        assert (refused.status, "127.0.0.1" in refused.json()["detail"]) == (403, True)

        slow = await n.make_key("things:read", rate_per_minute=2)
        answers = [await n.api.get("/who", token=slow["key"]) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert '"caller";q=2;w=60' in answers[0].headers["ratelimit-policy"]
        assert '"caller";r=1' in answers[0].headers["ratelimit"]
        assert answers[0].headers["x-ratelimit-limit"] == "2"
        assert int(answers[2].headers["retry-after"]) >= 1


async def test_a_revoked_key_stops_at_once_here_and_on_the_other_daemon(node):
    async with node(extra_routes=WHO) as n, node(extra_routes=WHO, own_pool=True) as other:
        made = await n.make_key("things:read")
        key, key_id = made["key"], made["details"]["id"]
        for one in (n, other):
            assert (await one.api.get("/who", token=key)).status == 200
        assert len(other.parts.keyring) == 1
        revoked = await n.api.post(f"/api/v1/keys/{key_id}/revoke", {"reason": "leaked"})
        assert revoked.json() == {"revoked": [key_id]}
        here = await n.api.get("/who", token=key)
        assert (here.status, "revoked" in here.json()["detail"]) == (401, True)
        with trio.fail_after(60):
            while (await other.api.get("/who", token=key)).status != 401:
                await trio.lowlevel.checkpoint()
        assert (await n.api.post(f"/api/v1/keys/{key_id}/revoke")).json() == {"revoked": []}


async def test_a_gap_in_listening_forgets_everything(node, db):
    async with node(extra_routes=WHO) as n:
        made = await n.make_key("things:read")
        assert (await n.api.get("/who", token=made["key"])).status == 200
        looked_up, heard = n.parts.keyring.lookups, n.parts.revocations.heard
        assert await db.fetchval(KILL_LISTENERS) >= 1
        with trio.fail_after(60):
            while n.parts.revocations.heard == heard:
                await trio.lowlevel.checkpoint()
        assert (await n.api.get("/who", token=made["key"])).status == 200
        assert n.parts.keyring.lookups == looked_up + 1


async def test_an_integration_opens_only_while_it_is_active(node):
    async with node(extra_routes=WHO) as n:
        made = await n.make_integration(scopes=["things:read"])
        headers = basic(made["apiKey"], made["apiSecret"])

        async def statuses():
            by_key = await n.api.get("/who", token=made["apiKey"])
            by_pair = await n.api.get("/who", token=None, headers=headers)
            body = {"apiKey": made["apiKey"], "apiSecret": made["apiSecret"]}
            verdict = (await n.api.post("/api/integrations/verify", body)).json()["valid"]
            return by_key.status, by_pair.status, verdict

        assert await statuses() == (403, 403, False)
        await n.api.post(f"/api/integrations/{made['id']}/activate")
        assert await statuses() == (200, 200, True)
        await n.api.post(f"/api/v1/integrations/{made['id']}/suspend")
        assert await statuses() == (403, 403, False)
        await n.put(f"/api/integrations/{made['id']}", {"status": "active"})
        assert await statuses() == (200, 200, True)
        wrong = await n.api.get("/who", token=None, headers=basic(made["apiKey"], made["apiSecret"] + "x"))
        assert (wrong.status, wrong.json()["detail"]) == (401, "the key is not known")
        assert (await n.delete(f"/api/integrations/{made['id']}")).status == 204
        assert (await n.api.get("/who", token=made["apiKey"])).status == 401


# -- signed requests ----------------------------------------------------------------------------------


async def signing_node(n):
    made = await n.make_integration(scopes=["things:read"], signedOnly=True)
    await n.api.post(f"/api/integrations/{made['id']}/activate")
    public = made["apiKey"].rpartition("_")[0]

    def sign(nonce, *, body=b"", target="/who", method="GET", off=0, secret=made["apiSecret"]):
        at = int(n.clock.now().timestamp()) + off
        return signed_headers(
            secret, key=public, timestamp=at, nonce=nonce, method=method, target=target, body=body
        )

    return made, sign


async def test_a_signed_request_is_accepted_once(node, db):
    async with node(extra_routes=WHO) as n, node(extra_routes=WHO, own_pool=True) as other:
        made, sign = await signing_node(n)
        headers = sign("a" * 20)
        first = await n.api.get("/who", token=None, headers=headers)
        assert (first.status, first.json()["owner"]) == (200, "ann")
        for one in (n, other):
            again = await one.api.get("/who", token=None, headers=headers)
            assert (again.status, "received before" in again.json()["detail"]) == (401, True)
        assert (await n.api.get("/who", token=None, headers=sign("b" * 20))).status == 200
        assert await db.fetchval(COUNT_NONCES) == 2

        unsigned = await n.api.get("/who", token=made["apiKey"])
        assert (unsigned.status, "signed" in unsigned.json()["detail"]) == (403, True)
        pair = await n.api.get("/who", token=None, headers=basic(made["apiKey"], made["apiSecret"]))
        assert pair.status == 403


async def test_body_and_target_are_covered(node, db):
    async with node(extra_routes=WHO) as n:
        _, sign = await signing_node(n)

        async def post(to, sent, **signed):
            headers = sign("c" * 20, method="POST", **signed)
            return await n.api.request("POST", to, body=sent, token=None, headers=headers)

        assert (await post("/who", b"other", body=b"one")).status == 401
        assert (await post("/who?x=1", b"one", body=b"one")).status == 401
        good = await post("/who?x=1", b"one", body=b"one", target="/who?x=1")
        assert (good.status, good.json()["body"]) == (200, "one")
        assert outcome(n, "signature") == 2
        assert await db.fetchval(COUNT_NONCES) == 1  # what was not signed well uses no nonce up


@pytest.mark.parametrize(("off", "status"), [(-299, 200), (299, 200), (-301, 401), (301, 401)])
async def test_the_time_of_a_signature(node, off, status):
    async with node(extra_routes=WHO) as n:
        _, sign = await signing_node(n)
        answer = await n.api.get("/who", token=None, headers=sign("d" * 20, off=off))
        assert answer.status == status
        assert status == 200 or "s off" in answer.json()["detail"]


async def test_other_ways_to_be_refused(node):
    async with node(extra_routes=WHO) as n:
        made, sign = await signing_node(n)
        plain = await n.make_key("things:read")
        good = sign("e" * 20)
        for headers in (
            sign("e" * 20, secret="whs_guess"),
            good | {"x-wharfd-key": made["apiKey"]},
            good | {"x-wharfd-key": make_key("live").public},
            good | {"x-wharfd-key": make_key("test").public},
            good | {"x-wharfd-key": plain["details"]["public"]},
            {name: value for name, value in good.items() if name != "x-wharfd-nonce"},
        ):
            answer = await n.api.get("/who", token=None, headers=headers)
            assert answer.status == 401, headers
            assert made["apiSecret"] not in answer.body.decode()
        assert (await n.api.get("/who", token=None, headers=good)).status == 200


async def test_old_nonces_are_forgotten(node, db):
    from wharfd_integrations.schedules import forget_old_nonces

    async with node() as n:
        insert = "INSERT INTO integrations.nonces VALUES ('key_1', $1, now() + $2 * interval '1 minute')"
        await db.executemany(sql("insert_nonces", insert), [("old", -1.0), ("new", 1.0)])
        await forget_old_nonces(n.ctx)
        assert [row[0] for row in await db.fetch(sql("nonces", "SELECT nonce FROM integrations.nonces"))] == [
            "new"
        ]


# -- the keyring --------------------------------------------------------------------------------------


async def test_known_and_unknown_keys_are_looked_up_once(node):
    async with node(extra_routes=WHO) as n:
        made, stranger = await n.make_key("things:read"), make_key("live").text
        before = n.parts.keyring.lookups
        for _ in range(3):
            assert (await n.api.get("/who", token=made["key"])).status == 200
            assert (await n.api.get("/who", token=stranger)).status == 401
        assert n.parts.keyring.lookups == before + 2


async def test_without_postgresql_a_key_in_memory_goes_on_and_another_is_503(node):
    async with node(extra_routes=WHO) as n:
        known, other = await n.make_key("things:read"), await n.make_key("things:read")
        assert (await n.api.get("/who", token=known["key"])).status == 200

        async def away(short):
            raise DatabaseUnavailable("PostgreSQL is away")

        n.parts.keyring._read = away
        assert (await n.api.get("/who", token=known["key"])).status == 200
        assert (await n.api.get("/who", token=other["key"])).status == 503
