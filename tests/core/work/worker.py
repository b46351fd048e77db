"""A daemon in a process of its own, to be killed: works `wharfd.things` and leaves an effect per row.

Arguments: database URL, node, lease seconds, and how: `slow` and `long` take a while for each job, `stuck`
for ever; `commit` writes its effect in the transaction that finishes the job.
"""

from __future__ import annotations

import sys
from functools import partial

import msgspec
import trio

from wharfd.db import DatabaseSettings, open_bridge, open_database, sql
from wharfd.declare import Retry, WorkQueue
from wharfd.work import WorkEngine

EFFECT = sql("test.effect", "INSERT INTO wharfd.effects (id, by) VALUES ($1, $2)")


class Thing(msgspec.Struct):
    id: int


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def handle(node, how, ctx, job):
    say(f"got {job.row.id}")
    if how == "commit":
        async with job.commit() as tx:
            await tx.execute(EFFECT, job.row.id, node)
            await trio.sleep(0.003)
        return
    await ctx.execute(EFFECT, job.row.id, f"{node} began")
    await trio.sleep({"slow": 0.01, "long": 0.5, "stuck": 3600}[how])
    await ctx.execute(EFFECT, job.row.id, f"{node} ended")


async def main(url, node, how, lease):
    async with open_bridge() as bridge, open_database(bridge, DatabaseSettings(url=url)) as db:
        engine = WorkEngine(db, node=node)
        queue = WorkQueue(
            name="things",
            table="wharfd.things",
            row=Thing,
            handler=partial(handle, node, how),
            lease_seconds=float(lease),
            concurrency=4,
            retry=Retry(attempts=50, delays=(0.01,)),
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            prepared = await engine.prepare("test", queue)
            await engine.run_queues([prepared], db, stop=trio.Event())


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
