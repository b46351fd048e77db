"""TLS per endpoint: its own authority, a certificate to show, what is refused when given, and what is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from wharfd.testing.receiver import open_receiver
from wharfd_webhooks import watching

from .serving import make, serve


@pytest.fixture
async def api(house):
    async with serve(house) as running:
        yield running


def lan(receiver):
    return f"https://127.0.0.1:{receiver.port}/"


async def test_its_own_authority_and_a_certificate_to_show(house, api, authority):
    pair = authority.issue("sender.example")
    async with open_receiver(tls=authority.server_context(client_needed=True)) as receiver:
        tls = {"ca": authority.pem, "clientCertificate": pair.certificate, "clientKey": pair.key}
        made = await make(api, receiver, url=lan(receiver), **tls)
        assert made["clientCertificate"] == pair.certificate
        assert "clientKey" not in made
        assert made["tlsEndsAt"] > datetime.now(UTC).isoformat()
        path = f"/api/webhooks/{made['id']}"
        assert (await api.post(f"{path}/test", token="acme")).json()["success"] is True

        rows = await house.fetch("SELECT * FROM webhooks.endpoints")
        assert "PRIVATE" not in str([bytes(v) if isinstance(v, bytes) else v for v in rows[0].values()])
        described = (await api.request("PUT", path, json={"description": "kept"}, token="acme")).json()
        assert described["clientCertificate"] == pair.certificate
        assert (await api.post(f"{path}/test", token="acme")).json()["success"] is True

        changed = await api.request("PUT", path, json={"clientCertificate": None}, token="acme")
        assert changed.json()["clientCertificate"] is None
        told = (await api.post(f"{path}/test", token="acme")).json()
        assert told["success"] is False
        assert (await house.fetch("SELECT client_key FROM webhooks.endpoints"))[0][0] is None


@pytest.mark.parametrize("bad", ["another authority", "wrong name", "expired", "self-signed"])
async def test_a_bad_certificate_is_a_recorded_failure(house, api, authority, bad):
    pair = {
        "another authority": lambda: type(authority)().issue("127.0.0.1"),
        "wrong name": lambda: authority.issue("shop.example"),
        "expired": lambda: authority.issue("127.0.0.1", expired=True),
        "self-signed": lambda: authority.issue("127.0.0.1", self_signed=True),
    }[bad]()
    async with open_receiver(tls=authority.server_context(pair)) as receiver:
        made = await make(api, receiver, url=lan(receiver), ca=authority.pem)
        told = (await api.post(f"/api/webhooks/{made['id']}/test", token="acme")).json()
        assert told["success"] is False
        assert "certificate was not accepted" in told["delivery"]["error"]
        (attempt,) = await house.attempts()
        assert (attempt["error_kind"], attempt["request_sent"]) == ("tls", "none")
        assert receiver.requests == []


async def test_what_is_wrong_is_named(api, authority):
    good, other = authority.issue("a.example"), authority.issue("b.example")
    old = authority.issue("a.example", expired=True)
    pem = {"clientCertificate": good.certificate, "clientKey": good.key}
    for given, field in (
        ({"ca": "nothing"}, "ca"),
        ({"ca": ""}, "ca"),
        ({"ca": good.key}, "ca"),
        ({"ca": authority.pem + good.key}, "ca"),
        ({"ca": "x" * 70_000}, "ca"),
        ({"ca": old.certificate}, "ca"),
        ({"clientCertificate": good.certificate}, "clientKey"),
        ({"clientKey": good.key}, "clientCertificate"),
        ({**pem, "clientKey": other.key}, "clientKey"),
        ({**pem, "clientKey": "nothing"}, "clientKey"),
        ({**pem, "clientKey": "naïve"}, "clientKey"),
        ({**pem, "clientCertificate": "nothing"}, "clientCertificate"),
        ({"clientCertificate": old.certificate, "clientKey": old.key}, "clientCertificate"),
        ({"url": "http://127.0.0.1:8080/", **pem}, "url"),
    ):
        body = {"url": "https://127.0.0.1:8443/", "events": ["*"], **given}
        answer = await api.post("/api/webhooks", body, token="acme")
        assert answer.status == 422, (given, answer.body)
        assert [error["field"] for error in answer.json()["errors"]] == [field], (given, answer.body)
        assert good.key.splitlines()[1] not in answer.body.decode()


async def test_a_certificate_that_ends_is_told_and_does_not_lock_the_endpoint(house, api, authority):
    async with open_receiver(tls=authority.server_context()) as receiver:
        made = await make(api, receiver, url=lan(receiver), ca=authority.pem)
    (finding,) = await watching.find_ending(house.ctx)
    assert finding.key == made["id"]
    assert "ends on" in finding.message
    await house.set("UPDATE webhooks.endpoints SET tls_ends_at = $1", datetime.now(UTC) - timedelta(days=1))
    (finding,) = await watching.find_ending(house.ctx)
    assert "ended on" in finding.message
    off = await api.request("PUT", f"/api/webhooks/{made['id']}", json={"active": False}, token="acme")
    assert off.status == 200
