"""Writing and reading the usage log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from wharfd import Queries, Record, Statement, Transaction, sql

TABLE = "integrations.usage"
COLUMNS = ("at", "key_id", "integration_id", "owner", "endpoint", "method", "status", "ms", "error", "client")

USED_KEYS = sql(
    "used_keys",
    """UPDATE integrations.keys k
          SET last_used_at = greatest(k.last_used_at, t.at), use_count = k.use_count + t.count,
              last_used_from = coalesce(t.client, k.last_used_from)
         FROM unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::inet[]) AS t (id, at, count, client)
        WHERE k.id = t.id""",
)
USED_INTEGRATIONS = sql(
    "used_integrations",
    """UPDATE integrations.integrations i
          SET last_used_at = greatest(i.last_used_at, t.at), usage_count = i.usage_count + t.count
         FROM unnest($1::text[], $2::timestamptz[], $3::bigint[]) AS t (id, at, count)
        WHERE i.id = t.id""",
)


class UsageRow(NamedTuple):
    """One answered request, in the order of `COLUMNS`."""

    at: datetime
    key_id: str
    integration_id: str | None
    owner: str | None
    endpoint: str
    method: str
    status: int
    ms: float
    error: str | None
    client: IPv4Address | IPv6Address | None


class Use(NamedTuple):
    """How often a key was used since it was last written down, and the latest time."""

    key_id: str
    integration_id: str | None
    at: datetime
    times: int
    client: IPv4Address | IPv6Address | None


class UsageFilter(NamedTuple):
    """Which rows are wanted. `owner` None is everybody's; `failed` True means status 400 and above."""

    owner: str | None = None
    integration_id: str | None = None
    key_id: str | None = None
    method: str | None = None
    endpoint: str | None = None
    status: int | None = None
    failed: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


_CONDITIONS = {
    "owner": "owner = {}",
    "integration_id": "integration_id = {}",
    "key_id": "key_id = {}",
    "method": "method = {}",
    "endpoint": "endpoint = {}",
    "status": "status = {}",
    "failed": "(status >= 400) = {}",
    "since": "at >= {}",
    "until": "at < {}",
}


async def write_usage(db: Queries, rows: Sequence[UsageRow]) -> int:
    """Write rows in one COPY."""
    return await db.copy_in(TABLE, COLUMNS, rows)


async def write_uses(tx: Transaction, uses: Sequence[Use]) -> None:
    """Bring last use and count of keys, and of their integrations, up to date."""
    ordered = sorted(uses, key=lambda use: use.key_id)
    await tx.execute(
        USED_KEYS,
        [use.key_id for use in ordered],
        [use.at for use in ordered],
        [use.times for use in ordered],
        [use.client for use in ordered],
    )
    whole: dict[str, tuple[datetime, int]] = {}
    for use in ordered:
        if use.integration_id is not None:
            at, count = whole.get(use.integration_id, (use.at, 0))
            whole[use.integration_id] = (max(at, use.at), count + use.times)
    if whole:
        names = sorted(whole)
        await tx.execute(USED_INTEGRATIONS, names, [whole[n][0] for n in names], [whole[n][1] for n in names])


async def list_usage(
    db: Queries, wanted: UsageFilter, limit: int, after: tuple[datetime, int] | None = None
) -> list[Record]:
    """Return the newest rows that match, `limit` at most, those before the cursor `after`."""
    statement, arguments = usage_statement(wanted, limit, after)
    return await db.fetch(statement, *arguments)


def usage_statement(
    wanted: UsageFilter, limit: int, after: tuple[datetime, int] | None
) -> tuple[Statement, list[object]]:
    """The statement for exactly these filters, so that each gets the plan that fits it, and its arguments."""
    given = [name for name, value in wanted._asdict().items() if value is not None]
    arguments: list[object] = [getattr(wanted, name) for name in given]
    if after is not None:
        arguments += after
    return _statement(tuple(given), after is not None), [*arguments, limit]


@lru_cache(512)
def _statement(given: tuple[str, ...], after: bool) -> Statement:
    conditions = [_CONDITIONS[name].format(f"${number}") for number, name in enumerate(given, 1)]
    last = len(conditions)
    if after:
        conditions.append(f"(at, id) < (${last + 1}, ${last + 2})")
        last += 2
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return sql(
        "_".join(["list_usage", *given, *(["after"] if after else [])]),
        f"""SELECT at, id, key_id, integration_id, owner, endpoint, method, status, ms, error, client
              FROM integrations.usage {where} ORDER BY at DESC, id DESC LIMIT ${last + 1}""",
    )
