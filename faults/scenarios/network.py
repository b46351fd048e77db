"""The network between daemon and PostgreSQL is bad: slow, cut, half-closed, silent."""

from __future__ import annotations

import trio

from ..proxy import Proxy, to_unix
from ..stage import Scenario, Stage

FAULTS = ("delay", "reset", "half-close", "black hole", "refuse", "delay and reset")


async def run(stage: Stage) -> None:
    """Each fault for some seconds, then heal it and wait for an acknowledgement."""
    proxy = Proxy(to_unix(stage.server.socket))
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        daemon = await stage.started(port=proxy.port)
        async with stage.load(rate=60) as load:
            for _ in stage.times(1, 3):
                for fault in FAULTS:
                    await load.more(30)
                    await _break(proxy, fault)
                    await trio.sleep(stage.random.uniform(0.5, 1.5) * stage.scale(0.5, 4))
                    proxy.heal()
                    healed = trio.current_time()
                    seconds = await stage.recovered(load, healed)
                    if seconds > 5:
                        stage.note(f"{fault}: {seconds:.1f} s to the next acknowledgement")
            await load.more(50)
        stage.expect(daemon.running, "the daemon did not live through it")
        stage.expect(await stage.settled(), "work was still open")  # the proxy ends with this block
        stage.expect(await daemon.stop() == 0, "the daemon did not end in good order")
        nursery.cancel_scope.cancel()


async def _break(proxy: Proxy, fault: str) -> None:
    if "delay" in fault:
        proxy.delay_seconds = 0.2
    if "reset" in fault:
        proxy.reset_all()
    if fault == "half-close":
        await proxy.half_close_all()
    if fault == "black hole":
        proxy.black_hole()
    if fault == "refuse":
        proxy.refuse = True
        proxy.reset_all()


SCENARIO = Scenario(
    "network-postgres",
    "Delay, reset, half-close, black hole and refusal between daemon and PostgreSQL.",
    run,
    workloads=("proof", "netbanx"),
)
