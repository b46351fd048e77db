"""What the app role may do: read and write rows, nothing else; and from some tables never delete."""

from __future__ import annotations

from collections.abc import Iterable

from .queries import Queries
from .statements import quoted, sql

CURRENT = sql("roles_current", "SELECT current_user::text")
# Rights are checked on the table a statement names, so nobody needs any on a partition itself.
PARTITIONS = sql(
    "roles_partitions",
    """SELECT format('%I.%I', n.nspname, c.relname)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relispartition AND c.relkind IN ('r', 'p')""",
)


async def current_role(database: Queries) -> str:
    """Return the role a database connects as."""
    role = await database.fetchval(CURRENT)
    assert isinstance(role, str)
    return role


async def grant(tx: Queries, app_role: str, schema: str, keep_forever: Iterable[str]) -> None:
    """Give the app role its rights in one schema; run by the owner role, inside a transaction.

    USAGE on the schema, SELECT/INSERT/UPDATE/DELETE on tables, USAGE on sequences, the same for what is made
    later; no DELETE or TRUNCATE on `keep_forever` tables, nothing on partitions, no DDL. Functions are
    executable by everybody unless their migration says otherwise. One role for both is left as it is.
    """
    if app_role == await current_role(tx):
        return
    role, space = quoted(app_role), quoted(schema)
    rows = "SELECT, INSERT, UPDATE, DELETE"
    commands = [
        f"GRANT USAGE ON SCHEMA {space} TO {role}",
        f"REVOKE CREATE ON SCHEMA {space} FROM PUBLIC, {role}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {space} FROM {role}",
        f"GRANT {rows} ON ALL TABLES IN SCHEMA {space} TO {role}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {space} TO {role}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {space} GRANT {rows} ON TABLES TO {role}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {space} GRANT USAGE, SELECT ON SEQUENCES TO {role}",
    ]
    commands += [f"REVOKE DELETE, TRUNCATE ON {quoted(table)} FROM {role}" for table in keep_forever]
    if schema == "wharfd":
        # Only the owner role writes the history of migrations.
        commands.append(f"REVOKE INSERT, UPDATE ON wharfd.migrations FROM {role}")
        # The audit log is added to, never changed.
        audit = "wharfd.audit, wharfd.audit_pending, wharfd.audit_seals"
        commands.append(f"REVOKE UPDATE ON {audit} FROM {role}")
    commands += [f"REVOKE ALL ON {row[0]} FROM {role}" for row in await tx.fetch(PARTITIONS, schema)]
    await tx.execute(sql("roles_grant", ";\n".join(commands)))
