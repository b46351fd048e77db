"""The inbox: a work table with one row per event and subscriber, and the queues that work it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from ..contracts.events import Envelope
from ..db import Database, sql
from ..declare import Subscription, WorkQueue
from ..work.control import Audit
from ..work.job import Batch, Job
from ..work.outcomes import Bury

REMEMBER_DAYS = 7  # a subscriber that no daemon declared for so long gets nothing more
_COUNT_LIMIT = 10_000

_FETCH = sql(
    "events.fetch",
    """SELECT e.id, e.type, e.version, e.published_at, e.owner, e.subject, e.trace_id, e.data
FROM wharfd.events e WHERE e.id = ANY ($1::text[]) AND e.published_at = ANY ($2::timestamptz[])""",
)
_WAITING = sql(
    "events.waiting",
    f"""WITH RECURSIVE subscribers (name) AS (
  SELECT min(subscriber) FROM wharfd.inbox WHERE state = 'ready'
  UNION ALL
  SELECT (SELECT min(i.subscriber) FROM wharfd.inbox i WHERE i.state = 'ready' AND i.subscriber > s.name)
  FROM subscribers s WHERE s.name IS NOT NULL
)
SELECT s.name AS subscriber,
  (SELECT count(*) FROM (
    SELECT FROM wharfd.inbox i WHERE i.state = 'ready' AND i.subscriber = s.name
    LIMIT {_COUNT_LIMIT}) c) AS rows,
  (SELECT min(i.event_at) FROM (
    SELECT event_at FROM wharfd.inbox i WHERE i.state = 'ready' AND i.subscriber = s.name
    ORDER BY i.priority, i.due_at LIMIT 1) i) AS since,
  EXISTS (SELECT FROM wharfd.subscriptions d WHERE d.subscriber = s.name
          AND d.declared_at > now() - interval '{REMEMBER_DAYS} days') AS declared
FROM subscribers s WHERE s.name IS NOT NULL ORDER BY s.name""",
)
_DROP = sql(
    "events.drop",
    """DELETE FROM wharfd.inbox WHERE id = ANY (ARRAY(
  SELECT id FROM wharfd.inbox WHERE subscriber = $1 AND state IN ('ready', 'held', 'buried')
  LIMIT 1000 FOR UPDATE SKIP LOCKED))""",
)
_FORGET = sql("events.forget", "DELETE FROM wharfd.subscriptions WHERE subscriber = $1")


class InboxRow(msgspec.Struct):
    """Which event an inbox row is about."""

    event_id: str
    event_at: datetime


class Waiting(msgspec.Struct, frozen=True):
    """How many events wait for a subscriber (at most 10,000 are counted) and since when.

    `declared` is False for what is left over of a subscriber that no daemon has any more.
    """

    subscriber: str
    rows: int
    since: datetime | None
    declared: bool


class Inbox:
    """What waits in the inbox, and the events it is about."""

    def __init__(self, database: Database, audit: Audit | None = None) -> None:
        self._database = database
        self._audit = audit

    async def enrich(self, jobs: Sequence[Job[InboxRow]]) -> None:
        """Fetch the envelopes of freshly claimed inbox rows, all with one statement."""
        envelopes = {
            record["id"]: Envelope(
                id=record["id"],
                type=record["type"],
                version=record["version"],
                occurred_at=record["published_at"],
                owner=record["owner"],
                subject=record["subject"],
                trace_id=record["trace_id"],
                data=record["data"],
            )
            for record in await self._database.fetch(
                _FETCH,
                [job.row.event_id for job in jobs],
                list({job.row.event_at for job in jobs}),
            )
        }
        for job in jobs:
            job.extra = envelopes.get(job.row.event_id)

    async def waiting(self) -> list[Waiting]:
        """Return what waits in the inbox per subscriber, those that nobody declares any more included."""
        records = await self._database.fetch(_WAITING)
        return [msgspec.convert(dict(record), Waiting) for record in records]

    async def drop(self, subscriber: str, *, actor: str) -> int:
        """Throw away what waits for a subscriber that is gone, and return how many rows that were."""
        dropped = 0
        while True:
            async with self._database.transaction() as tx:
                rows = await tx.execute(_DROP, subscriber)
                if self._audit is not None and rows:
                    await self._audit(tx, actor, "events.dropped", subscriber, {"rows": rows})
                if not rows:
                    await tx.execute(_FORGET, subscriber)
                    return dropped
            dropped += rows


def queue_of(plugin: str, subscription: Subscription) -> WorkQueue:
    """Return the queue that works a subscriber's inbox."""

    async def handle(ctx: Any, job: Job[InboxRow]) -> Any:
        if job.extra is None:
            raise Bury(f"event {job.row.event_id} is not there any more")
        return await subscription.handler(ctx, job.extra)

    async def handle_in_transaction(ctx: Any, job: Job[InboxRow]) -> None:
        if job.extra is None:
            raise Bury(f"event {job.row.event_id} is not there any more")
        async with job.commit() as tx:
            outcome = await subscription.handler(ctx, job.extra, tx)
            if isinstance(outcome, BaseException):
                job.finish(outcome)

    async def handle_batch(ctx: Any, batch: Batch[InboxRow]) -> None:
        async with batch.commit() as tx:
            for job in batch:
                if job.extra is None:
                    job.finish(Bury(f"event {job.row.event_id} is not there any more"))
            await subscription.handler(ctx, [job.extra for job in batch if job.extra is not None], tx)

    single = handle_in_transaction if subscription.transactional else handle
    return WorkQueue(
        name=subscription.subscriber,
        table="wharfd.inbox",
        row=InboxRow,
        handler=handle_batch if subscription.batch > 1 else single,
        batch=subscription.batch,
        lane=("subscriber", f"{plugin}.{subscription.subscriber}"),
        concurrency=subscription.concurrency,
        timeout_seconds=subscription.timeout_seconds,
        retry=subscription.retry,
        keep_done=False,
    )
