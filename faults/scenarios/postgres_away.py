"""PostgreSQL is away for a while under load: deliveries go to the spool, or are refused without it."""

from __future__ import annotations

import trio

from ..stage import Scenario, Stage


async def spool_on(stage: Stage) -> None:
    """The spool takes what comes; afterwards all of it is in the database."""
    daemon = await stage.started()
    seconds = stage.scale(3, 60 if stage.workload.name == "proof" else 20)
    async with stage.load() as load:
        await load.more(50)
        await stage.server.stop()
        stopped, before = trio.current_time(), stage.ledger.acknowledged
        await stage.recovered(load, stopped)  # by the spool
        await trio.sleep_until(stopped + seconds)
        during = stage.ledger.acknowledged - before
        await stage.server.start()
        await load.more(50)
    stage.expect(daemon.running, "the daemon did not live through it")
    stage.expect(during > 0, "nothing was acknowledged during the outage")
    stage.note(f"PostgreSQL away for {seconds:g} s; {during} deliveries acknowledged meanwhile, by the spool")
    stage.note("recovery is from PostgreSQL's stop to the first acknowledgement by the spool")


async def spool_off(stage: Stage) -> None:
    """Nothing is acknowledged; afterwards everything is."""
    daemon = await stage.started(ingest="spool = false")
    seconds = stage.scale(3, 60)
    async with stage.load() as load:
        await load.more(50)
        await stage.server.stop()
        before = stage.ledger.acknowledged
        await trio.sleep(seconds)
        during = stage.ledger.acknowledged - before
        await stage.server.start()
        back = trio.current_time()
        await stage.recovered(load, back)
        await load.more(50)
    stage.expect(daemon.running, "the daemon did not live through it")
    stage.expect(during == 0, f"{during} deliveries were acknowledged without a database")
    stage.expect(set(load.outcomes) <= {"200", "503"}, f"answers other than 200 and 503: {load.outcomes}")
    stage.note(f"PostgreSQL away for {seconds:g} s; {load.outcomes['503']} requests were told 503, none 200")


ON = Scenario(
    "postgres-away-spool",
    "PostgreSQL is stopped for a while under load, the spool is on.",
    spool_on,
    short=True,
    workloads=("proof", "netbanx"),
)
OFF = Scenario("postgres-away", "PostgreSQL is stopped for a while under load, the spool is off.", spool_off)
