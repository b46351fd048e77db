"""Pages of the plugins over real data: what was sent in is seen, and an open page follows it."""

from contextlib import aclosing

import pytest
import trio

from wharfd import NotFound, Request
from wharfd.contracts.access import Identity
from wharfd_console.live import BODY, follow

from .conftest import OPERATOR

ORDER = {
    "clientRef": "A-1", "account": "ACC-1", "currency": "EUR",
    "cartItems": [{"id": "1", "productId": "F12", "transactionType": "purchase", "amount": "12.50", "quantity": 1}],
}  # fmt: skip
BAD = {"clientRef": "B-1", "account": "ACC-1", "currency": "EUR", "cartItems": []}
ADMIN = Identity("admin", "admin", scopes=frozenset({"*"}))


async def text_of(d, path):
    answer = await d.get(path)
    text = answer.body.decode()
    assert answer.status == 200, text
    return text


async def test_a_batch_is_followed_to_its_end(console):
    async with console("[plugins.orders]\n") as d:
        ctx = d.context("console")
        request = Request(identity=ADMIN, query={"page": "orders/batches"})
        stream = await follow(ctx, request)
        async with aclosing(stream.events) as events:
            with trio.fail_after(60):
                _, first = await anext(events)
                assert "No batch yet" in first[BODY]
                sent = await d.post(
                    "/api/v1/bulk-orders",
                    {"orders": [ORDER, BAD], "options": {"onInvalid": "skip_rows"}},
                )
                assert sent.status == 201, sent.body
                async for _, changed in events:
                    if ">partial<" in changed.get(BODY, ""):
                        break
            assert ctx.state["sampler"].viewers == 1
        assert ctx.state["sampler"].viewers == 0
        batch = sent.json()["batchId"]
        shown = await text_of(d, f"/console/orders/batches?id={batch}")
        assert "cartItems: must be a list" in shown
        assert "12.50 EUR" in shown
        assert f'data-live="/console/live?id={batch}&amp;page=orders%2Fbatches"' in shown
        with pytest.raises(NotFound):
            await follow(ctx, Request(identity=ADMIN, query={"page": "plugins"}))


async def test_what_people_said_is_moderated(console):
    async with console("[plugins.feedback]\n") as d:
        flag = {"insight_id": "ins1", "user_id": "u1", "flag_type": "spam", "flag_reason": "<b>buy</b> this"}
        made = (await d.post("/api/v1/feedback/flag", flag)).json()
        await d.post("/api/v1/feedback/rate", {"insight_id": "ins1", "user_id": "u1", "rating": 4})
        shown = await text_of(d, "/console/feedback/moderation")
        assert "&lt;b&gt;buy&lt;/b&gt; this" in shown
        assert f'data-path="/api/v1/feedback/flags/{made["id"]}"' in shown
        decided = await d.post(f"/api/v1/feedback/flags/{made['id']}", {"state": "dismissed"})
        assert decided.status == 200, decided.body
        assert "No flag is open" in await text_of(d, "/console/feedback/moderation")
        assert "Reopen" in await text_of(d, "/console/feedback/moderation?state=dismissed")
        assert "4.00" in await text_of(d, "/console/feedback/moderation?insight=ins1")


async def test_an_integration_is_shown_with_its_keys_but_not_their_secrets(console):
    async with console("[plugins.integrations]\n") as d:
        assert "No integration matches" in await text_of(d, "/console/integrations/list")
        wanted = {"name": "<b>Shop</b>", "type": "custom", "owner": "ann"}
        made = (await d.post("/api/v1/integrations", wanted)).json()
        one = f"/api/v1/integrations/{made['id']}"
        page = f"/console/integrations/list?id={made['id']}"
        assert (await d.post(f"{one}/activate")).json()["status"] == "active"
        pair = (await d.post(f"{one}/rotate")).json()
        assert (await d.get(one)).json()["keyCount"] == 2

        listed = await text_of(d, "/console/integrations/list?status=active")
        shown = await text_of(d, page)
        assert "&lt;b&gt;Shop&lt;/b&gt;" in listed
        assert f'href="{page}"' in listed
        assert '<td class="right" data-label="Keys">2</td>' in listed
        assert ">replaced<" in shown
        for path in ("suspend", "rotate"):
            assert f'data-path="{one}/{path}"' in shown
        assert 'data-shows="apiKey apiSecret oldValidUntil"' in shown
        operators = (await d.get(page, token=OPERATOR)).body.decode()
        for text in (listed, shown, operators):
            for secret in (made["apiKey"], made["apiSecret"], pair["apiKey"], pair["apiSecret"]):
                assert secret not in text
        assert ">replaced<" in operators
        assert "data-path" not in operators
        assert (await d.post(f"{one}/suspend")).status == 200
        assert f'data-path="{one}/activate"' in await text_of(d, page)
        assert "No integration matches" in await text_of(d, "/console/integrations/list?status=active")
        assert (await d.get("/console/integrations/list?id=int_none")).status == 404


async def test_a_metric_is_found_and_drawn(console):
    async with console("[plugins.metrics]\n") as d:
        point = {"service_name": "shop", "metric_type": "latency", "metric_value": 12.5, "unit": "ms"}
        assert (await d.post("/api/v1/monitoring/metrics", point)).status in (200, 201)
        listed = await text_of(d, "/console/metrics/explorer?part=shop")
        assert "/console/metrics/explorer?service=shop&amp;metric=latency" in listed
        drawn = await text_of(d, "/console/metrics/explorer?service=shop&metric=latency&range=week")
        assert "Value in ms" in drawn
        assert "12.5" in drawn


async def test_jobs_buyers_and_rules_are_shown(console):
    async with console("[plugins.backfill]\n[plugins.mint]\n[plugins.retention]\n") as d:
        job = {"job_type": "reindex", "start_block": 1, "end_block": 1000}
        await d.post("/api/v1/monitoring/backfill/start", job)
        assert "reindex" in await text_of(d, "/console/backfill/jobs?status=running")
        assert "No buyer matches" in await text_of(d, "/console/mint/buyers")
        await d.post("/api/v1/retention/holds", {"table": "backfill.jobs", "reason": "a case at court"})
        plan = await text_of(d, "/console/retention/plan")
        assert "backfill.jobs" in plan
        assert "a case at court" in plan
