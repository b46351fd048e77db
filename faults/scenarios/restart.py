"""Restarts under load on sockets that systemd would hold: nobody is refused, nobody is cut off."""

from __future__ import annotations

import trio

from ..stage import Scenario, Stage


async def run(stage: Stage) -> None:
    """SIGTERM, wait for the end, start the next on the same sockets."""
    daemon = await stage.started(activated=True)
    async with stage.load() as load:
        for _ in stage.times(1, 10):
            await trio.sleep(stage.random.uniform(0.3, 1.0))
            asked = trio.current_time()
            stage.expect(await daemon.stop() == 0, "it did not end in good order")
            daemon.launch()
            await stage.recovered(load, asked)
            await daemon.wait_ready()
        await load.more(50)
    for name in ("refused", "cut", "slow", "503"):
        stage.expect(load.outcomes[name] == 0, f"{load.outcomes[name]} requests were {name}")
    stage.note(
        f"{len(stage.recoveries)} restarts; recovery is from SIGTERM to the first answer of the next process"
    )


SCENARIO = Scenario(
    "rolling-restart", "SIGTERM and start again under load, with socket activation.", run, short=True
)
