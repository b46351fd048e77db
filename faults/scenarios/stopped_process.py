"""A daemon is stopped longer than its leases, another takes its work, then it wakes up."""

from __future__ import annotations

import signal

import trio

from ..stage import Scenario, Stage


async def run(stage: Stage) -> None:
    """What the sleeper held is done by the other; the sleeper's own outcomes must bounce off the fences."""
    first = await stage.started()
    await stage.started()
    seconds = stage.scale(4, 62)
    async with stage.load(rate=150) as load:
        for _ in stage.times(1, 1):
            await load.more(100)
            first.signal(signal.SIGSTOP)
            await trio.sleep(seconds)
            first.signal(signal.SIGCONT)
            woken = trio.current_time()
            await stage.recovered(load, woken)
        await load.more(100)
    stage.note(f"stopped for {seconds:g} s, with leases of 2 s (queues) and 60 s (inbox)")
    stage.note("senders whose connection hung gave up after 30 s and turned to the other daemon")


SCENARIO = Scenario("sigstop", "One of two daemons is stopped longer than its leases and continued.", run)
