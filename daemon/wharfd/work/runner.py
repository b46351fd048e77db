"""Running one queue: workers, and the claimer that keeps them supplied, until told to stop.

How far the claimer works ahead follows from how fast rows are finished: a queue of quick handlers has a
fraction of a second's worth in hand, one of slow handlers nothing beyond what is being worked.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import structlog
import trio

from ..db import Database
from .claiming import Claimer
from .finishing import Buried, Finisher
from .fragments import CLAIM_LIMIT
from .handling import Handling
from .heartbeat import Heartbeat
from .job import Job
from .lookout import Lookout, Watched
from .outcomes import handed_back
from .queue import Queue
from .recovery import Recovery
from .trouble import DATABASE_TROUBLE
from .waking import Bell

POLL_SECONDS = (1.0, 5.0)  # shortest and longest wait of an idle queue that nobody wakes
SELDOM_SECONDS = 30.0  # the longest wait while the lookout looks for all
_AHEAD_SECONDS = 0.2  # how much work is kept in hand
_UNWRITTEN_LIMIT = 4 * CLAIM_LIMIT  # no more is claimed while so many outcomes wait to be written
_YIELD_SECONDS = 0.002  # a worker whose handlers never wait lets others run this often
_GIVE_BACK_SECONDS = 5.0
_RINGING_SECONDS = 0.02  # an idle queue asks when the next row is due only after so much silence
_log = structlog.get_logger("wharfd.work.runner")


class Runner:
    """Works one queue in this daemon."""

    def __init__(
        self, database: Database, queue: Queue, ctx: Any, bell: Bell, buried: Buried, lookout: Lookout
    ) -> None:
        self.queue = queue
        self._bell = bell
        self._finisher = Finisher(database, queue, bell, buried)
        self._claimer = Claimer(database, queue, self._finisher)
        self._handling = Handling(queue, ctx, self._finisher)
        self._heartbeat = Heartbeat(database, queue, self._finisher)
        self._recovery = Recovery(database, queue, bell, buried, lookout)
        self._lookout = lookout
        self._watched = Watched(queue, bell, self._recovery.expired)
        self._database = database
        self._hand: deque[Job[Any]] = deque()
        self._idle = trio.lowlevel.ParkingLot()
        self._busy = 0
        self._room = Bell()
        self._stopping = trio.Event()
        self._stop_seconds = 0.0
        self._quiet = trio.Event()
        self._pause = POLL_SECONDS[0]  # how long an idle queue waits before it looks again
        self._rate = 0.0
        self._low = 0  # the claimer is called when no more than this is in hand
        self._measured = (0.0, 0)

    def stop(self, seconds: float) -> None:
        """Claim no more, hand back what is not started, and give running handlers so long to end.

        Once told, it stays told: a second call can only shorten the time, and only before it is running.
        """
        if not self._stopping.is_set() or seconds < self._stop_seconds:
            self._stop_seconds = seconds
        self._stopping.set()
        self._bell.ring()
        self._room.ring()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work the queue until `stop`; started when it is about to claim.

        Cancellation: cancels the handlers and hands every row back, which takes some seconds at most.
        """
        self._lookout.watch(self._watched)
        try:
            async with trio.open_nursery() as background:
                background.start_soon(self._finisher.run)
                background.start_soon(self._heartbeat.run)
                background.start_soon(self._recovery.run)
                async with trio.open_nursery() as crew:
                    for _ in range(self.queue.declared.concurrency):
                        crew.start_soon(self._work)
                    crew.start_soon(self._supply)
                    task_status.started()
                    await self._stopping.wait()
                    self._give_back()
                    with trio.move_on_after(self._stop_seconds):
                        while self._busy:
                            self._quiet = trio.Event()
                            await self._quiet.wait()
                    self._handling.halt()
                background.cancel_scope.cancel()
        finally:
            self._lookout.leave(self._watched)
            with trio.CancelScope(shield=True) as scope:
                scope.deadline = trio.current_time() + _GIVE_BACK_SECONDS
                self._give_back()
                for job in list(self._finisher.held.values()):
                    if not job.judged:
                        self._finisher.put(job, handed_back(job.attempt))
                await self._finisher.drain()

    def _give_back(self) -> None:
        while self._hand:
            job = self._hand.popleft()
            self._finisher.put(job, handed_back(job.attempt))
        self._idle.unpark_all()

    # -- workers -------------------------------------------------------------------------------------

    async def _work(self) -> None:
        batch = self.queue.declared.batch
        yielded = trio.current_time()
        while True:
            while not self._hand:
                if self._stopping.is_set():
                    return
                await self._idle.park()
                yielded = trio.current_time()
            jobs = [self._hand.popleft() for _ in range(min(batch, len(self._hand)))]
            if len(self._hand) <= self._low:
                self._room.ring()
            jobs = [job for job in jobs if not job.lost]
            if not jobs:
                continue
            self._busy += 1
            try:
                await self._handling.work(jobs)
            finally:
                self._busy -= 1
                if len(self._hand) <= self._low:
                    self._room.ring()
                if not self._busy:
                    self._quiet.set()
            if trio.current_time() - yielded > _YIELD_SECONDS:
                await trio.lowlevel.checkpoint()
                yielded = trio.current_time()

    # -- supply --------------------------------------------------------------------------------------

    def _wanted(self) -> int:
        """Return how many rows to claim now."""
        if self._finisher.waiting > _UNWRITTEN_LIMIT:
            return 0
        declared = self.queue.declared
        free = (declared.concurrency - self._busy) * declared.batch
        ahead = min(CLAIM_LIMIT, int(self._rate * _AHEAD_SECONDS))
        have = len(self._hand)
        self._low = max(declared.batch, ahead // 2)
        if have > ahead // 2 and have >= free:
            return 0
        return min(CLAIM_LIMIT, free + ahead - have)

    def _measure(self) -> None:
        """Follow how many rows per second are finished."""
        counters = self.queue.counters
        now, ended = trio.current_time(), counters.done + counters.retried + counters.snoozed
        since, before = self._measured
        if now - since >= 0.05:
            rate = (ended - before) / (now - since)
            self._rate = rate if not self._rate else 0.7 * self._rate + 0.3 * rate
            self._measured = (now, ended)

    async def _supply(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._measure()
            wanted = self._wanted()
            if wanted <= 0:
                await self._room.wait(POLL_SECONDS[0])
                self._room.hush()
                continue
            self._bell.hush()
            try:
                jobs = await self._claimer.claim(wanted)
                failures = 0
            except DATABASE_TROUBLE as error:
                failures += 1
                _log.warning("not_claimed", queue=self.queue.name, failures=failures, error=str(error))
                await self._bell.wait(random.uniform(0.5, 1) * min(30, 2**failures / 4))  # noqa: S311
                continue
            if jobs:
                self._pause = POLL_SECONDS[0]
                self._hand.extend(jobs)
                self._idle.unpark(count=len(jobs))
            if self._stopping.is_set():
                self._give_back()
            elif not self._claimer.more:
                await self._rest()

    async def _rest(self) -> None:
        """Wait until there may be work: until it rings, a row becomes due, or a look now and then finds one.

        Rows that are due right after a claim were not for us: the queue is paused, or others have them.
        """
        if await self._bell.wait(_RINGING_SECONDS):  # under load it rings again before a look would be back
            self._pause = POLL_SECONDS[0]
            return
        fresh = True
        while not self._stopping.is_set():
            wait = self._pause * random.uniform(0.8, 1.2)  # noqa: S311
            due = await self._next_due()
            if due is not None and due <= 0 and not fresh:
                return
            soon = due is not None and 0 < due < wait
            if await self._bell.wait(due + 0.001 if soon and due is not None else wait):
                self._pause = POLL_SECONDS[0]
                return
            if soon or self.queue.statements.next_due is None:
                self._pause = min(POLL_SECONDS[1], self._pause * 1.5)
                return
            longest = SELDOM_SECONDS if self._lookout.reliable else POLL_SECONDS[1]
            self._pause = min(longest, self._pause * 1.5)
            fresh = False

    async def _next_due(self) -> float | None:
        """Return how long until the first row is due, None when none waits or the queue cannot tell."""
        statement = self.queue.statements.next_due
        if statement is None:
            return None
        try:
            seconds: float | None = await self._database.fetchval(statement, *self.queue.lane)
        except DATABASE_TROUBLE:
            return None
        return seconds
