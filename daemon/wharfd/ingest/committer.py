"""The group commit: many deliveries, few transactions, each caller told the fate of its own row.

The first row of a quiet moment is committed at once and alone; whatever arrives meanwhile goes together into
the next commit. So waiting is never added, and the busier it gets the larger the groups. A second commit is
opened beside a running one only when a row has waited `max_wait_seconds` or a group is full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from time import monotonic
from typing import Any

import structlog
import trio

from ..declare import Handler, IngestRoute
from ..errors import Overloaded, SpoolError
from .failures import describe, is_outage
from .keeping import Keeper
from .message import Reply, come_back
from .observing import Observer, Sampler
from .storing import DatabaseFactory, TransactionFactory, own_database, store_group

Told = Callable[[Reply], None]

_ROW_BYTES = 512  # what a row weighs in memory beside its body
_POISON_SECONDS = 60.0
_EXPIRE_SECONDS = 1.0  # how often it is looked for rows that have waited too long


@dataclass(frozen=True, kw_only=True)
class CommitPolicy:
    """Bounds of the group commit.

    `max_rows` (`WEBHOOK_BATCH_SIZE`) and `max_bytes` bound one commit. A row waits behind a running commit
    for `max_wait_seconds` (`WEBHOOK_BATCH_TIMEOUT`) before a further one is opened: up to `lanes` for rows
    that share a store function, up to `transactions` over all plugins. `queue_*` bound what waits; beyond
    them is 503. `attempt_seconds` bounds one try.

    While the database is away a group is tried `retries` more times (`WEBHOOK_MAX_RETRIES`), first at once,
    then after `retry_seconds` (`WEBHOOK_RETRY_DELAY`), doubled each time, within `retry_budget_seconds`.
    With a spool it goes there after `spool_after_seconds` at the latest.
    """

    max_rows: int = 256
    max_bytes: int = 4 << 20
    max_wait_seconds: float = 0.005
    lanes: int = 2
    transactions: int = 6
    queue_rows: int = 20_000
    queue_bytes: int = 64 << 20
    queue_seconds: float = 10.0
    attempt_seconds: float = 5.0
    retries: int = 3
    retry_seconds: float = 1.0
    retry_budget_seconds: float = 8.0
    spool_after_seconds: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 0 if field.name in ("max_wait_seconds", "retries", "spool_after_seconds") else 1e-9
            if getattr(self, field.name) < least:
                raise ValueError(f"commit policy {field.name}: {getattr(self, field.name)!r} is too small")


@dataclass
class CommitStatistics:
    """Counts kept by the committer since it started."""

    queued_rows: int = 0
    queued_bytes: int = 0
    commits: int = 0
    rows: int = 0
    largest: int = 0
    spooled: int = 0
    poisoned: int = 0
    overloaded: int = 0
    given_up: int = 0


class _Row:
    """One admission; `told` is None once its sender was told."""

    __slots__ = ("admission", "reply", "route", "since", "size", "told")

    def __init__(self, route: IngestRoute, admission: Any, size: int, told: Told) -> None:
        self.route = route
        self.admission = admission
        self.size = size
        self.since = monotonic()
        self.reply: Reply | None = None
        self.told: Told | None = told


class _Group:
    """Rows that can share a commit: same store function, same plugin, same right to the spool.

    `database` is what a store function works on that commits by itself.
    """

    __slots__ = ("committing", "ctx", "database", "full", "lanes", "spools", "store", "waiting")

    def __init__(self, store: Handler, ctx: Any, spools: bool, database: Any) -> None:
        self.store = store
        self.ctx = ctx
        self.spools = spools
        self.database = database
        self.waiting: deque[_Row] = deque()
        self.lanes = 0  # tasks at work on the group
        self.committing = 0  # those of them with a transaction open; the others start or linger
        self.full = trio.Event()

    @property
    def at_work(self) -> bool:
        """Whether anything is not decided yet."""
        return bool(self.waiting or self.lanes)


class GroupCommitter:
    """Takes admissions with `submit` or `take`. `transaction` opens one that commits when left in peace.

    `databases` gives, by a plugin's name, the database for routes that are `single`; without it their store
    function gets the one of its context.
    """

    def __init__(
        self,
        transaction: TransactionFactory,
        *,
        log: structlog.stdlib.BoundLogger,
        policy: CommitPolicy | None = None,
        keeper: Keeper | None = None,
        observer: Observer | None = None,
        databases: DatabaseFactory | None = None,
    ) -> None:
        self.policy = policy or CommitPolicy()
        self.statistics = CommitStatistics()
        self._transaction = transaction
        self._databases = databases
        self._keeper = keeper
        self._observer = observer or Observer()
        self._log = log
        self._sampler = Sampler()
        self._groups: dict[object, _Group] = {}
        self._open: deque[_Row] = deque()  # in the order they came; those told already go when they lead
        self._transactions = trio.Semaphore(self.policy.transactions)
        self._nursery: trio.Nursery | None = None
        self._stopping = trio.Event()
        self._quiet = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit what is submitted until `stop`, and then until nothing is left.

        Cancellation: rows not committed by then are answered 503.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._expire)
                task_status.started()
                await self._stopping.wait()
                while any(group.at_work for group in self._groups.values()):
                    self._quiet = trio.Event()
                    await self._quiet.wait()
                self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            for group in self._groups.values():
                self._tell(self._take(group, everything=True))

    def stop(self) -> None:
        """Take nothing more; `run` returns when what was admitted is decided."""
        self._stopping.set()

    async def submit(self, route: IngestRoute, ctx: Any, admission: Any, *, size: int = 0) -> Reply:
        """Have an admission stored and return what its sender is told.

        `size` is its weight in bytes, for the bounds. The commit goes on if the caller is cancelled.
        Raises `Overloaded` if too much waits already or the committer is stopping.
        """
        replies: list[Reply] = []
        done = trio.Event()

        def told(reply: Reply) -> None:
            replies.append(reply)
            done.set()

        self.take(route, ctx, admission, told, size=size)
        await done.wait()
        return replies[0]

    def take(self, route: IngestRoute, ctx: Any, admission: Any, told: Told, *, size: int = 0) -> None:
        """As `submit`, for a caller that does not wait: `told` is called once, later, with the reply."""
        statistics, policy = self.statistics, self.policy
        if self._nursery is None or self._stopping.is_set():
            raise Overloaded("wharfd is stopping", retry_after=5.0)
        size += _ROW_BYTES
        if statistics.queued_rows >= policy.queue_rows or statistics.queued_bytes + size > policy.queue_bytes:
            statistics.overloaded += 1
            raise Overloaded("too many deliveries wait to be stored", retry_after=2.0)
        row = _Row(route, admission, size, told)
        group = self._group(route, ctx)
        group.waiting.append(row)
        self._open.append(row)
        statistics.queued_rows += 1
        statistics.queued_bytes += size
        self._open_lane(self._nursery, group)

    async def _expire(self) -> None:
        """Tell those who have waited too long to come back; what is under way goes on."""
        while True:
            await trio.sleep(min(_EXPIRE_SECONDS, self.policy.queue_seconds / 4))
            due = monotonic() - self.policy.queue_seconds
            late = [row for row in self._open if row.told is not None and row.since <= due]
            self.statistics.given_up += len(late)
            self._tell(late)

    def _tell(self, rows: Sequence[_Row]) -> None:
        for row in rows:
            told, row.told = row.told, None
            if told is None:
                continue
            try:
                told(row.reply or come_back(2, "storing took too long; send it again"))
            except Exception:
                self._log.exception("ingest_answer_failed", source=row.route.source)
        waiting = self._open
        while waiting and waiting[0].told is None:
            waiting.popleft()

    def _group(self, route: IngestRoute, ctx: Any) -> _Group:
        spools = route.spool and self._keeper is not None
        key = (route.store, id(ctx), spools, route.single)
        group = self._groups.get(key)
        if group is None:
            # Whoever has restarted comes with a new context; the group of the old one is done with.
            self._groups = {k: g for k, g in self._groups.items() if g.at_work or g.store != route.store}
            database = own_database(ctx, self._databases) if route.single else None
            group = self._groups[key] = _Group(route.store, ctx, spools, database)
        return group

    def _open_lane(self, nursery: trio.Nursery, group: _Group) -> None:
        if group.committing == group.lanes < self.policy.lanes:
            group.lanes += 1
            nursery.start_soon(self._work_lane, group)
        elif len(group.waiting) >= self.policy.max_rows:
            group.full.set()

    async def _work_lane(self, group: _Group) -> None:
        """Commit what waits; beside another commit, only what has waited long enough."""
        try:
            while group.waiting:
                if group.committing and len(group.waiting) < self.policy.max_rows:
                    left = group.waiting[0].since + self.policy.max_wait_seconds - monotonic()
                    if left > 0:
                        if group.lanes - group.committing > 1:
                            return  # another lane lingers already
                        group.full = trio.Event()
                        with trio.move_on_after(left):
                            await group.full.wait()
                        continue
                await self._commit_next(group)
        finally:
            group.lanes -= 1
            if self._stopping.is_set():
                self._quiet.set()

    async def _commit_next(self, group: _Group) -> None:
        rows = self._take(group)
        group.committing += 1
        try:
            if rows:
                async with self._transactions:
                    await self._commit(group, rows)
        except Exception:
            self._log.exception("ingest_commit_crashed", rows=len(rows))
        finally:
            group.committing -= 1
            self._tell(rows)

    def _take(self, group: _Group, *, everything: bool = False) -> list[_Row]:
        policy, statistics = self.policy, self.statistics
        rows: list[_Row] = []
        size = 0
        while group.waiting and (everything or len(rows) < policy.max_rows):
            if rows and not everything and size + group.waiting[0].size > policy.max_bytes:
                break
            row = group.waiting.popleft()
            statistics.queued_rows -= 1
            statistics.queued_bytes -= row.size
            if row.told is not None:  # else its sender was told 503, and will be back
                rows.append(row)
                size += row.size
        return rows

    async def _commit(self, group: _Group, rows: Sequence[_Row]) -> None:
        """Decide about every row: stored, spooled, or 503."""
        policy = self.policy
        keeper = self._keeper if group.spools else None
        budget = policy.retry_budget_seconds if keeper is None else policy.spool_after_seconds
        started = monotonic()
        for attempt in range(policy.retries + 1):
            if keeper is not None and keeper.outage:
                break
            try:
                outcomes = await store_group(
                    self._transaction,
                    group.store,
                    group.ctx,
                    [row.admission for row in rows],
                    attempt_seconds=policy.attempt_seconds,
                    database=group.database,
                )
            except Exception as error:
                if not is_outage(error):
                    raise
                self._note("ingest_commit_failed", rows=len(rows), attempt=attempt + 1, error=describe(error))
                delay = 0.0 if attempt == 0 else policy.retry_seconds * 2 ** (attempt - 1)
                if attempt == policy.retries or monotonic() + delay - started > budget:
                    break
                await trio.sleep(delay)
            else:
                self._settle(rows, outcomes, monotonic() - started)
                return
        if keeper is not None:
            await self._spool(keeper, group, rows)
        else:
            for row in rows:
                row.reply = come_back(5, "the database is away; send it again")

    def _settle(self, rows: Sequence[_Row], outcomes: Sequence[Reply | Exception], seconds: float) -> None:
        statistics = self.statistics
        stored = 0
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Exception):
                statistics.poisoned += 1
                self._note("ingest_row_not_storable", source=row.route.source, error=describe(outcome))
                row.reply = come_back(_POISON_SECONDS, "this delivery could not be stored; send it again")
            else:
                stored += 1
                row.reply = outcome
        if stored:
            statistics.commits += 1
            statistics.rows += stored
            statistics.largest = max(statistics.largest, len(rows))
            self._observer.committed(stored, seconds)

    async def _spool(self, keeper: Keeper, group: _Group, rows: Sequence[_Row]) -> None:
        keeper.begin_outage()
        try:
            replies = await keeper.keep(group.ctx, [(row.route, row.admission) for row in rows])
        except SpoolError as error:
            self._note("ingest_spool_refused", rows=len(rows), error=str(error))
            for row in rows:
                row.reply = come_back(10, "neither the database nor the spool can take it; send it again")
            return
        self.statistics.spooled += len(rows)
        for row, reply in zip(rows, replies, strict=True):
            row.reply = reply

    def _note(self, event: str, **facts: object) -> None:
        suppressed = self._sampler.suppressed(event)
        if suppressed is not None:
            self._log.warning(event, suppressed=suppressed, **facts)
