"""kill -9 of the daemon, again and again at random moments, on sockets that outlive it."""

from __future__ import annotations

import trio

from ..stage import Scenario, Stage


async def run(stage: Stage) -> None:
    """Kill it after a random while, start it again at once, and wait for the next acknowledgement."""
    daemon = await stage.started(activated=True)
    async with stage.load() as load:
        for _ in stage.times(4, 200, seconds=150):
            await trio.sleep(stage.random.uniform(0.05, 0.6))
            await daemon.kill()
            died = trio.current_time()
            daemon.launch()
            await stage.recovered(load, died)
        await load.more(50)
    refused = load.outcomes["refused"]
    stage.expect(refused == 0, f"{refused} connections were refused")
    stage.note(f"{len(stage.recoveries)} kills, connections refused: {refused}; recovery includes the start")


SCENARIO = Scenario(
    "kill-daemon", "kill -9 of the daemon at random moments, restarted at once.", run, short=True
)
