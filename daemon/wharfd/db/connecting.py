"""Opening one connection, and telling which errors mean that PostgreSQL is away.

Nothing here pools or retries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg
import trio
from asyncpg import exceptions
from asyncpg.connect_utils import SessionAttribute

from ..errors import DatabaseUnavailable
from .bridge import Bridge
from .codecs import Connection, register_codecs
from .settings import DatabaseSettings, shown, split_hosts

_LOST = (
    exceptions.PostgresConnectionError,
    exceptions.AdminShutdownError,
    exceptions.CrashShutdownError,
    exceptions.CannotConnectNowError,
    exceptions.DatabaseDroppedError,
    exceptions.IdleSessionTimeoutError,
    exceptions.IdleInTransactionSessionTimeoutError,
    exceptions.TargetServerAttributeNotMatched,
    exceptions.InternalClientError,
    exceptions.ProtocolError,
    ConnectionError,
    EOFError,
)
_CANNOT = (
    exceptions.InsufficientResourcesError,  # disk full, out of memory, too many connections
    exceptions.PostgresIOError,
    exceptions.PostgresSystemError,
)
_CACHED_STATEMENTS = 500  # per connection; every statement has a name, so there are a few hundred
_REFUSED = (
    exceptions.InvalidAuthorizationSpecificationError,
    exceptions.InvalidCatalogNameError,
    exceptions.InsufficientPrivilegeError,
    exceptions.ClientConfigurationError,
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One kind of connection: where to, for which purpose, with which limits."""

    purpose: str
    url: str = field(repr=False)
    size: int
    min_size: int = 0
    statement_timeout_seconds: float = 30.0
    session: str = "read-write"


def is_lost(error: BaseException, connection: asyncpg.Connection | None = None) -> bool:
    """Tell whether the error means that the connection (or the server behind it) is gone."""
    if isinstance(error, _LOST):
        return True
    return (
        # asyncpg lets go of its protocol when a connection ends; who was about to use it meets None.
        isinstance(error, (exceptions.InterfaceError, OSError, AttributeError))
        and connection is not None
        and connection.is_closed()
    )


def is_refusal(error: BaseException) -> bool:
    """Tell whether the server is there but cannot do any work, such as on a full disk."""
    return isinstance(error, _CANNOT)


def _server_settings(settings: DatabaseSettings, target: Target) -> dict[str, str]:
    name = f"{settings.application_name} {target.purpose}"[:63]
    if settings.pgbouncer:
        return {"application_name": name}
    return {
        "application_name": name,
        "timezone": "UTC",
        "statement_timeout": str(round(target.statement_timeout_seconds * 1000)),
        "lock_timeout": str(round(settings.lock_timeout_seconds * 1000)),
        "idle_in_transaction_session_timeout": str(
            round(settings.idle_in_transaction_timeout_seconds * 1000)
        ),
    }


async def connect(bridge: Bridge, settings: DatabaseSettings, target: Target) -> asyncpg.Connection:
    """Open a connection to the first host that will do; raises `DatabaseUnavailable` with the reason."""
    problems: list[BaseException] = []
    passes: Sequence[str] = [target.session]
    if target.session == "prefer-standby":
        passes = ["standby", "any"]
    for session in passes:
        for url in split_hosts(target.url):
            try:
                return await bridge.run(_connect, url, session, settings, target)
            except (*_LOST, *_CANNOT, *_REFUSED, OSError) as error:
                problems.append(error)
    reason = "; ".join(dict.fromkeys(_sentence(problem) for problem in problems))
    raise DatabaseUnavailable(
        f"PostgreSQL at {shown(target.url)} cannot be used ({target.purpose}): {reason}"
    ) from problems[-1]


async def _connect(url: str, session: str, settings: DatabaseSettings, target: Target) -> asyncpg.Connection:
    connection: asyncpg.Connection = await asyncpg.connect(
        url,
        connection_class=Connection,
        timeout=settings.connect_timeout_seconds,
        target_session_attrs=SessionAttribute(session),
        server_settings=_server_settings(settings, target),
        statement_cache_size=0 if settings.pgbouncer else _CACHED_STATEMENTS,
    )
    try:
        await register_codecs(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


def _sentence(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer within the connect timeout"
    return str(error).strip().rstrip(".") or type(error).__name__


async def close(bridge: Bridge, connection: asyncpg.Connection, *, within_seconds: float = 2.0) -> None:
    """Say goodbye to the server; cut the line when it does not answer in time."""
    if connection.is_closed():
        return
    try:
        with trio.move_on_after(within_seconds):
            await bridge.run(connection.close)
    except (*_LOST, exceptions.PostgresError, exceptions.InterfaceError, OSError):
        pass  # it was closing anyway; the line is cut below
    finally:
        if not connection.is_closed():
            connection.terminate()
