"""Redis is a hint: killed, flushed, silent, slow, full, lying. Deliveries must not even notice."""

from __future__ import annotations

import json

import trio

from wharfd.testing.redis import RedisServer

from ..daemon import Daemon
from ..proxy import Proxy, to_unix
from ..stage import Scenario, Stage

_LONGEST_WAIT_SECONDS = 5.0
_KEYS = 200
_FORGERIES = (b"", b"\x00" * 40, b"{}", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"9" * 4096)


class Watched:
    """A Redis behind a proxy and a daemon that uses it; every answer out of its cache is checked."""

    def __init__(self, stage: Stage, redis: RedisServer, proxy: Proxy, daemon: Daemon) -> None:
        self.stage, self.redis, self.proxy, self.daemon = stage, redis, proxy, daemon
        self.asked = 0
        self.allowed = 0

    async def look(self) -> None:
        """Ask the API for cached values and for one of few permits, again and again, until cancelled."""
        while True:
            number = self.stage.random.randrange(_KEYS)
            began = trio.current_time()
            status, body = await self.daemon.ask("GET", f"/trouble/cached/{number}")
            took = trio.current_time() - began
            right = status == 200 and json.loads(body) == {"value": number * 7}
            self.stage.expect(right, f"asked for {number} times 7, the cache said {status} {body!r}")
            self.stage.expect(took < _LONGEST_WAIT_SECONDS, f"an answer out of the cache took {took:.1f} s")
            status, body = await self.daemon.ask("POST", "/trouble/few/one")
            self.allowed += status == 200 and json.loads(body)["allowed"]
            self.asked += 1
            await trio.sleep(0.02)

    async def make(self, trouble: str) -> None:
        """Make one kind of trouble."""
        if trouble == "slow":
            self.proxy.delay_seconds = 0.5
        elif trouble == "full":
            self._must("CONFIG", "SET", "maxmemory-policy", "noeviction")
            self._must("CONFIG", "SET", "maxmemory", "1")
        elif trouble == "lying":
            for name in self._keys():
                self._tell("SET", name, self.stage.random.choice(_FORGERIES))
        elif trouble == "wrong kind":
            for name in self._keys():
                self._tell("DEL", name)
                self._tell("LPUSH", name, "not what was kept here")
        else:
            await trio.to_thread.run_sync(getattr(self.redis, trouble))

    async def end(self, trouble: str) -> None:
        """End it."""
        self.proxy.heal()
        if trouble == "pause":
            self.redis.resume()
        elif trouble == "kill":
            await trio.to_thread.run_sync(self.redis.start)
        elif trouble == "full":
            self._must("CONFIG", "SET", "maxmemory", "0")

    def _must(self, *parts: str) -> None:
        assert self.redis.command(*parts) == b"+OK\r\n"

    def _tell(self, *parts: str | bytes) -> None:
        self.redis.command(*parts)

    def _keys(self) -> list[bytes]:
        reply = self.redis.command("KEYS", "*")
        return [part for part in reply.split(b"\r\n") if part and part[:1] not in b"*$"]


async def run(stage: Stage) -> None:
    """Each trouble in turn, while values out of the cache and permits are asked for all the time."""
    folder = stage.folder / "redis"
    folder.mkdir()
    redis = RedisServer(folder)
    await trio.to_thread.run_sync(redis.start)
    proxy = Proxy(to_unix(str(redis.socket)))
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(proxy.run)
            daemon = await stage.started(
                more=f'[plugins.trouble]\n[redis]\nurl = "redis://127.0.0.1:{proxy.port}/0"'
            )
            watched = Watched(stage, redis, proxy, daemon)
            async with stage.load() as load, trio.open_nursery() as beside:
                beside.start_soon(watched.look)
                for _ in stage.times(1, 3, seconds=60):
                    for trouble in ("flush", "lying", "slow", "full", "wrong kind", "pause", "kill"):
                        await load.more(30)
                        began = trio.current_time()
                        await watched.make(trouble)
                        await stage.recovered(load, began)
                        with trio.fail_after(20):
                            status, _ = await daemon.ask("GET", "/api/v1/status")
                        stage.expect(status == 200, f"the API answered {status} after: {trouble}")
                        await trio.sleep(stage.scale(0.5, 2))
                        await watched.end(trouble)
                await load.more(50)
                beside.cancel_scope.cancel()
            stage.expect(await stage.settled(), "work was still open")  # the proxy ends with this block
            stage.expect(await daemon.stop() == 0, "the daemon did not end in good order")
            nursery.cancel_scope.cancel()
    finally:
        redis.resume()
        redis.kill()
    stage.expect(load.worst < _LONGEST_WAIT_SECONDS, f"a delivery waited {load.worst:.1f} s for Redis")
    stage.expect(set(load.outcomes) == {"200"}, f"answers other than 200: {dict(load.outcomes)}")
    # Twenty an hour may be taken at once; what comes back meanwhile is less than one.
    stage.expect(watched.allowed <= 20, f"{watched.allowed} of 20 permits were given out")
    stage.note(f"{watched.asked} values out of the cache, all right; {watched.allowed} of 20 permits given")


SCENARIO = Scenario(
    "redis-trouble", "Redis is flushed, lying, slow, full, stopped (SIGSTOP) and killed, by turns.", run
)
