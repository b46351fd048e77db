"""A whole daemon inside a test: real database, real sockets, the plugins the test names.

    async def test_greeting(daemon):
        async with daemon(plugins={"hello": my_plugin}) as d:
            assert (await d.get("/hello")).json() == {"greeting": "hello"}

Plugins that are installed are enabled by their table in `config`; `plugins` adds modules that are not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
import trio

from ..app import Running, assemble, run
from ..config import load_configuration
from ..context import PluginContext
from ..db import Database, DatabaseSettings
from ..declare import Migrations
from ..http.outbound import NetworkPolicy, OutboundClient
from ..loading import LoadedPlugin, find_plugins
from ..supervisor import State
from .database import Templates

_LOOPBACK = NetworkPolicy(allow_networks=("127.0.0.0/8", "::1/128"))
_SECONDS = 20.0


@dataclass(frozen=True)
class Answer:
    """What the daemon answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return msgspec.json.decode(self.body)


class DaemonHandle:
    """A running daemon and ways to talk to it. Requests carry the admin token unless told otherwise."""

    def __init__(self, running: Running, client: OutboundClient, settings: DatabaseSettings) -> None:
        self.running = running
        self.settings = settings
        self._client = client

    @property
    def api(self) -> str:
        """The URL of the API."""
        return self.running.api[0]

    @property
    def ingest(self) -> str:
        """The URL of the ingest listener."""
        return self.running.ingest[0]

    @property
    def db(self) -> Database:
        """The daemon's own database, as the app role; `.owner` is the owner role."""
        return self.running.machinery.db

    @property
    def token(self) -> str:
        """The admin token."""
        return self.running.machinery.state.admin_token.read_text().strip()

    def context(self, plugin: str) -> PluginContext[Any]:
        """Return the context of a running plugin."""
        return self.running.lives.contexts[plugin]

    def state(self, plugin: str) -> State:
        """Return where a plugin stands."""
        return self.running.supervisor.plugins[plugin].state

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
        base: str | None = None,
    ) -> Answer:
        """Send one request. `body` is bytes or becomes JSON; `token=None` sends no credentials."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token or self.token}")
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        response = await self._client.request(
            method,
            (base or self.api) + path,
            headers=sent,
            body=raw,
            deadline=_SECONDS,
            max_response_bytes=1 << 26,
        )
        fields = {name.lower(): value for name, value in response.headers}
        return Answer(response.status, fields, response.body)

    async def get(self, path: str, **options: Any) -> Answer:
        """GET from the API."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        """POST to the API."""
        return await self.request("POST", path, body, **options)

    async def deliver(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """POST to the ingest listener, as a provider does."""
        return await self.request("POST", path, body, token=None, headers=headers, base=self.ingest)

    async def drain(self, *queues: str) -> None:
        """Wait until no work is due or running in these queues (`plugin.queue`), or in all of them."""
        work = self.running.machinery.engine.work
        names = queues or tuple(name for name in work.names() if not name.endswith(".schedules"))
        with trio.fail_after(_SECONDS):
            while True:
                states = [await work.statistics(name) for name in names]
                if not any(state.due or state.running for state in states):
                    return

    async def wait_for_state(self, plugin: str, state: State) -> None:
        """Wait until a plugin has reached a state."""
        reached = trio.Event()
        self.running.supervisor.observe(lambda name, old, new: reached.set() if name == plugin else None)
        with trio.fail_after(_SECONDS):
            while self.state(plugin) is not state:
                await reached.wait()
                reached = trio.Event()


DaemonFactory = Callable[..., AbstractAsyncContextManager[DaemonHandle]]


@pytest.fixture
def daemon(database_templates: Templates, tmp_path: Path) -> Iterator[DaemonFactory]:
    """A factory: `async with daemon(plugins={…}, config="…") as d:` runs a daemon on a fresh database."""
    databases: list[str] = []

    def fresh() -> DatabaseSettings:
        databases.append(database_templates.clone([]))
        return database_templates.settings(databases[-1])

    @asynccontextmanager
    async def start(
        plugins: Mapping[str, ModuleType] | None = None,
        config: str = "",
        *,
        environ: Mapping[str, str] | None = None,
        settings: DatabaseSettings | None = None,
        state_dir: Path | None = None,
    ) -> AsyncIterator[DaemonHandle]:
        where = await trio.to_thread.run_sync(fresh) if settings is None else settings
        text = _core_tables(where) + config
        given = dict(plugins or {})
        text += "".join(f"\n[plugins.{name}]\n" for name in given if f"[plugins.{name}]" not in text)
        configuration = load_configuration(text, environ or {})
        installed = [name for name in configuration.enabled if name not in given]
        found, missing = find_plugins(dict.fromkeys(installed), configuration.core.daemon.plugins_dir)
        found += [LoadedPlugin(name, "the test", module=module) for name, module in given.items()]
        prepared = assemble(
            configuration,
            found,
            missing,
            path=None,
            state_dir=state_dir or tmp_path / f"state-{len(databases)}",
        )
        async with OutboundClient(_LOOPBACK) as client, trio.open_nursery() as nursery:
            running: Running = await nursery.start(_run, prepared)
            try:
                yield DaemonHandle(running, client, where)
            finally:
                running.stop.set()

    yield start
    for name in databases:
        database_templates.drop(name)


async def _run(prepared: Any, task_status: trio.TaskStatus[Running]) -> None:
    await run(prepared, environ={}, task_status=task_status)


def _core_tables(settings: DatabaseSettings) -> str:
    return (
        '[http]\nbind = "127.0.0.1:0"\n[ingest]\nbind = "127.0.0.1:0"\n'
        f'[database]\nurl = "{settings.url}"\nowner_url = "{settings.owner_url}"\n'
    )


__all__ = ["Answer", "DaemonHandle", "Migrations", "daemon"]
