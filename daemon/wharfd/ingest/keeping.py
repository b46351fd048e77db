"""Keeps deliveries in the spool while the database is away, and stores them when it is back.

New deliveries do not queue behind the spool: providers promise no order, processing decides by rank and time
of the event, and a queue behind a queue would only prolong the outage. Within the spool of a source the order
of arrival is kept.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
import trio

from ..declare import IngestRoute
from ..errors import DatabaseUnavailable, SpoolError
from .failures import describe, is_outage
from .frames import Record
from .message import Reply
from .observing import Observer, Sampler
from .routes import Mounted, RouteTable
from .spool import Segment, Spool
from .spools import Spools
from .storing import DatabaseFactory, StoreError, TransactionFactory, own_database, store_group

_FIRST_SECONDS = 0.25
_LONGEST_SECONDS = 5.0
_UNMOUNTED_SECONDS = 5.0
_ROWS = 256
_BYTES = 4 << 20
_ALL_AT_FAULT = 8  # so many at once and no other: the store function is broken, the rows stay where they are

_ACCEPTED = Reply(200, b'{"success":true}')


class Keeper:
    """One per daemon, beside the committer.

    `outage` is True from the first row that went to the spool until the database was seen again.
    """

    def __init__(
        self,
        spools: Spools,
        routes: RouteTable,
        transaction: TransactionFactory,
        *,
        log: structlog.stdlib.BoundLogger,
        observer: Observer | None = None,
        attempt_seconds: float = 15.0,
        databases: DatabaseFactory | None = None,
    ) -> None:
        self.spools = spools
        self.outage = False
        self._routes = routes
        self._transaction = transaction
        self._databases = databases
        self._attempt_seconds = attempt_seconds
        self._log = log
        self._observer = observer or Observer()
        self._kick = trio.Event()
        self._sampler = Sampler()
        self._stranded: frozenset[str] = frozenset()

    def begin_outage(self) -> None:
        """Note that the database is away: until it is seen again, everything goes to the spool at once."""
        if not self.outage:
            self.outage = True
            self._log.warning("ingest_outage_began")
            self._observer.outage(True)
        self._kick.set()

    async def keep(self, ctx: Any, rows: Sequence[tuple[IngestRoute, Any]]) -> list[Reply]:
        """Put admissions on disk for good and return what their senders are told.

        Raises `SpoolError` if any of them is not on disk; none of them is acknowledged then.
        """
        by_source: dict[str, list[bytes]] = {}
        for route, admission in rows:
            try:
                payload = msgspec.msgpack.encode(admission)
            except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
                raise SpoolError(
                    f"an admission of source {route.source!r} cannot be encoded as"
                    f" {type(admission).__name__}: {type(error).__name__}"
                ) from error
            by_source.setdefault(route.source, []).append(payload)
        for source, payloads in by_source.items():
            await self.spools.append(source, payloads)
            self._observer.spooled(source, len(payloads), sum(map(len, payloads)))
        self._kick.set()
        return [self._reply(route, ctx, admission) for route, admission in rows]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Store what the spools hold, now and after every outage, for as long as the daemon runs.

        Cancellation: between two commits nothing is lost; what a cut-off commit stored comes once more.
        """
        task_status.started()
        delay = _FIRST_SECONDS
        while True:
            self._report_damages()
            if not self.outage and not self.spools.waiting():
                await self._kick.wait()
            self._kick = trio.Event()
            try:
                await self._probe()
                await self._drain()
            except Exception as error:
                if not isinstance(error, DatabaseUnavailable):
                    self._note("ingest_spool_drain_failed", error=describe(error))
                await trio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load
                delay = min(delay * 2, _LONGEST_SECONDS)
                continue
            delay = _FIRST_SECONDS
            if self.spools.waiting():  # of sources whose plugin is not there
                with trio.move_on_after(_UNMOUNTED_SECONDS):
                    await self._kick.wait()

    async def _probe(self) -> None:
        with trio.fail_after(self._attempt_seconds):
            async with self._transaction():
                pass
        if self.outage:
            self.outage = False
            self._log.warning("ingest_outage_ended", spooled=sum(s.records for s in self.spools.statistics()))
            self._observer.outage(False)

    async def _drain(self) -> None:
        stranded = set()
        for source, spool in self.spools.waiting().items():
            mounted = self._routes.source(source)
            if mounted is None or not mounted.up:
                stranded.add(source)
                continue
            try:
                while (segment := await spool.oldest()) is not None:
                    await self._drain_segment(mounted, spool, segment)
            except Exception as error:
                if is_outage(error):
                    await (
                        self._probe()
                    )  # ends the round if the database is away; else only the source is stuck
                elif not isinstance(error, StoreError):
                    raise
                reason = str(error) if isinstance(error, StoreError) else describe(error)
                self._note("ingest_spool_stuck", source=source, reason=reason)
                stranded.add(source)
        for source in stranded - self._stranded:
            self._log.warning("ingest_spool_stranded", source=source, records=self.spools.records(source))
        self._stranded = frozenset(stranded)

    async def _drain_segment(self, mounted: Mounted, spool: Spool, segment: Segment) -> None:
        source = mounted.route.source
        records = list(await spool.read(segment))
        while records:
            batch = _next_batch(records)
            admissions: list[Any] = []
            kept: list[Record] = []
            for record in batch:
                try:
                    admissions.append(msgspec.msgpack.decode(record.payload, type=mounted.route.admission))
                    kept.append(record)
                except msgspec.MsgspecError as error:
                    await self._quarantine(source, spool, segment, record, f"cannot be decoded: {error}")
            outcomes = await store_group(
                self._transaction,
                mounted.route.store,
                mounted.ctx,
                admissions,
                attempt_seconds=self._attempt_seconds,
                database=own_database(mounted.ctx, self._databases) if mounted.route.single else None,
            )
            if len(outcomes) >= _ALL_AT_FAULT and not any(isinstance(o, Reply) for o in outcomes):
                raise StoreError(f"not one of {len(outcomes)} rows can be stored: {_first_fault(outcomes)}")
            for record, outcome in zip(kept, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    why = f"cannot be stored: {describe(outcome)}"
                    await self._quarantine(source, spool, segment, record, why)
            segment.drained += len(batch)
            del records[: len(batch)]
            self._observer.drained(source, sum(isinstance(outcome, Reply) for outcome in outcomes))
        await spool.discard(segment)

    async def _quarantine(
        self, source: str, spool: Spool, segment: Segment, record: Record, why: str
    ) -> None:
        await spool.set_aside(segment, record, why)
        self._log.error("ingest_spool_quarantined", source=source, reason=why)
        self._observer.quarantined(source, why)

    def _note(self, event: str, **facts: object) -> None:
        suppressed = self._sampler.suppressed(event)
        if suppressed is not None:
            self._log.error(event, suppressed=suppressed, **facts)

    def _report_damages(self) -> None:
        for source, why in self.spools.damages():
            self._log.error("ingest_spool_damaged", source=source, reason=why)
            self._observer.quarantined(source, why)

    def _reply(self, route: IngestRoute, ctx: Any, admission: Any) -> Reply:
        if route.spooled is None:
            return _ACCEPTED
        try:
            reply = route.spooled(ctx, admission)
        except Exception:
            # It is on disk: whatever the plugin thinks of it, the sender must not send it again.
            self._log.exception("ingest_spooled_reply_failed", source=route.source)
            return _ACCEPTED
        return reply if isinstance(reply, Reply) else _ACCEPTED


def _first_fault(outcomes: Sequence[Reply | Exception]) -> str:
    return next((describe(outcome) for outcome in outcomes if isinstance(outcome, Exception)), "")


def _next_batch(records: Sequence[Record]) -> Sequence[Record]:
    size = 0
    for count, record in enumerate(records[:_ROWS]):
        size += len(record.payload)
        if count and size > _BYTES:
            return records[:count]
    return records[:_ROWS]
