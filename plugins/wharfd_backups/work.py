"""The errands: backups, verifications, drills and mounts, one at a time over all daemons."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import trio

from wharfd import Job, PluginContext, Snooze, WharfdError, new_id, sql
from wharfd.contracts.daemon import CONFIGURATION_FILE, REHEARSAL

from . import store, upkeep
from .config import Settings
from .engine.storehouse import Storehouse
from .engine.taking import Order, take
from .marks import EVERY_SECONDS
from .model.catalogue import Entry, Reason, summary
from .model.keeping import first_needed, kept, unneeded
from .model.wal import is_segment
from .mounting import mount
from .restoring.choosing import pick
from .restoring.drilling import Report, drill, verify_place

Context = PluginContext[Settings]
TRY_LOCK = sql("backups_try_lock", "SELECT pg_try_advisory_lock(hashtextextended('wharfd.backups', 0))")
_NEWS_SECONDS = 1.0


class Errand(msgspec.Struct):
    """Carry out the run of that id."""

    run: str


async def ask(ctx: Context, kind: str, reason: str, actor: str, asked: dict[str, Any] | None = None) -> str:
    """Add a run and the errand that carries it out, in one commit; return the run's id."""
    run_id = new_id("bkp" if kind == "backup" else kind[:3])
    async with ctx.db.transaction() as tx:
        await store.add(tx, run_id, kind, reason, actor, asked or {})
        await ctx.jobs.enqueue(tx, Errand(run_id))
        action = f"backups.{kind}_asked"
        await ctx.audit.record(tx, actor=actor, action=action, subject=run_id, detail=asked or {})
    return run_id


async def carry_out(ctx: Context, errand: Errand, job: Job[Any]) -> Snooze | None:
    """Carry out a run; its row tells how it went, also when it failed."""
    async with ctx.db.session() as session:
        if not await session.fetchval(TRY_LOCK):
            return Snooze(5)
        begun = await store.begin(ctx.db, errand.run)
        if begun is None:
            return None
        news = News()
        work = {"backup": _backup, "verify": _verify, "drill": _drill, "mount": mount}[begun.kind]
        failure: Exception | None = None
        result: dict[str, Any] = {}
        async with _telling(ctx, begun.id, news):
            try:
                result = await work(ctx, begun, news)
            except (WharfdError, OSError, ValueError) as error:
                failure = error
        if failure is not None:
            ctx.log.error("backup_errand_failed", run=begun.id, kind=begun.kind, reason=str(failure))
            await store.end(ctx.db, begun.id, "failed", error=str(failure), result={}, size=news.bytes)
            ctx.metrics["runs_total"].labels(begun.kind, "failed").inc()
            return None
        if begun.kind != "mount":
            failed = result.pop("failed", None)
            state = "failed" if failed else "done"
            await store.end(ctx.db, begun.id, state, error=failed, result=result, size=news.bytes)
            ctx.metrics["runs_total"].labels(begun.kind, state).inc()
            ctx.log.info("backup_errand_ended", run=begun.id, kind=begun.kind, outcome=state)
    return None


class News:
    """How far an errand is; written by threads, read by the task that notes it."""

    def __init__(self) -> None:
        self.step = ""
        self.bytes = 0

    def hear(self, step: str) -> None:
        """Note a step."""
        self.step = step

    def passed(self, size: int) -> None:
        """Note bytes that went by."""
        self.bytes += size


