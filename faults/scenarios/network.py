"""The network between daemon and PostgreSQL, or daemon and Redis, is bad: slow, cut, half-closed, silent."""

from __future__ import annotations

import trio

from wharfd.testing.redis import RedisServer

from ..load import Load
from ..proxy import Proxy, to_unix
from ..stage import Scenario, Stage

FAULTS = ("delay", "reset", "half-close", "black hole", "refuse", "delay and reset")
_LONGEST_WAIT_SECONDS = 5.0


async def postgres(stage: Stage) -> None:
    """Each fault for some seconds, then heal it and wait for an acknowledgement."""
    proxy = Proxy(to_unix(stage.server.socket))
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        daemon = await stage.started(port=proxy.port)
        async with stage.load(rate=60) as load:
            await break_and_heal(stage, load, proxy)
            await load.more(50)
        stage.expect(daemon.running, "the daemon did not live through it")
        stage.expect(await stage.settled(), "work was still open")  # the proxy ends with this block
        stage.expect(await daemon.stop() == 0, "the daemon did not end in good order")
        nursery.cancel_scope.cancel()


async def redis(stage: Stage) -> None:
    """The same between daemon and Redis: no delivery is refused, none waits long."""
    folder = stage.folder / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    await trio.to_thread.run_sync(server.start)
    proxy = Proxy(to_unix(str(server.socket)))
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(proxy.run)
            daemon = await stage.started(more=f'[redis]\nurl = "redis://127.0.0.1:{proxy.port}/0"')
            async with stage.load(rate=60) as load:
                await break_and_heal(stage, load, proxy)
                await load.more(50)
            stage.expect(daemon.running, "the daemon did not live through it")
            stage.expect(await stage.settled(), "work was still open")
            stage.expect(await daemon.stop() == 0, "the daemon did not end in good order")
            nursery.cancel_scope.cancel()
    finally:
        server.kill()
    stage.expect(load.worst < _LONGEST_WAIT_SECONDS, f"a delivery waited {load.worst:.1f} s for Redis")
    stage.expect(set(load.outcomes) == {"200"}, f"answers other than 200: {dict(load.outcomes)}")


async def break_and_heal(stage: Stage, load: Load, proxy: Proxy) -> None:
    """Play every fault, and wait after each until a delivery is acknowledged."""
    for _ in stage.times(1, 3):
        for fault in FAULTS:
            await load.more(30)
            await break_by(proxy, fault)
            await trio.sleep(stage.random.uniform(0.5, 1.5) * stage.scale(0.5, 4))
            proxy.heal()
            healed = trio.current_time()
            seconds = await stage.recovered(load, healed)
            if seconds > 5:
                stage.note(f"{fault}: {seconds:.1f} s to the next acknowledgement")


async def break_by(proxy: Proxy, fault: str) -> None:
    """Make one fault; those that pass by themselves happen now, the others hold until healed."""
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


POSTGRES = Scenario(
    "network-postgres",
    "Delay, reset, half-close, black hole and refusal between daemon and PostgreSQL.",
    postgres,
    workloads=("proof", "netbanx"),
)
REDIS = Scenario(
    "network-redis", "Delay, reset, half-close, black hole and refusal between daemon and Redis.", redis
)
