"""All spools of the daemon: one folder per source, one budget, one process.

A source has a spool of its own so that one whose plugin is gone holds up nobody else.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import trio

from ..errors import SpoolError
from .spool import Spool, SpoolBudget, Step, no_step


@dataclass(frozen=True)
class SpoolStatistics:
    """What waits on disk for one source. `oldest_at` is a Unix time."""

    source: str
    records: int
    size: int
    oldest_at: float | None
    quarantined: int


class Spools:
    """Open with `await Spools.open(state_dir / "spool")`."""

    def __init__(self, folder: Path, budget: SpoolBudget, segment_bytes: int, step: Step) -> None:
        self.folder = folder
        self.budget = budget
        self._segment_bytes = segment_bytes
        self._step = step
        self._spools: dict[str, Spool] = {}
        self._opening = trio.Lock()
        self._lock = -1

    @classmethod
    async def open(
        cls,
        folder: Path,
        budget: SpoolBudget | None = None,
        *,
        segment_bytes: int = 4 << 20,
        step: Step = no_step,
    ) -> Spools:
        """Take in everything earlier runs left in the folder.

        Raises `SpoolError` if it cannot be used or another process uses it.
        """
        spools = cls(folder, budget or SpoolBudget(), segment_bytes, step)
        await trio.to_thread.run_sync(spools._claim)
        try:
            for source in await trio.to_thread.run_sync(spools._found):
                await spools.of(source)
        except BaseException:
            await spools.close()
            raise
        return spools

    async def of(self, source: str) -> Spool:
        """Return the spool of a source, made now if there is none yet."""
        spool = self._spools.get(source)
        if spool is None:
            async with self._opening:
                if (spool := self._spools.get(source)) is None:
                    folder = self.folder / quote(source, safe="").replace(".", "%2E")
                    spool = await Spool.open(
                        folder, self.budget, segment_bytes=self._segment_bytes, step=self._step
                    )
                    self._spools[source] = spool
        return spool

    async def append(self, source: str, payloads: Sequence[bytes]) -> None:
        """Put payloads of a source on disk for good. Raises `SpoolError`."""
        await (await self.of(source)).append(payloads)

    def waiting(self) -> dict[str, Spool]:
        """Return the spools that hold something, by source."""
        return {source: spool for source, spool in self._spools.items() if spool.records}

    def damages(self) -> list[tuple[str, str]]:
        """Return (source, what was found) for damage not reported before."""
        found = [(source, why) for source, spool in self._spools.items() for why in spool.damages]
        for spool in self._spools.values():
            spool.damages.clear()
        return found

    def statistics(self) -> list[SpoolStatistics]:
        """Return what waits and what lies in quarantine, source by source."""
        return [
            SpoolStatistics(source, spool.records, spool.size, spool.oldest_at, spool.quarantined)
            for source, spool in sorted(self._spools.items())
        ]

    async def close(self) -> None:
        """Close all files and let another process in."""
        for spool in self._spools.values():
            await spool.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def records(self, source: str) -> int:
        """Return how many records of a source wait."""
        spool = self._spools.get(source)
        return spool.records if spool is not None else 0

    def _found(self) -> list[str]:
        return sorted(unquote(path.name) for path in self.folder.iterdir() if path.is_dir())

    def _claim(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise SpoolError(
                f"the spool {self.folder} is in use by another process; give each daemon its own state folder"
            ) from None
        except OSError as error:
            raise SpoolError(f"cannot use the spool {self.folder}: {error.strerror}") from error
