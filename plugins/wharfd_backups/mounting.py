"""A mounted backup: a read-only server at a moment of the past, for looking around, gone by itself."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import trio

from wharfd import PluginContext, WharfdError

from . import store, upkeep
from .config import Settings
from .model.targets import LATEST, Target, to_lsn, to_time
from .restoring.restore import restore
from .restoring.scratch import remove_folder, stop_left_over

if TYPE_CHECKING:
    from .work import News

Context = PluginContext[Settings]


def target_of(asked: dict[str, Any]) -> Target:
    """Return the target that `to_time` or `to_lsn` name, else the latest; raises ValueError."""
    if asked.get("to_time") and asked.get("to_lsn"):
        raise ValueError("give a time or a position, one of them")
    if asked.get("to_time"):
        try:
            time = datetime.fromisoformat(asked["to_time"].replace("Z", "+00:00"))
        except ValueError:
            raise ValueError(f"{asked['to_time']!r} is no time such as 2026-11-20T23:44:07Z") from None
        return to_time(time)
    return to_lsn(asked["to_lsn"]) if asked.get("to_lsn") else LATEST


async def mount(ctx: Context, begun: store.Begun, news: News) -> dict[str, Any]:
    """Start a read-only server; it stays for the configured time, or until it is unmounted."""
    keeper = upkeep.keeper_of(ctx)
    folder = keeper.scratch / begun.id
    assert ctx.nursery is not None
    try:
        restored = await restore(
            keeper.source("first"), target_of(begun.asked), folder, backup_id=begun.asked.get("backup"),
            pause=True, hear=news.hear, passed=news.passed,
        )  # fmt: skip
    except BaseException:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(_remove, keeper, begun.id)
        raise
    scope = trio.CancelScope()
    keeper.mounts[begun.id] = (restored, scope)
    ctx.nursery.start_soon(_hold, ctx, begun.id)
    socket, user = restored.scratch.socket_folder, restored.entry.superuser
    result = {
        "backup": restored.entry.id,
        "socket": str(socket),
        "user": user,
        "database": restored.entry.database,
        "reached_lsn": restored.reached_lsn,
        "reached_at": None if restored.reached_at is None else restored.reached_at.isoformat(),
        "psql": f"psql -h {socket} -U {user} {restored.entry.database}",
        "until": (ctx.now() + keeper.settings.mount_for).isoformat(),
    }
    await store.mounted(ctx.db, begun.id, result)
    return result


async def _hold(ctx: Context, run_id: str) -> None:
    keeper = upkeep.keeper_of(ctx)
    restored, scope = keeper.mounts[run_id]
    try:
        with scope:
            await trio.sleep(keeper.settings.mount_for.total_seconds())
    finally:
        with trio.CancelScope(shield=True):
            await restored.scratch.stop()
            await trio.to_thread.run_sync(_remove, keeper, run_id)
            keeper.mounts.pop(run_id, None)
    await store.end(ctx.db, run_id, "done", error=None, result={}, size=0)
    ctx.log.info("backup_unmounted", run=run_id)


async def unmount(ctx: Context, run_id: str) -> bool:
    """End a mount of this daemon; return whether there was one."""
    held = upkeep.keeper_of(ctx).mounts.get(run_id)
    if held is not None:
        held[1].cancel()
    return held is not None


def _remove(keeper: upkeep.Keeper, run_id: str) -> None:
    if (keeper.scratch / run_id).exists():
        remove_folder(keeper.scratch / run_id, keeper.scratch)


def sweep(keeper: upkeep.Keeper) -> list[str]:
    """Stop and remove what drills and mounts of a killed daemon left behind, and return their names."""
    if not keeper.scratch.is_dir():
        return []
    removed = []
    for folder in sorted(keeper.scratch.iterdir()):
        if folder.is_dir() and not folder.is_symlink():
            stop_left_over(folder)
            try:
                remove_folder(folder, keeper.scratch)
            except WharfdError:
                continue  # somebody else's folder
            removed.append(folder.name)
    return removed
