"""Where the core's endpoints get what they show, and the small part of each that they use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import trio

from ..audit import AuditFilter, AuditPage, Cursor, Seal, Verification
from ..bench import Benches, Verdict
from ..cache import Cache
from ..clock import Clock
from ..db import Database, Transaction
from ..declare import Migrations
from ..health import HealthBoard
from ..metrics import Metrics
from ..schedule import ScheduleRun, ScheduleStatus
from ..work.control import BuriedRows, QueueStatistics


class AuditLog(Protocol):
    """Takes note of what an operator did, and shows it; `wharfd.audit.Audit` is one."""

    async def entries(
        self, wanted: AuditFilter = ..., *, limit: int = 50, before: Cursor | None = None
    ) -> AuditPage:
        """The newest entries that match."""
        ...

    async def verify(self, *, known: Seal | None = None) -> Verification:
        """Whether the chain of hashes holds, and has this seal in it."""
        ...

    async def head(self) -> Seal | None:
        """The newest seal."""
        ...

    async def record(
        self,
        tx: Transaction,
        *,
        actor: str,
        action: str,
        subject: str,
        detail: Mapping[str, Any] | None = None,
        owner: str | None = None,
        ip: str | None = None,
    ) -> str:
        """Write one entry in the caller's transaction."""
        ...


class Standing(Protocol):
    """How one plugin is doing."""

    @property
    def name(self) -> str:
        """The plugin."""
        ...

    @property
    def origin(self) -> str:
        """Where it was found."""
        ...

    @property
    def state(self) -> str:
        """running, restarting, quarantined …"""
        ...

    @property
    def since(self) -> float:
        """For how many seconds."""
        ...

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        ...

    @property
    def last_error(self) -> str | None:
        """What ended it the last time."""
        ...

    @property
    def retry_in_seconds(self) -> float | None:
        """When it is tried again."""
        ...


class SupervisedPlugin(Protocol):
    """One plugin under supervision."""

    @property
    def ended(self) -> trio.Event:
        """Set when it will not run again."""
        ...

    def resume(self) -> None:
        """Try again at once."""
        ...


class PluginBook(Protocol):
    """All plugins; the supervisor is one."""

    @property
    def plugins(self) -> Mapping[str, SupervisedPlugin]:
        """By name."""
        ...

    def statuses(self) -> Sequence[Standing]:
        """In start order."""
        ...


class WorkControl(Protocol):
    """Looks after the work queues; `wharfd.work.Work` is one."""

    def names(self) -> list[str]:
        """The queues, as plugin.queue."""
        ...

    async def statistics(self, queue: str) -> QueueStatistics:
        """How a queue is doing."""
        ...

    async def pause(self, queue: str, *, actor: str) -> bool:
        """Stop claiming from it."""
        ...

    async def resume(self, queue: str, *, actor: str) -> bool:
        """Claim from it again."""
        ...

    async def requeue(
        self,
        queue: str,
        keys: Iterable[str] | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        actor: str,
    ) -> int:
        """Work buried rows again."""
        ...

    async def buried(self, queue: str, cursor: str | None = None, *, limit: int = 50) -> BuriedRows:
        """What was given up."""
        ...


class ScheduleBook(Protocol):
    """Looks after the schedules; `wharfd.schedule.Scheduler` is one."""

    async def list(self) -> list[ScheduleStatus]:
        """All of them."""
        ...

    async def run_now(self, name: str, *, actor: str) -> bool:
        """Let one fire."""
        ...

    async def runs(
        self, name: str, *, before: datetime | None = None, limit: int = 50
    ) -> Sequence[ScheduleRun]:
        """How one went."""
        ...


async def _no_verdict() -> Verdict:
    return Verdict(ready=False, failed=0, warned=0, points=[])


async def _no_alerts() -> Sequence[Any]:
    return ()


@dataclass(frozen=True, kw_only=True)
class CoreSources:
    """Everything the core's endpoints show or change.

    `declared()` gives the migrations of the plugins in start order, `addresses()` the URLs served by name,
    `ingest()` the counts of the ingest side, `alerts()` what fires at the moment, `validate()` whether this
    daemon is fit for production.
    """

    node: str
    state_dir: Path
    db: Database
    declared: Callable[[], Sequence[tuple[str, Migrations]]]
    work: WorkControl
    schedules: ScheduleBook
    plugins: PluginBook
    health: HealthBoard
    metrics: Metrics
    cache: Cache
    audit: AuditLog
    clock: Clock = field(default_factory=Clock)
    addresses: Callable[[], Mapping[str, Sequence[str]]] = dict
    ingest: Callable[[], Mapping[str, Any]] = dict
    alerts: Callable[[], Awaitable[Sequence[Any]]] = _no_alerts
    rotate: Callable[[bool], Awaitable[Any]] | None = None
    examine: Callable[[], Awaitable[Sequence[Any]]] = _no_alerts
    benches: Benches | None = None
    validate: Callable[[], Awaitable[Verdict]] = _no_verdict
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def note(self, request: Any, action: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Put what the caller did into the audit log, in a transaction of its own."""
        async with self.db.transaction() as tx:
            await self.audit.record(
                tx,
                actor=request.identity.subject,
                action=action,
                subject=subject,
                detail=detail,
                ip=str(request.client) if request.client is not None else None,
            )
