"""The write-ahead log by `archive_command`: the server itself puts each whole file into `incoming`.

For an embedded server whose owner wants no receiver beside it. A lost machine then costs up to a file's age,
and so does a lost disk: commits are in one place until their file is full or switched, once a minute.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import trio

from wharfd import WharfdError

from .programs import Programs
from .receiving import SLOT, Receiver, make_incoming

_ASK_SECONDS = 5.0
_STATE = """SELECT current_setting('archive_mode'), current_setting('archive_command'),
  (SELECT extract(epoch FROM min(modification)) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')"""
_DROP_SLOT = (
    f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
    f"WHERE slot_name = '{SLOT}' AND NOT active"
)


def archive_command(folder: Path) -> str:
    """Return the command that puts a log file into a folder, whole and on disk.

    It says 0 or 1 and nothing else: above 125, or killed, PostgreSQL restarts its archiver and counts no
    failure. The same file again is well; another one of the same name is never overwritten.
    """
    into = shlex.quote(str(folder)).replace("%", "%%")
    return (
        f'if test -e {into}/%f; then cmp -s "%p" {into}/%f; else cp "%p" {into}/%f.tmp && '
        f"sync {into}/%f.tmp && mv {into}/%f.tmp {into}/%f && sync {into}; fi || exit 1"
    )


async def switch_on(programs: Programs, dsn: str, folder: Path) -> bool:
    """Tell the server to archive into the folder; return whether it must be restarted for that."""
    await trio.to_thread.run_sync(_make, folder, programs)
    await programs.rows(dsn, _DROP_SLOT)
    text = archive_command(folder).replace("'", "''")
    await programs.rows(dsn, f"ALTER SYSTEM SET archive_command = '{text}'")
    mode = await programs.value(dsn, "SHOW archive_mode")
    if mode == "off":
        await programs.rows(dsn, "ALTER SYSTEM SET archive_mode = 'on'")
    await programs.rows(dsn, "SELECT pg_reload_conf()")
    return mode == "off"


def _make(folder: Path, programs: Programs) -> None:
    make_incoming(folder)
    programs.confinement.give(folder)


async def switch_off(programs: Programs, dsn: str, folder: Path) -> bool:
    """Take back what `switch_on` set, if it is still set; return whether it was."""
    if str(folder) not in await programs.value(dsn, "SHOW archive_command"):
        return False
    await programs.rows(dsn, "ALTER SYSTEM RESET archive_command")
    await programs.rows(dsn, "ALTER SYSTEM RESET archive_mode")
    await programs.rows(dsn, "SELECT pg_reload_conf()")
    return True


class Pushed(Receiver):
    """Archives what the server's `archive_command` put into `incoming`."""

    async def prepare_slot(self) -> None:
        """There is none: the server itself keeps what its command has not taken."""

    async def _receive_for_ever(self) -> None:
        while True:
            try:
                mode, command, oldest = (await self._programs.rows(self._dsn, _STATE))[0]
                self.state.receiving = mode == "on" and str(self.incoming) in command
                self.state.reason = "" if self.state.receiving else "archive_mode is on after a restart"
                # Not failed_count, which a crashing command does not raise, and not the last success.
                self.state.oldest_ready_at = float(oldest) if oldest else None
            except WharfdError as error:
                self.state.receiving, self.state.reason = False, str(error)
            await trio.sleep(_ASK_SECONDS)
