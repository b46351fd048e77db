"""The receiver zoo: whatever the other side does, the attempt says so and nothing else suffers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from wharfd.http.outbound import OutboundClient
from wharfd.testing import answers

ZOO = {
    "slow_head": (lambda: answers.slow_head(0.05), None, "timeout"),
    "slow_body": (lambda: answers.slow_body(0.05), 200, "timeout"),
    "hang": (answers.hang, None, "timeout"),
    "reset": (answers.reset, None, "reset"),
    "close": (answers.close, None, "reset"),
    "cut_body": (answers.cut_body, 200, "reset"),
    "not_http": (lambda: answers.raw(b"SSH-2.0-OpenSSH\r\n\r\n"), None, "protocol"),
    "huge_head": (answers.huge_head, None, "too_large_headers"),
    "info_flood": (lambda: answers.informational_flood(None), None, None),
    "redirect": (lambda: answers.redirect("http://169.254.169.254/"), 302, None),
    "not_modified": (lambda: answers.status(304), 304, None),
    "error": (lambda: answers.status(500, b"x" * 100_000), 500, None),
}
FINE = {
    "no_content": lambda: answers.status(204),
    "created": lambda: answers.status(201, b"{}"),
    "http_1_0": answers.http_1_0,
    "idle_close": answers.close_while_idle,
    "endless_body": answers.endless_body,
    "gzip_bomb": answers.gzip_bomb,
    "a_few_hints": lambda: answers.informational_flood(3),
    "nul": lambda: answers.status(200, b"a\x00b\xff"),
}


async def test_the_zoo_is_recorded_and_harms_nobody(opened, quick, receiver):
    settings = quick(timeout=timedelta(seconds=1.2), delays=(3600,), open_after=100)
    async with opened(settings) as house:
        ids = {}
        for name, (make, _, _) in ZOO.items():
            receiver.on(f"/{name}", make())
            ids[name] = await house.endpoint(f"{receiver.url}/{name}", events=["order.created"])
        for name, make in FINE.items():
            receiver.on(f"/{name}", make())
            ids[name] = await house.endpoint(f"{receiver.url}/{name}", events=["order.created"])
        await house.publish(house.created())

        async def all_tried():
            rows = await house.fetch("SELECT FROM webhooks.attempts WHERE outcome <> 'started'")
            return len(rows) >= len(ids)

        await house.until(all_tried, 20)
        rows = await house.fetch(
            "SELECT d.endpoint_id, d.state, a.* FROM webhooks.attempts a JOIN webhooks.deliveries d ON d.id = a.delivery_id"
        )
        by_endpoint = {row["endpoint_id"]: row for row in rows}
        for name, (_, status, kind) in ZOO.items():
            row = by_endpoint[ids[name]]
            assert row["outcome"] == "failed", name
            if name != "info_flood":
                assert (row["status"], row["error_kind"]) == (status, kind), name
            assert row["state"] == "ready", name
            assert row["duration_ms"] < 2000, name
        for name in FINE:
            row = by_endpoint[ids[name]]
            assert (row["outcome"], row["state"]) == ("delivered", "done"), (name, dict(row))
            assert len(row["response_body"] or "") <= settings.max_response_bytes, name
        assert len(by_endpoint[ids["error"]]["response_body"]) == settings.max_response_bytes
        assert len([r for r in receiver.requests if r.path == "/redirect"]) == 1


@pytest.mark.parametrize("name", ["localhost.test", "flips.test"])
async def test_an_address_that_is_refused_is_never_connected_to(opened, quick, receiver, name):
    class Resolver:
        def __init__(self):
            self.asked = 0

        async def __call__(self, host, port):
            self.asked += 1
            good_first = name == "flips.test" and self.asked == 1
            return ["127.0.0.1"] if good_first else ["127.0.0.1", "169.254.169.254"]

    resolver = Resolver()
    async with opened(quick(delays=(0.01,))) as house, OutboundClient(resolver=resolver) as http:
        object.__setattr__(house.ctx, "http", http)
        receiver.answer = answers.status(500, close=True)
        await house.endpoint(f"http://{name}:{receiver.port}/")
        await house.publish(house.created())
        await house.settled(1)
        kinds = [row["error_kind"] for row in await house.attempts()]
        assert kinds == ([None, "refused_address"] if name == "flips.test" else ["refused_address"] * 2)
        assert len(receiver.requests) == (1 if name == "flips.test" else 0)
