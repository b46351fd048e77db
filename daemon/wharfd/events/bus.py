"""Publishing: who may publish what, who hears it, and the one statement that writes it all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import structlog
import trio

from ..contracts.events import Event
from ..db import Database, Transaction, sql
from ..declare import EventType, Subscription
from ..errors import UnknownEvent
from ..ids import new_id
from ..work.control import Audit
from ..work.engine import WorkEngine
from ..work.queue import Queue
from ..work.trouble import DATABASE_TROUBLE
from .facts import Declared, facts_of
from .inbox import REMEMBER_DAYS, Inbox, queue_of

_DECLARE_AGAIN_SECONDS = 3600.0
_GROUP = 1000  # events per statement

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
_log = structlog.get_logger("wharfd.events")


class EventBus:
    """The events of a daemon: which types there are, and who publishes and hears them."""

    def __init__(self, database: Database, engine: WorkEngine, audit: Audit | None = None) -> None:
        self._database = database
        self._engine = engine
        self.inbox = Inbox(database, audit)
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
            await self._engine.prepare(plugin, queue_of(plugin, s), enrich=self.inbox.enrich)
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
            except DATABASE_TROUBLE as error:
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
        each = [trace_id] * len(found) if trace_id is None or isinstance(trace_id, str) else list(trace_id)
        if len(each) != len(found):
            raise ValueError(f"publish_many: {len(found)} events and {len(each)} trace ids")
        return await self._bus.publish(transaction, self._plugin, found, each)
