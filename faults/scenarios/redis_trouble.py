"""Redis is a hint: killed, flushed, silent, gone for good. Deliveries must not even notice."""

from __future__ import annotations

import trio

from wharfd.testing.redis import RedisServer

from ..stage import Scenario, Stage

_LONGEST_WAIT_SECONDS = 5.0


async def run(stage: Stage) -> None:
    """Each trouble in turn, and the API must answer in each of them."""
    folder = stage.folder / "redis"
    folder.mkdir()
    redis = RedisServer(folder)
    await trio.to_thread.run_sync(redis.start)
    try:
        daemon = await stage.started(more=f'[redis]\nurl = "{redis.url()}"')
        async with stage.load() as load:
            for _ in stage.times(1, 3):
                for trouble in ("flush", "pause", "kill"):
                    await load.more(30)
                    began = trio.current_time()
                    await trio.to_thread.run_sync(getattr(redis, trouble))
                    await stage.recovered(load, began)
                    with trio.fail_after(20):
                        status, _ = await daemon.ask("GET", "/api/v1/status")
                    stage.expect(status == 200, f"the API answered {status} after: {trouble}")
                    await trio.sleep(stage.scale(0.5, 3))
                    if trouble == "pause":
                        redis.resume()
                    if trouble == "kill":
                        await trio.to_thread.run_sync(redis.start)
            await load.more(50)
    finally:
        redis.resume()
        redis.kill()
    stage.expect(daemon.running, "the daemon did not live through it")
    stage.expect(load.worst < _LONGEST_WAIT_SECONDS, f"a delivery waited {load.worst:.1f} s for Redis")
    stage.expect(set(load.outcomes) == {"200"}, f"answers other than 200: {dict(load.outcomes)}")


SCENARIO = Scenario("redis-trouble", "Redis is flushed, stopped (SIGSTOP) and killed, again and again.", run)
