"""What a plugin works on: queues of rows, one-off jobs, schedules, and when a failure is tried again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cronsim import CronSim, CronSimError

from .checks import NAME, TABLE, Handler, check


@dataclass(frozen=True, kw_only=True)
class Retry:
    """When work that failed is tried again: `delays` one after the other, the last one repeated.

    Each delay is spread by ±`jitter`; after `attempts` tries the work is buried with its history.
    """

    attempts: int = 10
    delays: tuple[float, ...] = (1, 5, 30, 120, 600, 1800, 3600)
    jitter: float = 0.2

    def __post_init__(self) -> None:
        check(self.attempts >= 1, self, "attempts must be at least 1")
        check(bool(self.delays) and min(self.delays) >= 0, self, "delays must be zero or more seconds each")
        check(0 <= self.jitter < 1, self, "jitter must be between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class WorkQueue:
    """A table whose rows are work (law 3), and the handler that works them.

    The table carries the work columns (`docs/work.md`). `row` is a msgspec Struct; its field names are the
    columns a handler gets. With `batch=1` the handler is `async def handler(ctx, job)`, otherwise
    `async def handler(ctx, batch)` and it gets up to `batch` jobs at a time.

    `key` identifies a row (a partitioned table adds its partition column). `lane` restricts the queue to the
    rows where that column has that value, so several queues can share a table. `fair_by` is a column whose
    values share the workers evenly, none holding more than `per_key` rows at a time across all daemons;
    `ordered=True` additionally works each of its values strictly in the order of `key`, one at a time: a row
    that waits for its next try holds the later ones back, and so does a buried one unless `skip_buried`.
    `keep_done=False` deletes a row when it is done.

    A job whose handler takes longer than `timeout_seconds` is cancelled and counts as failed.
    """

    name: str
    table: str
    row: type[Any]
    handler: Handler
    key: tuple[str, ...] = ("id",)
    lane: tuple[str, str] | None = None
    batch: int = 1
    concurrency: int = 4
    lease_seconds: float = 60.0
    timeout_seconds: float | None = None
    retry: Retry = field(default_factory=Retry)
    fair_by: str | None = None
    per_key: int | None = None
    ordered: bool = False
    skip_buried: bool = False
    keep_done: bool = True

    def __post_init__(self) -> None:
        check(bool(NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")
        check(bool(TABLE.match(self.table)), self, f"{self.table!r} is not written schema.table")
        for column in (*self.key, *(self.lane or ())[:1], *(() if self.fair_by is None else (self.fair_by,))):
            check(bool(NAME.match(column)), self, f"{self.name}: column {column!r} must be snake_case")
        check(bool(self.key), self, f"{self.name}: key needs at least one column")
        check(
            1 <= self.batch <= 1000 and 1 <= self.concurrency <= 1000,
            self,
            f"{self.name}: batch and concurrency are between 1 and 1000",
        )
        check(
            self.lease_seconds >= 0.5, self, f"{self.name}: a lease below 0.5 s cannot be kept by heartbeats"
        )
        check(
            self.timeout_seconds is None or self.timeout_seconds > 0,
            self,
            f"{self.name}: timeout_seconds must be above 0",
        )
        check(not self.ordered or self.fair_by is not None, self, f"{self.name}: ordered needs fair_by")
        check(
            self.per_key is None or (self.per_key >= 1 and self.fair_by is not None),
            self,
            f"{self.name}: per_key starts at 1 and needs fair_by",
        )
        check(
            self.ordered or not self.skip_buried, self, f"{self.name}: skip_buried is for ordered queues only"
        )


@dataclass(frozen=True, kw_only=True)
class JobKind:
    """A kind of one-off job kept in `wharfd.jobs`: `await ctx.jobs.enqueue(tx, Args(...))`.

    `args` is a msgspec Struct class; the handler is `async def handler(ctx, args, job)`. A job that is done
    is deleted unless `keep_done`.
    """

    name: str
    args: type[Any]
    handler: Handler
    retry: Retry = field(default_factory=Retry)
    concurrency: int = 4
    timeout_seconds: float | None = None
    keep_done: bool = False

    def __post_init__(self) -> None:
        check(bool(NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")
        check(1 <= self.concurrency <= 1000, self, f"{self.name}: concurrency is between 1 and 1000")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Something done again and again: by `cron` (UTC) or `every` so many seconds.

    One firing across all daemons; after downtime it fires once, not once per missed time. A firing is moved
    later by up to `jitter_seconds`. The handler is `async def handler(ctx)`; when it fails, the failure is
    kept in the history and the next time is as planned.
    """

    name: str
    handler: Handler
    cron: str | None = None
    every: timedelta | None = None
    jitter_seconds: float = 0.0
    timeout_seconds: float = 3600.0

    def __post_init__(self) -> None:
        check(bool(NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")
        check(
            (self.cron is None) != (self.every is None), self, f"{self.name}: give cron or every, one of them"
        )
        check(
            self.every is None or self.every >= timedelta(seconds=1),
            self,
            f"{self.name}: every must be at least one second",
        )
        check(
            self.jitter_seconds >= 0 and self.timeout_seconds > 0,
            self,
            f"{self.name}: jitter_seconds cannot be negative and timeout_seconds must be above 0",
        )
        if self.cron is not None:
            try:
                CronSim(self.cron, datetime(2000, 1, 1, tzinfo=UTC))
            except CronSimError as error:
                raise ValueError(f"Schedule: {self.name}: cron {self.cron!r} is wrong: {error}") from None
