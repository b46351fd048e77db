"""Backups and restores of a database of some size, beside plain pg_basebackup, pg_dump and pg_restore.

    python bench/keeping.py                   # 1 GiB and a quarter of it as write-ahead log
    python bench/keeping.py --gib 5 --wal 1

Everything is on one disk and in one run. Ours is packed with zstd, encrypted with age, compared with the
server's manifest while it streams, copied to a second place and read back there; the plain ones do none of
that. The load is committed one-row inserts on two connections of pgbench, a stand-in for ingest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
import trio

from wharfd import Folder, Packing, Secret, make_identity, new_id
from wharfd.db.embedded import EmbeddedPostgres
from wharfd.opening import EmbeddedServer
from wharfd_backups.engine.programs import programs_of
from wharfd_backups.engine.receiving import Receiver
from wharfd_backups.engine.storehouse import Storehouse
from wharfd_backups.engine.taking import Order, server_facts, take
from wharfd_backups.model.targets import LATEST
from wharfd_backups.restoring.drilling import Aim, drill
from wharfd_backups.restoring.restore import Source, restore

IDENTITY, RECIPIENT = make_identity()
QUIET = structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()])
TABLE = """CREATE SCHEMA bench;
CREATE TABLE bench.events (id bigint PRIMARY KEY, source text, body jsonb, received_at timestamptz);
CREATE TABLE bench.load (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)"""
ROWS = """INSERT INTO bench.events SELECT n, 'netbanx', jsonb_build_object('id', md5(n::text), 'amount',
 n % 9973, 'card', md5((n * 7)::text), 'merchantRefNum', 'order-' || n, 'txnTime', now(),
 'note', repeat('word ', 20)), now()
 FROM generate_series({first}, {last}) n"""


class Bench:
    """A server with data in it, and what is done with it."""

    def __init__(self, folder: Path, server: EmbeddedServer, programs: object) -> None:
        self.folder, self.server, self.programs = folder, server, programs
        self.first, self.second = Folder(folder / "first"), Folder(folder / "second")
        self.house = Storehouse(self.first, self.second)
        self.bytes = 0

    async def sql(self, statement: str, role: str = "superuser") -> str:
        rows = await self.programs.rows(self.server.dsn(role), statement)
        return rows[0][0] if rows else ""

    async def fill(self, gib: float) -> None:
        await self.sql(TABLE, "owner")
        step, last = 200_000, 0
        while self.bytes < gib * 2**30:
            await self.sql(ROWS.format(first=last + 1, last=last + step))
            last += step
            self.bytes = int(await self.sql("SELECT pg_database_size(current_database())"))
        await self.sql("VACUUM ANALYZE bench.events")
        await self.sql("CHECKPOINT")
        print(f"{last:,} rows, {self.bytes / 1e6:,.0f} MB")

    async def plain(self, name: str, *arguments: str) -> float:
        began = time.monotonic()
        await self.programs.call(name, *arguments, dsn=self.server.dsn("superuser"))
        await trio.run_process(["sync", "-f", str(self.folder)])
        return time.monotonic() - began

    async def ours(self, method: str):
        order = Order(id=new_id("bkp"), method=method, reason="manual", packing=Packing((RECIPIENT,)))
        began = time.monotonic()
        dsn = self.server.dsn("backup" if method == "physical" else "owner")
        entry = await take(order, self.house, self.programs, dsn)
        return entry, time.monotonic() - began

    def source(self) -> Source:
        return Source(
            storehouse=self.house, place=self.second, identity=Secret(IDENTITY), programs=self.programs
        )

    def say(self, what: str, seconds: float, more: str = "") -> None:
        print(f"{what:<44}{seconds:8.1f} s {self.bytes / 1e6 / seconds:8.0f} MB/s  {more}", flush=True)

    @asynccontextmanager
    async def load(self, what: str, alone: float | None, result: list):
        """Committed inserts per second while the block runs, at least six seconds."""
        script = self.folder / "load.sql"
        script.write_text("INSERT INTO bench.load (body) VALUES (repeat('x', 600));\n")
        bare, env = self.programs.environment(self.server.dsn("superuser"))
        command = [str(self.programs.binaries.program("psql").with_name("pgbench")), "-n", "-f", str(script)]
        process = subprocess.Popen(  # noqa: ASYNC220 - starting it is quick
            [*command, "-c", "2", "-T", "600", "-P", "1", bare], env=env,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            await trio.sleep(1)
            before = int(await self.sql("SELECT count(*) FROM bench.load"))
            began = time.monotonic()
            yield
            await trio.sleep(max(0.0, 6 - (time.monotonic() - began)))
            rate = (int(await self.sql("SELECT count(*) FROM bench.load")) - before) / (
                time.monotonic() - began
            )
        finally:
            process.kill()
            process.wait()
        result.append(rate)
        change = "" if alone is None else f"  {100 * (1 - rate / alone):+.0f} % slower"
        print(f"{what:<44}{rate:8.0f} commits/s{change}", flush=True)


async def main(gib: float, wal: float, folder: Path) -> None:
    async with trio.open_nursery() as nursery:
        embedded = EmbeddedPostgres(folder / "state", bin_dir=None, log=QUIET)
        async with embedded.running(nursery) as running:
            server = EmbeddedServer(running)
            bench = Bench(folder, server, await programs_of(server))
            await bench.fill(gib)
            await measure(bench, wal)
        nursery.cancel_scope.cancel()


async def measure(bench: Bench, wal: float) -> None:
    folder, dsn = bench.folder, bench.server.dsn("superuser")
    base = [
        "-D",
        str(folder / "plain"),
        "-c",
        "fast",
        "-X",
        "stream",
        "--manifest-checksums=SHA256",
        "-d",
        dsn,
    ]
    bench.say("pg_basebackup, plain files", await bench.plain("pg_basebackup", *base))
    shutil.rmtree(folder / "plain")
    entry, seconds = await bench.ours("physical")
    bench.say("wharfd, physical, two places", seconds, f"{entry.bytes / 1e6:.0f} MB each")
    bench.say("pg_dump -Fc", await bench.plain("pg_dump", "-Fc", "-f", str(folder / "dump"), "-d", dsn))
    await bench.sql("CREATE DATABASE other")
    where = dsn.replace("/wharfd?", "/other?")
    restored = await bench.plain("pg_restore", "-j2", "-d", where, str(folder / "dump"))
    bench.say("pg_restore -j2", restored)
    await bench.sql("DROP DATABASE other")
    (folder / "dump").unlink()
    logical, seconds = await bench.ours("logical")
    bench.say("wharfd, logical, two places", seconds, f"{logical.bytes / 1e6:.0f} MB each")
    done = await restore(bench.source(), LATEST, folder / "back", backup_id=logical.id)
    await done.scratch.stop()
    bench.say("wharfd, restore of the dump", done.phases.total, str(done.phases.seconds))
    shutil.rmtree(folder / "back")
    bench.house.forget(logical)

    facts = await server_facts(bench.programs, dsn)
    async with trio.open_nursery() as nursery:
        receiver = Receiver(
            bench.house, bench.programs, bench.server.dsn("backup"), folder / "incoming",
            Packing((RECIPIENT,)), system=facts.system, segment_bytes=facts.segment_bytes, log=QUIET,
        )  # fmt: skip
        await nursery.start(receiver.run, 5.0)
        rates: list[float] = []
        async with bench.load("load alone, log received", None, rates):
            pass
        async with bench.load("load while a backup is taken", rates[0], rates):
            kept, _ = await bench.ours("physical")
        async with bench.load("load alone, again", rates[0], rates):
            pass
        start = await bench.sql("SELECT pg_current_wal_lsn()")
        rows = int(await bench.sql("SELECT max(id) FROM bench.events"))
        written = f"SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{start}')"
        while int(await bench.sql(written)) < wal * 2**30:
            await bench.sql(ROWS.format(first=rows + 1, last=rows + 100_000))
            rows += 100_000
        amount = int(await bench.sql(written))
        name = await bench.sql("SELECT pg_walfile_name(pg_switch_wal())")
        while name not in bench.house.log_files(facts.system, bench.second):
            await receiver.archive()
            await trio.sleep(0.2)
        for number in ("physical, to the last commit", "the same again"):
            done = await restore(bench.source(), LATEST, folder / "back", backup_id=kept.id)
            await done.scratch.stop()
            shutil.rmtree(folder / "back")
            bench.say(f"wharfd, {number}", done.phases.total, str(done.phases.seconds))
        print(f"  that is RTO for {bench.bytes / 1e6:,.0f} MB and {amount / 1e6:,.0f} MB of log")
        async with bench.load("load while a drill runs", rates[0], rates):
            report = await drill(
                bench.source(), folder / "d" / "1", folder / "d", Aim(entry=kept, target=LATEST)
            )
        assert report.passed, report
        print(f"  drill: {report.phases}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--wal", type=float, default=0.25)
    parser.add_argument("--folder", type=Path, help="where; a new folder of the temporary ones without")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f} before")
    made = Path(tempfile.mkdtemp(prefix="wk-", dir=given.folder))
    try:
        trio.run(main, given.gib, given.wal, made)
    finally:
        shutil.rmtree(made)
