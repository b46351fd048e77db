"""A run: look at the clock, take up what was left, see what may go, stop at the unusual, let the rest go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import asyncpg
import msgspec
import trio

from wharfd import PluginContext, RetentionRule, Transaction, WharfdError, new_id, partitions_of

from . import store, tables
from .archiving import PURPOSE, Archive, Manifest
from .checking import check_archives
from .config import Settings
from .machine import KeptBack, Machine, advance
from .model import Policy, Shape, gate, months_to_go, policies, why_no_clock, why_stop
from .rehydrating import drop, drop_ended
from .store import Unit

Context = PluginContext[Settings]
TROUBLE = (WharfdError, OSError, asyncpg.PostgresError)  # what stops one rule and leaves the others be
_LOTS_A_NIGHT = 200


class NoClock(WharfdError):
    """The clock cannot be believed, and so nothing is old."""


class Outcome(msgspec.Struct):
    """What a run did, or would do, for one rule."""

    rule: str
    table: str
    rows: int = 0
    about_total: int = 0
    bytes: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    cutoff: datetime | None = None
    archived: int = 0
    deleted: int = 0
    errors: int = 0
    said: list[str] = []


def machine_of(ctx: Context, hear: Callable[[str], None] = lambda step: None) -> Machine:
    """Return the machine of this plugin."""
    settings: Settings = ctx.settings

    async def sign(data: bytes) -> bytes:
        return await ctx.secrets.fingerprint(PURPOSE, data)

    async def certify(tx: Transaction, unit: Unit, certificate: dict[str, Any]) -> None:
        await ctx.audit.record(
            tx, actor="retention", action="retention.deleted", subject=unit.id, detail=certificate
        )

    archive: Archive = ctx.state["archive"]
    return Machine(
        db=ctx.db.owner,
        archive=archive,
        sign=sign,
        certify=certify,
        grace=settings.grace,
        unit_rows=settings.unit_rows,
        batch_rows=settings.batch_rows,
        pause_seconds=settings.pause_ms / 1000,
        hear=hear,
    )


def policies_of(ctx: Context) -> tuple[list[Policy], list[str]]:
    """Return the policies that hold, and overrides that fit no rule."""
    return policies(ctx.plugins.declared(RetentionRule), ctx.settings.policies)


async def check_clock(ctx: Context) -> datetime:
    """Return the database's time; raises `NoClock` when it jumped or went back."""
    now, last_seen = await store.clock(ctx.db.owner)
    began: tuple[datetime, float] | None = ctx.state.get("clock")
    expected = None
    if began is not None:
        expected = began[0] + timedelta(seconds=monotonic() - began[1])
    if why := why_no_clock(now, last_seen, expected, ctx.now()):
        raise NoClock(f"{why}; nothing is deleted until the clocks agree")
    await store.tick(ctx.db.owner)
    return now


async def go(
    ctx: Context,
    *,
    dry: bool,
    forced: bool = False,
    only: str | None = None,
    tell: Callable[[list[Outcome]], Awaitable[None]] | None = None,
    hear: Callable[[str], None] = lambda step: None,
) -> list[Outcome]:
    """Carry out a run over all rules, or `only` one, and return what each did; one that fails leaves the
    others be.
    """
    now = await check_clock(ctx)

    async def say() -> None:
        if tell is not None:
            await tell(outcomes)

    machine, outcomes = machine_of(ctx, hear), list[Outcome]()
    wanted, strangers = policies_of(ctx)
    for name in strangers:
        ctx.log.warning("retention_override_of_no_rule", rule=name)
    if not dry:
        await check_archives(ctx, machine, ctx.settings.check_archives)
        for relation in await drop_ended(ctx):
            ctx.log.info("rehydrated_dropped", table=relation)
    for policy in wanted:
        if only not in (None, policy.name):
            continue
        outcome = Outcome(policy.name, policy.table)
        outcomes.append(outcome)
        try:
            await _rule(ctx, machine, policy, now, outcome, say, dry=dry, forced=forced)
        except TROUBLE as error:
            outcome.errors += 1
            outcome.said.append(str(error))
            ctx.log.error("retention_rule_failed", rule=policy.name, reason=str(error))
        await say()
    return outcomes


