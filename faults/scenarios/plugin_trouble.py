"""A plugin hurts only itself: one that blocks the event loop, one that crashes all the time."""

from __future__ import annotations

import json

import trio

from ..stage import Scenario, Stage


async def block(stage: Stage) -> None:
    """A plugin stands on the event loop; it is named in the log and everything goes on afterwards."""
    seconds = stage.scale(2, 5)
    daemon = await stage.started(more="[plugins.trouble]")
    async with stage.load() as load:
        for _ in stage.times(1, 4):
            await load.more(50)
            with trio.fail_after(30):
                await daemon.ask("POST", f"/trouble/block/{seconds}")
            free = trio.current_time()
            await stage.recovered(load, free)
        await load.more(50)
    named = '"blocking_plugin":"trouble"' in daemon.log.read_text().replace('": "', '":"')
    stage.expect(named, "the log does not name the plugin that blocked")
    stage.note(f"blocked for {seconds:g} s at a time; the log names the plugin")


async def crash(stage: Stage) -> None:
    """A plugin crashes whenever it runs; it ends in quarantine and nobody else notices."""
    daemon = await stage.started(more="[plugins.trouble]\ncrash_every = 0.05")
    state = ""
    async with stage.load() as load:
        with trio.move_on_after(60):
            while state != "quarantined":
                await trio.sleep(0.5)
                _, body = await daemon.ask("GET", "/health/ready")
                state = next(one["state"] for one in json.loads(body)["plugins"] if one["name"] == "trouble")
        await load.more(50)
    stage.expect(state == "quarantined", f"the plugin is {state}, not quarantined")
    stage.expect(set(load.outcomes) == {"200"}, f"answers other than 200: {dict(load.outcomes)}")
    stage.expect(load.worst < 5, f"a delivery waited {load.worst:.1f} s")
    stage.note("five crashes, then quarantine; /health/ready stayed 200")


BLOCK = Scenario("loop-blocked", "A plugin blocks the event loop for seconds.", block)
CRASH = Scenario("plugin-crash-loop", "A plugin crashes 50 ms after every start.", crash)
