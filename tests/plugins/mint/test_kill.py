"""kill -9 of a whole process at every step, on a real chain; the next daemon finishes what the first began."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

STEPS = ["sign", "persist", "commit", "broadcast", "receipt", "notify"]


@pytest.mark.faults
@pytest.mark.parametrize("step", STEPS)
async def test_a_killed_daemon_leaves_one_token(anvil, opened, database_settings, step):
    settings = anvil.settings()
    async with opened(settings, work=False) as house:
        await house.add()
    dead = await trio.run_process(
        [
            sys.executable,
            str(Path(__file__).with_name("worker.py")),
            database_settings.url,
            database_settings.owner_url,
            anvil.url,
            anvil.contract,
            anvil.key.reveal(),
            step,
        ],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert dead.returncode == -signal.SIGKILL
    async with opened(settings, work=False) as house:
        # The lease of the dead would run out in a minute; it is over now.
        await house.set(
            "UPDATE mint.intents SET lease_until = now() - interval '1 second' WHERE state = 'running'"
        )
    async with opened(settings) as house:
        await house.now()
        await house.reached("done", seconds=30)
        assert anvil.supply() == 1
        assert len({one["hash"] for one in await house.attempts()}) == 1
        assert len(await house.delivered()) == 1
        assert int(anvil.rpc("eth_getTransactionCount", anvil.minter, "latest"), 16) == 1
