"""A daemon in a process of its own, to be killed: runs the orders plugin on a given database.

Arguments: database URL, owner URL, state folder, and TOML for `[plugins.orders]`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

import wharfd_orders
from wharfd.app import assemble, run
from wharfd.config import load_configuration
from wharfd.loading import LoadedPlugin


async def main(url, owner_url, state, config):
    text = (
        '[http]\nbind = "127.0.0.1:0"\n[ingest]\nbind = "127.0.0.1:0"\n'
        f'[database]\nurl = "{url}"\nowner_url = "{owner_url}"\n[plugins.orders]\n{config}\n'
    )
    plugin = LoadedPlugin("orders", "the test", module=wharfd_orders)
    prepared = assemble(load_configuration(text, {}), [plugin], [], path=None, state_dir=Path(state))
    async with trio.open_nursery() as nursery:
        await nursery.start(start, prepared)
        sys.stdout.write("ready\n")
        sys.stdout.flush()


async def start(prepared, task_status):
    await run(prepared, environ={}, task_status=task_status)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
