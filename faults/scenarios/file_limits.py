"""The process runs out of file descriptors: it sheds idle connections and goes on."""

from __future__ import annotations

import shutil

import trio

from ..stage import Scenario, Stage
from .hostile_http import _open_idle

_LIMIT = 160


async def run(stage: Stage) -> None:
    """Take all descriptors by idle connections; deliveries go on, new connections come through."""
    daemon = stage.daemon()
    await daemon.start(wrapper=["prlimit", f"--nofile={_LIMIT}:{_LIMIT}"])
    async with stage.load(rate=60, senders=6) as load:
        await load.more(50)
        for _ in stage.times(1, 5):
            idle = await _open_idle(daemon.ingest, 400)
            full = trio.current_time()
            await stage.recovered(load, full)
            await trio.sleep(stage.scale(0.5, 3))
            for one in idle:
                one.close()
            await load.more(30)
    stage.expect(daemon.running, "the daemon did not live through it")
    stage.note(f"at most {_LIMIT} descriptors for the process, 400 idle connections at a time")


def needs() -> str:
    """Say what is missing."""
    return "" if shutil.which("prlimit") else "the program prlimit is missing"


SCENARIO = Scenario(
    "fd-exhaustion", "400 idle connections against a limit of 160 file descriptors.", run, needs=needs
)
