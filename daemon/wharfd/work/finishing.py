"""Writing outcomes: many at a time, fenced by the claim, or inside a handler's own transaction.

Whatever ends while one write is under way is written by the next one, so a single row waits for nothing and
a thousand share a statement. A row whose claim is no longer ours is lost: somebody else has it, and what we
found out about it is dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog
import trio

from ..db import Database, Queries, Transaction
from ..errors import DatabaseUnavailable, LeaseLost, StatementTimeout
from .job import Job
from .outcomes import Verdict, judge
from .queue import Queue
from .retry import spread
from .waking import Bell

End = tuple[Job[Any], Verdict]
Buried = Callable[[str, str, str], None]

_GROUP = 1000
_SETTLE_GROUP = 250  # that statement compares every row with every other when a plan is bad
_PAUSE_SECONDS = 0.5  # before a write that failed for want of a database is tried again
_WRITE_SECONDS = 30.0
_TRANSIENT = (
    DatabaseUnavailable,
    StatementTimeout,
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.exceptions.LockNotAvailableError,
)
_log = structlog.get_logger("wharfd.work.finishing")


class Finisher:
    """Knows which rows of a queue this daemon holds, and writes how they ended."""

    def __init__(self, database: Database, queue: Queue, bell: Bell, buried: Buried) -> None:
        self._database = database
        self._queue = queue
        self._bell = bell
        self._buried = buried
        self._pending: list[End] = []
        self._something = Bell()
        self._writing = trio.Lock()
        self.held: dict[tuple[Any, ...], Job[Any]] = {}

    def hold(self, job: Job[Any]) -> None:
        """Count a claimed row as ours until its outcome is written or it is lost.

        A row that comes back to us while we still hold it under an older claim was lost in between.
        """
        older = self.held.get(job.identity)
        if older is not None:
            self.lose(older)
        self.held[job.identity] = job

    def drop(self, job: Job[Any]) -> None:
        """Hold a row no longer."""
        if self.held.get(job.identity) is job:
            del self.held[job.identity]

    def put(self, job: Job[Any], verdict: Verdict) -> None:
        """Hand in how a job ended; it is written soon, together with others."""
        if job.settled or job.lost:
            return
        job.judged = True
        self._pending.append((job, verdict))
        self._something.ring()

    @property
    def waiting(self) -> int:
        """How many outcomes are not written yet."""
        return len(self._pending)

    def lose(self, job: Job[Any]) -> None:
        """Give up a row that somebody else has taken over, and stop its handler."""
        if job.lost or job.settled:
            return
        job.lost = True
        self.drop(job)
        self._queue.counters.lost += 1
        _log.warning("lease_lost", queue=self._queue.name, row=job.key, attempt=job.attempt)
        if job.scope is not None:
            job.scope.cancel()

    async def run(self) -> None:
        """Write what is handed in; runs until cancelled."""
        while True:
            await self._something.wait(3600)
            self._something.hush()
            await self.drain()

    async def drain(self) -> None:
        """Write everything that was handed in, however long the database takes to be there."""
        async with self._writing:
            while self._pending:
                group = self._pending[:_GROUP]
                written = False
                with trio.CancelScope(shield=True) as scope:
                    scope.deadline = trio.current_time() + _WRITE_SECONDS
                    written = await self._write_group(group)
                if written:
                    del self._pending[: len(group)]
                else:
                    await trio.sleep(spread(_PAUSE_SECONDS, 0.5))

    async def _write_group(self, group: Sequence[End]) -> bool:
        """Return whether the group is dealt with; False asks for another try."""
        open_ends = [end for end in group if not (end[0].settled or end[0].lost)]
        done = [end for end in open_ends if end[1].done]
        rest = [end for end in open_ends if not end[1].done]
        parts = [rest[i : i + _SETTLE_GROUP] for i in range(0, len(rest), _SETTLE_GROUP)]
        for part in [done, *parts] if done else parts:
            try:
                lost = await self._write(self._database, part)
            except _TRANSIENT as error:
                _log.warning("outcomes_not_written", queue=self._queue.name, rows=len(part), error=str(error))
                return False
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                await self._write_singly(part, error)
                continue
            self._settled(part, lost)
        return True

    async def _write_singly(self, part: Sequence[End], error: Exception) -> None:
        """Keep one outcome that PostgreSQL refuses from holding up the others."""
        if len(part) == 1:
            job = part[0][0]
            _log.error(
                "outcome_refused", queue=self._queue.name, key=job.key, error=str(error), exc_info=error
            )
            self.drop(job)  # its lease runs out, and it is tried again or buried
            job.lost = True
            return
        for end in part:
            try:
                self._settled([end], await self._write(self._database, [end]))
            except (asyncpg.PostgresError, asyncpg.InterfaceError, *_TRANSIENT) as failure:
                await self._write_singly([end], failure)

    async def _write(self, database: Queries, ends: Sequence[End]) -> set[Job[Any]]:
        """Write outcomes of one kind or both; return the jobs that were not ours any more."""
        statements = self._queue.statements
        lost: set[Job[Any]] = set()
        done = [job for job, verdict in ends if verdict.done]
        if done:
            kept = {tuple(r) for r in await database.fetch(statements.done, *self._queue.fences(done))}
            lost.update(job for job in done if job.identity not in kept)
        rest = [end for end in ends if not end[1].done]
        if rest:
            verdicts = [verdict for _, verdict in rest]
            records = await database.fetch(
                statements.settle,
                *self._queue.fences([job for job, _ in rest]),
                [v.state for v in verdicts],
                [v.attempts for v in verdicts],
                [v.delay for v in verdicts],
                [v.until for v in verdicts],
                [v.error for v in verdicts],
                [v.note for v in verdicts],
            )
            kept = {tuple(r) for r in records}
            lost.update(job for job, _ in rest if job.identity not in kept)
        return lost

    def _settled(self, ends: Sequence[End], lost: set[Job[Any]]) -> None:
        counters = self._queue.counters
        for job, verdict in ends:
            if job in lost:
                self.lose(job)
                continue
            job.settled = True
            self.drop(job)
            if verdict.done:
                counters.done += 1
            elif verdict.state == "buried":
                counters.buried += 1
                _log.error("work_buried", queue=self._queue.name, row=job.key, reason=verdict.error)
                self._buried(self._queue.name, job.key, verdict.error or "")
            elif verdict.note:
                counters.retried += 1
            elif verdict.state == "ready" and (verdict.delay is not None or verdict.until is not None):
                counters.snoozed += 1
            if verdict.delay is not None:
                self._bell.ring_in(verdict.delay)
        if self._queue.declared.ordered or self._queue.declared.per_key is not None:
            self._bell.ring()  # a key has room again

    @asynccontextmanager
    async def commit(self, jobs: Sequence[Job[Any]]) -> AsyncIterator[Transaction]:
        """See `Job.commit` and `Batch.commit`."""
        if any(job.lost for job in jobs):
            raise LeaseLost
        async with self._database.transaction() as tx:
            yield tx
            ends = [(job, judge(job.outcome, job.attempt, self._queue.declared.retry)) for job in jobs]
            for job in jobs:
                job.judged = True  # from here on the heartbeat cannot tell a row we finished from a lost one
            try:
                lost = await self._write(tx, ends)
                for job in lost:
                    self.lose(job)
                if lost:
                    raise LeaseLost
            except BaseException:
                for job in jobs:
                    job.judged = False
                raise
        self._settled(ends, set())
