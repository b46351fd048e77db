"""The calls that `Database` and `Transaction` share: fetch…, execute…, copy_in.

A subclass says on which connection a call runs; here is how it is run, measured and how its errors are told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Sequence
from time import perf_counter
from typing import Any, TypeVar

import asyncpg
import trio
from asyncpg import Record, exceptions

from ..errors import DatabaseUnavailable, StatementTimeout
from .bridge import Bridge
from .connecting import is_lost, is_refusal
from .pool import Link
from .statements import Statement, check
from .statistics import Statistics

T = TypeVar("T")
Call = Callable[[asyncpg.Connection], Coroutine[Any, Any, T]]

# PostgreSQL itself stops a statement at statement_timeout; without an answer even then the line is dead.
_GRACE_SECONDS = 5.0


def rows_affected(tag: str) -> int:
    """Return the row count of a command tag such as `UPDATE 3`; 0 for commands that count none."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


def _length(result: Any) -> int:
    return len(result)


def _one(result: Any) -> int:
    return 0 if result is None else 1


def nothing(result: Any) -> int:
    """Count no rows."""
    return 0


def _tag(result: Any) -> int:
    return rows_affected(result)


class Runner:
    """Runs one call on a connection: measures it, bounds it, names its errors."""

    def __init__(self, bridge: Bridge, statistics: Statistics, limit_seconds: float, *, writes: bool) -> None:
        self._bridge = bridge
        self._statistics = statistics
        self._limit = limit_seconds + _GRACE_SECONDS
        self._writes = writes

    async def run(
        self,
        link: Link,
        name: str,
        call: Call[T],
        *,
        timeout: float | None = None,
        count: Callable[[Any], int] = nothing,
        as_task: bool = False,
        writes: bool = True,
    ) -> T:
        """Run the call; after a cancellation or timeout the link is marked as suspect."""
        await trio.lowlevel.checkpoint_if_cancelled()  # nothing is sent for a caller that is gone already
        started = perf_counter()
        rows, failed = 0, True
        try:
            with trio.move_on_after(self._limit if timeout is None else timeout) as scope:
                # The driver waits for a cancellation that is still under way, and needs a task for that.
                if as_task or link.suspect:
                    result = await self._bridge.run(call, link.raw)
                else:
                    result = await self._bridge.drive(call(link.raw))
                rows, failed = count(result), False
                return result
        except trio.Cancelled:
            link.suspect = True
            raise
        except Exception as error:
            if as_task and not isinstance(error, asyncpg.PostgresError):
                link.suspect = True  # the caller's rows broke in the middle of a COPY: it is being cancelled
            told = self._told(link, name, error, writes=writes and self._writes)
            if told is error:
                raise
            raise told from error
        finally:
            self._statistics.record(name, perf_counter() - started, rows, failed=failed)
        assert scope.cancelled_caught
        link.suspect = True
        if timeout is not None:
            raise StatementTimeout(f"statement {name} did not end within the {timeout:g} s it was given")
        link.raw.terminate()
        raise DatabaseUnavailable(f"PostgreSQL did not answer statement {name} within {self._limit:g} s")

    def _told(self, link: Link, name: str, error: Exception, *, writes: bool) -> Exception:
        lost = is_lost(error, link.raw)
        if lost or (writes and isinstance(error, exceptions.ReadOnlySQLTransactionError)):
            link.raw.terminate()
            text = str(error).strip().rstrip(".") or type(error).__name__
            return DatabaseUnavailable(f"the database connection was lost in statement {name}: {text}")
        if is_refusal(error):
            return DatabaseUnavailable(f"PostgreSQL cannot do statement {name} now: {error}")
        if isinstance(error, exceptions.QueryCanceledError):
            return StatementTimeout(f"statement {name} was stopped by PostgreSQL: {error}")
        return error


class Queries(ABC):
    """Named statements with bound values; what is shared by a database and a transaction."""

    _prefix: str = ""

    @abstractmethod
    async def _ask(
        self,
        name: str,
        call: Call[T],
        *,
        timeout: float | None = None,
        count: Callable[[Any], int] = nothing,
        as_task: bool = False,
    ) -> T: ...

    async def fetch(self, statement: Statement, *args: Any, timeout: float | None = None) -> list[Record]:
        """Return all rows. `timeout` (seconds) raises `StatementTimeout`."""
        text = check(statement).text
        return await self._ask(statement.name, lambda c: c.fetch(text, *args), timeout=timeout, count=_length)

    async def fetchrow(self, statement: Statement, *args: Any, timeout: float | None = None) -> Record | None:
        """Return the first row, or None."""
        text = check(statement).text
        return await self._ask(statement.name, lambda c: c.fetchrow(text, *args), timeout=timeout, count=_one)

    async def fetchval(self, statement: Statement, *args: Any, timeout: float | None = None) -> Any:
        """Return the first column of the first row, or None."""
        text = check(statement).text
        return await self._ask(statement.name, lambda c: c.fetchval(text, *args), timeout=timeout, count=_one)

    async def execute(self, statement: Statement, *args: Any, timeout: float | None = None) -> int:
        """Run a statement and return how many rows it affected.

        Without arguments the text may hold several statements; the count is the last one's.
        """
        text = check(statement).text
        tag = await self._ask(statement.name, lambda c: c.execute(text, *args), timeout=timeout, count=_tag)
        return rows_affected(tag)

    async def executemany(
        self, statement: Statement, rows: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> None:
        """Run a statement once per row of arguments, all or nothing, in one round trip."""
        text = check(statement).text
        await self._ask(statement.name, lambda c: c.executemany(text, rows), timeout=timeout, as_task=True)

    async def copy_in(
        self,
        table: str,
        columns: Sequence[str],
        records: Iterable[Sequence[Any]],
        *,
        timeout: float | None = None,
    ) -> int:
        """Write many rows into `schema.table` with COPY and return how many; by far the fastest way in."""
        schema, _, relation = table.rpartition(".")
        tag = await self._ask(
            f"copy.{table}",
            lambda c: c.copy_records_to_table(
                relation, schema_name=schema or None, columns=list(columns), records=records
            ),
            timeout=timeout,
            count=_tag,
            as_task=True,
        )
        return rows_affected(tag)
