"""Whether a PostgreSQL server can keep wharfd's promises; asked once when the database is opened."""

from __future__ import annotations

from ..errors import DatabaseUnsuitable
from .queries import Queries
from .settings import DatabaseSettings, shown
from .statements import sql

_OLDEST = 150000

SERVER = sql(
    "check_server",
    """SELECT current_setting('server_version_num')::int AS version,
              current_setting('server_version') AS version_text,
              current_setting('server_encoding') AS encoding,
              current_setting('synchronous_commit') AS synchronous_commit,
              (SELECT setting::bigint FROM pg_settings WHERE name = 'statement_timeout') AS statement_timeout,
              pg_is_in_recovery() AS standby""",
)


async def check_server(database: Queries, settings: DatabaseSettings) -> None:
    """Raise `DatabaseUnsuitable`, naming what is wrong and what to change."""
    row = await database.fetchrow(SERVER)
    assert row is not None
    where = f"PostgreSQL at {shown(settings.url)}"
    if row["version"] < _OLDEST:
        raise DatabaseUnsuitable(f"{where} is version {row['version_text']}; wharfd needs 15 or newer")
    if row["encoding"] != "UTF8":
        raise DatabaseUnsuitable(
            f"{where}: the database has encoding {row['encoding']}; make it with ENCODING 'UTF8'"
        )
    if row["synchronous_commit"] == "off" and not settings.allow_asynchronous_commit:
        raise DatabaseUnsuitable(
            f"{where}: synchronous_commit is off, so a crash would lose webhooks that were already answered; "
            "turn it on for the server, database and role, or set [database] allow_asynchronous_commit = true"
        )
    if settings.pgbouncer and row["statement_timeout"] == 0:
        raise DatabaseUnsuitable(
            f"{where}: no statement_timeout; behind PgBouncer it must be set on the role: "
            f"ALTER ROLE … SET statement_timeout = '{settings.statement_timeout_seconds:g}s'"
        )
