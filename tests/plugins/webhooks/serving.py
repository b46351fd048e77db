"""The plugin's API, served to callers with keys of their own."""

from __future__ import annotations

from contextlib import asynccontextmanager

import wharfd_webhooks as plugin
from wharfd.contracts.access import Identity
from wharfd.testing.api import serve_routes

SCOPES = frozenset({"webhooks:read", "webhooks:write", "events:write"})
WHO = {
    "acme": Identity("key:acme", "key", owner="acme", scopes=SCOPES),
    "other": Identity("key:other", "key", owner="other", scopes=SCOPES),
    "nothing": Identity("key:nothing", "key", owner="acme", scopes=frozenset({"orders:read"})),
    "reader": Identity("key:reader", "key", owner="acme", scopes=frozenset({"webhooks:read"})),
}


class Tokens:
    async def authenticate(self, credentials):
        return WHO.get(credentials.bearer)

    async def observe(self, identity, **facts):
        pass


@asynccontextmanager
async def serve(house):
    async with serve_routes(
        plugin.register_routes(house.ctx.settings), context=house.ctx, db=house.db, authenticator=Tokens
    ) as api:
        yield api


async def make(api, receiver, token="acme", **more):
    answer = await api.post(
        "/api/webhooks", {"url": receiver.url, "events": ["order.*"], **more}, token=token
    )
    assert answer.status == 201, answer.body
    return answer.json()
