"""What the server is told: defaults for a daemon's own database, the operator's words, and five laws.

The laws go on the server's command line, where no file and no ALTER SYSTEM reaches them. The rest is
written to `wharfd.conf` at every start.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ...errors import Problem

HEADER = "# Written by wharfd at every start. Change [database] in wharfd's configuration instead.\n"
SUPERUSER = "postgres"
ROLES = ("wharfd_owner", "wharfd_app", "wharfd_backup", SUPERUSER)
_MIB = 1024 * 1024
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")

# Acknowledged means on disk; nobody comes in over the network; nobody but us reaches the socket.
_LAWS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
}
# Where things lie is decided here, or the daemon would not find them again; the last by the plugin `backups`.
_OURS = frozenset(
    {"port", "unix_socket_directories", "unix_socket_group", "data_directory", "config_file", "hba_file"}
    | {"ident_file", "external_pid_file", "logging_collector", "log_destination", "log_directory"}
    | {"log_filename", "log_file_mode", "ssl", "allow_alter_system", "include", "include_dir"}
    | {"include_if_exists", "synchronous_standby_names"}
)


def laws(sockets: Path) -> list[str]:
    """Return the command line arguments that nothing else overrides."""
    fixed = _LAWS | {"unix_socket_directories": str(sockets), "port": "5432"}
    return [part for name, value in fixed.items() for part in ("-c", f"{name}={value}")]


def wrong(overrides: Mapping[str, str]) -> list[Problem]:
    """Return which of the operator's settings cannot be taken, and why."""
    problems = []
    for name, value in overrides.items():
        where = f"database.settings.{name}"
        lower = name.lower()
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?", name):
            problems.append(Problem(where, "is not the name of a PostgreSQL setting"))
        elif lower in _LAWS:
            problems.append(
                Problem(where, "is fixed for the embedded PostgreSQL", f"remove it; it is {_LAWS[lower]!r}")
            )
        elif lower in _OURS:
            problems.append(Problem(where, "is decided by wharfd for the embedded PostgreSQL", "remove it"))
        elif any(sign in value for sign in "\n\r\0"):
            problems.append(Problem(where, "has a line break in its value", "write it on one line"))
    return problems


def defaults(memory: int, *, statements: bool, logs: Path) -> dict[str, str]:
    """Return our settings for a machine with `memory` bytes.

    `statements`: whether pg_stat_statements is there to be loaded. `logs`: the folder of the server's log,
    which is kept for a week, a file per weekday.
    """
    shared = min(max(memory // 16, 32 * _MIB), 512 * _MIB)
    return {
        "cluster_name": "wharfd",
        "max_connections": "100",
        "shared_buffers": f"{shared // _MIB}MB",
        "effective_cache_size": f"{max(memory // 2, 64 * _MIB) // _MIB}MB",
        "maintenance_work_mem": f"{min(max(memory // 32, 32 * _MIB), 256 * _MIB) // _MIB}MB",
        "jit": "off",  # short statements: compiling them costs more than running them
        "random_page_cost": "1.1",
        "wal_level": "replica",
        "wal_compression": "pglz",
        "max_wal_senders": "8",
        "max_replication_slots": "8",
        "max_slot_wal_keep_size": "2GB",  # a dead receiver must not fill the disk
        "max_wal_size": "1GB",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "shared_preload_libraries": "pg_stat_statements" if statements else "",
        "track_io_timing": "on",
        "logging_collector": "on",
        "log_destination": "stderr",
        "log_directory": str(logs),
        "log_filename": "postgresql-%a.log",
        "log_file_mode": "0600",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_truncate_on_rotation": "on",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_lock_waits": "on",
    }


def machine_memory() -> int:
    """Return the bytes of memory this process may use: the machine's, or its control group's if less."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(memory, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no control groups, or "max"
        return memory


def render(settings: Mapping[str, str]) -> str:
    """Return the text of `wharfd.conf`."""
    lines = []
    for name, value in settings.items():
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'\n")
    return HEADER + "".join(lines)


def access_rules() -> str:
    """Return the text of `pg_hba.conf`: our own OS user through the socket, and nobody else at all."""
    roles = ",".join(ROLES)
    return HEADER + (
        f"local  all          {roles}  peer map=wharfd\n"
        f"local  replication  wharfd_backup,{SUPERUSER}  peer map=wharfd\n"
        "local  all          all  reject\n"
        "local  replication  all  reject\n"
        "host   all          all  all  reject\n"
        "host   replication  all  all  reject\n"
    )


def names(peer: str) -> str:
    """Return the text of `pg_ident.conf`: which roles the OS user `peer` may be."""
    quoted = '"' + peer.replace('"', '""') + '"'
    return HEADER + "".join(f"wharfd  {quoted}  {role}\n" for role in ROLES)
