"""What is to be measured, and what came of it: the structs that travel between the processes."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .openloop import Measured

Suite = Literal["ingest", "processing", "delivery", "work", "cache", "api", "query"]
SUITES: tuple[Suite, ...] = ("ingest", "processing", "delivery", "work", "cache", "api", "query")
PREFIX = "wharfd_bench_"


def new_schema() -> str:
    """Return the name of a scratch schema nobody else has; it says when it was made."""
    return f"{PREFIX}{datetime.now(UTC):%Y%m%d%H%M%S}_{secrets.token_hex(3)}"


class Targets(msgspec.Struct, kw_only=True):
    """Where everything is. Holds passwords: it goes through a pipe and nowhere else."""

    url: str
    owner_url: str | None = None
    pgbouncer: bool = False
    redis_url: str | None = None


class Plan(msgspec.Struct, kw_only=True):
    """What to run. Rates are operations per second; with `stress` everything goes as fast as it can.

    `rows` is how much the scratch tables hold and what the work suite works off; `batch` and `at_once` are
    the size of a commit and how many requests are under way. With `total` a measure ends after so many
    operations over all its rounds, if its time is not over before.
    """

    suites: tuple[Suite, ...] = SUITES
    rounds: Annotated[int, Meta(ge=1, le=20)] = 3
    seconds: Annotated[float, Meta(ge=0.1, le=600)] = 3.0
    warm_seconds: Annotated[float, Meta(ge=0, le=60)] = 1.0
    rate: Annotated[float, Meta(ge=1, le=100_000)] | None = None
    rows: Annotated[int, Meta(ge=100, le=2_000_000)] = 20_000
    at_once: Annotated[int, Meta(ge=1, le=512)] = 64
    batch: Annotated[int, Meta(ge=1, le=1000)] = 500
    total: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    stress: bool = False
    schema: str = msgspec.field(default_factory=new_schema)

    @property
    def share(self) -> int | None:
        """How many operations a round may do."""
        return None if self.total is None else max(1, self.total // self.rounds)


class Figure(msgspec.Struct, kw_only=True):
    """One line of the table: medians over the rounds, latencies over all of them.

    `aim` is what is wanted of it, `met` whether it is so; both are empty where nothing is demanded.
    """

    suite: str
    name: str
    asked_per_second: float | None = None
    per_second: float
    lowest: float
    highest: float
    count: int
    failed: int = 0
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    max_ms: float | None = None
    note: str = ""
    aim: str = ""
    met: bool | None = None


class Report(msgspec.Struct, kw_only=True):
    """The result of a run."""

    began: datetime
    seconds: float
    plan: Plan
    machine: dict[str, Any]
    figures: list[Figure]
    problems: list[str] = []


class Progress(msgspec.Struct, kw_only=True):
    """How far a run is: `done` of `total` steps, and what it does now."""

    done: int
    total: int
    doing: str


class Order(msgspec.Struct, kw_only=True):
    """What to do, and where."""

    targets: Targets
    plan: Plan
    nice: int = 0


class Said(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line: how far it is, what came of it, or why nothing did."""

    progress: Progress | None = None
    report: Report | None = None
    error: str = ""


def figure(
    suite: Suite,
    name: str,
    rounds: list[Measured],
    *,
    asked: float | None = None,
    p99_below_ms: float | None = None,
    note: str = "",
) -> Figure:
    """Return the line for several rounds of the same thing, with its latencies over all rounds."""
    whole = rounds[0].histogram
    for one in rounds[1:]:
        whole.merge(one.histogram)
    rates = sorted(one.rate for one in rounds)
    p99 = whole.percentile(0.99) * 1000
    failed = sum(one.failed for one in rounds)
    aim, met = "", None
    if p99_below_ms is not None and asked is not None:
        aim = f"p99 < {p99_below_ms:g} ms at {asked:,.0f}/s"
        met = failed == 0 and p99 < p99_below_ms
    error = next((one.error for one in rounds if one.error), "")
    return Figure(
        suite=suite,
        name=name,
        asked_per_second=asked,
        per_second=round(rates[len(rates) // 2], 1),
        lowest=round(rates[0], 1),
        highest=round(rates[-1], 1),
        count=whole.count,
        failed=failed,
        p50_ms=round(whole.percentile(0.5) * 1000, 3),
        p90_ms=round(whole.percentile(0.9) * 1000, 3),
        p99_ms=round(p99, 3),
        p999_ms=round(whole.percentile(0.999) * 1000, 3),
        max_ms=round(whole.maximum * 1000, 3),
        note=error or note,
        aim=aim,
        met=met,
    )
