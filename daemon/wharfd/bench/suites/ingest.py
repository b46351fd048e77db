"""Ingest: signed webhooks through the public listener and the group commit, answered after the commit."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
from typing import Any

import msgspec
import trio

from ...db import Transaction, sql
from ...declare import IngestRoute
from ...ingest import Answerer, Delivery, IngestReply, RouteTable, serve_ingest
from ..ground import Ground, log
from ..helper import KEY, Job
from ..machine import resident_mib
from ..openloop import Measured
from ..plan import Figure, figure

_RATE = 1000.0
_P99_MS = 10.0


class Webhook(msgspec.Struct, frozen=True):
    """What is kept of one."""

    identity: bytes
    name: str
    body: bytes


class _Read(msgspec.Struct):
    eventName: str
    resourceId: str


_decode = msgspec.json.Decoder(_Read).decode


def admit(ctx: Any, delivery: Delivery) -> Webhook | IngestReply:
    """Verify the signature and read what tells one event from another."""
    expected = base64.b64encode(hmac.digest(KEY, delivery.body, "sha256")).decode()
    if not hmac.compare_digest(expected, delivery.header("signature") or ""):
        return IngestReply(401, b'{"success":false}')
    event = _decode(delivery.body)
    identity = hashlib.sha256(f"{event.eventName}|{event.resourceId}".encode()).digest()
    return Webhook(identity, event.eventName, delivery.body)


async def run(ground: Ground) -> list[Figure]:
    """Offer webhooks from a process of its own."""
    insert = sql(
        "bench.store",
        f"""INSERT INTO {ground.plan.schema}.events (identity, name, body)
        SELECT * FROM unnest($1::bytea[], $2::text[], $3::bytea[]) AS g (a, b, c) ORDER BY a
        ON CONFLICT DO NOTHING RETURNING identity""",
    )

    async def store(ctx: Any, tx: Transaction, webhooks: list[Webhook]) -> list[IngestReply]:
        columns = zip(*((one.identity, one.name, one.body) for one in webhooks), strict=True)
        new = {row["identity"] for row in await tx.fetch(insert, *map(list, columns))}
        return [
            IngestReply(200, b'{"success":true}' if one.identity in new else b'{"duplicate":true}')
            for one in webhooks
        ]

    route = IngestRoute(source="bench", paths=("/bench",), admit=admit, store=store, spool=False)
    routes = RouteTable()
    routes.mount(route, None, plugin="bench")
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port = listening.getsockname()[1]
    rate = ground.rate(_RATE)
    before = resident_mib()
    async with ground.committing() as committer, ground.helper("send") as helper:
        answerer = Answerer(committer, log=log)
        drain = trio.Event()
        async with trio.open_nursery() as nursery:

            async def serve(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
                await serve_ingest(
                    routes,
                    answerer.answer,
                    sockets=[listening],
                    log=log,
                    drain=drain,
                    task_status=task_status,
                )

            await nursery.start(serve)

            async def measure(seconds: float, first: int) -> Measured:
                job = Job(
                    port=port,
                    kind="webhook",
                    seconds=seconds,
                    rate=rate,
                    at_once=ground.plan.at_once,
                    first=first,
                    total=ground.plan.share,
                )
                return msgspec.json.decode(await helper.ask(job), type=Measured)

            rounds = await ground.rounds("ingest", "webhooks committed", measure)
            drain.set()
    grown = f"memory {resident_mib() - before:+.0f} MiB"
    return [
        figure(
            "ingest",
            "webhooks committed",
            rounds,
            asked=rate,
            p99_below_ms=_P99_MS,
            note=grown,
        )
    ]
