"""Backups and restores of a database of some size, beside plain pg_basebackup, pg_dump and pg_restore.

    python bench/keeping.py fill --gib 5 --data DIR    # once: a database that the others work on; DIR is kept
    python bench/keeping.py base --data DIR            # base backup and its restore, beside pg_basebackup
    python bench/keeping.py dump --data DIR            # dump and its restore, beside pg_dump and pg_restore
    python bench/keeping.py rto  --data DIR --wal 1    # to the last commit, 1 GiB of log behind the backup
    python bench/keeping.py rpo  --every 45            # what a lost machine costs with archive_command alone
    python bench/keeping.py --gib 1 --wal 0.25         # fill, base, dump and rto in a folder that is removed

How much ingest slows down meanwhile is measured by `bench/keeping_load.py`, what a lost disk costs by
`bench/keeping_kills.py`.

Everything is on one disk. Ours is packed with zstd, encrypted with age, compared with the server's manifest
while it streams, copied to a second place and read back there; restores verify every byte. The plain ones do
none of that. Each ends with its files on disk (`sync`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

import structlog
import trio

from wharfd import Folder, Packing, Secret, make_identity, new_id
from wharfd.db.embedded import EmbeddedPostgres
from wharfd.opening import EmbeddedServer
from wharfd_backups.engine.awaiting import Awaiting
from wharfd_backups.engine.programs import programs_of
from wharfd_backups.engine.pushing import Pushed, switch_on
from wharfd_backups.engine.receiving import SLOT, Receiver
from wharfd_backups.engine.storehouse import Storehouse
from wharfd_backups.engine.taking import Order, server_facts, take
from wharfd_backups.model.targets import LATEST
from wharfd_backups.restoring.restore import Source, restore

IDENTITY, RECIPIENT = make_identity()
PACKING = Packing((RECIPIENT,), level=1)  # as the plugin packs if nothing is said
QUIET = structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()])
TABLES = """CREATE SCHEMA bench;
CREATE TABLE bench.events (id bigint, source text, body jsonb, received_at timestamptz);
CREATE TABLE bench.load (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)"""
ROWS = """INSERT INTO bench.events SELECT n, 'netbanx', jsonb_build_object('id', md5(n::text), 'amount',
 n % 9973, 'card', md5((n * 7)::text), 'merchantRefNum', 'order-' || n, 'txnTime', now(),
 'note', repeat('word ', 20)), now()
 FROM generate_series({first}, {last}) n"""
BATCH = 200_000
SIZE = "SELECT pg_database_size(current_database())"
# A large max_wal_size only while the data is made: it is nothing that is measured.
FILLING = {"max_wal_size": "8GB"}


class Bench:
    """A server with data in it, and what is done with it; what that leaves is removed."""

    def __init__(self, folder: Path, server: EmbeddedServer, programs: object, size: int) -> None:
        self.folder, self.server, self.programs, self.bytes = folder, server, programs, size
        self.first, self.second = Folder(folder / "first"), Folder(folder / "second")
        self.house = Storehouse(self.first, self.second)
        self.incoming = folder / "incoming"

    async def sql(self, statement: str, role: str = "superuser") -> str:
        rows = await self.programs.rows(self.server.dsn(role), statement)
        return rows[0][0] if rows and rows[0] else ""

    def source(self, place: Folder | None = None, incoming: Path | None = None) -> Source:
        return Source(
            storehouse=self.house, place=place or self.second, identity=Secret(IDENTITY),
            programs=self.programs, incoming=incoming,
        )  # fmt: skip

    def say(self, what: str, seconds: float, more: str = "") -> float:
        print(f"{what:<44}{seconds:8.1f} s {self.bytes / 1e6 / seconds:8.0f} MB/s  {more}", flush=True)
        return seconds

    async def warm(self) -> None:
        """Read the data once, so that whoever comes first does not pay for the disk."""
        where = self.server.data_dir / "base"
        await trio.run_process(["find", str(where), "-type", "f", "-exec", "cat", "{}", "+"], stdout=DEVNULL)
        await trio.run_process(["sync", "-f", str(self.folder)])

    async def plain(self, what: str, name: str, *arguments: str, more: str = "") -> float:
        """Time a program of PostgreSQL, until what it wrote is on disk."""
        began = time.monotonic()
        await self.programs.call(name, *arguments, dsn=self.server.dsn("superuser"))
        await trio.run_process(["sync", "-f", str(self.folder)])
        return self.say(what, time.monotonic() - began, more)

    async def ours(self, what: str, method: str) -> tuple[object, float]:
        order = Order(id=new_id("bkp"), method=method, reason="manual", packing=PACKING)
        began = time.monotonic()
        dsn = self.server.dsn("backup" if method == "physical" else "owner")
        entry = await take(order, self.house, self.programs, dsn)
        return entry, self.say(what, time.monotonic() - began, f"{entry.bytes / 1e6:.0f} MB in each place")

    async def back(self, what: str, backup_id: str) -> float:
        """Time a restore from the second place; the server on it has answered when it ends."""
        done = await restore(self.source(), LATEST, self.folder / "back", backup_id=backup_id)
        await done.scratch.stop()
        shutil.rmtree(self.folder / "back")
        return self.say(what, done.phases.total, str(done.phases.seconds))

    async def receiver(self, kind: type[Receiver] = Receiver, awaiting: Awaiting | None = None) -> Receiver:
        dsn = self.server.dsn("backup" if kind is Receiver else "superuser")
        facts = await server_facts(self.programs, dsn)
        return kind(
            self.house, self.programs, dsn, self.incoming, PACKING,
            system=facts.system, segment_bytes=facts.segment_bytes, log=QUIET, awaiting=awaiting,
        )  # fmt: skip

    @asynccontextmanager
    async def receiving(self, every: float, kind: type[Receiver] = Receiver):
        receiver = await self.receiver(kind)
        async with trio.open_nursery() as nursery:
            await nursery.start(receiver.run, every)
            yield receiver
            nursery.cancel_scope.cancel()
        if kind is Receiver:
            await self.sql(f"SELECT pg_drop_replication_slot('{SLOT}')")


@asynccontextmanager
async def opened(data: Path, settings: dict[str, str] | None = None):
    """Run the server of `data`, with a folder for what is measured that is removed at the end."""
    state = data / "state"
    async with trio.open_nursery() as nursery:
        embedded = EmbeddedPostgres(state, bin_dir=None, log=QUIET, settings=settings or {})
        folder = Path(tempfile.mkdtemp(prefix="work-", dir=data))
        try:
            async with embedded.running(nursery) as running:
                server = EmbeddedServer(running)
                bench = Bench(folder, server, await programs_of(server), 0)
                bench.bytes = int(await bench.sql(SIZE))
                yield bench
        finally:
            shutil.rmtree(folder)
        nursery.cancel_scope.cancel()


async def fill(data: Path, gib: float) -> None:
    """Make the database: rows like those of webhooks, two sessions at a time, the key last."""
    async with opened(data, FILLING) as bench:
        began, last = time.monotonic(), 0
        await bench.sql(TABLES, "owner")
        while bench.bytes < gib * 2**30:
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(bench.sql, ROWS.format(first=last + 1, last=last + BATCH))
                    last += BATCH
            bench.bytes = int(await bench.sql(SIZE))
        await bench.sql("ALTER TABLE bench.events ADD PRIMARY KEY (id)")
        await bench.sql("VACUUM ANALYZE bench.events")
        await bench.sql("CHECKPOINT")
        size, seconds = int(await bench.sql(SIZE)), time.monotonic() - began
        print(f"{last:,} rows, {size / 1e6:,.0f} MB, made in {seconds:.0f} s", flush=True)


async def base(data: Path) -> None:
    """A base backup and its restore, beside pg_basebackup, whose result only has to be started."""
    async with opened(data) as bench:
        folder, dsn = bench.folder, bench.server.dsn("superuser")
        plain = ["-c", "fast", "--manifest-checksums=SHA256", "-d", dsn]
        await bench.warm()
        files = ["-D", str(folder / "plain"), "-X", "stream"]
        alone = await bench.plain("pg_basebackup", "pg_basebackup", *files, *plain)
        shutil.rmtree(folder / "plain")
        entry, seconds = await bench.ours("wharfd, physical", "physical")
        print(f"  {seconds / alone:.2f} of pg_basebackup's time")
        await bench.back("wharfd, restore of it", entry.id)


async def dump(data: Path) -> None:
    """A dump and its restore, beside pg_dump and pg_restore."""
    async with opened(data) as bench:
        folder, dsn = bench.folder, bench.server.dsn("superuser")
        where = str(folder / "dump")
        await bench.warm()
        alone = await bench.plain("pg_dump -Fc", "pg_dump", "-Fc", "-f", where, "-d", dsn)
        size = f"{(folder / 'dump').stat().st_size / 1e6:.0f} MB"
        await bench.sql("CREATE DATABASE other")
        target = dsn.replace("/wharfd?", "/other?")
        back = await bench.plain("pg_restore -j2", "pg_restore", "-j2", "-d", target, where, more=size)
        await bench.sql("DROP DATABASE other")
        (folder / "dump").unlink()
        entry, seconds = await bench.ours("wharfd, logical", "logical")
        print(f"  {seconds / alone:.2f} of pg_dump's time")
        ours = await bench.back("wharfd, restore of it", entry.id)
        print(f"  {ours / back:.2f} of pg_restore's time")


async def rto(data: Path, wal: float) -> None:
    """From nothing to a server that has the last commit, with a length of log behind the backup."""
    async with opened(data) as bench, bench.receiving(5.0) as receiver:
        entry, _ = await bench.ours("wharfd, physical", "physical")
        start = await bench.sql("SELECT pg_current_wal_lsn()")
        last = int(await bench.sql("SELECT max(id) FROM bench.events"))
        written = f"SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{start}')"
        while int(await bench.sql(written)) < wal * 2**30:
            await bench.sql(ROWS.format(first=last + 1, last=last + BATCH // 4))
            last += BATCH // 4
        amount = int(await bench.sql(written))
        name, system = await bench.sql("SELECT pg_walfile_name(pg_switch_wal())"), entry.system
        while name not in bench.house.log_files(system, bench.second):
            await receiver.archive()
            await trio.sleep(0.2)
        for times in ("first", "again"):
            seconds = await bench.back(f"wharfd, to the last commit, {times}", entry.id)
        print(f"  RTO {seconds:.1f} s for {bench.bytes / 1e6:,.0f} MB and {amount / 1e6:,.0f} MB of log")
        await bench.sql(f"DELETE FROM bench.events WHERE received_at > '{entry.finished_at.isoformat()}'")
        await bench.sql("VACUUM bench.events")


async def rpo(data: Path, every: float) -> None:
    """Kill the server under one-row commits, its disk gone with it, as late as can be after a file went."""
    async with opened(data) as bench:
        await bench.sql(TABLES, "owner")
        incoming = data / "incoming"
        await switch_on(bench.programs, bench.server.dsn("superuser"), incoming)
    acknowledged: list[float] = []
    async with opened(data) as bench:
        bench.incoming = incoming
        async with bench.receiving(every, Pushed) as receiver:
            entry, _ = await bench.ours("wharfd, physical", "physical")
            settled, files, ended = None, 0, trio.current_time() + 3 * every
            while trio.current_time() < ended:
                await bench.sql("INSERT INTO bench.load (body) VALUES (repeat('x', 600))")
                acknowledged.append(trio.current_time())
                if receiver.state.settled_at != settled:
                    settled, files = receiver.state.settled_at, files + 1
                    if files == 2:  # one has just gone: the worst is the moment before the next one does
                        ended = trio.current_time() + every - 0.5
            pid = int((bench.server.data_dir / "postmaster.pid").read_text().split("\n")[0])
            os.kill(pid, signal.SIGKILL)
            at = trio.current_time()
            assert receiver.state.receiving
        done = await restore(bench.source(), LATEST, bench.folder / "back", backup_id=entry.id)
        count = int((await done.scratch.ask("SELECT count(*) FROM bench.load", "wharfd"))[0][0])
        await done.scratch.stop()
    lost = acknowledged[count:]
    seconds = at - lost[0] if lost else 0.0
    print(f"archive_command, a file every {every:g} s: {len(lost)} of {len(acknowledged)} commits lost,")
    print(f"  RPO {seconds:.1f} s, killed as late as can be after the last file went")


async def main(given: argparse.Namespace, data: Path) -> None:
    """Do what was asked for."""
    if given.what in ("fill", "all"):
        await fill(data, given.gib)
    if given.what in ("base", "all"):
        await base(data)
    if given.what in ("dump", "all"):
        await dump(data)
    if given.what in ("rto", "all"):
        await rto(data, given.wal)
    if given.what == "rpo":
        await rpo(data, given.every)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", nargs="?", default="all", choices=["all", "fill", "base", "dump", "rto", "rpo"]
    )
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--wal", type=float, default=0.25)
    parser.add_argument("--every", type=float, default=45.0)
    parser.add_argument("--data", type=Path, help="folder of the database; its path has to be short")
    given = parser.parse_args()
    if given.what in ("base", "dump", "rto") and (given.data is None or not given.data.is_dir()):
        parser.error(f"{given.what} works on a database that fill has made: --data")
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f} before")
    made = None if given.data else Path(tempfile.mkdtemp(prefix="wk-"))
    data = (given.data or made).absolute()
    data.mkdir(parents=True, exist_ok=True)
    try:
        trio.run(main, given, data)
    finally:
        if made is not None:
            shutil.rmtree(made)
