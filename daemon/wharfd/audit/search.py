"""Searching the audit log: by owner, actor, action, subject and time, newest first, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import msgspec

from ..db import Queries, Statement, sql

MAX_PAGE = 500

_EQUAL = ("owner", "actor", "action", "subject")


class Cursor(NamedTuple):
    """The place of an entry in the order: where the next page goes on."""

    recorded_at: datetime
    id: str


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """Which entries are wanted; what is None does not matter. `since` is within, `until` without."""

    owner: str | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERYTHING = AuditFilter()


class AuditEntry(msgspec.Struct, frozen=True):
    """One thing that was done."""

    id: str
    recorded_at: datetime
    actor: str
    action: str
    subject: str
    owner: str | None
    ip: str | None
    detail: dict[str, Any]


@dataclass(frozen=True)
class AuditPage:
    """Some entries, and where the next page begins; None at the end."""

    entries: tuple[AuditEntry, ...]
    next: Cursor | None


async def entries(database: Queries, wanted: AuditFilter, *, limit: int, before: Cursor | None) -> AuditPage:
    """Return one page."""
    if not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"limit must be 1 to {MAX_PAGE}, not {limit}")
    statement, values = statement_for(wanted, before)
    rows = await database.fetch(statement, limit + 1, *values)
    found = tuple(AuditEntry(**dict(row)) for row in rows[:limit])
    more = Cursor(found[-1].recorded_at, found[-1].id) if len(rows) > limit else None
    return AuditPage(found, more)


def statement_for(wanted: AuditFilter, before: Cursor | None) -> tuple[Statement, list[Any]]:
    """Return the statement that serves a filter, and its values after the limit."""
    equal = tuple(name for name in _EQUAL if getattr(wanted, name) is not None)
    values = [getattr(wanted, name) for name in equal]
    since, until = wanted.since is not None, wanted.until is not None
    values += [time for time in (wanted.since, wanted.until) if time is not None]
    return _statement(equal, since, until, before is not None), [*values, *(before or ())]


@cache
def _statement(equal: tuple[str, ...], since: bool, until: bool, paged: bool) -> Statement:
    conditions = [f"{name} = ${number}" for number, name in enumerate(equal, start=2)]
    number = 2 + len(equal)
    for wanted, condition in ((since, "recorded_at >= "), (until, "recorded_at < ")):
        if wanted:
            conditions.append(f"{condition}${number}")
            number += 1
    if paged:
        conditions.append(f"(recorded_at, id) < (${number}, ${number + 1})")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return sql(
        "_".join(["audit_list", *(f"by_{name}" for name in equal)]),
        f"""SELECT id, recorded_at, actor, action, subject, owner, ip, detail
              FROM wharfd.audit {where} ORDER BY recorded_at DESC, id DESC LIMIT $1""",
    )
