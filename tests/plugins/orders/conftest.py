"""Batches for tests: orders as JSON, a daemon with the plugin, short ways to send and wait."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest
import trio

import wharfd_orders


def order(n=0, **more):
    return {
        "clientRef": f"R-{n}",
        "account": f"ACC-{n % 7}",
        "currency": "EUR",
        "cartItems": [{"id": n, "productId": f"F{n % 5}", "transactionType": "purchase", "amount": 100 + n}],
        "transactionMode": {"mode": "email", "email": "a@example.org"},
    } | more


def lines(count, first=0, **more):
    return b"".join(msgspec.json.encode(order(n, **more)) + b"\n" for n in range(first, first + count))


NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv"}


class Orders:
    """A daemon with the plugin, and what tests do with it again and again."""

    def __init__(self, daemon):
        self.d = daemon

    async def send(self, body, query="", headers=NDJSON, expect=201, **options):
        answer = await self.d.request("POST", f"/api/bulk-orders{query}", body, headers=headers, **options)
        assert answer.status == expect, (answer.status, answer.body)
        return answer.json()

    async def get(self, path, expect=200, **options):
        answer = await self.d.get(f"/api/bulk-orders{path}", **options)
        assert answer.status == expect, (answer.status, answer.body)
        return answer.json()

    async def act(self, batch, action, body=None, expect=200, **options):
        answer = await self.d.post(f"/api/bulk-orders/{batch}/{action}", body, **options)
        assert answer.status == expect, (answer.status, answer.body)
        return answer.json()

    async def finished(self, batch, seconds=60):
        """Wait until a batch is announced as over."""
        return await self.wait(batch, lambda view: view["completedAt"] is not None, seconds)

    async def wait(self, batch, condition, seconds=60):
        """Wait until a batch is as it should be."""

        async def look():
            view = await self.get(f"/{batch}")
            return view if condition(view) else None

        return await until(look, seconds)


async def until(check, seconds=60):
    """Ask until there is an answer."""
    with trio.fail_after(seconds):
        while not (found := await check()):
            await trio.sleep(0.02)
    return found


@pytest.fixture
def kit():
    """The names above, for test modules, which cannot import this one."""
    return SimpleNamespace(order=order, lines=lines, NDJSON=NDJSON, CSV=CSV, Orders=Orders, until=until)


@pytest.fixture
async def orders(daemon, request):
    config = getattr(request, "param", "")
    async with daemon(plugins={"orders": wharfd_orders}, config=f"[plugins.orders]\n{config}\n") as d:
        yield Orders(d)
