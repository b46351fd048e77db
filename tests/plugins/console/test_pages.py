"""Every page, for an admin and an operator, through the real server."""

import base64
import hmac
import re
from contextlib import aclosing
from pathlib import Path

import pytest
import trio

import wharfd_console
from wharfd import ConsolePage, Request, TooMany
from wharfd.testing.running import Answer
from wharfd_console.layout import POLICY
from wharfd_console.live import follow

from .conftest import ALL, HOSTILE, OPERATOR, SECRET, SOURCE
from .test_html import Reader

pytestmark = pytest.mark.slow

HTML = {"Accept": "text/html,application/xhtml+xml"}
STATIC = Path(wharfd_console.__file__).parent / "static"


def path_of(page):
    return "/console" if page.path == "overview" else f"/console/{page.path}"


async def test_every_page_is_shown_to_admin_and_operator(console):
    async with console(ALL) as d:
        pages = [page for _, page in d.context("console").plugins.declared(ConsolePage)]
        assert len(pages) == 27
        for token in ("", OPERATOR):
            for page in pages:
                if page.path in ("neighbour/broken", "neighbour/missing"):
                    continue
                answer = await d.get(path_of(page), token=token)
                text = answer.body.decode()
                assert answer.status == 200, (page.path, text)
                assert answer.headers["content-security-policy"] == POLICY
                assert answer.headers["x-frame-options"] == "DENY"
                assert answer.headers["cache-control"] == "no-store"
                assert text.count("<h1>") == 1
                assert 'aria-current="page"' in text
                for name, attributes in Reader(text).elements:
                    assert name != "style"
                    assert not [one for one in attributes if one == "style" or one.startswith("on")], (
                        page.path
                    )
                    for link in ("src", "href", "action"):
                        assert attributes.get(link, "/")[0] in "/?#", (page.path, attributes)
                if token:
                    assert "data-path" not in text, f"{page.path} shows an operator a button"


async def test_hostile_data_stays_text(console):
    async with console() as d:
        ctx = d.context("console")
        async with ctx.db.transaction() as tx:
            await ctx.audit.record(
                tx, actor=HOSTILE, action="test.hostile", subject=HOSTILE, detail={HOSTILE: HOSTILE}
            )
        for path in (
            "/console/neighbour/hostile",
            "/console/audit",
            "/console/neighbour/missing",
            f"/console/audit?actor={'%3Cscript%3Ealert(1)'}",
            "/console/%3Cscript%3Ealert(1)",
        ):
            text = (await d.get(path)).body.decode()
            assert "alert(1)" in text or "audit" in path, path
            assert "<script>" not in text
            assert "<img" not in text
            assert 'href="javascript' not in text


async def test_a_page_that_fails_is_told_as_a_page(console):
    async with console() as d:
        broken = await d.get("/console/neighbour/broken")
        assert broken.status == 500
        assert b"the-secret-of-the-page" not in broken.body
        assert b"could not make this page" in broken.body
        assert broken.headers["content-security-policy"] == POLICY
        assert (await d.get("/console/neighbour/missing")).status == 404
        assert (await d.get("/console/nothing/here")).status == 404


async def test_who_is_not_signed_in_is_sent_to_sign_in(console):
    async with console() as d:
        sent = await d.get("/console/work?queue=a%20b", token=None, headers=HTML)
        assert sent.status == 303
        assert sent.headers["location"] == "/console/login?next=%2Fconsole%2Fwork%3Fqueue%3Da%2520b"
        assert (await d.get("/console/work", token=None)).status == 401
        assert (await d.get("/console/live", token=None, headers=HTML)).status == 401
        login = await d.get("/console/login", token=None, headers=HTML)
        assert login.status == 200
        assert b'type="password"' in login.body
        assert login.headers["content-security-policy"] == POLICY
        assert (await d.get("/console/login", headers=HTML)).headers["location"] == "/console"


async def sign_in(d, token) -> tuple[dict[str, str], str]:
    answer: Answer = await d.post("/api/v1/session", {"token": token}, token=None)
    assert answer.status == 201
    return {"Cookie": answer.headers["set-cookie"].split(";")[0]}, answer.json()["csrf_token"]


async def test_actions_need_the_csrf_token_and_an_admin(console):
    async with console() as d:
        path = "/api/v1/work/core.schedules/pause"
        cookie, csrf = await sign_in(d, d.token)
        assert (await d.get("/console", token=None, headers=cookie)).status == 200
        assert (await d.post(path, token=None, headers=cookie)).status == 403
        assert (await d.post(path, token=None, headers=cookie | {"X-CSRF-Token": "0" * 64})).status == 403
        assert (await d.post(path, token=None, headers=cookie | {"X-CSRF-Token": csrf})).status == 200
        cookie, csrf = await sign_in(d, OPERATOR)
        assert (await d.post(path, token=None, headers=cookie | {"X-CSRF-Token": csrf})).status == 403


async def test_no_console_address_changes_anything(console):
    async with console() as d:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert (await d.request(method, "/console/work")).status == 405


async def test_pages_stay_out_of_the_api_document(console):
    async with console() as d:
        assert not [
            path for path in (await d.get("/openapi.json")).json()["paths"] if path.startswith("/console")
        ]


