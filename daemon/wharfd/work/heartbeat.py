"""Keeping leases alive while handlers work, and noticing rows that were taken from us."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
import trio

from ..db import Database
from .finishing import Finisher
from .fragments import CLAIM_LIMIT
from .job import Job
from .queue import Queue
from .trouble import DATABASE_TROUBLE

BEATS_PER_LEASE = 6
_log = structlog.get_logger("wharfd.work.heartbeat")


class Heartbeat:
    """Extends, six times per lease, the lease of every row held for that long; most rows never need it.

    Only the database says that a row is lost. While it cannot be reached handlers go on: nobody else can
    take their rows then either.
    """

    def __init__(self, database: Database, queue: Queue, finisher: Finisher) -> None:
        self._database = database
        self._queue = queue
        self._finisher = finisher

    async def run(self) -> None:
        """Beat until cancelled."""
        period = self._queue.declared.lease_seconds / BEATS_PER_LEASE
        while True:
            await trio.sleep(period)
            due = trio.current_time() - 0.9 * period
            held = [job for job in self._finisher.held.values() if job.leased_at <= due]
            try:
                for start in range(0, len(held), CLAIM_LIMIT):
                    await self.extend(held[start : start + CLAIM_LIMIT])
            except DATABASE_TROUBLE as error:
                _log.warning("leases_not_extended", queue=self._queue.name, rows=len(held), error=str(error))

    async def extend(self, jobs: Sequence[Job[Any]]) -> None:
        """Extend the leases of these jobs and give up those that are not ours any more."""
        statements = self._queue.statements
        started = trio.current_time()
        lease = self._queue.declared.lease_seconds
        # On connections of their own: a queue that keeps all others busy must not lose its leases by that.
        database = self._database.urgent
        extended = {
            tuple(record)
            for record in await database.fetch(statements.extend, *self._queue.fences(jobs), lease)
        }
        missing = []
        for job in jobs:
            if job.identity in extended:
                job.leased_at = started
            else:
                missing.append(job)
        if not missing:
            return
        # Locked rows were skipped: an outcome is being written. Look without locking which are still ours.
        ours = {
            tuple(record) for record in await database.fetch(statements.ours, *self._queue.fences(missing))
        }
        for job in missing:
            if job.identity not in ours and not job.judged:
                self._finisher.lose(job)
