"""Taking a backup: streamed, packed, checked while it passes, put in its places, entered in the catalogue.

At every moment before the catalogue entry, a crash leaves objects that no entry names; they are removed
before the next backup and never counted as good.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio

from wharfd import Packed, Packing, WharfdError, __version__, pack

from ..model.catalogue import Entry, Marker, Method, Part, Reason
from ..model.manifest import BadManifest, Manifest, differences, encode_sums, read_manifest
from ..model.wal import lsn_text
from .extras import check_table, pack_csv, pack_files
from .marking import exported_snapshot, mark
from .programs import Output, Programs
from .storehouse import Storehouse
from .tarfeed import BrokenStream, Watcher

Hear = Callable[[str], None]

_FACTS = """SELECT (SELECT system_identifier FROM pg_control_system()), current_setting('server_version_num'),
  current_database(), (SELECT rolname FROM pg_roles WHERE oid = 10),
  (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')),
  pg_size_bytes(current_setting('wal_segment_size')), clock_timestamp(), current_setting('ssl_library')"""
_NOW = "SELECT clock_timestamp()"
_HAS_KEYS = "SELECT to_regclass('wharfd.data_keys') IS NOT NULL"
_KEYS = "SELECT DISTINCT kek_id FROM wharfd.data_keys ORDER BY 1"


class BackupFailed(WharfdError):
    """A backup could not be made, or is not what the server said it would be."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What backup to take."""

    id: str
    method: Method
    reason: Reason
    packing: Packing
    note: str = ""
    csv_tables: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    text: tuple[str, str] | None = None


@dataclass(frozen=True)
class ServerFacts:
    """What the catalogue says about the server."""

    system: str
    version: int
    database: str
    superuser: str
    tablespaces: int
    segment_bytes: int
    now: datetime
    ssl_library: str = ""


async def server_facts(programs: Programs, dsn: str) -> ServerFacts:
    """Ask the server who it is."""
    row = (await programs.rows(dsn, _FACTS))[0]
    return ServerFacts(row[0], int(row[1]), row[2], row[3], int(row[4]), int(row[5]), at(row[6]), row[7])


def at(text: str) -> datetime:
    """Return a timestamptz that psql printed."""
    return datetime.fromisoformat(text if text[-3] == ":" else f"{text}:00")


async def take(
    order: Order,
    storehouse: Storehouse,
    programs: Programs,
    dsn: str,
    *,
    hear: Hear = lambda step: None,
    passed: Callable[[int], None] = lambda size: None,
) -> Entry:
    """Take a backup and return its entry; it is whole in every place when this returns.

    `hear` is told each step, `passed` the bytes that went by. Raises `BackupFailed`, `ProgramFailed` or
    `StorageError`; nothing counts then.
    """
    facts = await server_facts(programs, dsn)
    if programs.version[0] < facts.version // 10000:
        raise BackupFailed(
            f"the server is PostgreSQL {facts.version // 10000}, the programs here {programs.version[0]}; "
            "install programs of that version or newer and set [database] bin_dir"
        )
    hear("asked")
    take_one = _physical if order.method == "physical" else _logical
    entry = await take_one(order, storehouse, programs, dsn, facts, hear, passed)
    hear("streamed")
    await trio.to_thread.run_sync(storehouse.add, entry, hear)
    return entry


async def _physical(
    order: Order,
    storehouse: Storehouse,
    programs: Programs,
    dsn: str,
    facts: ServerFacts,
    hear: Hear,
    passed: Callable[[int], None],
) -> Entry:
    if facts.tablespaces:
        raise BackupFailed(
            "the server has tablespaces of its own, which a streamed base backup cannot hold; move their "
            'tables to pg_default and drop them, or set method = "logical"'
        )
    key = f"backups/{order.id}.base.tar{order.packing.suffix}"
    options = ["-D", "-", "-Ft", "-X", "fetch", "-c", "fast", "-w", "-l", order.id]
    ours = hashes_here(facts, dsn)
    options += [f"--manifest-checksums={'NONE' if ours else 'SHA256'}"]
    packed, manifest, sums = await programs.stream(
        "pg_basebackup",
        options,
        lambda output: _write_base(output, storehouse, key, order.packing, hear, passed, ours=ours),
        dsn=dsn,
    )
    data = [Part("base", key, packed.bytes_out, packed.sha256, packed.bytes_in)]
    if ours:
        data.append(await trio.to_thread.run_sync(_write_sums, storehouse, order, sums))
    finished = at(await programs.value(dsn, _NOW))
    hear("based")
    marker = await mark(programs, dsn, order.id)
    return await _entry(
        order,
        storehouse,
        programs,
        dsn,
        facts,
        data,
        finished_at=finished,
        system=facts.system,
        timeline=manifest.ranges[-1].timeline,
        start_lsn=lsn_text(min(r.start for r in manifest.ranges)),
        end_lsn=lsn_text(max(r.end for r in manifest.ranges)),
        files=len(manifest.files),
        marker=marker,
    )


def hashes_here(facts: ServerFacts, dsn: str) -> bool:
    """Tell whether the files are hashed on our side of the stream, and not by the server.

    A server without OpenSSL takes six times as long for its SHA-256 as for everything else. Over a socket of
    this machine nothing lies between it and us that could change a byte, and it checks its pages in any case.
    """
    host = parse_qs(urlsplit(dsn).query).get("host", [""])[-1]
    return host.startswith("/") and not facts.ssl_library


def _write_sums(storehouse: Storehouse, order: Order, sums: bytes) -> Part:
    key = f"backups/{order.id}.sums.json{order.packing.suffix}"
    with storehouse.first.writing(key) as file:
        packed = pack(io.BytesIO(sums), file, order.packing)
    return Part("sums", key, packed.bytes_out, packed.sha256, packed.bytes_in)


def _write_base(
    output: Output,
    storehouse: Storehouse,
    key: str,
    packing: Packing,
    hear: Hear,
    passed: Callable[[int], None],
    *,
    ours: bool,
) -> tuple[Packed, Manifest, bytes]:
    """Pack the stream and compare every file in it with the manifest at its end, before it has a name."""
    watcher = Watcher()

    def watch(data: bytes) -> None:
        watcher.feed(data)
        passed(len(data))

    with storehouse.first.writing(key) as file:
        hear("streaming")
        packed = pack(output, file, packing, watch=watch)
        output.finish()
        try:
            watcher.finish()
            manifest = read_manifest(bytes(watcher.manifest), watcher.seen if ours else None)
        except (BrokenStream, BadManifest) as error:
            raise BackupFailed(f"the server sent a base backup that is not whole: {error}") from None
        if wrong := differences(manifest, watcher.seen):
            raise BackupFailed(f"the server sent a base backup that is not its own manifest: {wrong[0]}")
        hear("writing")
    return packed, manifest, encode_sums(watcher.seen)


async def _logical(
    order: Order,
    storehouse: Storehouse,
    programs: Programs,
    dsn: str,
    facts: ServerFacts,
    hear: Hear,
    passed: Callable[[int], None],
) -> Entry:
    key = f"backups/{order.id}.dump{order.packing.suffix}"
    async with exported_snapshot(programs, dsn) as (snapshot, counted):
        options = ["-Fc", "-Z0", "-w", "--lock-wait-timeout=600s", f"--snapshot={snapshot}"]
        packed = await programs.stream(
            "pg_dump",
            options,
            lambda output: _write_dump(output, storehouse, key, order.packing, hear, passed),
            dsn=dsn,
        )
    hear("based")
    return await _entry(
        order,
        storehouse,
        programs,
        dsn,
        facts,
        [Part("dump", key, packed.bytes_out, packed.sha256, packed.bytes_in)],
        finished_at=counted.at,  # what it holds is of that moment, however long it took
        marker=Marker("0/0", counted.at, counted.snapshot, counted.tables),
    )


def _write_dump(
    output: Output,
    storehouse: Storehouse,
    key: str,
    packing: Packing,
    hear: Hear,
    passed: Callable[[int], None],
) -> Packed:
    with storehouse.first.writing(key) as file:
        hear("streaming")
        packed = pack(output, file, packing, watch=lambda data: passed(len(data)))
        output.finish()
        hear("writing")
    return packed


async def _entry(
    order: Order,
    storehouse: Storehouse,
    programs: Programs,
    dsn: str,
    facts: ServerFacts,
    data: Sequence[Part],
    **more: Any,
) -> Entry:
    parts = list(data)
    for table in order.csv_tables:
        if await programs.value(dsn, f"SELECT to_regclass('{check_table(table)}') IS NULL") == "t":
            continue
        parts.append(await pack_csv(programs, dsn, table, order.id, storehouse, order.packing))
    if order.files or order.text is not None:
        work = partial(pack_files, order.files, order.id, storehouse, order.packing, text=order.text)
        parts.append(await trio.to_thread.run_sync(work))
    keys: Sequence[str] = []
    if await programs.value(dsn, _HAS_KEYS) == "t":
        keys = [row[0] for row in await programs.rows(dsn, _KEYS)]
    return Entry(
        id=order.id,
        method=order.method,
        reason=order.reason,
        note=order.note,
        started_at=facts.now,
        server_version=facts.version,
        database=facts.database,
        superuser=facts.superuser,
        segment_bytes=facts.segment_bytes,
        parts=tuple(parts),
        master_keys=tuple(keys),
        recipients=order.packing.recipients,
        wharfd=__version__,
        **more,
    )
