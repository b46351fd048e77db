"""The intake: group commit, spool and their figures, behind whichever listener a delivery comes in by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from .config import IngestSettings
from .db import Transaction
from .ingest import (
    Answerer,
    CommitPolicy,
    GroupCommitter,
    Keeper,
    ListenerStatistics,
    Observer,
    SpoolBudget,
    Spools,
)
from .life import PluginLives
from .watching import IngestMetrics

log = structlog.get_logger("wharfd.intake")


@dataclass(frozen=True)
class Intake:
    """What turns an admitted delivery into a committed row, or fsynced bytes while PostgreSQL is away."""

    committer: GroupCommitter
    keeper: Keeper | None
    answerer: Answerer
    observer: Observer
    listener: ListenerStatistics

    def figures(self) -> dict[str, Any]:
        """Return what waits and what happened since the start."""
        commits, listener = self.committer.statistics, self.listener
        spools = self.keeper.spools.statistics() if self.keeper is not None else []
        return {
            "waiting": commits.queued_rows,
            "commits": commits.commits,
            "committed": commits.rows,
            "largest_commit": commits.largest,
            "overloaded": commits.overloaded,
            "connections": listener.connections,
            "answers": {str(status): count for status, count in sorted(listener.answers.items())},
            "outage": self.keeper is not None and self.keeper.outage,
            "spooled": sum(spool.records for spool in spools),
            "spooled_bytes": sum(spool.size for spool in spools),
        }


@asynccontextmanager
async def open_intake(settings: IngestSettings, lives: PluginLives) -> AsyncIterator[Intake]:
    """Open the spool and make the committer; they work when the front serves.

    Raises `SpoolError` when the spool cannot be used.
    """
    machinery = lives.machinery
    database = machinery.db.urgent

    def transaction() -> AbstractAsyncContextManager[Transaction]:
        return database.transaction()

    observer = IngestMetrics(machinery.metrics)
    keeper = spools = None
    if settings.spool:
        budget = SpoolBudget(max_bytes=settings.spool_max_mib << 20)
        spools = await Spools.open(machinery.state.spool, budget)
        keeper = Keeper(
            spools, lives.ingest, transaction, log=log, observer=observer, databases=database.named
        )
    try:
        committer = GroupCommitter(
            transaction,
            log=log,
            policy=commit_policy(settings),
            keeper=keeper,
            observer=observer,
            databases=database.named,
        )
        yield Intake(committer, keeper, Answerer(committer, log=log), observer, ListenerStatistics())
    finally:
        if spools is not None:
            await spools.close()


def commit_policy(settings: IngestSettings) -> CommitPolicy:
    """Return the bounds of the group commit that the operator asked for."""
    return CommitPolicy(
        max_rows=settings.batch_size,
        max_wait_seconds=settings.batch_timeout_ms / 1000,
        queue_rows=settings.max_waiting,
        retries=settings.max_retries,
        retry_seconds=settings.retry_delay_ms / 1000,
    )
