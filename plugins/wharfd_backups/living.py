"""The plugin's own life: what it opens at start, and the receiver that runs all the time."""

from __future__ import annotations

import trio

from wharfd import PluginContext, WharfdError

from . import mounting, store, upkeep
from .config import Settings
from .engine.awaiting import Awaiting
from .engine.pushing import Pushed, switch_off, switch_on
from .engine.receiving import Receiver
from .marks import leave_marks

Context = PluginContext[Settings]


async def open_up(ctx: Context) -> None:
    """Find the programs, the places and the keys; remove what a killed daemon left."""
    keeper = await upkeep.open_keeper(ctx.settings, ctx.state_dir, upkeep.server_of(ctx))
    ctx.state["keeper"] = keeper
    removed = await trio.to_thread.run_sync(mounting.sweep, keeper)
    if removed:
        ctx.log.warning("scratch_left_over_removed", folders=removed)
    await store.forget_mounts(ctx.db)
    for kind in ("backup", "drill"):
        good = await store.last_good(ctx.db, kind)
        if good is not None and good["finished_at"] is not None:
            at = good["finished_at"].timestamp()
            ctx.metrics["last_success_timestamp_seconds"].labels(kind).set(at)
    ctx.log.info(
        "backups_ready",
        method=keeper.method,
        places=[place.name for place in keeper.storehouse.places],
        encrypted=bool(keeper.keyring.packing.recipients),
    )


async def receive(ctx: Context, task_status: trio.TaskStatus[None]) -> None:
    """Receive and archive the log, where there is one, and leave a mark a minute, until the plugin stops."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave_marks, ctx)
        await _receive(ctx, task_status)


async def _receive(ctx: Context, task_status: trio.TaskStatus[None]) -> None:
    keeper = upkeep.keeper_of(ctx)
    way = ctx.settings.log_by if keeper.method == "physical" else "nothing"
    dsn = await _told_server(ctx, keeper, way)
    awaiting: Awaiting | None = None
    if keeper.server.data_dir is not None:  # no other server may be told
        awaiting = Awaiting(keeper.programs, keeper.server.dsn("superuser"), ctx.log)
        await awaiting.take_back()
    if way != "nothing":
        kind = Receiver if way == "receiver" else Pushed
        keeper.receiver = kind(
            keeper.storehouse,
            keeper.programs,
            dsn,
            keeper.incoming,
            keeper.keyring.packing,
            system=keeper.facts.system,
            segment_bytes=keeper.facts.segment_bytes,
            log=ctx.log,
            awaiting=awaiting if way == "receiver" and ctx.settings.commits_wait else None,
        )
        await keeper.receiver.run(ctx.settings.archive_every.total_seconds(), task_status)
        return
    task_status.started()
    await trio.sleep_forever()


async def _told_server(ctx: Context, keeper: upkeep.Keeper, way: str) -> str:
    """Let the embedded server archive by itself or not; return where to ask it."""
    if keeper.server.data_dir is None:
        if way == "archive_command":
            raise WharfdError(
                'log_by = "archive_command" is for the embedded server: this one could not reach our folder; '
                'set log_by = "receiver"'
            )
        return keeper.dsn
    superuser = keeper.server.dsn("superuser")
    if way != "archive_command":
        if await switch_off(keeper.programs, superuser, keeper.incoming):
            ctx.log.info("archive_command_taken_back")
        return keeper.dsn
    if await switch_on(keeper.programs, superuser, keeper.incoming):
        ctx.log.warning("archive_mode_needs_restart", hint="restart wharfd, then take a backup")
    return superuser
