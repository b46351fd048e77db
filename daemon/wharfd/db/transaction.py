"""Transactions: one connection, all or nothing, savepoints, and what happens after the commit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar

import structlog
import trio

from ..errors import CommitUnknown, DatabaseUnavailable, StatementTimeout, TransactionAborted
from .pool import Link
from .queries import Call, Queries, Runner, nothing

T = TypeVar("T")
Isolation = Literal["read_committed", "repeatable_read", "serializable"]

_log = structlog.get_logger("wharfd.db.transaction")
_ROLLBACK_SECONDS = 5.0
_UNDO_ATTEMPTS = 3
_LEVELS = {
    "read_committed": "READ COMMITTED",
    "repeatable_read": "REPEATABLE READ",
    "serializable": "SERIALIZABLE",
}


class Transaction(Queries):
    """An open transaction; use it from one task at a time."""

    def __init__(self, runner: Runner, link: Link, prefix: str, *, readonly: bool) -> None:
        self._runner = runner
        self._link = link
        self._prefix = prefix
        self._readonly = readonly
        self._over = False
        self._savepoints = 0
        self._afterwards: list[Callable[[], None]] = []

    async def _ask(
        self,
        name: str,
        call: Call[T],
        *,
        timeout: float | None = None,
        count: Callable[[Any], int] = nothing,
        as_task: bool = False,
    ) -> T:
        if self._over:
            raise RuntimeError(
                f"statement {name}: the transaction is over; use it inside its async with block"
            )
        return await self._runner.run(
            self._link,
            self._prefix + name,
            call,
            timeout=timeout,
            count=count,
            as_task=as_task,
            writes=not self._readonly,
        )

    def after_commit(self, function: Callable[[], None]) -> None:
        """Call a plain function once the transaction is committed; never when it is rolled back.

        It must be short and not fail: an exception is logged, the commit stands.
        """
        self._afterwards.append(function)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[Transaction]:
        """Undo only what the block did when it raises, and raise on; the transaction can go on after.

        So a deadline around the block, or a `StatementTimeout` in it, costs no more than the block.
        """
        self._savepoints += 1
        name = f"s{self._savepoints}"
        waiting = len(self._afterwards)
        # Shielded, because a savepoint that was interrupted could not be rolled back to.
        with trio.CancelScope(shield=True):
            await self._ask("savepoint", lambda c: c.execute(f"SAVEPOINT {name}"))
        try:
            yield self
        except BaseException:
            del self._afterwards[waiting:]
            await self._undo(name)
            raise
        with trio.CancelScope(shield=True):
            await self._ask("release", lambda c: c.execute(f"RELEASE {name}"))

    async def _undo(self, name: str) -> None:
        if self._link.raw.is_closed():
            return
        command = f"ROLLBACK TO {name}; RELEASE {name}"
        with trio.CancelScope(shield=True):
            for _ in range(_UNDO_ATTEMPTS):
                try:
                    await self._ask("rollback_to", lambda c: c.execute(command), timeout=_ROLLBACK_SECONDS)
                except StatementTimeout:
                    continue  # the server may act on a cancel request after the statement it was meant for
                except Exception as failure:  # what led here is raised on; the transaction cannot commit
                    _log.warning("savepoint_not_undone", error=str(failure))
                    break
                self._link.suspect = False
                return
            self._link.suspect = True


class Lender(Protocol):
    """Lends connections: a pool, or a session that already holds one."""

    async def acquire(self) -> Link:
        """Lend a connection."""
        ...

    def release(self, link: Link) -> None:
        """Take it back."""
        ...


class TransactionScope:
    """`async with database.transaction() as tx:`."""

    def __init__(
        self, lender: Lender, runner: Runner, prefix: str, isolation: str, *, readonly: bool
    ) -> None:
        if isolation not in _LEVELS:
            raise ValueError(f"isolation {isolation!r} is none of {', '.join(_LEVELS)}")
        self._lender = lender
        self._runner = runner
        self._prefix = prefix
        self._readonly = readonly
        self._begin = f"BEGIN ISOLATION LEVEL {_LEVELS[isolation]}" + (" READ ONLY" if readonly else "")
        self._transaction: Transaction | None = None

    async def __aenter__(self) -> Transaction:
        link = await self._lender.acquire()
        try:
            await self._runner.run(link, "begin", lambda c: c.execute(self._begin))
        except BaseException:
            self._lender.release(link)
            raise
        self._transaction = Transaction(self._runner, link, self._prefix, readonly=self._readonly)
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        transaction = self._transaction
        assert transaction is not None
        transaction._over = True
        link = transaction._link
        try:
            if error is not None:
                await self._rollback(link)
                return
            try:
                await trio.lowlevel.checkpoint_if_cancelled()
                if link.suspect:
                    raise TransactionAborted
            except BaseException:
                await self._rollback(link)
                raise
            await self._commit(link)
        finally:
            self._lender.release(link)
        for function in transaction._afterwards:
            try:
                function()
            except Exception:
                _log.exception("after_commit_failed", function=getattr(function, "__qualname__", "?"))

    async def _commit(self, link: Link) -> None:
        # Shielded: a commit that was sent has happened, so wait to learn how it ended.
        with trio.CancelScope(shield=True):
            try:
                tag = await self._runner.run(link, "commit", lambda c: c.execute("COMMIT"))
            except DatabaseUnavailable as error:
                raise CommitUnknown(
                    f"the connection was lost while committing; the changes are there or not: {error}"
                ) from error
        if tag != "COMMIT":
            raise TransactionAborted

    async def _rollback(self, link: Link) -> None:
        """Undo at once where that is possible; otherwise the pool mends or drops the connection."""
        if link.suspect or link.raw.is_closed():
            return
        with trio.CancelScope(shield=True):
            try:
                await self._runner.run(
                    link, "rollback", lambda c: c.execute("ROLLBACK"), timeout=_ROLLBACK_SECONDS
                )
            except Exception as failure:
                link.suspect = True
                _log.warning("rollback_failed", error=str(failure))
