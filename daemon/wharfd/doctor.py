"""`wharfd doctor`: prove that what the daemon stands on is there and as it must be.

Each finding is ok, warn or fail and says what to do. The daemon examines itself (`examine`); without one the
CLI looks at what can be seen from outside (`examine_folder`).
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
import trio

from .config import CoreSettings
from .db import Database, sql
from .db.inspection import server_health
from .db.migrations import plan
from .db.partitions import missing
from .declare import Migrations
from .errors import DatabaseUnavailable, WharfdError
from .machinery import Machinery
from .registry import Registry

State = Literal["ok", "warn", "fail"]

_SLOW_FSYNC_SECONDS = 0.02
_SKEW_SECONDS = 2.0
_DISK_FREE = 0.1
_PROBES = 8

_ROLES = sql(
    "doctor.roles",
    """SELECT current_user AS app, r.rolsuper AS super,
    has_database_privilege(current_database(), 'CREATE') AS ddl,
    has_schema_privilege('wharfd', 'CREATE') AS schema_ddl FROM pg_roles r WHERE r.rolname = current_user""",
)
_OWNER = sql("doctor.owner", "SELECT current_user")
_CLOCK = sql("doctor.clock", "SELECT clock_timestamp()")
_SETTINGS = sql(
    "doctor.settings",
    """SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit""",
)


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    check: str
    state: State
    found: str
    hint: str = ""


async def examine(machinery: Machinery, registry: Registry, core: CoreSettings) -> list[Finding]:
    """Look at everything, from inside the running daemon."""
    findings = list(await trio.to_thread.run_sync(lambda: list(examine_folder(machinery.state.path))))
    for check in (_roles, _server, _clock, _durability, _migrations, _partitions):
        try:
            findings += await check(machinery.db, registry)
        except DatabaseUnavailable as error:
            findings.append(
                Finding(check.__name__.strip("_"), "fail", str(error), "start or reach PostgreSQL")
            )
    findings.append(await _redis(machinery))
    findings.append(_pgbouncer(core))
    return findings


def examine_folder(folder: Path) -> Iterator[Finding]:
    """Look at the state folder: rights, space, and how long an fsync takes."""
    if not folder.is_dir():
        yield Finding("state folder", "warn", f"{folder} is not there", "the first start makes it")
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    closed = not mode & 0o077
    yield Finding(
        "state folder",
        "ok" if closed else "fail",
        f"{folder} has mode {mode:04o}",
        "" if closed else f"others can read it: chmod 700 {folder}",
    )
    for name in ("admin.token", "master.key"):
        path = folder / name
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding(name, "fail", "others can read it", f"chmod 600 {path}")
    space = shutil.disk_usage(folder)
    free = space.free / space.total
    yield Finding(
        "disk",
        "ok" if free > _DISK_FREE else "warn",
        f"{space.free / 2**30:.1f} GiB free of {space.total / 2**30:.1f}",
        "" if free > _DISK_FREE else "make room, or move the state folder",
    )
    seconds = _fsync_seconds(folder)
    yield Finding(
        "fsync",
        "ok" if seconds < _SLOW_FSYNC_SECONDS else "warn",
        f"{seconds * 1000:.1f} ms in the middle of {_PROBES} tries",
        "" if seconds < _SLOW_FSYNC_SECONDS else "every accepted webhook waits for one; use a faster disk",
    )


def _fsync_seconds(folder: Path) -> float:
    path = folder / f".fsync-{os.getpid()}"
    times = []
    try:
        with path.open("wb") as probe:
            for _ in range(_PROBES):
                probe.write(b"x" * 8192)
                probe.flush()
                began = time.perf_counter()
                os.fsync(probe.fileno())
                times.append(time.perf_counter() - began)
    finally:
        path.unlink(missing_ok=True)
    return sorted(times)[len(times) // 2]


async def _roles(db: Database, registry: Registry) -> list[Finding]:
    row = await db.fetchrow(_ROLES)
    owner = await db.owner.fetchval(_OWNER)
    assert row is not None
    if row["super"]:
        return [
            Finding(
                "roles",
                "fail",
                f"{row['app']} is a superuser",
                "give wharfd a role of its own, see docs/install.md",
            )
        ]
    if owner == row["app"]:
        return [
            Finding(
                "roles",
                "warn",
                f"{owner} owns the tables it works on",
                "set [database] owner_url to another role",
            )
        ]
    if row["ddl"] or row["schema_ddl"]:
        return [
            Finding("roles", "warn", f"{row['app']} may create tables", f"REVOKE CREATE from {row['app']}")
        ]
    return [Finding("roles", "ok", f"{row['app']} works, {owner} owns")]


async def _server(db: Database, registry: Registry) -> list[Finding]:
    server = await server_health(db)
    used = server.connections / server.max_connections
    findings = [
        Finding("server", "ok", f"PostgreSQL {server.server_version}, {server.bytes / 2**20:.0f} MiB"),
        Finding(
            "connections",
            "ok" if used < 0.8 else "warn",
            f"{server.connections} of {server.max_connections}",
            "" if used < 0.8 else "raise max_connections, or lower [database] pool_size",
        ),
    ]
    if server.invalid_indexes:
        findings.append(
            Finding(
                "indexes",
                "fail",
                f"{server.invalid_indexes} are invalid",
                "POST /api/database/performance reindex",
            )
        )
    if server.checksum_failures:
        findings.append(
            Finding(
                "checksums",
                "fail",
                f"{server.checksum_failures} pages are damaged",
                "docs/runbooks/corruption.md",
            )
        )
    return findings


async def _clock(db: Database, registry: Registry) -> list[Finding]:
    began = trio.current_time()
    theirs: datetime = await db.fetchval(_CLOCK)
    skew = abs((datetime.now(UTC) - theirs).total_seconds()) - (trio.current_time() - began)
    good = skew < _SKEW_SECONDS
    hint = "" if good else "let both machines follow NTP; leases go by PostgreSQL's clock"
    return [Finding("clock", "ok" if good else "warn", f"{max(0.0, skew):.1f} s from PostgreSQL's", hint)]


async def _durability(db: Database, registry: Registry) -> list[Finding]:
    row = await db.fetchrow(_SETTINGS)
    assert row is not None
    off = [name for name, value in row.items() if value == "off"]
    if off:
        return [
            Finding(
                "durability", "fail", f"{', '.join(off)} off", "a crash would lose what was answered; turn on"
            )
        ]
    return [Finding("durability", "ok", f"synchronous_commit is {row['synchronous_commit']}, fsync is on")]


async def _migrations(db: Database, registry: Registry) -> list[Finding]:
    try:
        found = await plan(db, registry.of(Migrations))
    except WharfdError as error:
        return [Finding("migrations", "fail", str(error))]
    refused = [Finding("migrations", "fail", str(error)) for error in found.refused.values()]
    if found.pending:
        return [
            *refused,
            Finding("migrations", "warn", f"{len(found.pending)} are pending", "wharfd migrate"),
        ]
    return refused or [Finding("migrations", "ok", "the database is up to date")]


async def _partitions(db: Database, registry: Registry) -> list[Finding]:
    tables = [table for _, migrations in registry.of(Migrations) for table in migrations.partitioned]
    gone = await missing(db, tables)
    if gone:
        names = ", ".join(f"{one.table} {one.month:%Y-%m}" for one in gone)
        return [
            Finding(
                "partitions", "fail", f"missing: {names}", "restart wharfd, or POST /api/database/migrate"
            )
        ]
    return [Finding("partitions", "ok", f"{len(tables)} tables have their months")]


async def _redis(machinery: Machinery) -> Finding:
    if machinery.redis is None:
        return Finding("redis", "ok", "not configured; the in-process cache stands alone")
    health = await machinery.redis.health()
    if health.state == "ok":
        return Finding("redis", "ok", health.detail)
    return Finding(
        "redis", "warn", health.detail, "" if "set " in health.detail else "nothing is lost meanwhile"
    )


def _pgbouncer(core: CoreSettings) -> Finding:
    if core.database.pgbouncer:
        return Finding("pgbouncer", "ok", "transaction mode: no prepared statement is kept")
    return Finding(
        "pgbouncer", "ok", "not announced; set [database] pgbouncer = true if the url leads to one"
    )
