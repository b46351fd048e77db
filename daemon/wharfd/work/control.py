"""What people and plugins ask of their queues: wake, look, pause, requeue. `ctx.work` is one of these."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import asyncpg
import msgspec

from ..db import Database, Transaction
from ..errors import UnknownQueue, WharfdError
from . import inspecting
from .job import key_text
from .queue import Queue
from .waking import Wakeups

Audit = Callable[[Transaction, str, str, str, dict[str, Any]], Awaitable[None]]
_RATE_MINUTES = 5


class QueueStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How a queue is doing, over all daemons. Counts stop at 10,000; rates are per minute, of the last 5.

    `ready` are all rows that wait, `due` those whose time has come; `arrived` counts what was announced with
    `wake`.
    """

    queue: str
    paused: bool
    ready: int
    due: int
    running: int
    buried: int
    held: int
    oldest_due_seconds: float | None
    arrived_per_minute: float
    started_per_minute: float
    done_per_minute: float
    retried_per_minute: float
    buried_per_minute: float
    lost_per_minute: float


class BuriedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was given up: when, why, after how many attempts, and what it is about."""

    key: str
    buried_at: datetime | None
    attempts: int
    reason: str | None
    history: list[dict[str, Any]]
    row: dict[str, Any]


class BuriedRows(msgspec.Struct, frozen=True):
    """A page of buried rows; `next_cursor` is None on the last one."""

    items: list[BuriedRow]
    next_cursor: str | None


class Work:
    """The queues of one plugin. A queue is named by its own name or in full, `plugin.queue`."""

    def __init__(
        self,
        database: Database,
        wakeups: Wakeups,
        queues: Mapping[str, Queue],
        audit: Audit | None,
        plugin: str | None = None,
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._queues = queues
        self._audit = audit
        self._plugin = plugin

    def bound(self, plugin: str) -> Work:
        """Return the same for the queues of one plugin."""
        return Work(self._database, self._wakeups, self._queues, self._audit, plugin)

    def names(self) -> list[str]:
        """Return the full names of all queues here."""
        return sorted(
            n for n, queue in self._queues.items() if self._plugin is None or queue.plugin == self._plugin
        )

    def find(self, queue: str) -> Queue:
        """Return a queue by name; raises `UnknownQueue`."""
        full = queue if self._plugin is None or "." in queue else f"{self._plugin}.{queue}"
        names = self.names()
        if full not in names:
            close = get_close_matches(full, names, 1)
            raise UnknownQueue(
                f"there is no work queue {full!r} here" + (f"; did you mean {close[0]!r}?" if close else "")
            )
        return self._queues[full]

    def wake(self, transaction: Transaction | None, queue: str, *, rows: int = 1) -> None:
        """Say that rows were added: workers here and in other daemons look, after the commit if there is one.

        Without it the rows are found too, some seconds later.
        """
        found = self.find(queue)
        if transaction is None:
            self._arrived(found, rows)
        else:
            transaction.after_commit(lambda: self._arrived(found, rows))

    def _arrived(self, queue: Queue, rows: int) -> None:
        queue.counters.arrived += rows
        self._wakeups.wake(None, [queue.name])

    async def statistics(self, queue: str) -> QueueStatistics:
        """Return how the queue is doing; cheap, however many rows there are."""
        found = self.find(queue)
        counts = await self._database.fetchrow(inspecting.counts(found), *found.lane)
        rates = await self._database.fetchrow(inspecting.RATES, found.name, _RATE_MINUTES)
        assert counts is not None
        assert rates is not None
        return QueueStatistics(
            queue=found.name,
            paused=await self._database.fetchval(inspecting.PAUSED, found.name),
            **dict(counts),
            **{f"{name}_per_minute": value / _RATE_MINUTES for name, value in rates.items()},
        )

    async def pause(self, queue: str, *, actor: str) -> bool:
        """Let no daemon claim from the queue until `resume`; what runs goes on. False if it was paused."""
        found = self.find(queue)
        async with self._database.transaction() as tx:
            changed = await tx.execute(inspecting.PAUSE, found.name, actor) > 0
            if changed:
                await self._record(tx, actor, "work.paused", found.name, {})
        return changed

    async def resume(self, queue: str, *, actor: str) -> bool:
        """Let the daemons claim from the queue again. False if it was not paused."""
        found = self.find(queue)
        async with self._database.transaction() as tx:
            changed = await tx.execute(inspecting.RESUME, found.name) > 0
            if changed:
                await self._record(tx, actor, "work.resumed", found.name, {})
                self._wakeups.wake(tx, [found.name])
        return changed

    async def requeue(
        self,
        queue: str,
        keys: Iterable[str] | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        states: Sequence[str] = ("buried",),
        actor: str,
    ) -> int:
        """Put rows back with all their attempts and return how many; their history is kept.

        Give `keys`, or `where` (columns and the values they must have), or both; every row that fits is taken
        however many there are. `states` says which rows may be put back.
        """
        if keys is None and where is None:
            raise ValueError("requeue: give keys or where; where={} means every row")
        found = self.find(queue)
        change = inspecting.Change(found, _allowed(states, inspecting.FINAL_OR_PARKED), keys, where or {})
        return await self._change(found, *change.requeue(actor), actor, "work.requeued")

    async def retry_all(self, queue: str, *, actor: str) -> int:
        """Put every buried row back and return how many there were."""
        return await self.requeue(queue, where={}, actor=actor)

    async def cancel(
        self,
        queue: str,
        keys: Iterable[str] | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        states: Sequence[str] = inspecting.CANCELLABLE,
        actor: str,
    ) -> int:
        """End rows that are not running for good, and return how many; chosen as for `requeue`."""
        if keys is None and where is None:
            raise ValueError("cancel: give keys or where; where={} means every row")
        found = self.find(queue)
        change = inspecting.Change(found, _allowed(states, inspecting.CANCELLABLE), keys, where or {})
        return await self._change(found, *change.cancel(actor), actor, "work.cancelled")

    async def _change(
        self, queue: Queue, statement: Any, arguments: list[Any], actor: str, action: str
    ) -> int:
        total = 0
        while True:
            try:
                async with self._database.transaction() as tx:
                    changed = await tx.fetch(statement, *arguments)
                    if changed:
                        keys = [key_text(tuple(record)) for record in changed]
                        await self._record(
                            tx, actor, action, queue.name, {"rows": len(keys), "row_keys": keys[:100]}
                        )
                        self._wakeups.wake(tx, [queue.name])
            except asyncpg.exceptions.DataError as error:
                raise WharfdError(f"a key or value does not fit queue {queue.name}: {error}") from error
            total += len(changed)
            if len(changed) < inspecting.GROUP:
                return total

    async def _record(
        self, tx: Transaction, actor: str, action: str, queue: str, detail: dict[str, Any]
    ) -> None:
        if self._audit is not None:
            await self._audit(tx, actor, action, queue, detail)

    async def buried(self, queue: str, cursor: str | None = None, *, limit: int = 50) -> BuriedRows:
        """List the rows that were given up, the latest first."""
        found = self.find(queue)
        limit = max(1, min(limit, 1000))
        width = len(found.columns.key)
        records = await self._database.fetch(
            inspecting.buried(found, on=cursor is not None),
            *found.lane,
            limit + 1,
            *([] if cursor is None else _decoded(cursor, width)),
        )
        items = [
            BuriedRow(
                key=key_text(tuple(record[4 : 4 + width])),
                buried_at=record["wharfd_at"],
                attempts=record["wharfd_attempts"],
                reason=record["wharfd_error"],
                history=record["wharfd_history"] or [],
                row=dict(zip(found.columns.row, record[4 + width :], strict=True)),
            )
            for record in records[:limit]
        ]
        more = len(records) > limit
        return BuriedRows(items, _encoded(records[limit - 1], width) if more else None)


def _allowed(states: Sequence[str], choice: Sequence[str]) -> list[str]:
    for state in states:
        if state not in choice:
            raise ValueError(f"rows in state {state!r} cannot be chosen; only {', '.join(choice)}")
    return list(states)


def _encoded(record: asyncpg.Record, width: int) -> str:
    at: datetime = record["wharfd_at"]
    parts = [at.isoformat(), *(key_text([value]) for value in record[4 : 4 + width])]
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def _decoded(cursor: str, width: int) -> list[Any]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        at, *key = msgspec.json.decode(text, type=list[str])
        if len(key) != width:
            raise ValueError(cursor)
        return [datetime.fromisoformat(at), *key]
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise ValueError("the cursor is not one that was given out") from error
