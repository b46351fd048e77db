"""The state machine: planned → exporting → exported → verified → uploaded → detached → dropped.

Every step can be done again, and each is noted before the next begins: a run that was killed goes on where it
was. Nothing is deleted that is not, as it is now, in a verified archive, free of holds and of live work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import trio

from wharfd import Database, Transaction, WharfdError

from . import store, tables
from .archiving import Archive, Manifest, lots
from .model import Gate, Policy, Shape, gate
from .store import Unit

Hear = Callable[[str], None]
_EVERY_ROW = Gate("true", ())


class KeptBack(WharfdError):
    """Something must not go yet; the next run looks again."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the steps work with. `db` is the owner role; `sign` is the vault's, `certify` the audit log's."""

    db: Database
    archive: Archive
    sign: Callable[[bytes], Any]
    certify: Callable[[Transaction, Unit, dict[str, Any]], Any]
    grace: timedelta
    unit_rows: int
    batch_rows: int
    pause_seconds: float
    hear: Hear = lambda step: None


async def advance(machine: Machine, unit: Unit, policy: Policy, shape: Shape) -> Unit:
    """Take a unit as far as it goes now, and return it.

    Raises `KeptBack` for what holds it back, `ArchiveDamaged` or `StorageError` for an archive that is not
    good; its row keeps the state it had reached.
    """
    steps = {
        "planned": _begin,
        "exporting": _export,
        "exported": _verify,
        "verified": _upload,
        "uploaded": _detach if unit.part else _delete,
        "detached": _drop,
    }
    while unit.state != "dropped":
        before = unit.state
        await steps[before](machine, unit, policy, shape)
        machine.hear(f"after_{before}")
        found = await store.get(machine.db, unit.id)
        assert found is not None
        if found.state == before:
            return found  # it waits for its time
        unit = found
    return unit


async def _begin(machine: Machine, unit: Unit, policy: Policy, shape: Shape) -> None:
    if unit.part:  # also without an archive, a month with live or held rows stays as a whole
        await _check_month(machine, unit, unit.part, policy, shape)
    state = "exporting" if unit.archive else "uploaded"
    await machine.db.execute(store.MOVE, unit.id, state)


async def _export(machine: Machine, unit: Unit, policy: Policy, shape: Shape) -> None:
    if unit.manifest is not None:  # the month changed after it was archived; the new archive replaces the old
        await trio.to_thread.run_sync(machine.archive.forget, await manifest_of(machine, unit))
    if unit.part:
        await _check_month(machine, unit, unit.part, policy, shape)
        manifest = await machine.archive.export(
            machine.db, unit, policy, _EVERY_ROW, shape.columns, None, machine.hear
        )
    else:
        passing = gate(policy, shape, await store.holds(machine.db), unit.cutoff)
        limit = machine.unit_rows
        manifest = await machine.archive.export(
            machine.db, unit, policy, passing, shape.columns, limit, machine.hear
        )
    machine.hear("written")
    signature = (await machine.sign(manifest.signed_part())).hex()
    manifest = msgspec.structs.replace(manifest, signature=signature)
    plain = msgspec.to_builtins(manifest)
    await machine.db.execute(store.EXPORTED, unit.id, manifest.rows, manifest.first, manifest.last, plain)


async def _verify(machine: Machine, unit: Unit, policy: Policy, shape: Shape) -> None:
    manifest = await manifest_of(machine, unit)
    await trio.to_thread.run_sync(machine.archive.verify, manifest)
    await machine.db.execute(store.MOVE, unit.id, "verified")


async def _upload(machine: Machine, unit: Unit, policy: Policy, shape: Shape) -> None:
    manifest = await manifest_of(machine, unit)
    await trio.to_thread.run_sync(machine.archive.spread, manifest, machine.hear)
    await machine.db.execute(store.MOVE, unit.id, "uploaded")


async def _detach(machine: Machine, unit: Unit, policy: Policy, shape: Shape) -> None:
    assert unit.part is not None
    await _check_month(machine, unit, unit.part, policy, shape)
    if unit.archive:
        await _check_places(machine, unit)
    await tables.detach(machine.db, unit.source, unit.part)
    machine.hear("cut_off")
    await machine.db.execute(store.DETACHED, unit.id)


