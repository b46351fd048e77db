"""Events: facts written in the transaction that made them true, and an inbox row for everybody who listens.

Publishing is one statement however many subscribers there are. Who listens is kept in the database, so a
daemon that does not run a plugin still leaves it its events. The inbox is a work table like any other: one
queue per subscriber, named `plugin.subscriber`, whose rows are deleted when they are handled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog
import trio

from .contracts.events import Envelope, Event
from .db import Database, Transaction, sql
from .declare import EventType, Subscription, WorkQueue
from .errors import DatabaseUnavailable, InvalidEvent, StatementTimeout, UnknownEvent
from .ids import new_id
from .work.control import Audit
from .work.engine import WorkEngine
from .work.job import Job
from .work.outcomes import Bury
from .work.queue import Queue

Declared = Sequence[Subscription | EventType]

REMEMBER_DAYS = 7  # a subscriber that no daemon declared for so long gets nothing more
_DECLARE_AGAIN_SECONDS = 3600.0
_GROUP = 1000  # events per statement
_COUNT_LIMIT = 10_000

_PUBLISH = sql(
    "events.publish",
    f"""WITH given AS (
  SELECT * FROM unnest($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::text[], $8::text[])
    AS g (id, type, version, owner, subject, data, trace_id)
), written AS (
  INSERT INTO wharfd.events (id, type, version, owner, subject, data, publisher, trace_id)
  SELECT id, type, version, owner, subject, data::jsonb, $7, trace_id FROM given
), heard AS (
  INSERT INTO wharfd.inbox (subscriber, event_id, event_at)
  SELECT DISTINCT s.subscriber, given.id, now() FROM given JOIN wharfd.subscriptions s
    ON s.pattern = given.type OR s.pattern = '*'
    OR (right(s.pattern, 2) = '.*' AND starts_with(given.type, left(s.pattern, -1)))
  WHERE s.declared_at > now() - interval '{REMEMBER_DAYS} days'
  ORDER BY given.id, s.subscriber
  RETURNING subscriber
)
SELECT subscriber, count(*) AS rows FROM heard GROUP BY subscriber""",
)
_FETCH = sql(
    "events.fetch",
    """SELECT e.id, e.type, e.version, e.published_at, e.owner, e.subject, e.trace_id, e.data
FROM wharfd.events e WHERE e.id = ANY ($1::text[]) AND e.published_at = ANY ($2::timestamptz[])""",
)
_SUBSCRIBE = sql(
    "events.subscribe",
    """INSERT INTO wharfd.subscriptions (subscriber, pattern)
SELECT * FROM unnest($1::text[], $2::text[]) ORDER BY 1, 2
ON CONFLICT (subscriber, pattern) DO UPDATE SET declared_at = now()""",
)
_UNSUBSCRIBE = sql(
    "events.unsubscribe",
    """DELETE FROM wharfd.subscriptions s
