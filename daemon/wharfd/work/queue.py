"""A work queue as the engine knows it: the declaration, its plugin, its statements and its counters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from asyncpg import Record

from ..declare import WorkQueue
from .fragments import Columns
from .job import Desk, Job
from .statements import Statements, build

Enrich = Callable[[Sequence[Job[Any]]], Awaitable[None]]


@dataclass(slots=True)
class Counters:
    """What happened to a queue's rows in this daemon since it started."""

    arrived: int = 0
    started: int = 0
    done: int = 0
    retried: int = 0
    snoozed: int = 0
    buried: int = 0
    lost: int = 0
    recovered: int = 0
    handler_seconds: float = 0.0
    late_seconds: float = 0.0


@dataclass(eq=False)
class Queue:
    """One queue of one plugin, by its full name `plugin.queue`.

    `enrich` is called with freshly claimed jobs, to fetch with one statement what all of them need.
    `forget` is SQL that a requeue adds to what it sets.
    """

    name: str
    declared: WorkQueue
    columns: Columns
    enrich: Enrich | None = None
    forget: str = ""
    counters: Counters = field(default_factory=Counters)
    statements: Statements = field(init=False)

    def __post_init__(self) -> None:
        self.statements = build(self.name, self.declared, self.columns)

    @property
    def plugin(self) -> str:
        """The plugin it belongs to."""
        return self.name.partition(".")[0]

    @property
    def lane(self) -> list[str]:
        """The lane's value as arguments of a statement: one or none."""
        return [self.declared.lane[1]] if self.declared.lane else []

    def job(self, desk: Desk, record: Record, start: int, claim: int, leased_at: float) -> Job[Any]:
        """Make a job of a claimed record, whose columns begin at `start`.

        Raises `msgspec.ValidationError` when the row does not fit its declared type; the job to bury is then
        what `bare` makes.
        """
        job = self.bare(desk, record, start, claim, leased_at)
        first = start + 3 + len(self.columns.key)
        values = dict(zip(self.columns.row, record[first : first + len(self.columns.row)], strict=True))
        job.row = msgspec.convert(values, self.declared.row, dec_hook=_as_is)
        return job

    def bare(self, desk: Desk, record: Record, start: int, claim: int, leased_at: float) -> Job[Any]:
        """Make a job without its row."""
        attempt = record[start]
        return Job(
            desk,
            self.name,
            None,
            tuple(record[start + 3 : start + 3 + len(self.columns.key)]),
            claim,
            attempt,
            last=attempt >= self.declared.retry.attempts,
            leased_at=leased_at,
        )

    def fences(self, jobs: Sequence[Job[Any]]) -> list[list[Any]]:
        """Return the arrays that every fenced statement begins with: the key's columns, then the claims."""
        width = len(self.columns.key)
        return [[job.identity[i] for job in jobs] for i in range(width)] + [[job.claim for job in jobs]]


def _as_is(kind: type[Any], value: Any) -> Any:
    """Let through what the driver already decoded to the wanted type (networks, ranges …)."""
    if isinstance(value, kind):
        return value
    raise ValueError(f"expected {kind.__name__}, got {type(value).__name__}")
