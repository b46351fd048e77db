"""The plugin in a whole daemon: found by its entry point, started, asked over HTTP, and by the CLI."""

from __future__ import annotations

import argparse
import base64
import hmac
from datetime import UTC, datetime

import msgspec
import trio

from wharfd.cli.client import Client
from wharfd.supervisor import State
from wharfd_netbanx.samples import sample_document
from wharfd_webhooks.commands import commands

CONFIG = """
[plugins.webhooks]
allow_networks = ["127.0.0.0/8"]
undeclared_events = true
"""


async def test_from_the_api_to_the_receiver(daemon, receiver, capsys):
    async with daemon(config=CONFIG) as d:
        await d.wait_for_state("webhooks", State.RUNNING)
        made = await d.post("/api/v1/webhooks", {"url": receiver.url, "events": ["cart.*"]})
        assert made.status == 201, made.body
        taken = await d.post("/api/v1/events", {"type": "cart.left", "data": {"total": 1}})
        assert taken.status == 202, taken.body
        (request,) = await receiver.wait_for(1)
        assert request.header("webhook-id") == taken.json()["id"]
        await d.drain("webhooks.deliveries")
        (row,) = (await d.get("/api/v1/deliveries")).json()["items"]
        assert row["status"] == "delivered"
        health = (await d.get("/health/ready")).json()
        assert "webhooks" in str(health)

        (command,) = commands()
        parser = argparse.ArgumentParser()
        parser.add_argument("--json", action="store_true")
        command.configure(parser)
        client = Client(d.api, d.token)

        async def cli(*words):
            code = await trio.to_thread.run_sync(command.run, parser.parse_args(words), client)
            return code, capsys.readouterr().out

        code, text = await cli("--json", "list", "--status", "delivered")
        assert code == 0
        assert row["id"] in text
        _, text = await cli("explain", row["id"])
        assert "it was delivered with attempt 1" in text
        _, text = await cli("show", row["id"])
        assert "delivered" in text
        code, text = await cli("resend", row["id"])
        assert code == 0
        assert len(receiver.requests) == 2
        _, text = await cli(
            "recover", made.json()["id"], "--since", row["createdAt"], "--include", "delivered"
        )
        assert "add --run to send" in text
        message = (await d.get(f"/api/v1/messages/{row['messageId']}")).json()
        for wanted in (message["traceId"], message["id"], row["id"]):
            _, text = await cli("lineage", wanted)
            assert row["id"] in text


PAYMENTS = f"""{CONFIG}
[plugins.console]
[plugins.netbanx.sources.netbanx]
keys = ["YSBrZXkgdGhhdCBvbmx5IHRoaXMgdGVzdCBrbm93cyE="]
"""


async def test_from_a_providers_webhook_to_the_customer_and_back(daemon, receiver):
    async with daemon(config=PAYMENTS) as d:
        await d.wait_for_state("webhooks", State.RUNNING)
        await d.wait_for_state("netbanx", State.RUNNING)
        made = await d.post("/api/v1/webhooks", {"url": receiver.url, "events": ["payment.*"]})
        assert made.status == 201, made.body
        body = msgspec.json.encode(sample_document("payment-completed", number=7, at=datetime.now(UTC)))
        secret = base64.b64decode("YSBrZXkgdGhhdCBvbmx5IHRoaXMgdGVzdCBrbm93cyE=")
        signature = base64.b64encode(hmac.digest(secret, body, "sha256")).decode()
        taken = await d.request("POST", "/api/webhooks/netbanx", body=body, headers={"Signature": signature})
        assert taken.status == 200, taken.body
        (request,) = await receiver.wait_for(1, seconds=30)
        await d.drain("webhooks.deliveries")
        (row,) = (await d.get("/api/v1/deliveries")).json()["items"]
        provider = taken.json()["webhookId"]
        trace = (await d.get(f"/api/v1/lineage/{provider}")).json()
        assert [one["id"] for one in trace["origins"]] == [provider]
        assert trace["messages"][0]["message"]["id"] == request.header("webhook-id")
        for wanted in (row["id"], row["messageId"], trace["traceId"]):
            assert (await d.get(f"/api/v1/lineage/{wanted}")).json() == trace

        # The console leads the same way, there and back.
        async def page_of(path):
            answer = await d.get(path)
            assert answer.status == 200, answer.body
            return answer.body.decode()

        event, delivery = (
            f"/console/netbanx/events?id={provider}",
            f"/console/webhooks/deliveries?id={row['id']}",
        )
        all_of_it = f"/console/webhooks/deliveries?trace={trace['traceId']}"
        page = await page_of(event)
        assert f'href="{delivery}"' in page
        assert f'href="{all_of_it}"' in page
        page = await page_of(delivery)
        assert f'href="{event}"' in page
        assert f'href="/console/webhooks/deliveries?trace={row["messageId"]}"' in page
        assert f'href="{all_of_it}"' in page
        assert f'href="{delivery}"' in await page_of(all_of_it)
        assert f'href="{delivery}"' in await page_of(f"{all_of_it}&status=delivered")
        assert "No delivery matches" in await page_of(f"{all_of_it}&status=failed")
        assert "No delivery matches" in await page_of("/console/webhooks/deliveries?trace=nothing")
