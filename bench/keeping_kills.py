"""How many acknowledged commits a lost disk costs: receiver and server killed in one moment, again and again.

    python bench/keeping_kills.py                  # 20 kills with commits that wait for the receiver
    python bench/keeping_kills.py --without        # and with those that do not

Eight sessions commit row after row and note each answer. Then the server, its receiver and all who commit are
killed with -9, the data folder is not looked at again, and what the places and the received log hold is
restored: every row that was acknowledged must be there.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import trio
from keeping import PACKING, QUIET, TABLES, Bench, opened

from wharfd import new_id
from wharfd_backups.engine.awaiting import Awaiting
from wharfd_backups.engine.taking import Order, take
from wharfd_backups.model.targets import LATEST
from wharfd_backups.restoring.restore import restore

SESSIONS = 8
APART_SECONDS = 0.005  # a moment is never the same for both; the receiver goes first, which is worse
COMMIT = b"INSERT INTO bench.load (body) VALUES (repeat('x', 600)) RETURNING id;\n"


async def commit_for_ever(bench: Bench, acknowledged: set[int]) -> None:
    """Commit a row at a time, and note which were answered."""
    async with bench.programs.conversation(bench.server.dsn("owner")) as psql:
        unread = b""
        try:
            while True:
                await psql.send_all(COMMIT)
                while b"\n" not in unread:
                    if not (chunk := await psql.receive_some()):
                        return
                    unread += chunk
                answer, _, unread = unread.partition(b"\n")
                acknowledged.add(int(answer))
        except trio.BrokenResourceError:
            return


def processes_of(*folders: Path) -> list[int]:
    """Return the processes that name one of the folders in their command line or work below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, where = (process / "cmdline").read_text(), os.readlink(process / "cwd")
        except OSError:
            continue
        if any(str(folder) in words.split("\0") or where.startswith(str(folder)) for folder in folders):
            found.append(int(process.name))
    return found


def kill(processes: list[int]) -> None:
    """Kill them all with -9; one that has ended is as good."""
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def one(folder: Path, wait: bool, seconds: float) -> tuple[int, int]:
    """Make a server, load it, kill it, restore; return how many were acknowledged, and how many are lost."""
    acknowledged: set[int] = set()
    async with opened(folder) as bench:
        await bench.sql(TABLES, "owner")
        order = Order(id=new_id("bkp"), method="physical", reason="manual", packing=PACKING)
        awaiting = Awaiting(bench.programs, bench.server.dsn("superuser"), QUIET) if wait else None
        receiver = await bench.receiver(awaiting=awaiting)
        async with trio.open_nursery() as nursery:
            await nursery.start(receiver.run, 5.0)
            await take(order, bench.house, bench.programs, bench.server.dsn("backup"))
            while awaiting is not None and not awaiting.now:  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(0.05)
            for _ in range(SESSIONS):
                nursery.start_soon(commit_for_ever, bench, acknowledged)
            await trio.sleep(seconds)
            receivers, servers = processes_of(bench.incoming), processes_of(bench.server.data_dir)
            kill(receivers)
            await trio.sleep(APART_SECONDS)
            kill(servers)
            there = set(acknowledged)
            nursery.cancel_scope.cancel()  # or it would receive from the server that comes back
        source = bench.source(place=bench.first, incoming=bench.incoming)
        done = await restore(source, LATEST, bench.folder / "back", backup_id=order.id)
        found = {int(row[0]) for row in await done.scratch.ask("SELECT id FROM bench.load", "wharfd")}
        await done.scratch.stop()
    return len(there), len(there - found)


def main() -> None:
    """Kill it, restore it, count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--without", action="store_true", help="commits do not wait for the receiver")
    given = parser.parse_args()
    commits, lost, hit = 0, 0, 0
    began = time.monotonic()
    for _ in range(given.kills):
        with tempfile.TemporaryDirectory(prefix="wk-") as folder:
            of, gone = trio.run(one, Path(folder), not given.without, random.uniform(1.0, 3.0))
        commits, lost, hit = commits + of, lost + gone, hit + (gone > 0)
    way = "do not wait" if given.without else "wait"
    print(f"commits {way} for the receiver, {given.kills} kills, {time.monotonic() - began:.0f} s:")
    print(f"  {commits:,} acknowledged, {lost} lost, in {hit} of the kills")


if __name__ == "__main__":
    main()
