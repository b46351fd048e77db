"""A work table, engines on it, and ways to wait for what they do."""

from __future__ import annotations

from contextlib import asynccontextmanager

import msgspec
import pytest
import structlog
import trio

from wharfd.db import sql
from wharfd.declare import Retry, WorkQueue
from wharfd.work import WorkEngine

COLUMNS = """state text NOT NULL DEFAULT 'ready', priority smallint NOT NULL DEFAULT 100,
due_at timestamptz NOT NULL DEFAULT now(), attempts integer NOT NULL DEFAULT 0, claim bigint,
lease_until timestamptz, last_error text, history jsonb, finished_at timestamptz"""

CREATE = sql(
    "test.create",
    f"""CREATE TABLE wharfd.things (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner text NOT NULL DEFAULT 'a',
  note text NOT NULL DEFAULT '', {COLUMNS});
CREATE INDEX things_ready ON wharfd.things (priority, due_at) WHERE state = 'ready';
CREATE INDEX things_fair ON wharfd.things (owner, priority, due_at) WHERE state = 'ready';
CREATE INDEX things_running ON wharfd.things (owner, id) WHERE state = 'running';
CREATE INDEX things_parked ON wharfd.things (state, finished_at) WHERE state IN ('buried', 'held');
CREATE INDEX things_order ON wharfd.things (owner, id) WHERE state IN ('ready', 'running', 'held', 'buried');
CREATE TABLE wharfd.effects (id bigint NOT NULL, by text NOT NULL DEFAULT '');
CREATE TABLE wharfd.endings (id bigint NOT NULL);
CREATE FUNCTION wharfd.note_ending() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO wharfd.endings VALUES (NEW.id); RETURN NULL; END';
CREATE TRIGGER note_ending AFTER UPDATE ON wharfd.things FOR EACH ROW
  WHEN (NEW.state = 'done') EXECUTE FUNCTION wharfd.note_ending()""",
)
ADD = sql(
    "test.add",
    """INSERT INTO wharfd.things (owner, note, priority, due_at)
SELECT $2, $3, $4, now() + make_interval(secs => $5) FROM generate_series(1, $1::int) RETURNING id""",
)
EFFECT = sql("test.effect", "INSERT INTO wharfd.effects (id, by) VALUES ($1, $2)")

QUICK = Retry(attempts=3, delays=(0.01,), jitter=0)


class Thing(msgspec.Struct):
    id: int
    owner: str = "a"
    note: str = ""


class Things:
    """The table under test."""

    def __init__(self, db):
        self.db = db

    async def add(self, count=1, *, owner="a", note="", priority=100, due_in=0.0):
        rows = await self.db.fetch(ADD, count, owner, note, priority, float(due_in))
        return [row[0] for row in rows]

    async def get(self, key):
        return await self.db.fetchrow(sql("test.get", "SELECT * FROM wharfd.things WHERE id = $1"), key)

    async def states(self):
        rows = await self.db.fetch(
            sql("test.states", "SELECT state, count(*) FROM wharfd.things GROUP BY state")
        )
        return dict(map(tuple, rows))

    async def set(self, change, condition="true"):
        return await self.db.execute(sql("test.set", f"UPDATE wharfd.things SET {change} WHERE {condition}"))

    async def fetch(self, text, *args):
        return [tuple(row) for row in await self.db.fetch(sql("test.fetch", text), *args)]

    async def effects(self):
        return [row[0] for row in await self.fetch("SELECT id FROM wharfd.effects ORDER BY id")]


async def wait_for(check, seconds=60):
    """Wait until an async condition holds, and return what it returned."""
    with trio.fail_after(seconds):
        while not (found := await check()):
            await trio.sleep(0.01)
    return found


@asynccontextmanager
async def running(engine, queue, ctx=None, *, stop_seconds=5):
    """Work a queue for as long as the block runs."""
    runner = engine.runner(queue, ctx)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        try:
            yield runner
        finally:
            runner.stop(stop_seconds)


class Kit:
    """What a test of the engine needs, in one place."""

    Thing = Thing
    QUICK = QUICK
    EFFECT = EFFECT
    COLUMNS = COLUMNS
    wait_for = staticmethod(wait_for)
    running = staticmethod(running)

    def __init__(self, db, things, buried, logs):
        self.logs = logs
        self.db = db
        self.things = things
        self.buried = buried

    def engine(self, node="one", **more):
        return WorkEngine(self.db, node=node, buried=lambda *args: self.buried.append(args), **more)

    @asynccontextmanager
    async def open_engine(self, node="one", **more):
        """An engine that hears the others."""
        engine = self.engine(node, **more)
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            yield engine
            nursery.cancel_scope.cancel()

    @staticmethod
    def queue(handler, **more):
        more.setdefault("retry", QUICK)
        return WorkQueue(name="things", table="wharfd.things", row=Thing, handler=handler, **more)

    @asynccontextmanager
    async def work(self, handler, *, engine=None, ctx=None, stop_seconds=5, **more):
        """Work the table with a handler; yields the runner."""
        engine = engine or self.engine()
        queue = await engine.prepare("test", self.queue(handler, **more))
        async with running(engine, queue, ctx, stop_seconds=stop_seconds) as runner:
            yield runner

    async def settled(self, *, seconds=60):
        """Wait until no row is ready or running, and return how many are in which state."""

        async def check():
            states = await self.things.states()
            return [states] if not {"ready", "running"} & set(states) else None

        return (await wait_for(check, seconds))[0]


@pytest.fixture
def logs():
    """What was logged, as dicts."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture
async def kit(db, logs):
    await db.owner.execute(CREATE)
    return Kit(db, Things(db), [], logs)
