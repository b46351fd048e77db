"""What a plugin can declare: frozen, typed, self-checking values, returned by the `register_*` hooks.

A declaration says *what* there is; the core decides how it is served, scheduled, worked, measured and
contained. Each class checks itself when it is made, so a wrong declaration fails at the line that wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from cronsim import CronSim, CronSimError

from .contracts.events import Event
from .contracts.services import ServiceKey

Handler = Callable[..., Awaitable[Any]]

_NAME = re.compile(r"^[a-z][a-z0-9_]*$")
_TABLE = re.compile(r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")
_PATTERN = re.compile(r"^(\*|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\.\*)?)$")
_SCOPE = re.compile(r"^[a-z_]+:[a-z_*]+$")


def _check(condition: bool, declaration: object, message: str) -> None:
    if not condition:
        raise ValueError(f"{type(declaration).__name__}: {message}")


# -- the database ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Migrations:
    """The plugin's SQL files `migrations/NNNN_words.sql` beside its package.

    `partitioned` names the tables (`schema.table`) the core makes monthly partitions for, ahead of time.
    `keep_forever` names tables from which the app role cannot DELETE.
    """

    package: str
    partitioned: tuple[str, ...] = ()
    keep_forever: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for table in (*self.partitioned, *self.keep_forever):
            _check(bool(_TABLE.match(table)), self, f"{table!r} is not written schema.table")


# -- HTTP --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """At most `calls` in `seconds`, counted per caller."""

    calls: int
    seconds: float = 60.0

    def __post_init__(self) -> None:
        _check(self.calls > 0 and self.seconds > 0, self, "calls and seconds must be above 0")


@dataclass(frozen=True)
class CacheFor:
    """Keep the answer of a GET for `seconds`, one copy per caller's owner and query.

    `tags` are what a writer names to throw it away: `ctx.cache.invalidate("transactions")`.
    """

    seconds: float
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Route:
    """One endpoint of the API. The handler is `async def handler(ctx, request) -> Struct | Reply`.

    `scope` is what a caller must hold; None opens the route to everybody and is for health and login only.
    `body` is a msgspec type (decoded and validated before the handler runs), `bytes`, or None; with
    `stream=True` the handler reads `request.stream()` itself in constant memory.
    `query` is a msgspec Struct the query string is converted to. `returns` is documented in OpenAPI.

    `page=True` is for people, not programs: the route stays out of OpenAPI. With `sign_in` a browser that
    comes without credentials is sent to that path (303, the way back in `next`) instead of getting a 401.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    handler: Handler
    scope: str | None
    aliases: tuple[str, ...] = ()
    body: Any = None
    query: type[Any] | None = None
    returns: Any = None
    status: int = 200
    stream: bool = False
    max_body_bytes: int = 1 << 20
    idempotent: bool = False
    rate: Rate | None = None
    cache: CacheFor | None = None
    timeout_seconds: float = 30.0
    summary: str = ""
    deprecated: bool = False
    page: bool = False
    sign_in: str | None = None

    def __post_init__(self) -> None:
        for path in self.paths:
            _check(
                path.startswith("/") and "?" not in path, self, f"{path!r} must begin with / and hold no ?"
            )
        _check(
            self.scope is None or bool(_SCOPE.match(self.scope)),
            self,
            f"scope {self.scope!r} is not area:verb",
        )
        _check(self.cache is None or self.method == "GET", self, f"{self.path}: only a GET can be cached")
        _check(
            self.sign_in is None or (self.page and self.method == "GET" and self.sign_in.startswith("/")),
            self,
            f"{self.path}: sign_in is a path, and for a GET with page=True",
        )
        _check(
            not self.idempotent or self.method != "GET", self, f"{self.path}: a GET needs no Idempotency-Key"
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """The path and its aliases."""
        return (self.path, *self.aliases)


@dataclass(frozen=True, kw_only=True)
class IngestRoute:
    """Paths on which a provider posts, answered only after the durable commit.

    `admit(ctx, delivery)` is a plain function without I/O: it verifies and returns an admission (a msgspec
    Struct), or a `Reply` that refuses. `store(ctx, tx, admissions)` writes a whole group in one transaction
    and returns one `Reply` per admission. `answer(ctx, delivery)` replies to a GET or HEAD on the same path.
    Both may see a delivery again that an interrupted commit had already stored; `store` collapses it.

    `single=True` says that `store` writes the group with one statement. It is given a database in place of
    the transaction then: the statement is its own commit, which saves two round trips of three. What `store`
    does after that statement may be cut off, and is repeated when the sender, unanswered, comes again.

    While PostgreSQL is away an admission is kept in the spool, encoded as its type `admission`, and answered
    with what `spooled(ctx, admission)` returns, or 200 `{"success":true}`; it reaches `store` later.
    `spool=False` makes the route answer 503 instead.
    """

    source: str
    paths: tuple[str, ...]
    admit: Callable[..., Any]
    store: Handler
    admission: type[Any] | None = None
    answer: Callable[..., Any] | None = None
    spooled: Callable[..., Any] | None = None
    max_body_bytes: int = 1 << 20
    spool: bool = True
    single: bool = False

    def __post_init__(self) -> None:
        _check(bool(self.source), self, "source must not be empty")
        _check(bool(self.paths), self, f"{self.source}: at least one path is needed")
        _check(
            not self.spool or self.admission is not None,
            self,
            f"{self.source}: the spool needs the type of an admission; give admission=… or spool=False",
        )
        for path in self.paths:
            _check(
                path.startswith("/") and "?" not in path, self, f"{path!r} must begin with / and hold no ?"
            )


# -- work --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Retry:
    """When work that failed is tried again: `delays` one after the other, the last one repeated.

    Each delay is spread by ±`jitter`; after `attempts` tries the work is buried with its history.
    """

    attempts: int = 10
    delays: tuple[float, ...] = (1, 5, 30, 120, 600, 1800, 3600)
    jitter: float = 0.2

    def __post_init__(self) -> None:
        _check(self.attempts >= 1, self, "attempts must be at least 1")
        _check(bool(self.delays) and min(self.delays) >= 0, self, "delays must be zero or more seconds each")
        _check(0 <= self.jitter < 1, self, "jitter must be between 0 and 1")


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
        _check(bool(_NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")
        _check(bool(_TABLE.match(self.table)), self, f"{self.table!r} is not written schema.table")
        for column in (*self.key, *(self.lane or ())[:1], *(() if self.fair_by is None else (self.fair_by,))):
            _check(bool(_NAME.match(column)), self, f"{self.name}: column {column!r} must be snake_case")
        _check(bool(self.key), self, f"{self.name}: key needs at least one column")
        _check(
            1 <= self.batch <= 1000 and 1 <= self.concurrency <= 1000,
            self,
            f"{self.name}: batch and concurrency are between 1 and 1000",
        )
        _check(
            self.lease_seconds >= 0.5, self, f"{self.name}: a lease below 0.5 s cannot be kept by heartbeats"
        )
        _check(
            self.timeout_seconds is None or self.timeout_seconds > 0,
            self,
            f"{self.name}: timeout_seconds must be above 0",
        )
        _check(not self.ordered or self.fair_by is not None, self, f"{self.name}: ordered needs fair_by")
        _check(
            self.per_key is None or (self.per_key >= 1 and self.fair_by is not None),
            self,
            f"{self.name}: per_key starts at 1 and needs fair_by",
        )
        _check(
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
        _check(bool(_NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")
        _check(1 <= self.concurrency <= 1000, self, f"{self.name}: concurrency is between 1 and 1000")


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
        _check(bool(_NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")
        _check(
            (self.cron is None) != (self.every is None), self, f"{self.name}: give cron or every, one of them"
        )
        _check(
            self.every is None or self.every >= timedelta(seconds=1),
            self,
            f"{self.name}: every must be at least one second",
        )
        _check(
            self.jitter_seconds >= 0 and self.timeout_seconds > 0,
            self,
            f"{self.name}: jitter_seconds cannot be negative and timeout_seconds must be above 0",
        )
        if self.cron is not None:
            try:
                CronSim(self.cron, datetime(2000, 1, 1, tzinfo=UTC))
            except CronSimError as error:
                raise ValueError(f"Schedule: {self.name}: cron {self.cron!r} is wrong: {error}") from None


@dataclass(frozen=True)
class Subscription:
    """Hear events: `async def handler(ctx, envelope)`, at least once each, by way of the inbox.

    `event` is an Event class, a type name, or a pattern such as `payment.*` or `*`.
    With `transactional=True` the handler is `async def handler(ctx, envelope, tx)` and its writes through
    `tx` commit together with the mark that the event was handled: exactly once. With `batch` above 1 it is
    `async def handler(ctx, envelopes, tx)` and gets up to so many at a time; when it fails, the batch is
    tried in halves until the event that is to blame fails alone.

    `name` tells the plugin's subscriptions apart and must stay the same over releases; it is the handler's
    name unless given. Several subscriptions with one name are one subscriber that hears several types.
    """

    event: type[Event] | str
    handler: Handler
    transactional: bool = False
    name: str = ""
    concurrency: int = 4
    batch: int = 1
    retry: Retry = field(default_factory=Retry)
    timeout_seconds: float | None = None

    def __post_init__(self) -> None:
        _check(
            bool(_NAME.match(self.subscriber)),
            self,
            f"the handler of {self.pattern!r} has no usable name ({self.subscriber!r}); give name=",
        )
        _check(bool(_PATTERN.match(self.pattern)), self, f"{self.pattern!r} is no event type and no pattern")
        _check(1 <= self.concurrency <= 1000, self, f"{self.subscriber}: concurrency is between 1 and 1000")
        _check(
            self.batch == 1 or (self.transactional and 1 < self.batch <= 1000),
            self,
            f"{self.subscriber}: batch is between 1 and 1000, and above 1 only with transactional=True",
        )

    @property
    def pattern(self) -> str:
        """The type name or pattern that is matched."""
        return self.event if isinstance(self.event, str) else self.event.type

    @property
    def subscriber(self) -> str:
        """The name that tells it apart within the plugin."""
        return self.name or getattr(self.handler, "__name__", "")


@dataclass(frozen=True)
class EventType:
    """An event type this plugin publishes, for the catalogue: its class is its schema."""

    event: type[Event]
    summary: str = ""


# -- being watched -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """`async def check(ctx) -> Health`. A critical check that is down makes the daemon not ready."""

    name: str
    check: Handler
    timeout_seconds: float = 2.0
    critical: bool = False

    def __post_init__(self) -> None:
        _check(bool(_NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")


@dataclass(frozen=True)
class Health:
    """What a health check found."""

    state: Literal["ok", "degraded", "down"]
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A Prometheus metric; the core puts `wharfd_<plugin>_` in front of the name. Base units only."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check(bool(_NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")
        _check(
            self.kind != "counter" or self.name.endswith("_total"),
            self,
            f"counter {self.name} must end in _total",
        )


@dataclass(frozen=True, kw_only=True)
class AlertRule:
    """Something an operator should be told. `async def check(ctx) -> list[Finding]`; empty means well.

    It fires after `for_seconds` of finding the same thing, and resolves by itself.
    """

    name: str
    summary: str
    check: Handler
    severity: Literal["info", "warning", "critical"] = "warning"
    every_seconds: float = 60.0
    for_seconds: float = 0.0
    runbook: str = ""

    def __post_init__(self) -> None:
        _check(bool(_NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")


@dataclass(frozen=True)
class Finding:
    """One thing an alert rule found wrong. `key` tells findings of one rule apart."""

    message: str
    key: str = ""
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class RetentionRule:
    """How long rows of `table` are kept, by `column`. `where` narrows it to rows that may ever go.

    A partitioned table loses whole months; any other is deleted from in small fenced batches by `key`.
    """

    name: str
    table: str
    column: str
    keep: timedelta
    key: tuple[str, ...] = ("id",)
    where: str = "true"
    partitioned: bool = False
    archive: bool = True

    def __post_init__(self) -> None:
        _check(bool(_TABLE.match(self.table)), self, f"{self.table!r} is not written schema.table")
        _check(self.keep > timedelta(0), self, f"{self.name}: keep must be longer than nothing")


# -- people ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Command:
    """A CLI command group of a plugin: `wharfd NAME …`. `configure(parser)` adds arguments and
    `run(arguments, client) -> int` is called with a client of the running daemon's API.
    """

    name: str
    summary: str
    configure: Callable[..., None]
    run: Callable[..., int]


@dataclass(frozen=True, kw_only=True)
class ConsolePage:
    """A page of the console under `/console/<path>`: `async def render(ctx, request) -> str` of HTML."""

    path: str
    title: str
    render: Handler
    icon: str = ""
    order: int = 100


# -- services ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Provides:
    """This plugin offers a service. `factory(ctx)` is called once, after `provision` succeeded."""

    key: ServiceKey[Any]
    factory: Callable[..., Any]


@dataclass(frozen=True)
class Requires:
    """This plugin uses another's service and starts after it. Optional: works without it too."""

    key: ServiceKey[Any]
    optional: bool = False
