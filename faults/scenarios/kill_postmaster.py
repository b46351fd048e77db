"""kill -9 of the postmaster: PostgreSQL recovers from its log, the daemon rides it out."""

from __future__ import annotations

import trio

from ..stage import Scenario, Stage


async def run(stage: Stage) -> None:
    """Kill the postmaster at random moments and start it again at once."""
    daemon = await stage.started()
    pid = daemon.pid
    async with stage.load() as load:
        for _ in stage.times(1, 15):
            await trio.sleep(stage.random.uniform(0.3, 1.5))
            await stage.server.stop("kill")
            died = trio.current_time()
            await stage.server.start()
            await stage.recovered(load, died)
        await load.more(50)
    stage.expect(daemon.running and daemon.pid == pid, "the daemon did not live through it")
    stage.note(
        f"{len(stage.recoveries)} kills; acknowledged meanwhile by the spool, so recovery is not PostgreSQL's"
    )


SCENARIO = Scenario(
    "kill-postmaster",
    "kill -9 of PostgreSQL's postmaster, started again at once.",
    run,
    short=True,
    workloads=("proof", "netbanx"),
)
