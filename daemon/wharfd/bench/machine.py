"""The machine a figure was taken on: without it a figure says nothing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..db import Database, sql

_SERVER = sql(
    "bench.server",
    """SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('shared_buffers') AS shared_buffers,
    current_setting('max_connections') AS max_connections""",
)
_PACKAGES = ("wharfd", "trio", "asyncpg", "hypercorn", "httptools", "msgspec")


async def describe_machine(db: Database) -> dict[str, Any]:
    """Return processor, memory, load, versions, and what of PostgreSQL's settings decides about speed."""
    server = await db.fetchrow(_SERVER)
    assert server is not None
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "postgresql": dict(server),
    }


def sentence(machine: dict[str, Any]) -> str:
    """Return the description in one line."""
    server, packages = machine["postgresql"], machine["packages"]
    return (
        f"{machine['processors']} × {machine['processor']}, {machine['memory_gib']:g} GiB, "
        f"{machine['kernel']}, load {machine['load_before']:g} before; PostgreSQL {server['version']} "
        f"(fsync {server['fsync']}, synchronous_commit {server['synchronous_commit']}, shared_buffers "
        f"{server['shared_buffers']}); Python {machine['python']}, "
        + ", ".join(f"{name} {number}" for name, number in packages.items())
    )


def resident_mib() -> float:
    """Return how much memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
