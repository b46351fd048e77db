"""Starts the worker process and listens to it: for the CLI once, for a daemon whenever somebody asks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import msgspec
import structlog
import trio

from ..db import Database
from ..errors import BenchBusy, BenchFailed
from . import scratch
from .plan import Order, Plan, Progress, Report, Said, Targets

log = structlog.get_logger("wharfd.bench")
State = Literal["none", "running", "done", "failed", "stopped"]
_BESIDE_A_DAEMON = 5  # niceness: whoever is served there goes first


async def carry_out(
    db: Database, targets: Targets, plan: Plan, heard: Callable[[Progress], None], *, nice: int = 0
) -> Report:
    """Run a plan in a process of its own and return what came of it.

    Raises `BenchFailed` with the reason. However it ends, cancelled too, the process is gone afterwards and
    so is its scratch schema.
    """
    order = msgspec.json.encode(Order(targets=targets, plan=plan, nice=nice))
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", "from wharfd.bench.worker import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.send_all(order + b"\n")
        rest = b""
        async for data in process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                said = msgspec.json.decode(line, type=Said)
                if said.progress is not None:
                    heard(said.progress)
                if said.report is not None:
                    return said.report
                if said.error:
                    raise BenchFailed(said.error)
        raise BenchFailed(f"the bench process ended with {await process.wait()} and no result")
    finally:
        process.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 30):
            await process.wait()
            await scratch.drop(db, plan.schema)


class Status(msgspec.Struct, kw_only=True):
    """How the run that was asked for last is doing, and what came of it."""

    state: State = "none"
    began: datetime | None = None
    ended: datetime | None = None
    progress: Progress | None = None
    reason: str = ""
    report: Report | None = None


class Benches:
    """The runs of one daemon, one at a time."""

    def __init__(self, db: Database, targets: Callable[[], Targets]) -> None:
        self._db = db
        self._targets = targets
        self._wanted: trio.MemorySendChannel[Plan]
        self._wanted, self._plans = trio.open_memory_channel[Plan](1)
        self._scope = trio.CancelScope()
        self.status = Status()

    def start(self, plan: Plan) -> Status:
        """Begin a run; raises `BenchBusy` while another is under way."""
        if self.status.state == "running":
            raise BenchBusy
        self.status = Status(state="running", began=datetime.now(UTC))
        self._wanted.send_nowait(plan)
        return self.status

    def stop(self) -> bool:
        """Give the run up; False when there is none."""
        running = self.status.state == "running"
        if running:
            self._scope.cancel()
        return running

    async def run(self) -> None:
        """Carry out what is asked for, until cancelled."""
        async for plan in self._plans:
            status = self.status
            with trio.CancelScope() as self._scope:
                try:
                    status.report = await carry_out(
                        self._db, self._targets(), plan, self._heard, nice=_BESIDE_A_DAEMON
                    )
                    status.state = "done"
                except Exception as error:
                    status.state, status.reason = "failed", str(error)
                    log.warning("bench_failed", reason=str(error))
            if self._scope.cancelled_caught:
                status.state, status.reason = "stopped", "it was stopped"
            status.ended = datetime.now(UTC)

    def _heard(self, progress: Progress) -> None:
        self.status.progress = progress
