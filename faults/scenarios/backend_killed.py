"""Single server processes die: terminated in order, or by kill -9, upon which PostgreSQL restarts itself."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from subprocess import CalledProcessError

import trio

from ..stage import Scenario, Stage


async def run(stage: Stage) -> None:
    """By turns terminate and kill a random backend of the daemon."""
    daemon = await stage.started()
    async with stage.load() as load:
        for number in stage.times(4, 40):
            await trio.sleep(stage.random.uniform(0.1, 0.5))
            with suppress(
                CalledProcessError, ProcessLookupError
            ):  # the server may still be restarting itself
                backends = await stage.server.backends(stage.database)
                if backends:
                    kill = signal.SIGTERM if number % 2 else signal.SIGKILL
                    os.kill(stage.random.choice(backends), kill)
            died = trio.current_time()
            await stage.recovered(load, died)
        await load.more(50)
    stage.expect(daemon.running, "the daemon did not live through it")


SCENARIO = Scenario("backend-killed", "A backend is terminated (SIGTERM) or killed (SIGKILL), by turns.", run)