@asynccontextmanager
async def _telling(ctx: Context, run_id: str, news: News) -> AsyncIterator[None]:
    async def tell() -> None:
        told = ("", 0)
        while True:
            if (now := (news.step, news.bytes)) != told:
                await store.step(ctx.db, run_id, *now)
                told = now
            await trio.sleep(_NEWS_SECONDS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        yield
        nursery.cancel_scope.cancel()


async def _backup(ctx: Context, begun: store.Begun, news: News) -> dict[str, Any]:
    keeper = upkeep.keeper_of(ctx)
    await trio.to_thread.run_sync(keeper.storehouse.clear)
    file = ctx.services.find(CONFIGURATION_FILE)
    text = None if file is None else await trio.to_thread.run_sync(file.harmless)
    order = order_of(keeper, begun.id, begun.reason, note=begun.asked.get("note", ""), text=text)
    began, pace = trio.current_time(), keeper.pace()

    def passed(size: int) -> None:
        news.passed(size)
        pace.passed(size)

    entry = await take(order, keeper.storehouse, keeper.programs, keeper.dsn, hear=news.hear, passed=passed)
    seconds = trio.current_time() - began
    ctx.metrics["last_success_timestamp_seconds"].labels("backup").set(entry.finished_at.timestamp())
    ctx.metrics["duration_seconds"].labels("backup").set(seconds)
    ctx.metrics["size_bytes"].labels(entry.method).set(entry.bytes)
    removed = await prune(ctx, keeper)
    return {**msgspec.to_builtins(summary(entry)), "took_seconds": round(seconds, 3), "removed": removed}


def order_of(
    keeper: upkeep.Keeper, run_id: str, reason: str, *, note: str = "", text: tuple[str, str] | None = None
) -> Order:
    """Return what backup to take, as the settings say."""
    settings = keeper.settings
    return Order(
        id=run_id,
        method=keeper.method,
        reason=msgspec.convert(reason, Reason),
        packing=keeper.keyring.packing,
        note=note,
        csv_tables=settings.csv_tables,
        files=settings.files,
        text=text,
    )


async def prune(ctx: Context, keeper: upkeep.Keeper) -> list[str]:
    """Remove the backups that the policy does not keep, and the log that no backup needs."""
    now = await store.now(ctx.db)

    def remove() -> list[str]:
        # After the first place was lost, the second has backups that it alone knows of.
        found = [keeper.storehouse.entries(place) for place in keeper.storehouse.places]
        if any(wrong for _, wrong in found):
            return []  # an entry that cannot be read might be the one that matters
        entries = list({entry.id: entry for some, _ in found for entry in some}.values())
        keep = kept(entries, keeper.settings.keep, now)
        gone = [entry for entry in entries if entry.id not in keep]
        for entry in gone:
            keeper.storehouse.forget(entry)
        _prune_log(keeper.storehouse, [entry for entry in entries if entry.id in keep], keeper.facts.system)
        return [entry.id for entry in gone]

    removed = await trio.to_thread.run_sync(remove)
    if removed:
        ctx.log.info("backups_removed", ids=removed)
    return removed


def _prune_log(storehouse: Storehouse, entries: list[Entry], system: str) -> None:
    names = {
        name
        for place in storehouse.places
        for name in storehouse.log_files(system, place)
        if is_segment(name)
    }
    storehouse.drop_log(system, unneeded(names, first_needed(entries, system)))


async def _verify(ctx: Context, begun: store.Begun, news: News) -> dict[str, Any]:
    keeper = upkeep.keeper_of(ctx)
    entry = await trio.to_thread.run_sync(keeper.storehouse.entry, begun.asked["backup"])
    if entry is None:
        raise WharfdError(f"there is no backup {begun.asked['backup']}")
    places: tuple[Literal["first", "second"], ...] = ("first", "second")
    said, wrong = list[str](), list[str]()
    for which in places[: len(keeper.storehouse.places)]:
        news.hear(f"reading the {which} place")
        try:  # what is wrong in one place says nothing of the other
            said.append(await verify_place(keeper.source(which), entry, news.passed))
        except (WharfdError, OSError) as error:
            wrong.append(str(error))
    result = {"backup": entry.id, "said": [*said, *wrong]}
    return {**result, "failed": "; ".join(wrong)} if wrong else result


async def _drill(ctx: Context, begun: store.Begun, news: News) -> dict[str, Any]:
    keeper = upkeep.keeper_of(ctx)
    source = keeper.source("last")

    def look() -> tuple[list[Entry], set[str]]:
        entries, _ = source.storehouse.entries(source.place)
        return entries, set(source.storehouse.log_files(keeper.facts.system, source.place))

    entries, archived = await trio.to_thread.run_sync(look)
    wanted = begun.asked.get("backup")
    chosen = [entry for entry in entries if entry.id == wanted] if wanted else keeper.openable(entries)
    aim = pick(
        chosen,
        archived,
        random.Random(),  # noqa: S311 - any choice will do
        archived_until=await archived_until(ctx, keeper),
    )
    moment = aim.target.time or (aim.marker.at if aim.marker is not None else None)
    aim = msgspec.structs.replace(
        aim,
        newest_mark=None if moment is None else await store.mark_before(ctx.db, moment),
    )
    rehearsal = ctx.services.find(REHEARSAL)
    report = await drill(
        source,
        keeper.scratch / begun.id,
        keeper.scratch,
        aim,
        rehearse=None if rehearsal is None else rehearsal.rehearse,
        changed=lambda: store.changes(ctx.db),
        pace=keeper.pace(),
        hear=news.hear,
    )
    note_drill(ctx, report)
    failed = [check for check in report.checks if check.outcome == "failed"]
    result = {**msgspec.to_builtins(report)}
    return {**result, "failed": f"{failed[0].name}: {failed[0].said}"} if failed else result


async def archived_until(ctx: Context, keeper: upkeep.Keeper) -> datetime | None:
    """Return a moment up to which every commit is in the places; None where nothing archives the log."""
    if keeper.receiver is None or keeper.receiver.state.settled_at is None:
        return None
    # What was committed before the last but one trip is in them, and a mark of a minute lies behind it.
    return keeper.receiver.state.settled_at - timedelta(seconds=2 * EVERY_SECONDS)


def note_drill(ctx: Context, report: Report) -> None:
    """Show a drill in the metrics."""
    if report.passed:
        ctx.metrics["last_success_timestamp_seconds"].labels("drill").set(ctx.now().timestamp())
        ctx.metrics["drill_rto_seconds"].set(report.rto_seconds)
        if report.rpo_seconds is not None:
            ctx.metrics["drill_rpo_seconds"].set(report.rpo_seconds)
