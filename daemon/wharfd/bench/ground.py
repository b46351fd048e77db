"""What every suite stands on: the scratch schema, the helpers in processes of their own, and the rounds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

from ..db import Database
from ..declare import WorkQueue
from ..errors import BenchFailed
from ..ingest import CommitPolicy, GroupCommitter
from ..work import WorkEngine
from .helper import Job
from .openloop import Measured, offer
from .plan import Plan, Progress, Suite

if TYPE_CHECKING:
    from ..redis.link import RedisLink

log = structlog.get_logger("wharfd.bench")


class Helper:
    """A process beside this one that sends requests or receives deliveries, on a core of its own."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._rest = bytearray()

    async def ask(self, job: Job) -> bytes:
        """Give it something to do and return its answer, a line of JSON."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(msgspec.json.encode(job) + b"\n")
        return await self.line()

    async def line(self) -> bytes:
        """Return the next line it says; raises `BenchFailed` when it has ended."""
        assert self._process.stdout is not None
        while (end := self._rest.find(b"\n")) < 0:
            data = await self._process.stdout.receive_some(65536)
            if not data:
                raise BenchFailed("a helper process of the bench ended too early")
            self._rest += data
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return line


@dataclass
class Ground:
    """Handed to every suite. `heard` is told how far the run is."""

    db: Database
    redis: RedisLink | None
    plan: Plan
    node: str
    heard: Callable[[Progress], None]
    total: int = 0
    _done: int = 0

    def step(self, doing: str) -> None:
        """Say what begins now; what was begun before is done."""
        self.heard(Progress(done=self._done, total=self.total, doing=doing))
        self._done += 1

    def rate(self, usual: float) -> float | None:
        """Return the operations per second to offer; None under stress: as many as there can be."""
        return None if self.plan.stress else self.plan.rate or usual

    async def rounds(
        self, suite: Suite, name: str, measure: Callable[[float, int], Awaitable[Measured]]
    ) -> list[Measured]:
        """Warm up, then measure as often as planned; `measure(seconds, first)` is told its first number."""
        self.step(f"{suite}: {name}, warming up")
        first = 0
        if self.plan.warm_seconds:
            first += (await measure(self.plan.warm_seconds, 0)).asked
        found = []
        for number in range(self.plan.rounds):
            self.step(f"{suite}: {name}, round {number + 1} of {self.plan.rounds}")
            found.append(await measure(self.plan.seconds, first))
            first += found[-1].asked
        return found

    async def offered(
        self,
        suite: Suite,
        name: str,
        operation: Callable[[int], Awaitable[None]],
        rate: float | None,
    ) -> list[Measured]:
        """Offer an operation in this process, in rounds."""

        async def measure(seconds: float, first: int) -> Measured:
            return await offer(
                operation,
                rate=rate or 1.0,
                seconds=seconds,
                at_once=self.plan.at_once,
                first=first,
                closed=rate is None,
                total=self.plan.share,
            )

        return await self.rounds(suite, name, measure)

    @asynccontextmanager
    async def committing(self) -> AsyncIterator[GroupCommitter]:
        """Run a group commit as the daemon has it, without a spool, for the time of the block."""
        policy = CommitPolicy(max_rows=self.plan.batch)
        committer = GroupCommitter(self.db.transaction, log=log, policy=policy)
        async with trio.open_nursery() as nursery:
            await nursery.start(committer.run)
            yield committer
            committer.stop()

    @asynccontextmanager
    async def helper(self, role: str) -> AsyncIterator[Helper]:
        """Run a helper for the time of the block."""
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", "from wharfd.bench.helper import main; main()", role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            yield Helper(process)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    @asynccontextmanager
    async def working(self, queue: WorkQueue) -> AsyncIterator[WorkEngine]:
        """Work a scratch table for the time of the block, with the daemon's own engine."""
        engine = WorkEngine(self.db, node=self.node, keep_rates=False)
        prepared = await engine.prepare("bench", queue)
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)

            async def work(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
                await engine.run_queues([prepared], None, stop=stop, task_status=task_status)
                nursery.cancel_scope.cancel()

            await nursery.start(work)
            yield engine
            stop.set()