async def _drop(machine: Machine, unit: Unit, policy: Policy, shape: Shape) -> None:
    """Drop a month that is out of its table, once its grace is over and nothing in it has changed."""
    assert unit.part is not None
    if not await machine.db.fetchval(store.GRACE_OVER, unit.id, machine.grace):
        return
    if await tables.is_attached(machine.db, unit.source, unit.part):
        raise KeptBack(
            f"{unit.part} was attached again by hand; wharfd retention put-back {unit.id} keeps it"
        )
    if unit.archive:  # it has lain there for days since it was read back
        await _check_places(machine, unit)
        await trio.to_thread.run_sync(machine.archive.verify, await manifest_of(machine, unit))
    again = False
    async with machine.db.transaction() as tx:
        if await tables.exists(tx, unit.part):
            await tables.lock(tx, unit.part)
            held = await tables.kept_back(tx, unit.part, await _gate_of_month(tx, policy, shape))
            if held:
                raise KeptBack(f"{held} rows of {unit.part} are held or live")
            count, row_hash = await tables.facts(tx, policy, unit.part)
            manifest = await manifest_of(machine, unit) if unit.archive else None
            if manifest is not None and (count, row_hash) != (manifest.rows, manifest.row_hash):
                again = True  # rows came or changed after the snapshot; they are archived anew
                await tx.execute(store.MOVE, unit.id, "exporting")
            else:
                await tables.lock_and_drop(tx, unit.part)
                await tx.execute(store.DELETED, unit.id, count)
                await _finish(machine, tx, unit, count)
        else:
            await _finish(machine, tx, unit, unit.deleted)
    if again:
        raise KeptBack(f"{unit.part} changed after it was archived; it is archived again")


async def _delete(machine: Machine, unit: Unit, policy: Policy, shape: Shape) -> None:
    """Delete the rows of a lot in small transactions; each row as archived, or not at all."""
    if unit.archive:
        await _check_places(machine, unit)
        manifest = await manifest_of(machine, unit)
        await trio.to_thread.run_sync(machine.archive.verify, manifest)
        async with lots(machine.archive, manifest) as lines:
            async for lot in lines:
                for start in range(0, len(lot), machine.batch_rows):
                    await _delete_some(machine, unit, policy, shape, lot[start : start + machine.batch_rows])
    else:
        deleted = 0
        while (
            some := await _delete_some(machine, unit, policy, shape, None)
        ) and deleted < machine.unit_rows:
            deleted += some
    async with machine.db.transaction() as tx:
        found = await store.get(tx, unit.id)
        assert found is not None
        await _finish(machine, tx, unit, found.deleted)


async def _delete_some(
    machine: Machine, unit: Unit, policy: Policy, shape: Shape, lines: list[str] | None
) -> int:
    async with machine.db.transaction() as tx:
        # The holds are read in the very transaction that deletes: the last gate.
        passing = gate(policy, shape, await store.holds(tx), unit.cutoff)
        if lines is None:
            count = await tables.delete_plain(tx, policy, passing, machine.batch_rows)
        else:
            count = await tables.delete_archived(tx, policy, passing, lines)
        await tx.execute(store.DELETED, unit.id, count)
    machine.hear("batch")
    await trio.sleep(machine.pause_seconds)
    return count


async def _finish(machine: Machine, tx: Transaction, unit: Unit, count: int) -> None:
    await tx.execute(store.DROPPED, unit.id)
    manifest = unit.manifest or {}
    certificate = {
        "rule": unit.rule,
        "table": unit.source,
        "part": unit.part,
        "archived": unit.rows if unit.archive else 0,
        "deleted": count,
        "cutoff": unit.cutoff.isoformat(),
        "archive": manifest.get("key"),
        "sha256": manifest.get("sha256"),
        "lines_sha256": manifest.get("lines_sha256"),
    }
    await machine.certify(tx, unit, certificate)


async def manifest_of(machine: Machine, unit: Unit) -> Manifest:
    """Return a unit's manifest; raises `KeptBack` when it is not the one that was signed."""
    if unit.manifest is None:
        raise KeptBack(f"{unit.id} has no manifest; it cannot go on")
    manifest = msgspec.convert(unit.manifest, type=Manifest)
    if (await machine.sign(manifest.signed_part())).hex() != manifest.signature:
        raise KeptBack(f"the manifest of {unit.id} was changed: its signature does not fit")
    return manifest


async def _check_places(machine: Machine, unit: Unit) -> None:
    manifest = await manifest_of(machine, unit)
    if missing := await trio.to_thread.run_sync(machine.archive.missing, manifest):
        raise KeptBack(f"the archive {manifest.key} is not in {', '.join(missing)}; nothing is deleted")


async def _gate_of_month(db: Any, policy: Policy, shape: Shape) -> Gate:
    return gate(policy, shape, await store.holds(db), None)


async def _check_month(machine: Machine, unit: Unit, part: str, policy: Policy, shape: Shape) -> None:
    """Raise `KeptBack` for a month with rows that stay, and put it back where it is out already.

    One that stays and cannot be put back is trouble: its rows are seen by nobody.
    """
    kept = await tables.kept_back(machine.db, part, await _gate_of_month(machine.db, policy, shape))
    if not kept:
        return
    reason = f"{kept} rows of {part} are live work, held, or not of the rule; the month stays"
    try:  # it may be out, or half out, when a kill came before the note of that
        await tables.attach(machine.db, unit.source, part)
    except (asyncpg.PostgresError, OSError, WharfdError) as error:
        raise WharfdError(f"{reason}, and cannot be attached to {unit.source}: {error}") from None
    raise KeptBack(reason)
