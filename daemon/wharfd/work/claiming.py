"""Taking rows: a claim is one short statement; for a fair queue it goes round the keys."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
import trio
from asyncpg import Record

from ..db import Database, sql
from .finishing import Finisher
from .fragments import CLAIM_LIMIT, KEYS_PER_CLAIM
from .job import Job
from .outcomes import Verdict
from .queue import Queue
from .retry import spread, told

# Counting what runs of a key and taking more must not overlap between daemons. The lock is taken by a
# statement of its own, because the claim's view of the table must be younger than the lock.
_LOCK = sql("work.lock_queue", "SELECT pg_advisory_xact_lock(hashtextextended($1, 8470))")
_CLAIM_SECONDS = 10.0  # a cancelled claim is awaited this long, so that its rows can be handed back

_log = structlog.get_logger("wharfd.work.claiming")


class Claimer:
    """Takes due rows of one queue for this daemon. `more` says whether another claim may find some."""

    def __init__(self, database: Database, queue: Queue, finisher: Finisher) -> None:
        self._database = database
        self._queue = queue
        self._finisher = finisher
        self._round = Round() if queue.declared.fair_by else None
        self.more = False

    async def claim(self, wanted: int) -> list[Job[Any]]:
        """Take up to so many rows; they are held, and leased, until the finisher writes how they ended."""
        wanted = min(wanted, CLAIM_LIMIT)
        claim = secrets.randbits(63)
        leased_at = trio.current_time()
        with trio.CancelScope(shield=True):  # rows taken by a claim nobody waits for would idle for a lease
            if self._round is None:
                records = await self._take(wanted, claim)
                start = 0
                self.more = len(records) >= wanted
            else:
                records = await self._take_fairly(self._round, wanted, claim)
                start = 2
                self.more = self._round.more
        if not records:
            return []
        records.sort(key=lambda record: (record[start + 1], -record[start + 2]))
        if self._round is not None:
            records = in_turns(records)
        jobs = [
            job
            for job in (self._job(record, start, claim, leased_at) for record in records)
            if job is not None
        ]
        self._queue.counters.started += len(jobs)
        self._queue.counters.late_seconds = max(record[start + 2] for record in records)
        await self._enrich(jobs)
        return jobs

    async def _take(self, wanted: int, claim: int) -> list[Record]:
        return await self._database.fetch(
            self._queue.statements.claim,
            wanted,
            claim,
            self._queue.declared.lease_seconds,
            self._queue.name,
            *self._queue.lane,
            timeout=_CLAIM_SECONDS,
        )

    async def _take_fairly(self, turn: Round, wanted: int, claim: int) -> list[Record]:
        queue = self._queue
        statement = queue.statements.claim if turn.after is None else queue.statements.claim_on
        assert statement is not None
        arguments = [wanted, claim, queue.declared.lease_seconds, queue.name, *queue.lane]
        share = turn.share(wanted)
        if not queue.declared.ordered:
            arguments.append(share)
            if queue.declared.per_key is not None:
                arguments.append(queue.declared.per_key)
        if turn.after is not None:
            arguments.append(turn.after)
        if queue.declared.per_key is None or queue.declared.ordered:
            records = await self._database.fetch(statement, *arguments, timeout=_CLAIM_SECONDS)
        else:
            async with self._database.transaction() as tx:
                await tx.execute(_LOCK, queue.name, timeout=_CLAIM_SECONDS)
                records = await tx.fetch(statement, *arguments, timeout=_CLAIM_SECONDS)
        taken = [record for record in records if record["wharfd_attempt"] is not None]
        most = 1 if queue.declared.ordered else share
        turn.moved(wanted, records[0]["wharfd_walked"], records[0]["wharfd_last"], taken, share=most)
        return taken

    def _job(self, record: Record, start: int, claim: int, leased_at: float) -> Job[Any] | None:
        queue = self._queue
        try:
            job = queue.job(self._finisher, record, start, claim, leased_at)
        except (msgspec.ValidationError, ValueError) as error:
            job = queue.bare(self._finisher, record, start, claim, leased_at)
            reason = f"the row does not fit {queue.declared.row.__name__}: {told(error)}"
            self._finisher.hold(job)
            self._finisher.put(job, Verdict("buried", job.attempt, error=reason, note=True))
            return None
        self._finisher.hold(job)
        return job

    async def _enrich(self, jobs: Sequence[Job[Any]]) -> None:
        if self._queue.enrich is None or not jobs:
            return
        try:
            await self._queue.enrich(jobs)
        except BaseException:
            for job in jobs:
                self._finisher.put(job, Verdict("ready", job.attempt - 1, spread(1.0, 0.5)))
            raise


def in_turns(records: Sequence[Record]) -> list[Record]:
    """Return the rows of several keys so that each key has its first one before any has its second."""
    seen: dict[Any, int] = {}
    turns = []
    for place, record in enumerate(records):
        turn = seen[record["wharfd_by"]] = seen.get(record["wharfd_by"], -1) + 1
        turns.append((turn, place, record))
    turns.sort(key=lambda entry: entry[:2])
    return [record for _, _, record in turns]


class Round:
    """Where a fair queue is on its way round the keys, and how many rows a key gets per visit.

    All keys get the same; how many that is follows from how many keys had something to do on the last round,
    so that one busy key alone fills the workers and a thousand of them get one row each.
    """

    def __init__(self) -> None:
        self.after: Any = None
        self.more = False
        self._active = CLAIM_LIMIT
        self._served: set[Any] = set()
        self._left = False  # whether a key of this round may have more

    def share(self, wanted: int) -> int:
        """Return how many rows each key gets."""
        return max(1, math.ceil(wanted / max(1, self._active)))

    def moved(
        self, wanted: int, walked: int | None, last: Any, taken: Sequence[Record], *, share: int = 1
    ) -> None:
        """Note how far the claim came. A key that got less than its share has nothing more that is due."""
        counts = Counter(record["wharfd_by"] for record in taken)
        self._served.update(counts)
        self._left |= any(count >= share for count in counts.values())
        self._active = max(self._active, len(self._served))
        if len(taken) >= wanted or (walked or 0) >= KEYS_PER_CLAIM:
            self.after = last  # it stopped in the middle; the key it stopped at has had its share
            self.more = True
        else:  # came to the last key: the round is over
            self.more = self._left or self.after is not None
            self._left = False
            self._active = max(1, len(self._served))
            self._served.clear()
            self.after = None
