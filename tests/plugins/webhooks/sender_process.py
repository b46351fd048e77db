"""A sender in a process of its own that kills itself at a labelled point, for `test_crashes.py`.

Arguments: the app's DSN, the owner's DSN, the path of the master key, the point, and how many times the point
is passed before it kills.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import trio

from wharfd.db import DatabaseSettings, open_bridge, open_database
from wharfd_webhooks.sending import sender as sending


def kill_at(point, after):
    """Make this process die without a word when it comes to a point."""
    passed = 0

    def here():
        nonlocal passed
        passed += 1
        if passed > after:
            os.kill(os.getpid(), signal.SIGKILL)

    post = sending.post
    begin = sending.Sender._begin
    write = sending.Results._commit

    async def begin_then(self, starts):
        if point == "claimed":
            here()
        begun = await begin(self, starts)
        if point == "attempt_written":
            here()
        return begun

    async def post_then(*arguments):
        answer = await post(*arguments)
        if point == "sent":
            here()
        return answer

    async def write_then(self, results, verdicts):
        told = await write(self, results, verdicts)
        if point == "result_written":
            here()
        return told

    sending.Sender._begin = begin_then
    sending.post = post_then
    sending.Results._commit = write_then


async def main(dsn, owner_dsn, key, point, after):
    spec = importlib.util.spec_from_file_location("kit", Path(__file__).with_name("conftest.py"))
    kit = importlib.util.module_from_spec(spec)
    sys.modules["kit"] = kit
    spec.loader.exec_module(kit)
    kill_at(point, int(after))
    settings = DatabaseSettings(url=dsn, owner_url=owner_dsn, application_name="doomed")
    async with (
        open_bridge() as bridge,
        open_database(bridge, settings) as db,
        kit.open_house(db, Path(key).parent, node=f"doomed-{os.getpid()}"),
    ):
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
