"""Two daemons on one PostgreSQL: one is killed, the other does its work, the first comes back."""

from __future__ import annotations

import trio

from ..stage import Scenario, Stage


async def run(stage: Stage) -> None:
    """Kill one of them at random, wait until deliveries go on through the other, start it again."""
    pair = [await stage.started(), await stage.started()]
    async with stage.load(rate=150) as load:
        for _ in stage.times(1, 20):
            await trio.sleep(stage.random.uniform(0.2, 1.0))
            victim = stage.random.choice(pair)
            await victim.kill()
            died = trio.current_time()
            await stage.recovered(load, died)
            await victim.start()
        await load.more(50)
    stage.note(f"{len(stage.recoveries)} kills")
    if stage.workload.name == "proof":
        nodes = await stage.server.query(stage.database, "SELECT count(DISTINCT node) FROM proof.effects")
        stage.note(f"{nodes[0][0]} processes took part in the work")


SCENARIO = Scenario(
    "two-daemons",
    "One of two daemons is killed while the other goes on.",
    run,
    workloads=("proof", "netbanx"),
)
