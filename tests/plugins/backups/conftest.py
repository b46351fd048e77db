"""A real embedded PostgreSQL with some tables, and storehouses for its backups."""

import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
import trio
from wharfd_backups.engine.programs import programs_of
from wharfd_backups.engine.storehouse import Storehouse
from wharfd_backups.engine.taking import Order, take

from wharfd import Folder, Packing, Secret, make_identity, new_id
from wharfd.db.embedded import EmbeddedPostgres
from wharfd.opening import EmbeddedServer

IDENTITY, RECIPIENT = make_identity()
SECRET = Secret(IDENTITY)
PACKING = Packing((RECIPIENT,))
_QUIET = structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()])

TABLES = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, paid_at timestamptz DEFAULT now());
CREATE TABLE shop.items (id bigint PRIMARY KEY, order_id bigint REFERENCES shop.orders, name text);
INSERT INTO shop.orders (paid_at) SELECT now() FROM generate_series(1, 2000);
INSERT INTO shop.items SELECT n, n, 'item ' || n FROM generate_series(1, 2000) n;
"""


@pytest.fixture
def short():
    """A folder with a short path: sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="wb-"))
    yield folder
    shutil.rmtree(folder)


class World:
    """A server, its programs, and places for its backups."""

    def __init__(self, server, programs, folder):
        self.server, self.programs, self.folder = server, programs, folder
        self.first, self.second = Folder(folder / "first"), Folder(folder / "second")
        self.house = Storehouse(self.first, self.second)
        self.identity = SECRET
        self.incoming = folder / "incoming"

    @property
    def dsn(self):
        return self.server.dsn("backup")

    async def sql(self, statement, role="owner"):
        return await self.programs.rows(self.server.dsn(role), statement)

    async def back_up(self, method="physical", hear=lambda step: None, house=None, **more):
        order = Order(id=new_id("bkp"), method=method, reason="manual", packing=PACKING, **more)
        dsn = self.dsn if method == "physical" else self.server.dsn("owner")
        return await take(order, house or self.house, self.programs, dsn, hear=hear)


@asynccontextmanager
async def open_world(folder, *, tables=TABLES):
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            embedded = EmbeddedPostgres(folder / "state", bin_dir=None, log=_QUIET)
            async with embedded.running(nursery) as server:
                offered = EmbeddedServer(server)
                world = World(offered, await programs_of(offered), folder)
                if tables:
                    await world.sql(tables)
                yield world
            nursery.cancel_scope.cancel()


@pytest.fixture
async def world(short):
    async with open_world(short) as opened:
        yield opened
