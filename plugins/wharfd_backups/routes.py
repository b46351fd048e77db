"""The endpoints: backups, what was done, asking for more."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any, Literal

import msgspec
import trio

from wharfd import BadRequest, Conflict, NotFound, PluginContext, Request, Route

from . import store, upkeep, work
from .config import Settings
from .model.catalogue import summary
from .mounting import target_of, unmount

Context = PluginContext[Settings]
_READ, _WRITE = "backups:read", "backups:write"


class Ask(msgspec.Struct, forbid_unknown_fields=True):
    """Ask for a backup."""

    note: str = ""


class AskDrill(msgspec.Struct, forbid_unknown_fields=True):
    """Ask for a drill of one backup, or of any."""

    backup: str | None = None


class AskMount(msgspec.Struct, forbid_unknown_fields=True):
    """Ask for a read-only server at a moment of the past."""

    backup: str | None = None
    to_time: str | None = None
    to_lsn: str | None = None


class RunsQuery(msgspec.Struct):
    """Which runs."""

    kind: Literal["backup", "verify", "drill", "mount"] | None = None
    before: datetime | None = None
    limit: int = 50

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= 500:
            raise ValueError("limit must be between 1 and 500")


async def list_backups(ctx: Context, request: Request) -> dict[str, Any]:
    """List the backups that are in the catalogue, newest first."""
    house = upkeep.keeper_of(ctx).storehouse
    entries, wrong = await trio.to_thread.run_sync(house.entries)
    second: set[str] | None = None
    if house.second is not None:
        found, also_wrong = await trio.to_thread.run_sync(house.entries, house.second)
        second, wrong = {entry.id for entry in found}, wrong + also_wrong
    rows = [{**summary(e), "second": None if second is None else e.id in second} for e in reversed(entries)]
    return {"backups": rows, "damaged": wrong}


async def get_backup(ctx: Context, request: Request) -> dict[str, Any]:
    """Show one backup's entry."""
    return msgspec.to_builtins(await _entry(ctx, request.path["id"]))  # type: ignore[no-any-return]


async def take(ctx: Context, request: Request) -> dict[str, Any]:
    """Ask for a backup; its run tells how it goes."""
    asked = {"note": request.body.note} if request.body.note else {}
    return {"run": await work.ask(ctx, "backup", "manual", request.identity.subject, asked)}


async def verify(ctx: Context, request: Request) -> dict[str, Any]:
    """Ask for a backup to be read back from every place and compared byte by byte."""
    entry = await _entry(ctx, request.path["id"])
    return {"run": await work.ask(ctx, "verify", "manual", request.identity.subject, {"backup": entry.id})}


async def drill(ctx: Context, request: Request) -> dict[str, Any]:
    """Ask for a restore to be tried."""
    asked = {}
    if request.body.backup is not None:
        asked["backup"] = (await _entry(ctx, request.body.backup)).id
    return {"run": await work.ask(ctx, "drill", "manual", request.identity.subject, asked)}


async def mount(ctx: Context, request: Request) -> dict[str, Any]:
    """Ask for a read-only server on a backup."""
    asked = {name: value for name, value in msgspec.structs.asdict(request.body).items() if value is not None}
    try:
        target_of(asked)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    if "backup" in asked:
        await _entry(ctx, asked["backup"])
    return {"run": await work.ask(ctx, "mount", "manual", request.identity.subject, asked)}


async def end_mount(ctx: Context, request: Request) -> dict[str, Any]:
    """End a mount and remove its server."""
    run = await _run(ctx, request.path["id"])
    if run.kind != "mount" or not await unmount(ctx, run.id):
        raise Conflict(f"{run.id} is not mounted by this daemon")
    return {"run": run.id}


async def list_runs(ctx: Context, request: Request) -> dict[str, Any]:
    """List what was done, newest first."""
    query = request.query
    runs = await store.listed(ctx.db, kind=query.kind, before=query.before, limit=query.limit)
    return {"runs": [msgspec.to_builtins(run) for run in runs]}


async def get_run(ctx: Context, request: Request) -> dict[str, Any]:
    """Show how a run goes or went."""
    return msgspec.to_builtins(await _run(ctx, request.path["id"]))  # type: ignore[no-any-return]


async def _entry(ctx: Context, backup_id: str) -> Any:
    entry = await trio.to_thread.run_sync(upkeep.keeper_of(ctx).storehouse.entry, backup_id)
    if entry is None:
        raise NotFound(f"there is no backup {backup_id[:80]!r}")
    return entry


async def _run(ctx: Context, run_id: str) -> store.Run:
    run = await store.get(ctx.db, run_id)
    if run is None:
        raise NotFound(f"there is no run {run_id[:80]!r}")
    return run


def routes() -> list[Route]:
    """Return the endpoints."""
    route = partial(Route, house=True)  # a backup holds the rows of every owner
    at = "/api/v1/backups"
    reads: list[tuple[str, Any, str]] = [
        (at, list_backups, "List the backups"),
        (f"{at}/entries/{{id}}", get_backup, "Show a backup"),
        (f"{at}/runs/{{id}}", get_run, "How a run goes"),
    ]
    asks: list[tuple[str, Any, Any, str]] = [
        (at, take, Ask, "Take a backup"),
        (f"{at}/entries/{{id}}/verify", verify, None, "Read a backup back and compare it"),
        (f"{at}/drills", drill, AskDrill, "Try a restore"),
        (f"{at}/mounts", mount, AskMount, "Look into a backup"),
    ]
    return [
        *(
            route(method="GET", path=path, handler=handler, scope=_READ, summary=words)
            for path, handler, words in reads
        ),
        *(
            route(
                method="POST", path=path, handler=handler, scope=_WRITE, status=202, body=body, summary=words
            )
            for path, handler, body, words in asks
        ),
        route(
            method="GET",
            path=f"{at}/runs",
            handler=list_runs,
            scope=_READ,
            query=RunsQuery,
            summary="What was done",
        ),
        route(
            method="DELETE",
            path=f"{at}/mounts/{{id}}",
            handler=end_mount,
            scope=_WRITE,
            summary="End a mount",
        ),
    ]
