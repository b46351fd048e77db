"""A process of its own that takes a backup, tries a restore or archives a log file, and kills itself at a step."""

import os
import signal
import sys
from pathlib import Path

import trio

from wharfd import Folder, Packing, Secret, choose_confinement, find_binaries
from wharfd_backups.engine.programs import Programs
from wharfd_backups.engine.receiving import keep_log_file
from wharfd_backups.engine.storehouse import Storehouse
from wharfd_backups.engine.taking import Order, take
from wharfd_backups.model.targets import LATEST
from wharfd_backups.restoring.drilling import Aim, drill
from wharfd_backups.restoring.restore import Source


async def backup(house, programs, hear, dsn, name, recipient):
    house.clear()
    order = Order(id=name, method="physical", reason="manual", packing=Packing((recipient,)))
    await take(order, house, programs, dsn, hear=hear)


async def attempt(house, programs, hear, folder, name, identity):
    source = Source(storehouse=house, place=house.second, identity=Secret(identity), programs=programs)
    (entry,), _ = house.entries()
    root = Path(folder) / "drills"
    report = await drill(source, root / name, root, Aim(entry=entry, target=LATEST), hear=hear)
    assert report.passed, report


async def log(house, programs, hear, path, system, size):
    keep_log_file(house, Path(path), Packing(), system=system, size=int(size), hear=hear)
    house.mirror_log(system, set())


async def main(what, folder, step, *more):
    def hear(heard):
        if heard == step:
            os.kill(os.getpid(), signal.SIGKILL)

    confinement = await choose_confinement()
    programs = Programs(await find_binaries(None, confinement), confinement)
    house = Storehouse(Folder(Path(folder) / "first"), Folder(Path(folder) / "second"))
    await {"backup": backup, "drill": attempt, "log": log}[what](house, programs, hear, *more)


trio.run(main, *sys.argv[1:])
