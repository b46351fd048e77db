"""The scratch schema: everything a bench writes lies in it, and it is gone afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ..db import Database, quoted, sql
from .plan import PREFIX

_OLD = timedelta(hours=6)
_LEFT = sql("bench.left_over", "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)")
_ROLE = sql("bench.role", "SELECT current_user")
_WORK = """
    state       text        NOT NULL DEFAULT 'ready',
    priority    smallint    NOT NULL DEFAULT 100,
    due_at      timestamptz NOT NULL DEFAULT now(),
    attempts    integer     NOT NULL DEFAULT 0,
    claim       bigint,
    lease_until timestamptz,
    last_error  text,
    history     jsonb,
    finished_at timestamptz
) WITH (fillfactor = 85, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX {table}_ready ON {schema}.{table} (priority, due_at) WHERE state = 'ready';
CREATE INDEX {table}_running ON {schema}.{table} (id) WHERE state = 'running';
CREATE INDEX {table}_parked ON {schema}.{table} (state, finished_at) WHERE state IN ('buried', 'held');
"""
_EVENTS = """
CREATE TABLE {schema}.events (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity    bytea       NOT NULL UNIQUE,
    name        text        NOT NULL,
    body        bytea       NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);
"""
_PAYMENTS = """
CREATE TABLE {schema}.payments (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner      text        NOT NULL,
    amount     bigint      NOT NULL,
    status     text        NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX payments_page ON {schema}.payments (owner, created_at DESC, id DESC);
"""
_ATTEMPTS = """
CREATE TABLE {schema}.attempts (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery bigint      NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status   smallint,
    ended_at timestamptz
);
"""
_JOBS = "CREATE TABLE {schema}.{table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number bigint,"
WORK_TABLES = ("jobs", "tasks", "deliveries")


async def make(db: Database, schema: str) -> None:
    """Make the schema and its tables, for the role that works to use; what a dead bench left is dropped."""
    await drop_left_over(db)
    app = await db.fetchval(_ROLE)
    statements = [f"CREATE SCHEMA {schema};", _EVENTS, _PAYMENTS, _ATTEMPTS]
    script = "".join(statements).format(schema=schema)
    script += "".join((_JOBS + _WORK).format(schema=schema, table=table) for table in WORK_TABLES)
    script += (
        f"GRANT USAGE ON SCHEMA {schema} TO {quoted(app)};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {quoted(app)};"
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {quoted(app)};"
        f"GRANT TRUNCATE ON ALL TABLES IN SCHEMA {schema} TO {quoted(app)}"
    )
    async with db.owner.transaction() as tx:
        for number, statement in enumerate(filter(str.strip, script.split(";"))):
            await tx.execute(sql(f"bench.make_{number}", statement))


async def drop(db: Database, schema: str) -> None:
    """Drop the schema and all that is in it; a schema that is gone is no error."""
    if not schema.startswith(PREFIX):
        raise ValueError(f"{schema} is not a scratch schema")
    await db.owner.execute(sql("bench.drop", f"DROP SCHEMA IF EXISTS {quoted(schema)} CASCADE"))


async def drop_left_over(db: Database) -> list[str]:
    """Drop scratch schemas older than any run can be, and return their names."""
    gone = []
    for row in await db.fetch(_LEFT, PREFIX):
        name = str(row["nspname"])
        try:
            made = datetime.strptime(name[len(PREFIX) :][:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            continue
        if datetime.now(UTC) - made > _OLD:
            await drop(db, name)
            gone.append(name)
    return gone
