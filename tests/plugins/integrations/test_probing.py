"""The connection test against a real receiver, and the alerts an operator gets."""

import base64
import hashlib
import hmac
import socket
from datetime import timedelta

import pytest

from wharfd import sql
from wharfd.testing import answers
from wharfd_integrations import watching

AGE = sql(
    "age", "UPDATE integrations.keys SET last_used_at = now(), replaced_at = replaced_at - interval '1 hour'"
)


async def try_it(n, **wanted):
    made = await n.make_integration(**wanted)
    return made, await n.api.post(f"/api/integrations/{made['id']}/test")


async def test_a_signed_event_is_posted_to_the_webhook_url(node, receiver):
    async with node(running=False) as n:
        made, answer = await try_it(n, webhookUrl=f"{receiver.url}/in")
        found = answer.json()
        assert (found["success"], found["status"], found["method"], found["error"]) == (
            True,
            200,
            "POST",
            None,
        )
        assert found["latencyMs"] > 0
        (got,) = await receiver.wait_for(1)
        signed = f"{got.header('webhook-id')}.{got.header('webhook-timestamp')}.".encode() + got.body
        key = base64.b64decode(made["webhookSecret"].removeprefix("whsec_"))
        mark = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert got.header("webhook-signature") == f"v1,{mark}"


async def test_the_configured_address_is_asked_with_its_secret_headers(node, receiver):
    async with node(running=False) as n:
        config = {
            "baseUrl": f"{receiver.url}/health",
            "headers": {"Authorization": "Bearer provider-token-1234"},
        }
        made, answer = await try_it(n, config=config)
        assert made["config"]["headers"] == {"Authorization": "**hidden**"}
        assert (answer.json()["success"], answer.json()["method"]) == (True, "GET")
        (got,) = await receiver.wait_for(1)
        assert got.header("authorization") == "Bearer provider-token-1234"


@pytest.mark.parametrize(
    ("status", "success", "word"),
    [(204, True, "204"), (302, False, "redirects"), (401, False, "refused"), (500, False, "500")],
)
async def test_what_the_receiver_answers_is_told_without_its_body(node, receiver, status, success, word):
    receiver.script(answers.status(status, body=b"inside information"))
    async with node(running=False) as n:
        _, answer = await try_it(n, webhookUrl=f"{receiver.url}/in")
        assert (answer.json()["success"], answer.json()["status"]) == (success, status)
        assert word in answer.json()["message"]
        assert b"inside information" not in answer.body


async def test_what_cannot_be_called_is_told(node):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    async with node(running=False) as n:
        _, refused = await try_it(n, webhookUrl=f"http://127.0.0.1:{closed}/")
        assert (refused.json()["success"], refused.json()["error"]) == (False, "connect")
        _, inside = await try_it(n, config={"baseUrl": "http://169.254.169.254/latest"})
        assert (inside.status, inside.json()["error"]) == (200, "refused_address")
        _, nothing = await try_it(n)
        assert (nothing.status, "baseUrl" in nothing.json()["detail"]) == (409, True)


async def test_alerts_for_keys(node, db):
    async with node(running=False) as n:
        soon = (n.clock.now() + timedelta(days=3)).isoformat()
        later = (n.clock.now() + timedelta(days=60)).isoformat()
        ends, _ = await n.make_key(expires_at=soon), await n.make_key(expires_at=later)
        old = await n.make_key()
        await n.api.post(f"/api/v1/keys/{old['details']['id']}/rotate")
        assert await watching.find_expiring(n.ctx) == []  # nobody uses it
        assert await watching.find_used_after_rotation(n.ctx) == []
        await db.execute(AGE)
        assert [finding.key for finding in await watching.find_expiring(n.ctx)] == [ends["details"]["id"]]
        assert [finding.key for finding in await watching.find_used_after_rotation(n.ctx)] == [
            old["details"]["id"]
        ]


async def test_an_alert_for_many_refusals(node):
    async with node(running=False, refusals_alert=3) as n:
        for _ in range(2):
            n.parts.refusals.count()
        assert await watching.find_refusals(n.ctx) == []
        n.parts.refusals.count()
        (finding,) = await watching.find_refusals(n.ctx)
        assert finding.value == 3
        now = n.parts.refusals._now()
        n.parts.refusals._now = lambda: now + 310
        assert await watching.find_refusals(n.ctx) == []
