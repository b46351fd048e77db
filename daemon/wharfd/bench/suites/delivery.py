"""Delivery: queued notifications, each attempt on record before its send, sent to a receiver over HTTP."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec
import trio

from ...db import sql
from ...declare import WorkQueue
from ...errors import OutboundError
from ...http.outbound import Limits, NetworkPolicy, OutboundClient
from ...work import Batch, Job, RetryAfter
from ..ground import Ground
from ..helper import KEY
from ..offering import Offers
from ..plan import Figure, figure

_RATE = 200.0
_P99_MS = 1000.0
_BODY = b'{"type":"order.completed","data":{"id":"ord_1","amount":12345,"note":"%b"}}' % (b"x" * 400)


class Row(msgspec.Struct):
    """What the handler gets."""

    id: int
    number: int


async def run(ground: Ground) -> list[Figure]:
    """Queue a notification, and wait until the receiver has answered and that is on record."""
    schema = ground.plan.schema
    insert = sql("bench.queue", f"INSERT INTO {schema}.deliveries (number) SELECT unnest($1::bigint[])")
    begin = sql(
        "bench.begin_attempts", f"INSERT INTO {schema}.attempts (delivery) SELECT unnest($1::bigint[])"
    )
    end = sql(
        "bench.end_attempts",
        f"""UPDATE {schema}.attempts SET status = 200, ended_at = clock_timestamp()
        WHERE delivery = ANY ($1::bigint[]) AND ended_at IS NULL""",
    )
    offers = Offers()
    limits = Limits(per_destination=ground.plan.at_once)
    policy = NetworkPolicy(allow_networks=("127.0.0.0/8",))
    async with (
        ground.helper("receive") as receiver,
        OutboundClient(policy, limits=limits) as client,
    ):
        url = f"http://127.0.0.1:{int(await receiver.line())}/hook"

        async def work(ctx: Any, batch: Batch[Row]) -> None:
            await ground.db.execute(begin, [job.row.id for job in batch])
            sent: list[Job[Row]] = []

            async def send(job: Job[Row]) -> None:
                signature = hmac.digest(KEY, b"%d.%b" % (job.row.id, _BODY), hashlib.sha256).hex()
                headers = [("webhook-id", str(job.row.id)), ("webhook-signature", signature)]
                try:
                    await client.request("POST", url, headers=headers, body=_BODY, deadline=10)
                except OutboundError as error:
                    job.finish(RetryAfter(1, str(error)))
                else:
                    sent.append(job)

            async with trio.open_nursery() as nursery:
                for job in batch:
                    nursery.start_soon(send, job)
            async with batch.commit() as tx:
                await tx.execute(end, [job.row.id for job in sent])
            offers.worked(job.row.number for job in sent)

        queue = WorkQueue(
            name="deliveries",
            table=f"{schema}.deliveries",
            row=Row,
            handler=work,
            batch=32,
            concurrency=4,
        )
        async with offers.to(queue, insert, ground) as one:
            rate = ground.rate(_RATE)
            rounds = await ground.offered("delivery", "queued to answered", one, rate)
    return [figure("delivery", "queued to answered", rounds, asked=rate, p99_below_ms=_P99_MS)]