async def _rule(
    ctx: Context,
    machine: Machine,
    policy: Policy,
    now: datetime,
    outcome: Outcome,
    say: Callable[[], Awaitable[None]],
    *,
    dry: bool,
    forced: bool,
) -> None:
    db, settings = machine.db, ctx.settings
    shape = await tables.shape(db, policy.table)
    if shape is None or policy.column not in shape.columns:
        outcome.said.append("the table is not there")
        return
    if not dry:
        for unit in await store.open_units(db, policy.name):
            if unit.part and unit.stays_until is not None and unit.stays_until > now:
                await tables.attach(db, unit.source, unit.part)  # where that was cut short
                outcome.said.append(f"{unit.part} was put back and stays until {unit.stays_until:%Y-%m-%d}")
                continue
            await _advance(ctx, machine, unit, policy, shape, outcome)
    outcome.cutoff = cutoff = policy.cutoff(now)
    plan = _plan_months if policy.partitioned else _plan_rows
    units = await plan(machine, policy, shape, cutoff, outcome)
    outcome.about_total = await tables.about_rows(db, policy.table)
    first_time = settings.dry_run_first and not await store.seen(db, policy)
    if first_time and not forced and outcome.rows:
        outcome.said.append("the rule is new or changed: it reports tonight and deletes from the next run on")
    await store.see(db, policy)
    if outcome.about_total < outcome.rows:
        outcome.about_total = await tables.count_rows(db, policy.table)
    total = outcome.about_total
    if not policy.partitioned and total:
        outcome.bytes = await tables.size(db, policy.table) * outcome.rows // total
    before = await store.before(db, policy.name)
    stop = why_stop(outcome.rows, total, before, max_share=settings.max_share, max_factor=settings.max_factor)
    if stop is not None and not forced:
        outcome.said.append(f"stopped: {stop}; look, and run with force if it is meant")
        if not dry:
            outcome.errors += 1
    if dry or ((first_time or stop is not None) and not forced):
        return
    for unit in units:
        await db.execute(
            store.ADD, unit.id, unit.rule, unit.source, unit.part, unit.archive, unit.cutoff, unit.rows
        )
        await _advance(ctx, machine, unit, policy, shape, outcome)
        await say()
    if not policy.partitioned:
        await _more_lots(ctx, machine, policy, shape, cutoff, outcome, say)
    await _forget_cold(ctx, machine, policy)


async def _advance(
    ctx: Context, machine: Machine, unit: Unit, policy: Policy, shape: Shape, outcome: Outcome
) -> Unit | None:
    try:
        done = await advance(machine, unit, policy, shape)
    except KeptBack as error:
        outcome.said.append(str(error))
        await machine.db.execute(store.FAILED, unit.id, str(error))
        await machine.db.execute(store.FORGET, unit.id)
        return None
    except TROUBLE as error:
        outcome.errors += 1
        outcome.said.append(f"{unit.id}: {error}")
        await machine.db.execute(store.FAILED, unit.id, str(error))
        ctx.log.error("retention_unit_failed", unit=unit.id, table=unit.table, reason=str(error))
        return None
    if done.archive and unit.state in ("planned", "exporting"):
        outcome.archived += done.rows
    if done.state == "dropped":
        outcome.deleted += done.deleted
    return done


async def _plan_months(
    machine: Machine, policy: Policy, shape: Shape, cutoff: datetime, outcome: Outcome
) -> list[Unit]:
    open_parts = {unit.part for unit in await store.open_units(machine.db, policy.name)}
    found = []
    for month in months_to_go(await partitions_of(machine.db, policy.table), cutoff):
        if month.name in open_parts:
            continue
        count, oldest, newest = await tables.spread(machine.db, policy, month.name)
        outcome.rows += count
        outcome.bytes += month.bytes
        outcome.oldest = outcome.oldest or oldest
        outcome.newest = newest or outcome.newest
        found.append(_unit(policy, cutoff, count, month.name))
    return found


async def _plan_rows(
    machine: Machine, policy: Policy, shape: Shape, cutoff: datetime, outcome: Outcome
) -> list[Unit]:
    passing = gate(policy, shape, await store.holds(machine.db), cutoff)
    outcome.rows, outcome.oldest, outcome.newest = await tables.would_go(machine.db, policy, passing)
    if not outcome.rows or await store.open_units(machine.db, policy.name):
        return []
    return [_unit(policy, cutoff, min(outcome.rows, machine.unit_rows), None)]


async def _more_lots(
    ctx: Context,
    machine: Machine,
    policy: Policy,
    shape: Shape,
    cutoff: datetime,
    outcome: Outcome,
    say: Callable[[], Awaitable[None]],
) -> None:
    """Go on lot by lot until a lot deletes nothing more."""
    for _ in range(_LOTS_A_NIGHT):
        if outcome.errors or outcome.deleted >= outcome.rows:
            return
        unit = _unit(policy, cutoff, 0, None)
        await machine.db.execute(
            store.ADD, unit.id, unit.rule, unit.source, unit.part, unit.archive, unit.cutoff, unit.rows
        )
        done = await _advance(ctx, machine, unit, policy, shape, outcome)
        await say()
        if done is None or not done.deleted:
            return


async def _forget_cold(ctx: Context, machine: Machine, policy: Policy) -> None:
    """Remove archives whose own time is over, unless a hold covers their table."""
    if policy.cold is None or any(hold.covers(policy.table) for hold in await store.holds(machine.db)):
        return
    for row in await machine.db.fetch(store.OLD, policy.name, policy.cold):
        unit = Unit(**dict(row))
        manifest = msgspec.convert(unit.manifest, type=Manifest)
        await trio.to_thread.run_sync(machine.archive.forget, manifest)
        await drop(ctx, unit.id, actor="retention")
        async with machine.db.transaction() as tx:
            await tx.execute(store.CLEARED, unit.id)
            await ctx.audit.record(
                tx, actor="retention", action="retention.archive_removed", subject=unit.id,
                detail={"rule": policy.name, "archive": manifest.key, "rows": manifest.rows},
            )  # fmt: skip


def _unit(policy: Policy, cutoff: datetime, rows: int, part: str | None) -> Unit:
    return Unit(
        id=new_id("arc"), rule=policy.name, source=policy.table, part=part, archive=policy.archive,
        state="planned", cutoff=cutoff, rows=rows, deleted=0, first_at=None, last_at=None, manifest=None,
        planned_at=cutoff, detached_at=None, dropped_at=None, error=None,
    )  # fmt: skip
