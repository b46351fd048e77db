"""The daemon dies at named points: before and after each commit between a delivery and its last effect."""

from __future__ import annotations

import trio

from ..daemon import Daemon
from ..stage import Scenario, Stage

POINTS = (
    "store.begin",
    "store.end",
    "store.committed",
    "work.begin",
    "work.end",
    "work.committed",
    "heard",
    "spooled",
)
_DEATH_SECONDS = 20.0


async def run(stage: Stage) -> None:
    """At each point let it die of itself, start it again without, and wait for an acknowledgement."""
    daemon = await stage.started(activated=True)
    plain = daemon.config.read_text()
    async with stage.load() as load:
        for number in stage.times(3, 3 * len(POINTS), seconds=60):
            point = POINTS[(number * 3 if stage.short else number) % len(POINTS)]
            await daemon.stop()
            after = stage.random.randrange(20)
            daemon.config.write_text(
                plain.replace(
                    "[plugins.proof]\n", f'[plugins.proof]\ncrash_at = "{point}"\ncrash_after = {after}\n'
                )
            )
            daemon.launch()
            if point == "spooled":
                await daemon.wait_ready()
                await stage.server.stop()
            await _died(stage, daemon, point)
            if point == "spooled":
                await stage.server.start()
            died = trio.current_time()
            daemon.config.write_text(plain)
            daemon.launch()
            await stage.recovered(load, died)
        await load.more(30)
    refused = load.outcomes["refused"]
    stage.expect(refused == 0, f"{refused} connections were refused")
    stage.note(f"died at {len(stage.recoveries)} points: {', '.join(POINTS)}")


async def _died(stage: Stage, daemon: Daemon, point: str) -> None:
    with trio.move_on_after(_DEATH_SECONDS):
        while daemon.running:
            await trio.sleep(0.01)
        stage.expect(
            daemon.process is not None and daemon.process.returncode == -9, f"{point}: it did not die"
        )
        return
    raise TimeoutError(f"{point} was not passed within {_DEATH_SECONDS:g} s")


SCENARIO = Scenario(
    "crash-points", "The daemon kills itself at each named point between receipt and effect.", run
)
