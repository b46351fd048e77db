"""From a row to its effect, its event, and the event being heard."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import msgspec

from wharfd import Batch, Job, sql
from wharfd.contracts.events import Envelope, Event

from .crashes import pass_point

EFFECT = sql("write_effects", "INSERT INTO proof.effects (entry, node) SELECT unnest($1::text[]), $2")
HEAR = sql("write_heard", "INSERT INTO proof.heard (entry) VALUES ($1)")
TICK = sql("write_tick", "INSERT INTO proof.ticks DEFAULT VALUES")


class EntryRow(msgspec.Struct):
    """What the handlers get of an entry."""

    id: str


class EntryWorked(Event, frozen=True, kw_only=True):
    """An entry was worked."""

    type: ClassVar[str] = "proof.worked"


async def one(ctx: Any, job: Job[EntryRow]) -> None:
    """Write the effect of one entry together with its outcome."""
    pass_point(ctx, "work.begin")
    async with job.commit() as tx:
        await _write(ctx, tx, [job.row.id])
    pass_point(ctx, "work.committed")


async def many(ctx: Any, batch: Batch[EntryRow]) -> None:
    """Write the effects of a batch together with their outcomes."""
    pass_point(ctx, "work.begin")
    async with batch.commit() as tx:
        await _write(ctx, tx, [job.row.id for job in batch])
    pass_point(ctx, "work.committed")


async def _write(ctx: Any, tx: Any, entries: list[str]) -> None:
    await tx.execute(EFFECT, entries, str(os.getpid()))
    await ctx.events.publish_many(tx, [EntryWorked(subject=entry) for entry in entries])
    pass_point(ctx, "work.end")


async def hear(ctx: Any, envelope: Envelope, tx: Any) -> None:
    """Write that the event was heard, together with the mark that it was."""
    await tx.execute(HEAR, envelope.subject)
    pass_point(ctx, "heard")


async def tick(ctx: Any) -> None:
    """Leave a trace of one firing."""
    await ctx.db.execute(TICK)
