"""The checker: compares the ledger with the database once everything has settled.

It asks PostgreSQL by psql as superuser, past the daemon and its driver, and knows nothing of how the daemon
works.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import trio

from . import ledger
from .postgres import Server
from .workload import Workload


@dataclass(frozen=True)
class Verdict:
    """What came of the operations. `lost` and `doubled` are what may never be."""

    acknowledged: int
    lost: tuple[str, ...]
    unworked: tuple[str, ...]
    doubled: tuple[str, ...]
    invented: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, left undone, doubled or made up."""
        return not (self.lost or self.unworked or self.doubled or self.invented)


async def wait_settled(server: Server, database: str, workload: Workload, *, dead_after: float) -> bool:
    """Wait until no work is left and return True; bounded by the caller.

    A dead daemon's rows come back when their lease of 60 s is over. So as not to wait for that after every
    scenario, leases without a sign of life for `dead_after` seconds are ended here. Nothing gets easier by
    it: whoever still holds such a row loses it, and must notice.
    """
    left = 60.0 - dead_after
    while await server.query(database, workload.open_work) != [["0"]]:
        for table in workload.leased:
            await server.query(
                database,
                f"UPDATE {table} SET lease_until = now() WHERE state = 'running'"
                f" AND lease_until BETWEEN now() AND now() + interval '{left} seconds'",
            )
        await trio.sleep(0.3)
    return True


async def judge(server: Server, database: str, workload: Workload, book: Path) -> Verdict:
    """Compare the ledger with what the database holds."""
    account = ledger.read(book)
    stored = {row[0] for row in await server.query(database, workload.stored)}
    unworked: set[str] = set()
    doubled: set[str] = set()
    for statement in workload.effects:
        counts = Counter(row[0] for row in await server.query(database, statement))
        unworked |= account.acknowledged - counts.keys()
        doubled |= {operation for operation, count in counts.items() if count > 1}
    return Verdict(
        acknowledged=len(account.acknowledged),
        lost=tuple(sorted(account.acknowledged - stored)),
        unworked=tuple(sorted(unworked)),
        doubled=tuple(sorted(doubled)),
        invented=tuple(sorted(stored - account.offered)),
    )
