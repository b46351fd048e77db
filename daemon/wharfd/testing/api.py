"""The API server for tests: real hypercorn on a loopback port, and a client that shows what came back.

    async with serve_routes([Route(method="GET", path="/hello", handler=hello, scope=None)]) as api:
        answer = await api.get("/hello")
        assert answer.json() == {"hello": "world"}

Requests carry the admin token unless `token=None` or another one is given.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpcore
import msgspec
import structlog
import trio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..cache import Cache
from ..contracts.access import Authenticator
from ..db import Queries
from ..declare import Rate, Route
from ..errors import SecretError
from ..health import BoundCheck, HealthBoard
from ..http import BoundRoute, IngestMount
from ..http.server import HttpServer
from ..http.settings import HttpSettings
from ..metrics import Metrics

_ADMIN: Any = object()


@dataclass(frozen=True)
class ApiAnswer:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


@dataclass
class FixedLimits:
    """A rate limiter that counts in memory and never refills."""

    taken: dict[tuple[str, str], int] = field(default_factory=dict)

    async def take(self, name: str, key: str, rate: Rate, cost: int = 1) -> Any:
        """Take from a budget that is never filled up again."""
        used = self.taken[(name, key)] = self.taken.get((name, key), 0) + cost
        return SimpleNamespace(
            allowed=used <= rate.calls,
            remaining=rate.calls - used,
            reset_seconds=rate.seconds,
            limit=rate.calls,
            window=rate.seconds,
        )


class OneKeySealer:
    """Seals with one key that lives as long as the object."""

    def __init__(self) -> None:
        self._cipher = AESGCM(AESGCM.generate_key(256))

    async def seal(self, table: str, column: str, row_id: str, plaintext: bytes) -> bytes:
        """Encrypt for one column of one row."""
        nonce = time.time_ns().to_bytes(12, "big")
        return nonce + self._cipher.encrypt(nonce, plaintext, f"{table}.{column}.{row_id}".encode())

    async def open(self, table: str, column: str, row_id: str, sealed: bytes) -> bytes:
        """Decrypt what was sealed for the same place."""
        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], f"{table}.{column}.{row_id}".encode())
        except InvalidTag as error:
            raise SecretError("sealed for another place") from error


class _NoDatabase:
    """Stands where a database is not needed; using it fails the test."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"this test has no database, and something asked for {name}")


class RunningApi:
    """A running API server and a client for it."""

    def __init__(
        self, server: HttpServer, url: str, state_dir: Path, pool: httpcore.AsyncConnectionPool
    ) -> None:
        self.server = server
        self.url = url
        self.state_dir = state_dir
        self._pool = pool

    @property
    def admin_token(self) -> str:
        """The admin token."""
        return (self.state_dir / "admin.token").read_text().strip()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for a test that speaks raw bytes."""
        host, _, port = self.url.partition("://")[2].rpartition(":")
        return host, int(port)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = _ADMIN,
    ) -> ApiAnswer:
        """Send one request and read the whole answer."""
        fields = {"Host": "api.test", **(headers or {})}
        if token is not None:
            fields["Authorization"] = f"Bearer {self.admin_token if token is _ADMIN else token}"
        if json is not None:
            body = msgspec.json.encode(json)
            fields.setdefault("Content-Type", "application/json")
        response = await self._pool.request(
            method,
            self.url + path,
            headers=[(name.encode(), value.encode("latin-1")) for name, value in fields.items()],
            content=body,
        )
        got = {name.decode().lower(): value.decode("latin-1") for name, value in response.headers}
        return ApiAnswer(response.status, got, response.content)

    async def get(self, path: str, **arguments: Any) -> ApiAnswer:
        """GET a path."""
        return await self.request("GET", path, **arguments)

    async def post(self, path: str, json: Any = None, **arguments: Any) -> ApiAnswer:
        """POST JSON to a path."""
        return await self.request("POST", path, json=json, **arguments)

    async def open(self) -> trio.SocketStream:
        """A plain connection, to send and read bytes on."""
        return await trio.open_tcp_stream(*self.address)


@asynccontextmanager
async def serve_routes(
    routes: Sequence[Route | BoundRoute] = (),
    *,
    context: Any = None,
    db: Queries | None = None,
    limits: Any = None,
    cache: Any = None,
    sealer: Any = None,
    authenticator: Callable[[], Authenticator | None] = lambda: None,
    checks: Sequence[BoundCheck] = (),
    plugin_states: Callable[[], Mapping[str, tuple[str, str]]] = dict,
    mounts: Sequence[IngestMount] = (),
    settings: HttpSettings | None = None,
    metrics: Metrics | None = None,
    state_dir: Path | None = None,
    signing_key: bytes = b"test",
) -> AsyncIterator[RunningApi]:
    """Run an API server with these routes for as long as the block lasts; handlers get `context`."""
    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    nothing: Any = _NoDatabase()
    ctx = context if context is not None else SimpleNamespace(log=log)
    with tempfile.TemporaryDirectory(prefix="wharfd-api-") as folder:
        place = state_dir or Path(folder)
        server = HttpServer(
            [one if isinstance(one, BoundRoute) else BoundRoute(one, "test", lambda: ctx) for one in routes],
            settings=settings or HttpSettings(bind=("127.0.0.1:0",), drain_seconds=2),
            state_dir=place,
            signing_key=signing_key,
            authenticator=authenticator,
            limits=limits or FixedLimits(),
            cache=cache or Cache(None, namespace="test"),
            db=db or nothing,
            sealer=sealer or OneKeySealer(),
            health=HealthBoard(checks, plugin_states=plugin_states, log=log),
            metrics=metrics or Metrics(process=False),
            log=log,
            mounts=mounts,
        )
        async with trio.open_nursery() as nursery:
            urls: list[str] = await nursery.start(server.run)
            async with httpcore.AsyncConnectionPool(max_connections=200) as pool:
                yield RunningApi(server, urls[0], place, pool)
            server.stop()
