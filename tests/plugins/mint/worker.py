"""A daemon's share of the plugin in a process of its own, that kills itself when it has passed a step.

python worker.py DATABASE_URL OWNER_URL RPC_URL CONTRACT KEY STEP
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import trio

from wharfd.db import DatabaseSettings, open_bridge, open_database
from wharfd.secrets import Secret

_spec = importlib.util.spec_from_file_location("mint_conftest", Path(__file__).with_name("conftest.py"))
conftest = importlib.util.module_from_spec(_spec)
sys.modules["mint_conftest"] = conftest
_spec.loader.exec_module(conftest)


async def main(url, owner_url, rpc, contract, key, step):
    def passing(passed):
        if passed == step:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = conftest.make_settings(evm=conftest.make_evm(rpc, contract, Secret(key)))
    database = DatabaseSettings(url=url, owner_url=owner_url, application_name="worker")
    async with (
        open_bridge() as bridge,
        open_database(bridge, database) as db,
        conftest.open_house(db, settings, node="doomed", passing=passing),
    ):
        await trio.sleep(60)


trio.run(main, *sys.argv[1:])