WHERE starts_with(s.subscriber, $1)
  AND (s.subscriber, s.pattern) NOT IN (SELECT * FROM unnest($2::text[], $3::text[]))""",
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
_log = structlog.get_logger("wharfd.events")


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


class EventBus:
    """The events of a daemon: which types there are, and who publishes and hears them."""

    def __init__(self, database: Database, engine: WorkEngine, audit: Audit | None = None) -> None:
        self._database = database
        self._engine = engine
        self._audit = audit
        self._published: dict[str, dict[type[Event], str]] = {}
        self._subscribed: dict[str, list[tuple[str, str]]] = {}

    async def declare(self, plugin: str, declared: Declared) -> list[Queue]:
        """Take in what a plugin publishes and hears; return the queues of its inbox, to be run.

        From then on every event that matches leaves a row for it. Subscriptions it had before and has no
        more are ended; what they left in the inbox stays until `drop`.
        """
        self._published[plugin] = {d.event: d.event.type for d in declared if isinstance(d, EventType)}
        subscriptions = [d for d in declared if isinstance(d, Subscription)]
        pairs = list(dict.fromkeys((f"{plugin}.{s.subscriber}", s.pattern) for s in subscriptions))
        columns = [list(column) for column in zip(*pairs, strict=True)] or [[], []]
        self._subscribed[plugin] = pairs
        async with self._database.transaction() as tx:
            await tx.execute(_UNSUBSCRIBE, f"{plugin}.", *columns)
            await tx.execute(_SUBSCRIBE, *columns)
        by_name = {s.subscriber: s for s in subscriptions}
        return [
            await self._engine.prepare(plugin, _queue_of(plugin, s), enrich=self.enrich)
            for s in by_name.values()
        ]

    def events(self, plugin: str) -> Events:
        """Return what one plugin publishes with."""
        return Events(plugin, self)

    async def run(self) -> None:
        """Keep the subscriptions declared until cancelled."""
        while True:
            await trio.sleep(_DECLARE_AGAIN_SECONDS)
            pairs = [pair for pairs in self._subscribed.values() for pair in pairs]
            try:
                await self._database.execute(_SUBSCRIBE, [p[0] for p in pairs], [p[1] for p in pairs])
            except (DatabaseUnavailable, StatementTimeout) as error:
                _log.warning("subscriptions_not_renewed", error=str(error))

    def types(self) -> dict[str, list[type[Event]]]:
        """Return the event types that each plugin publishes: the catalogue."""
        return {plugin: list(types) for plugin, types in self._published.items()}

    async def publish(
        self, transaction: Transaction, plugin: str, events: Sequence[Event], traces: Sequence[str | None]
    ) -> list[str]:
        """Write the events and their inbox rows, and wake the subscribers after the commit."""
        allowed = self._published.get(plugin, {})
        for event in events:
            if type(event) not in allowed:
                raise UnknownEvent(
                    f"plugin {plugin} does not publish {type(event).__name__}; "
                    f"return EventType({type(event).__name__}) from register_subscriptions"
                )
        facts = [facts_of(event) for event in events]
        ids = [new_id("evt") for _ in events]
        heard: dict[str, int] = {}
        for start in range(0, len(events), _GROUP):
            part = slice(start, start + _GROUP)
            records = await transaction.fetch(
                _PUBLISH,
                ids[part],
                [event.type for event in events[part]],
                [event.version for event in events[part]],
                [event.owner for event in events[part]],
                [event.subject for event in events[part]],
                facts[part],
                plugin,
                list(traces[part]),
            )
            for record in records:
                heard[record["subscriber"]] = heard.get(record["subscriber"], 0) + record["rows"]
        if heard:
            transaction.after_commit(lambda: self._arrived(heard))
        return ids

    def _arrived(self, heard: Mapping[str, int]) -> None:
        for name, rows in heard.items():
            queue = self._engine.queues.get(name)
            if queue is not None:
                queue.counters.arrived += rows
        self._engine.wakeups.wake(None, heard)

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


class Events:
    """Publishes the events of one plugin. `ctx.events` is one of these."""

    def __init__(self, plugin: str, bus: EventBus) -> None:
        self._plugin = plugin
        self._bus = bus

    async def publish(self, transaction: Transaction, event: Event, *, trace_id: str | None = None) -> str:
        """Write an event in the transaction of the fact it tells of, and return its id.

        Every subscription that matches gets it after the commit, and nobody if there is none. Raises
        `UnknownEvent` for a type the plugin did not declare, `InvalidEvent` for facts that do not fit it.
        """
        return (await self._bus.publish(transaction, self._plugin, [event], [trace_id]))[0]

    async def publish_many(
        self,
        transaction: Transaction,
        events: Iterable[Event],
        *,
        trace_id: str | Sequence[str | None] | None = None,
    ) -> list[str]:
        """Write many events with few statements, and return their ids in the same order.

        `trace_id` is one for all of them, or a list with one for each.
        """
        found = list(events)
        one = trace_id is None or isinstance(trace_id, str)
        traces = [trace_id] * len(found) if one else list(trace_id or ())
        if len(traces) != len(found):
            raise ValueError(f"publish_many: {len(found)} events and {len(traces)} trace ids")
        return await self._bus.publish(transaction, self._plugin, found, traces)  # type: ignore[arg-type]


def facts_of(event: Event) -> str:
    """Return an event's own facts as JSON, checked against its type; owner and subject are kept beside."""
    try:
        text = msgspec.json.encode(event)
        msgspec.json.decode(text, type=type(event))
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise InvalidEvent(f"{event.type}: {error}") from error
    if b"\\u0000" in text:
        raise InvalidEvent(f"{event.type}: a text holds a NUL character, which cannot be stored")
    facts = msgspec.to_builtins(event)
    facts.pop("owner", None)
    facts.pop("subject", None)
    return msgspec.json.encode(facts).decode()


def find_problems(declared: Mapping[str, Declared]) -> list[str]:
    """Return, as sentences, what is wrong with the events and subscriptions of all plugins together."""
    problems: list[str] = []
    known: dict[str, type[Event]] = {}
    for event in _subclasses(Event):
        kind = getattr(event, "type", None)
        if isinstance(kind, str):
            known.setdefault(kind, event)
    classes: dict[str, tuple[str, type[Event]]] = {}
    for plugin, items in declared.items():
        for item in items:
            if not isinstance(item, EventType):
                continue
            kind = getattr(item.event, "type", None)
            if not isinstance(kind, str):
                problems.append(f"plugin {plugin}: event class {item.event.__name__} has no type")
                continue
            other = classes.setdefault(kind, (plugin, item.event))
            if other[1] is not item.event:
                problems.append(
                    f"event type {kind!r} is declared by {other[0]} as {other[1].__name__} "
                    f"and by {plugin} as {item.event.__name__}"
                )
    for plugin, items in declared.items():
        names: dict[str, Subscription] = {}
        for item in items:
            if not isinstance(item, Subscription):
                continue
            first = names.setdefault(item.subscriber, item)
            if (first.handler, first.transactional) != (item.handler, item.transactional):
                problems.append(
                    f"plugin {plugin}: two different subscriptions are called {item.subscriber!r}; give name="
                )
            if "*" not in item.pattern and item.pattern not in known and item.pattern not in classes:
                problems.append(
                    f"plugin {plugin}: {item.subscriber} listens to {item.pattern!r}, "
                    "a type that nobody declares"
                )
    return problems


def _subclasses(of: type[Any]) -> Iterator[type[Any]]:
    for found in of.__subclasses__():
        yield found
        yield from _subclasses(found)


def _queue_of(plugin: str, subscription: Subscription) -> WorkQueue:
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

    return WorkQueue(
        name=subscription.subscriber,
        table="wharfd.inbox",
        row=InboxRow,
        handler=handle_in_transaction if subscription.transactional else handle,
        lane=("subscriber", f"{plugin}.{subscription.subscriber}"),
        concurrency=subscription.concurrency,
        timeout_seconds=subscription.timeout_seconds,
        retry=subscription.retry,
        keep_done=False,
    )
