"""Proof: the fault matrix' own workload, a delivery that becomes a row, an effect and a heard event.

Each delivery `{"id": …, "kind": "single" | "batch"}` is stored once, worked once and heard once, if the
core keeps its promises. Nothing here helps it to: the tables of effects accept the same thing twice, and
show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from wharfd import (
    EventType,
    IngestRoute,
    Migrations,
    Retry,
    Schedule,
    Subscription,
    WorkQueue,
    hookimpl,
    option,
)

from . import intake, work


@dataclass(frozen=True)
class Settings:
    """How long a dead daemon's rows stay with it, and where this one dies."""

    lease_seconds: float = option(2.0, help="lease of a claimed row")
    crash_at: str = option("", help="named point at which the process kills itself")
    crash_after: int = option(1, help="how often the point is passed before")


@hookimpl
def register_settings():
    return Settings


@hookimpl
def register_migrations():
    return Migrations(__package__)


@hookimpl
def register_ingest(settings):
    return [
        IngestRoute(
            source="proof",
            paths=("/proof",),
            admit=intake.admit,
            store=intake.store,
            admission=intake.Entry,
            spooled=intake.spooled,
        )
    ]


@hookimpl
def register_work(settings):
    shape = {
        "table": "proof.entries",
        "row": work.EntryRow,
        "lease_seconds": settings.lease_seconds,
        "retry": Retry(attempts=100, delays=(0.2, 0.5, 1.0)),
    }
    return [
        WorkQueue(name="singles", handler=work.one, lane=("kind", "single"), concurrency=8, **shape),
        WorkQueue(
            name="batches", handler=work.many, lane=("kind", "batch"), batch=50, concurrency=2, **shape
        ),
    ]


@hookimpl
def register_subscriptions(settings):
    return [
        EventType(work.EntryWorked, "An entry was worked."),
        Subscription(
            work.EntryWorked,
            work.hear,
            transactional=True,
            retry=Retry(attempts=100, delays=(0.2, 0.5, 1.0)),
        ),
    ]


@hookimpl
def register_schedules(settings):
    return [Schedule(name="tick", every=timedelta(seconds=1), handler=work.tick)]