async def test_the_overview_follows_the_daemon(console):
    async with console() as d:
        ctx = d.context("console")
        stream = await follow(ctx, Request())
        async with aclosing(stream.events) as events:
            with trio.fail_after(60):
                kind, first = await anext(events)
                assert kind == "panels"
                assert set(first) == {
                    "panel-health",
                    "panel-attention",
                    "panel-figures",
                    "panel-charts",
                    "panel-parts",
                }
                assert ctx.state["sampler"].viewers == 1
                _, second = await anext(events)
                assert "panel-charts" in second
        assert ctx.state["sampler"].viewers == 0
        ctx.state["sampler"].viewers = ctx.settings.viewers
        with pytest.raises(TooMany):
            await follow(ctx, Request())


PAYSAFE = """[plugins.netbanx.sources.netbanx]
scheme = "paysafe"
paths = ["/webhook"]
key_encoding = "utf8"
keys = ["key"]
"""


async def test_samples_count_what_was_asked_and_webhooks_of_both_listeners(console):
    async with console(PAYSAFE) as d:
        sampler = d.context("console").state["sampler"]
        await sampler.take()
        body = b'{"mode":"test","eventDate":"2026-11-20T10:00:00Z","eventType":"test","attemptNumber":1}'
        signature = base64.b64encode(hmac.digest(b"key", body, "sha256")).decode()
        for base in (d.api, d.ingest):
            headers = {"Signature": signature}
            answer = await d.request("POST", "/webhook", body, token=None, headers=headers, base=base)
            assert answer.status == 200, answer.body
        await sampler.take()
        assert sampler.samples[-1].requests > 0
        assert sampler.accepted == 2
        assert sampler.survey.status["plugins"]


async def test_files_are_kept_by_version_and_name_nothing_outside(console):
    async with console() as d:
        page = (await d.get("/console")).body.decode()
        found = set(re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page))
        assert len(found) == 3
        for address in found:
            answer = await d.get(address, token=None)
            assert answer.status == 200
            assert "immutable" in answer.headers["cache-control"]
        assert (await d.get("/console/static/console.css", token=None)).headers["cache-control"] == "no-cache"
        assert (await d.get("/console/static/..%2F__init__.py", token=None)).status == 404


@pytest.mark.parametrize("file", sorted(STATIC.iterdir()), ids=lambda file: file.name)
def test_no_file_names_another_host(file):
    addresses = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", file.read_text(encoding="utf-8"))
    assert set(addresses) <= {"http://www.w3.org"}
    assert "@import" not in file.read_text(encoding="utf-8")


async def test_one_delivery_and_one_event_are_shown_whole(console):
    async with console(SOURCE) as d:
        made = await d.post(
            "/api/v1/webhooks",
            {"url": "https://hook.invalid/x", "events": ["payment.received"], "owner": "ann"},
        )
        sent = (await d.post(f"/api/v1/webhooks/{made.json()['id']}/test")).json()["delivery"]["id"]
        page = (await d.get(f"/console/webhooks/deliveries?id={sent}")).body.decode()
        assert "Why it is where it is" in page
        assert "hook.invalid cannot be resolved" in page
        assert f'data-path="/api/v1/deliveries/{sent}/resend"' in page
        assert (await d.get("/console/webhooks/deliveries?id=dlv_none")).status == 404

        body = b'{"eventName":"PAYMENT_COMPLETED","payload":{"id":"<script>alert(1)</script>"}}'
        assert (await d.deliver("/api/webhooks/netbanx", body)).status == 200
        (event,) = (await d.get("/api/v1/webhook-events")).json()["items"]
        page = (await d.get(f"/console/netbanx/events?id={event['id']}")).body.decode()
        assert "PAYMENT_COMPLETED" in page
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
        assert "/api/v1/webhook-events/replay" in page
        assert event["id"] in (await d.get("/console/netbanx/events?source=netbanx")).body.decode()

        await keys_of_a_source_are_shown_but_never_their_text(d)


async def keys_of_a_source_are_shown_but_never_their_text(d):
    """Add, rotate and revoke a key as the forms of the page do, and look what each makes of the page."""

    async def look(token=""):
        listed = await d.get("/console/netbanx/sources", token=token)
        one = await d.get("/console/netbanx/sources?id=netbanx", token=token)
        assert (listed.status, one.status) == (200, 200)
        text = listed.body.decode() + one.body.decode()
        assert SECRET not in text
        assert base64.b64decode(SECRET).decode() not in text
        return text

    empty = await look()
    assert "No key: what this source sends cannot be checked" in empty
    assert 'action="/api/v1/webhook-secrets"' in empty
    assert 'data-body="{&quot;source&quot;: &quot;netbanx&quot;}"' in empty
    made = await d.post("/api/v1/webhook-secrets", {"source": "netbanx", "key": SECRET})
    first = made.json()["data"]["id"]
    rotation = f"/api/v1/webhook-secrets/{first}/rotate"
    assert f'action="{rotation}"' in await look()
    second = (await d.post(rotation, {"key": SECRET, "overlapSeconds": 60})).json()["data"]["id"]
    text = await look()
    assert "default, version 2" in text
    assert first in text
    assert f'action="/api/v1/webhook-secrets/{second}/rotate"' in text
    assert f'action="{rotation}"' not in text
    revoked = await d.request("PATCH", f"/api/v1/webhook-secrets/{second}", {"isActive": False})
    assert revoked.status == 200
    assert ">off<" in await look()
    assert "Use again" in await look()
    seen = await look(OPERATOR)
    assert second in seen
    assert ">off<" in seen
    assert "<form" not in seen.replace('<form method="dialog"', "")
    assert (await d.get("/console/netbanx/sources?id=none")).status == 404
