"""In random order: the daemon killed, the postmaster killed, both, PostgreSQL away."""

from __future__ import annotations

import trio

from ..daemon import Daemon
from ..load import Load
from ..stage import Scenario, Stage

FAULTS = ("daemon killed", "postmaster killed", "PostgreSQL away", "both killed")


async def run(stage: Stage) -> None:
    """Play the faults in an order of the seed's choosing."""
    daemon = await stage.started(activated=True)
    faults: list[str] = []
    async with stage.load() as load:
        for number in stage.times(3, 60, seconds=60):
            if number % 3 == 0:
                faults += stage.random.sample(FAULTS[:3] if stage.short else FAULTS, 3)
            await trio.sleep(stage.random.uniform(0.1, 0.8))
            await _play(stage, daemon, load, faults[number])
        await load.more(50)
    refused = load.outcomes["refused"]
    stage.expect(refused == 0, f"{refused} connections were refused")


async def _play(stage: Stage, daemon: Daemon, load: Load, fault: str) -> None:
    begun = trio.current_time()
    if fault == "PostgreSQL away":
        await stage.server.stop()
        await stage.recovered(load, begun)
    if fault in ("postmaster killed", "both killed"):
        await stage.server.stop("kill")
    if fault in ("daemon killed", "both killed"):
        await daemon.kill()
    if fault != "daemon killed":
        await stage.server.start()
    if not daemon.running:
        daemon.launch()
    await stage.recovered(load, begun)


SCENARIO = Scenario(
    "mixed",
    "In random order: daemon killed, postmaster killed, both, PostgreSQL away for a moment.",
    run,
    short=True,
    workloads=("proof", "netbanx"),
)
