"""A real embedded PostgreSQL with some tables, and storehouses for its backups."""

import os
import shutil
import subprocess
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import structlog
import trio

from wharfd import Folder, Packing, Secret, make_identity, new_id
from wharfd.db.embedded import EmbeddedPostgres, choose_confinement, find_binaries
from wharfd.db.embedded.cluster import initdb_arguments
from wharfd.opening import EmbeddedServer
from wharfd_backups.engine.programs import programs_of
from wharfd_backups.engine.receiving import Receiver
from wharfd_backups.engine.storehouse import Storehouse
from wharfd_backups.engine.taking import Order, at, server_facts, take
from wharfd_backups.model.wal import lsn_of, segment_at
from wharfd_backups.restoring.restore import Source, restore

IDENTITY, RECIPIENT = make_identity()
SECRET = Secret(IDENTITY)
PACKING = Packing((RECIPIENT,))
QUIET = structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()])

TABLES = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, paid_at timestamptz DEFAULT now());
CREATE TABLE shop.notes (note text);
CREATE TABLE shop.items (id bigint PRIMARY KEY, order_id bigint REFERENCES shop.orders, name text);
INSERT INTO shop.orders (paid_at) SELECT now() FROM generate_series(1, 2000);
INSERT INTO shop.items SELECT n, n, 'item ' || n FROM generate_series(1, 2000) n;
"""


DATA = Path("state", "postgres", "data")
SEGMENT = 1 << 20


@contextmanager
def short_folder():
    """A folder with a short path: sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="wb-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def short():
    with short_folder() as folder:
        yield folder


@pytest.fixture
def tmp_path(short):
    return short


@pytest.fixture(scope="session")
def seed():
    """A data folder with tables in it, made once; each test's server begins on a copy."""
    with short_folder() as folder:
        trio.run(make_seed, folder)
        yield folder / DATA


async def make_seed(folder):
    """Make the data folder, as small as one gets: every byte of it is backed up and restored many times."""
    confinement = await choose_confinement()
    binaries = await find_binaries(None, confinement)
    (folder / DATA).parent.mkdir(parents=True, mode=0o700)
    for path in (folder / "state", (folder / DATA).parent):
        confinement.give(path)
    arguments = [*initdb_arguments(folder / DATA, binaries.major), "--no-sync", "--wal-segsize=1"]
    command = confinement.command(binaries.program("initdb"), *arguments)
    await trio.run_process(command, capture_stdout=True, **confinement.options())
    async with open_world(folder) as world:
        await world.sql(TABLES)
        for text in ("ALTER DATABASE template0 IS_TEMPLATE false", "DROP DATABASE template0"):
            await world.sql(text, "superuser")


def sow(seed, folder):
    """Put a copy of the seed where the server of `folder` will look for its data."""
    (folder / DATA).parent.mkdir(parents=True, mode=0o700)
    subprocess.run(["cp", "-a", "--reflink=auto", str(seed), str(folder / DATA)], check=True)


async def until(condition):
    """Wait until the condition holds: for what happens in other processes and tells nobody."""
    with trio.fail_after(60):
        while not condition():
            await trio.sleep(0.01)


class World:
    """A server, its programs, and places for its backups."""

    def __init__(self, server, programs, folder):
        self.server, self.programs, self.folder = server, programs, folder
        self.first, self.second = Folder(folder / "first"), Folder(folder / "second")
        self.house = Storehouse(self.first, self.second)
        self.identity, self.recipient = SECRET, RECIPIENT
        self.incoming = folder / "incoming"

    @property
    def dsn(self):
        return self.server.dsn("backup")

    async def sql(self, statement, role="owner"):
        return await self.programs.rows(self.server.dsn(role), statement)

    async def back_up(self, method="physical", hear=lambda step: None, house=None, dsn=None, **more):
        order = Order(id=new_id("bkp"), method=method, reason="manual", packing=PACKING, **more)
        dsn = dsn or (self.dsn if method == "physical" else self.server.dsn("owner"))
        return await take(order, house or self.house, self.programs, dsn, hear=hear)

    @asynccontextmanager
    async def receiving(self, every=1.0, kind=Receiver, awaiting=None):
        dsn = self.server.dsn("backup" if kind is Receiver else "superuser")
        facts = await server_facts(self.programs, dsn)
        receiver = kind(
            self.house, self.programs, dsn, self.incoming, PACKING,
            system=facts.system, segment_bytes=facts.segment_bytes, log=QUIET,
            awaiting=awaiting,
        )  # fmt: skip
        async with trio.open_nursery() as nursery:
            await nursery.start(receiver.run, every)
            yield receiver
            nursery.cancel_scope.cancel()

    async def archived(self, receiver, lsn):
        """End the log file of a position and wait until it is in the places."""
        name = segment_at(lsn_of(lsn), 1, SEGMENT).name
        await self.sql("SELECT pg_switch_wal()", "backup")
        while name not in self.house.log_files(receiver._system, self.second):
            await receiver.archive()

    async def lsn(self):
        return (await self.sql("SELECT pg_create_restore_point('here')", "backup"))[0][0]

    async def now(self):
        return at((await self.sql("SELECT clock_timestamp()"))[0][0])

    def source(self, place=None, **more):
        facts = {"identity": self.identity, "programs": self.programs}
        return Source(storehouse=self.house, place=place or self.second, **facts | more)

    @asynccontextmanager
    async def restored(self, target, *, place=None, pause=False, into="back", backup_id=None, **more):
        source, folder = self.source(place, **more), self.folder / into
        done = await restore(source, target, folder, pause=pause, backup_id=backup_id)
        try:
            yield done
        finally:
            await done.scratch.stop()


@asynccontextmanager
async def open_world(folder, seed=None):
    """A world on what lies in `folder`, or on a copy of the seed."""
    if seed is not None:
        await trio.to_thread.run_sync(sow, seed, folder)
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            embedded = EmbeddedPostgres(folder / "state", bin_dir=None, log=QUIET)
            async with embedded.running(nursery) as server:
                offered = EmbeddedServer(server)
                yield World(offered, await programs_of(offered), folder)
            nursery.cancel_scope.cancel()


@pytest.fixture
async def world(short, seed):
    async with open_world(short, seed) as opened:
        yield opened


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("faults") and not os.environ.get("WHARFD_FAULTS"):
            item.add_marker(pytest.mark.skip(reason="slow; make faults runs it"))
