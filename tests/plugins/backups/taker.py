"""A process of its own that takes a backup and kills itself at a named step."""

import os
import signal
import sys
from pathlib import Path

import trio

from wharfd import Folder, Packing, choose_confinement, find_binaries
from wharfd_backups.engine.programs import Programs
from wharfd_backups.engine.storehouse import Storehouse
from wharfd_backups.engine.taking import Order, take


async def main(dsn, folder, name, recipient, step):
    confinement = await choose_confinement()
    programs = Programs(await find_binaries(None, confinement), confinement)
    house = Storehouse(Folder(folder / "first"), Folder(folder / "second"))
    house.clear()

    def hear(heard):
        if heard == step:
            os.kill(os.getpid(), signal.SIGKILL)

    order = Order(id=name, method="physical", reason="manual", packing=Packing((recipient,)))
    await take(order, house, programs, dsn, hear=hear)


trio.run(main, sys.argv[1], Path(sys.argv[2]), *sys.argv[3:6])
