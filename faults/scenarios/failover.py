"""The primary dies for good and a standby takes over: a multi-host URL, and synchronous replication."""

from __future__ import annotations

import trio

from ..postgres import Server
from ..stage import Scenario, Stage


async def run(stage: Stage) -> None:
    """Kill the primary under load, promote the standby a second later, and go on there."""
    primary = Server(stage.folder / "primary")
    stage.servers.append(primary)
    await primary.create()
    await primary.make_database(stage.database)
    standby = await primary.make_standby(stage.folder / "standby")
    stage.servers.append(standby)
    daemon = await stage.started(hosts=f"{primary.folder},{standby.folder}")
    pid = daemon.pid
    async with stage.load() as load:
        await load.more(200)
        await primary.stop("kill")
        died, before = trio.current_time(), stage.ledger.acknowledged
        await trio.sleep(1)
        await standby.promote()
        promoted = trio.current_time()
        stage.note(f"{stage.ledger.acknowledged - before} deliveries acknowledged by the spool meanwhile")
        stage.server = standby
        with trio.fail_after(60):
            while (await standby.query(stage.database, stage.workload.stored)) == []:
                await trio.sleep(0.05)
            count = len(await standby.query(stage.database, stage.workload.stored))
            while len(await standby.query(stage.database, stage.workload.stored)) <= count:
                await trio.sleep(0.05)
        seconds = trio.current_time() - promoted
        stage.note(f"the new primary had its first new row {seconds:.1f} s after its promotion")
        await stage.recovered(load, died)
        await load.more(100)
    stage.expect(daemon.running and daemon.pid == pid, "the daemon did not live through it")


SCENARIO = Scenario(
    "primary-failover",
    "kill -9 of the primary, a synchronous standby is promoted a second later.",
    run,
    workloads=("proof", "netbanx"),
)
