"""The API: authenticated GETs of a row through the real server, pipeline and all."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import trio

from ...cache import Cache
from ...db import sql
from ...declare import Route
from ...errors import SecretError
from ...health import HealthBoard
from ...http import BoundRoute, NotFound, Request
from ...http.server import HttpServer
from ...http.settings import HttpSettings
from ...metrics import Metrics
from ...ratelimit import RateLimiter
from ..ground import Ground, log
from ..helper import Job
from ..openloop import Measured
from ..plan import Figure, figure
from .rows import fill

_RATE = 200.0
_P99_MS = 100.0


class Payment(msgspec.Struct):
    """What is answered."""

    id: int
    owner: str
    amount: int
    status: str


class _NoSealer:
    """Nothing here is sealed: no route takes an Idempotency-Key."""

    async def seal(self, table: str, column: str, row_id: str, plaintext: bytes) -> bytes:
        raise SecretError("the bench has no key: nothing of it is sealed")

    async def open(self, table: str, column: str, row_id: str, sealed: bytes) -> bytes:
        raise SecretError("the bench has no key: nothing of it is sealed")


async def run(ground: Ground) -> list[Figure]:
    """Serve one route and offer requests from a process of its own."""
    rows = await fill(ground)
    by_id = sql(
        "bench.read", f"SELECT id, owner, amount, status FROM {ground.plan.schema}.payments WHERE id = $1"
    )

    async def show(ctx: Any, request: Request) -> Payment:
        row = await ground.db.fetchrow(by_id, int(request.path["id"]))
        if row is None:
            raise NotFound("there is no such payment")
        return Payment(**row)

    route = Route(method="GET", path="/bench/payments/{id}", handler=show, scope="bench:read")
    rate = ground.rate(_RATE)
    with tempfile.TemporaryDirectory(prefix="wharfd-bench-") as folder:
        server = HttpServer(
            [BoundRoute(route, "bench", lambda: ground)],
            settings=HttpSettings(bind=("127.0.0.1:0",), drain_seconds=2, access_log="off"),
            state_dir=Path(folder),
            signing_key=b"only for this run",
            authenticator=lambda: None,
            limits=RateLimiter(None, namespace=ground.plan.schema),
            cache=Cache(None, namespace=ground.plan.schema),
            db=ground.db,
            sealer=_NoSealer(),
            health=HealthBoard((), plugin_states=dict, log=log),
            metrics=Metrics(process=False),
            log=log,
        )
        async with trio.open_nursery() as nursery, ground.helper("send") as helper:
            urls: list[str] = await nursery.start(server.run)
            token = (Path(folder) / "admin.token").read_text().strip()

            async def measure(seconds: float, first: int) -> Measured:
                job = Job(
                    port=int(urls[0].rpartition(":")[2]),
                    kind="read",
                    seconds=seconds,
                    rate=rate,
                    at_once=min(ground.plan.at_once, 64),
                    first=first,
                    total=ground.plan.share,
                    keys=rows,
                    token=token,
                )
                return msgspec.json.decode(await helper.ask(job), type=Measured)

            rounds = await ground.rounds("api", "GET of a row", measure)
            server.stop()
    return [figure("api", "GET of a row", rounds, asked=rate, p99_below_ms=_P99_MS)]
