"""One connection held for several calls: session locks, session settings, work that allows no transaction."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from ..errors import DatabaseUnavailable
from .pool import Link
from .queries import Call, Queries, Runner, nothing
from .transaction import Isolation, Transaction, TransactionScope

T = TypeVar("T")


class Session(Queries):
    """What `Database.session()` yields; use it from one task at a time."""

    def __init__(self, runner: Runner, link: Link, prefix: str) -> None:
        self._runner = runner
        self._link = link
        self._prefix = prefix
        self._over = False

    def end(self) -> None:
        """Refuse every further call."""
        self._over = True

    async def acquire(self) -> Link:
        """Lend the connection to a transaction."""
        if self._over:
            raise RuntimeError("the database session is over; use it inside its async with block")
        if self._link.suspect or self._link.raw.is_closed():
            raise DatabaseUnavailable("the connection of this database session was lost or interrupted")
        return self._link

    def release(self, link: Link) -> None:
        """Take the connection back from a transaction; the session keeps it."""

    async def _ask(
        self,
        name: str,
        call: Call[T],
        *,
        timeout: float | None = None,
        count: Callable[[Any], int] = nothing,
        as_task: bool = False,
    ) -> T:
        link = await self.acquire()
        return await self._runner.run(
            link, self._prefix + name, call, timeout=timeout, count=count, as_task=as_task
        )

    def transaction(
        self, *, isolation: Isolation = "read_committed", readonly: bool = False
    ) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction on this session's connection; see `Database.transaction`."""
        return TransactionScope(self, self._runner, self._prefix, isolation, readonly=readonly)
