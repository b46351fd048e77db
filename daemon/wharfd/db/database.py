"""`Database`: what the rest of wharfd and every plugin talks to, and how it is opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import trio

from .bridge import Bridge, unwrapped
from .connecting import Target
from .listening import listen
from .pool import Pool
from .queries import Call, Queries, Runner, nothing
from .retrying import repeat
from .session import Session
from .settings import DatabaseSettings
from .statements import Statement, check, sql
from .statistics import DatabaseStatistics, Statistics
from .suitability import check_server
from .transaction import Isolation, Transaction, TransactionScope

T = TypeVar("T")


class Database(Queries):
    """PostgreSQL, by named statements. Safe to use from many tasks at once.

    Each single call runs in its own transaction on any free connection. `read` goes to the replica where one
    is configured; `owner` has the right to change tables.
    """

    def __init__(
        self,
        pool: Pool,
        runner: Runner,
        counted: Statistics,
        *,
        prefix: str = "",
        listen_url: str = "",
        read: Database | None = None,
        owner: Database | None = None,
        urgent: Database | None = None,
    ) -> None:
        self._pool = pool
        self._runner = runner
        self._counted = counted
        self._prefix = prefix
        self._listen_url = listen_url
        self._read = read
        self._owner = owner
        self._urgent = urgent

    @property
    def read(self) -> Database:
        """The replica for reads that may lag a little; itself without one."""
        return self if self._read is None else self._read

    @property
    def owner(self) -> Database:
        """The owner role, for DDL, partitions and retention; itself without one."""
        return self if self._owner is None else self._owner

    @property
    def urgent(self) -> Database:
        """The same over a few connections of their own: for what must never wait behind other work.

        That is the commits that providers wait for, and the leases of work under way.
        """
        return self if self._urgent is None else self._urgent

    async def _ask(
        self,
        name: str,
        call: Call[T],
        *,
        timeout: float | None = None,
        count: Callable[[Any], int] = nothing,
        as_task: bool = False,
    ) -> T:
        link = await self._pool.acquire()
        try:
            return await self._runner.run(
                link, self._prefix + name, call, timeout=timeout, count=count, as_task=as_task
            )
        finally:
            self._pool.release(link)

    def transaction(
        self, *, isolation: Isolation = "read_committed", readonly: bool = False
    ) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction: committed when the block ends, rolled back when it raises or is cancelled.

        Raises `CommitUnknown` when the connection is lost during the commit, `TransactionAborted` when a
        statement failed inside and its error was swallowed.
        """
        return TransactionScope(self._pool, self._runner, self._prefix, isolation, readonly=readonly)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Hold one connection for several calls, for session locks and settings; cleaned when given back.

        Not through PgBouncer in transaction mode, where two calls may land on two servers' sessions.
        """
        link = await self._pool.acquire()
        session = Session(self._runner, link, self._prefix)
        try:
            yield session
        finally:
            session.end()
            # Settings and locks may be left on it. The caller waits, so that its locks are free afterwards.
            with trio.CancelScope(shield=True):
                await self._pool.mend(link)

    async def repeat(
        self,
        unit: Callable[[Transaction], Awaitable[T]],
        *,
        attempts: int = 5,
        isolation: Isolation = "read_committed",
        idempotent: bool = False,
    ) -> T:
        """Run `unit(tx)` in a transaction, again from its start after a serialization failure, a deadlock or
        a lost connection, with growing jittered pauses.

        The unit must have no effect outside the transaction. A connection lost during the commit itself is
        repeated only with `idempotent=True`; otherwise `CommitUnknown` comes out.
        """
        return await repeat(
            lambda: self.transaction(isolation=isolation), unit, attempts=attempts, idempotent=idempotent
        )

    def listen(
        self, *channels: str
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[tuple[str, str]]]:
        """Hear NOTIFY on the channels, as (channel, payload), on a connection of its own.

        After a reconnect, or when the reader was too slow, ("", "") says: you may have missed some, look.
        """
        return listen(self._pool.bridge, self._pool.settings, self._listen_url, channels)

    async def explain(self, statement: Statement, *args: Any) -> str:
        """Return the plan PostgreSQL would use for these arguments; the statement is not run."""
        plan = sql(f"explain.{check(statement).name}", f"EXPLAIN (VERBOSE, SETTINGS) {statement.text}")
        return "\n".join(row[0] for row in await self.fetch(plan, *args))

    def named(self, prefix: str) -> Database:
        """Return the same database with statements counted as `prefix.name`."""
        return Database(
            self._pool,
            self._runner,
            self._counted,
            prefix=f"{prefix}.",
            listen_url=self._listen_url,
            read=None if self._read is None else self._read.named(prefix),
            owner=None if self._owner is None else self._owner.named(prefix),
            urgent=None if self._urgent is None else self._urgent.named(prefix),
        )

    def statistics(self) -> DatabaseStatistics:
        """Return the gauges of all pools and the figures of all statements."""
        pools: Iterable[Pool] = {d._pool: None for d in (self, self.read, self.owner, self.urgent)}
        return DatabaseStatistics(
            pools=tuple(pool.statistics() for pool in pools),
            statements=tuple(self._counted.statements()),
            slow=tuple(self._counted.slow()),
            slow_seconds=self._counted.slow_seconds,
        )


@asynccontextmanager
async def open_database(bridge: Bridge, settings: DatabaseSettings) -> AsyncIterator[Database]:
    """Open the pools for as long as the block runs.

    Raises `DatabaseUnavailable` when PostgreSQL cannot be reached, `DatabaseUnsuitable` when it can but
    would not keep wharfd's promises (too old, not UTF-8, asynchronous commit …).
    """
    counted = Statistics(settings.slow_statement_seconds)
    with unwrapped():
        async with trio.open_nursery() as nursery:
            opened: list[Pool] = []

            def make(target: Target, **more: Any) -> Database:
                pool = Pool(bridge, settings, target, nursery)
                opened.append(pool)
                writes = target.session == "read-write"
                runner = Runner(bridge, counted, target.statement_timeout_seconds, writes=writes)
                return Database(pool, runner, counted, listen_url=settings.listen_url or settings.url, **more)

            read = owner = None
            limit = settings.statement_timeout_seconds
            if settings.read_url:
                read = make(
                    Target(
                        purpose="read",
                        url=settings.read_url,
                        size=settings.pool_size,
                        statement_timeout_seconds=limit,
                        session="prefer-standby",
                    )
                )
            if settings.owner_url:
                owner = make(
                    Target(
                        purpose="owner",
                        url=settings.owner_url,
                        size=settings.owner_pool_size,
                        statement_timeout_seconds=settings.owner_statement_timeout_seconds,
                    )
                )
            urgent = make(
                Target(
                    purpose="urgent",
                    url=settings.url,
                    size=settings.urgent_pool_size,
                    statement_timeout_seconds=limit,
                )
            )
            database = make(
                Target(
                    purpose="app",
                    url=settings.url,
                    size=settings.pool_size,
                    min_size=settings.pool_min_size,
                    statement_timeout_seconds=limit,
                ),
                read=read,
                owner=owner,
                urgent=urgent,
            )
            try:
                await check_server(database, settings)
                for pool in opened:
                    nursery.start_soon(pool.tend)
                yield database
            finally:
                for pool in opened:
                    await pool.aclose()
                nursery.cancel_scope.cancel()
