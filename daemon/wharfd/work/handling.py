"""Calling a handler: in a scope that can be cancelled, and turning whatever comes out into outcomes.

A batch that fails is tried in halves at once, down to single rows, so that one poisonous row is found and
fails alone. Nothing a handler raises comes out of here, except that wharfd itself is being cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
import trio

from ..errors import DatabaseUnavailable, LeaseLost, Overloaded, ServiceUnavailable
from .finishing import Finisher
from .job import Batch, Job
from .outcomes import Outcome, handed_back, judge, single
from .queue import Queue

_log = structlog.get_logger("wharfd.work.handling")
# No row of the batch is to blame for these, so there is nobody to look for.
_NOBODYS_FAULT = (Outcome, LeaseLost, ServiceUnavailable, DatabaseUnavailable, Overloaded, TimeoutError)


class Handling:
    """Runs the handler of one queue on claimed jobs."""

    def __init__(self, queue: Queue, ctx: Any, finisher: Finisher) -> None:
        self._queue = queue
        self._handler = queue.declared.handler
        self._timeout = queue.declared.timeout_seconds
        self._ctx = ctx
        self._finisher = finisher
        self._running: set[trio.CancelScope] = set()
        self._halting = False

    def halt(self) -> None:
        """Cancel the handlers that run; their rows are handed back and it costs them no attempt."""
        self._halting = True
        for scope in self._running:
            scope.cancel()

    async def work(self, jobs: Sequence[Job[Any]]) -> None:
        """Work the jobs and hand in how each ended."""
        if self._queue.declared.batch == 1:
            job = jobs[0]
            end = await self._call(jobs, job)
            self._hand_in(job, job.outcome if end is None else end)
            return
        waiting = [list(jobs)]
        while waiting:
            part = [job for job in waiting.pop() if not job.lost]
            if not part:
                continue
            for job in part:
                job.outcome = None
            end = await self._call(part, Batch(self._finisher, part))
            if isinstance(end, BaseException) and not isinstance(end, _NOBODYS_FAULT):
                open_jobs = [job for job in part if not job.settled]
                if len(open_jobs) > 1:
                    _log.info("batch_split", queue=self._queue.name, rows=len(open_jobs), error=str(end))
                    half = len(open_jobs) // 2
                    waiting += [open_jobs[half:], open_jobs[:half]]
                    continue
            for job in part:
                given = job.outcome is not None and (end is None or isinstance(end, Outcome))
                self._hand_in(job, job.outcome if given else end)

    def _hand_in(self, job: Job[Any], end: object) -> None:
        if job.lost:
            return
        if job.settled:
            if isinstance(end, BaseException) and not isinstance(end, Outcome | LeaseLost):
                _log.warning("failed_after_commit", queue=job.queue, row=job.key, exc_info=end)
            return
        if isinstance(end, LeaseLost) or (isinstance(end, BaseException) and self._halting):
            # Either another row of the batch was lost, or wharfd stops: this one did nothing wrong.
            self._finisher.put(job, handed_back(job.attempt))
            return
        verdict = judge(end, job.attempt, self._queue.declared.retry)
        if verdict.note and isinstance(end, BaseException) and not isinstance(end, Outcome):
            _log.warning(
                "work_failed",
                queue=job.queue,
                key=job.key,
                attempt=job.attempt,
                error=verdict.error,
                exc_info=end,
            )
        self._finisher.put(job, verdict)

    async def _call(self, jobs: Sequence[Job[Any]], argument: Any) -> object:
        """Return what the handler returned or raised."""
        scope = trio.CancelScope()
        started = trio.current_time()
        if self._timeout is not None:
            scope.deadline = started + self._timeout
        for job in jobs:
            job.scope = scope
        self._running.add(scope)
        if self._halting:
            scope.cancel()
        end: object = None
        try:
            with scope:
                end = await self._handler(self._ctx, argument)
        except (Exception, SystemExit) as error:  # a handler that calls sys.exit() only ends itself
            end = single(error)
        except BaseExceptionGroup as group:
            cancelled, rest = group.split(trio.Cancelled)
            if cancelled is None or (rest is not None and rest.split((Exception, SystemExit))[1] is not None):
                raise
            if rest is not None:
                _log.warning("failed_while_cancelled", queue=self._queue.name, exc_info=rest)
            raise cancelled from None
        finally:
            self._running.discard(scope)
            for job in jobs:
                job.scope = None
            self._queue.counters.handler_seconds += trio.current_time() - started
        if scope.cancelled_caught:
            if any(job.lost for job in jobs):
                return LeaseLost()
            if self._halting:
                return Halted()
            return TimeoutError(f"no end within {self._timeout:g} s")
        return end


class Halted(Exception):
    """The handler was cancelled because wharfd stops."""
