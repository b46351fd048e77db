"""A process of its own: a daemon that runs retention once and kills itself at a named step."""

import os
import signal
import sys
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parent))

import wharfd_retention
import wharfd_shop
from wharfd.app import assemble, run
from wharfd.config import load_configuration
from wharfd.loading import LoadedPlugin
from wharfd_retention.nightly import go


async def main(config, state_dir, step):
    modules = {"shop": wharfd_shop, "retention": wharfd_retention}
    found = [LoadedPlugin(name, "the test", module=module) for name, module in modules.items()]
    prepared = assemble(load_configuration(config, {}), found, [], path=None, state_dir=Path(state_dir))

    def hear(heard):
        if heard == step:
            os.kill(os.getpid(), signal.SIGKILL)

    async with trio.open_nursery() as nursery:

        async def serve(task_status):
            await run(prepared, environ={}, task_status=task_status)

        running = await nursery.start(serve)
        await go(running.lives.contexts["retention"], dry=False, hear=hear)
        running.stop.set()


trio.run(main, Path(sys.argv[1]).read_text(), *sys.argv[2:4])
