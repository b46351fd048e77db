"""The ledger: which operations were offered and which of them were acknowledged, on disk before it counts.

It stands outside the daemon and outside PostgreSQL, so nothing that breaks there can take it along. Append-
only, a line per fact: `o ID` when an operation is offered for the first time, `a ID SECONDS` when it was
acknowledged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import trio

_SYNC_SECONDS = 0.1


@dataclass(frozen=True)
class Account:
    """What a ledger says: every operation offered, and those acknowledged."""

    offered: frozenset[str]
    acknowledged: frozenset[str]


class Ledger:
    """An append-only file of operations. Lines are written at once and fsynced every tenth of a second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._dirty = False
        self.acknowledged = 0

    def offer(self, operation: str) -> None:
        """Write down that an operation is about to be sent for the first time."""
        self._write(f"o {operation}\n")

    def acknowledge(self, operation: str, seconds: float) -> None:
        """Write down that an operation was acknowledged, so long after it was first sent."""
        self._write(f"a {operation} {seconds:.6f}\n")
        self.acknowledged += 1

    def _write(self, line: str) -> None:
        os.write(self._file, line.encode())
        self._dirty = True

    async def keep_on_disk(self) -> None:
        """Fsync what was written, again and again, until cancelled."""
        while True:
            await trio.sleep(_SYNC_SECONDS)
            if self._dirty:
                self._dirty = False
                await trio.to_thread.run_sync(os.fsync, self._file)

    def close(self) -> None:
        """Fsync the rest and close the file."""
        os.fsync(self._file)
        os.close(self._file)


def read(path: Path) -> Account:
    """Read a ledger back from disk; a torn last line counts for nothing."""
    offered, acknowledged = set(), set()
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        kind, operation, *_ = line.split()
        (offered if kind == "o" else acknowledged).add(operation)
    return Account(frozenset(offered), frozenset(acknowledged))
