"""One daemon's worth of the plugin: a real database, a real vault, the real API server."""

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
import trio

import wharfd_integrations as plugin
from wharfd.audit import Audit
from wharfd.clock import FixedClock
from wharfd.context import PluginContext
from wharfd.db import open_database
from wharfd.declare import Migrations
from wharfd.http.outbound import NetworkPolicy, OutboundClient
from wharfd.keystore import open_vault
from wharfd.metrics import Metrics
from wharfd.ratelimit import RateLimiter
from wharfd.secrets import Secret
from wharfd.secrets.keys import MasterKey
from wharfd.testing.api import serve_routes
from wharfd_integrations.config import Settings
from wharfd_integrations.parts import Parts, make_parts

START = datetime.now(UTC).replace(microsecond=0)


@dataclass
class Node:
    """A running daemon: its API, its context, its parts."""

    api: Any
    ctx: Any
    parts: Parts
    clock: FixedClock
    metrics: Metrics

    async def make_key(self, *scopes, token=None, **wanted):
        """Make a key as the admin (or with `token`) and return the whole answer."""
        body = {"name": "a key", "owner": "ann", "scopes": list(scopes), **wanted}
        if token is not None:
            body.pop("owner")
        sent = {} if token is None else {"token": token}
        answer = await self.api.post("/api/v1/keys", body, **sent)
        assert answer.status == 201, answer.body
        return answer.json()

    async def make_integration(self, **wanted):
        """Make an integration as the admin and return the whole answer."""
        body = {"name": "a shop", "type": "custom", "owner": "ann", **wanted}
        answer = await self.api.post("/api/integrations", body)
        assert answer.status == 201, answer.body
        return answer.json()

    async def put(self, path, body, **more):
        """PUT JSON."""
        return await self.api.request("PUT", path, json=body, **more)

    async def delete(self, path, **more):
        """DELETE."""
        return await self.api.request("DELETE", path, **more)


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def migrations():
    return [("integrations", Migrations("wharfd_integrations", partitioned=("integrations.usage",)))]


@pytest.fixture
def master():
    return Secret(MasterKey.make().text())


@pytest.fixture
def node(db, bridge, database_settings, master, tmp_path):
    """A factory: `async with node() as n:`; each call is another daemon on the same database."""

    @asynccontextmanager
    async def start(*, own_pool=False, allow_loopback=True, extra_routes=(), running=True, **options):
        if allow_loopback:
            options.setdefault("allow_networks", ("127.0.0.0/8",))
        async with AsyncExitStack() as stack:
            database = db
            if own_pool:
                database = await stack.enter_async_context(open_database(bridge, database_settings))
            clock, metrics, settings = FixedClock(START), Metrics(process=False), Settings(**options)
            vault = await open_vault(database, configured=master, key_path=tmp_path / "master.key")
            http = await stack.enter_async_context(OutboundClient(NetworkPolicy()))
            nothing: Any = None
            ctx = PluginContext(
                name="integrations",
                settings=settings,
                log=structlog.get_logger(),
                db=database.named("integrations"),
                cache=nothing,
                work=nothing,
                jobs=nothing,
                events=nothing,
                services=nothing,
                plugins=nothing,
                hooks=nothing,
                metrics=metrics.for_plugin("integrations", plugin.register_metrics()),
                http=http,
                secrets=vault,
                audit=Audit(database),
                limits=nothing,
                clock=clock,
                state_dir=tmp_path,
            )
            parts = ctx.state["parts"] = await make_parts(ctx)
            nursery = await stack.enter_async_context(trio.open_nursery())
            if running:
                await nursery.start(plugin.run, ctx)
            api = await stack.enter_async_context(
                serve_routes(
                    [*plugin.register_routes(), *extra_routes],
                    context=ctx,
                    db=database,
                    limits=RateLimiter(None, namespace="test"),
                    authenticator=lambda: parts.authenticator,
                )
            )
            yield Node(api, ctx, parts, clock, metrics)
            nursery.cancel_scope.cancel()

    return start


@pytest.fixture
def with_settings():
    """Change fields of settings."""
    return replace
