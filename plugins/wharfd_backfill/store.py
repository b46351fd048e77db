"""The SQL of the plugin, one function per operation."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product
from typing import Any

from wharfd import Queries, Record, Statement, Transaction, sql

from .model import Job

_COLUMNS = """id, owner, job_type, start_block, end_block, current_block, status, progress_percentage,
    blocks_per_second, estimated_completion, error_message, created_by, version, started_at, updated_at,
    reported_at, completed_at"""

ADD = sql(
    "add_job",
    f"""INSERT INTO backfill.jobs (owner, job_type, start_block, end_block, current_block, created_by)
    VALUES ($1, $2, $3, $4, $3, $5) RETURNING {_COLUMNS}""",
)
FIND = sql(
    "find_job", f"SELECT {_COLUMNS} FROM backfill.jobs WHERE id = $1 AND ($2::text IS NULL OR owner = $2)"
)
LOCK = sql(
    "lock_job",
    f"""SELECT {_COLUMNS}, now() AS asked_at FROM backfill.jobs
    WHERE id = $1 AND ($2::text IS NULL OR owner = $2) FOR NO KEY UPDATE""",
)
CHANGE = sql(
    "change_job",
    f"""UPDATE backfill.jobs SET current_block = $3, status = $4, progress_percentage = $5,
      blocks_per_second = $6, estimated_completion = $7, error_message = $8, version = version + 1,
      updated_at = now(), reported_at = now(),
      completed_at = CASE WHEN $4 IN ('completed', 'failed') THEN now() END
    WHERE id = $1 AND version = $2 RETURNING {_COLUMNS}""",
)
STALE = sql(
    "stale_jobs",
    f"""SELECT {_COLUMNS} FROM backfill.jobs WHERE status = 'running' AND reported_at < now() - $1::interval
      AND ($2::text IS NULL OR owner = $2)
    ORDER BY reported_at LIMIT $3""",
)


def _list(owner: bool, status: bool, kind: bool) -> Statement:
    """Write the list for the filters that are given, so that each has the index made for it."""
    terms, number = ["started_at >= $3", "started_at < $4"], 5
    for column, wanted in (("owner", owner), ("status", status), ("job_type", kind)):
        if wanted:
            terms.append(f"{column} = ${number}")
            number += 1
    where = " AND ".join(terms)
    name = "_".join(
        ["list_jobs", *(n for n, w in (("owner", owner), ("status", status), ("type", kind)) if w)]
    )
    return sql(
        name,
        f"""SELECT {_COLUMNS} FROM backfill.jobs WHERE {where}
        ORDER BY started_at DESC, id DESC LIMIT $1 OFFSET $2""",
    )


LISTS = {flags: _list(*flags) for flags in product((False, True), repeat=3)}


async def add(
    tx: Transaction, owner: str, job_type: str, start: int, end: int, created_by: str | None
) -> Record:
    """Add a job and return it."""
    record = await tx.fetchrow(ADD, owner, job_type, start, end, created_by)
    assert record is not None
    return record


async def find(db: Queries, job_id: str, owner: str | None) -> Record | None:
    """Return a job, if it is the owner's."""
    return await db.fetchrow(FIND, job_id, owner)


async def lock(tx: Transaction, job_id: str, owner: str | None) -> Record | None:
    """Return a job and keep others from changing it until the transaction ends."""
    return await tx.fetchrow(LOCK, job_id, owner)


async def change(tx: Transaction, job_id: str, before: int, job: Job) -> Record | None:
    """Write a job that was at version `before`; None when it is not any more."""
    return await tx.fetchrow(
        CHANGE,
        job_id,
        before,
        job.current_block,
        job.status,
        job.progress,
        job.speed,
        job.estimated,
        job.error,
    )


async def listed(
    db: Queries,
    *,
    owner: str | None,
    status: str | None,
    job_type: str | None,
    started: tuple[datetime, datetime],
    limit: int,
    offset: int,
) -> list[Record]:
    """Return jobs that were started within two times, the newest first."""
    flags = (owner is not None, status is not None, job_type is not None)
    values: list[Any] = [value for value in (owner, status, job_type) if value is not None]
    return await db.fetch(LISTS[flags], limit, offset, *started, *values)


async def stale(db: Queries, after: timedelta, owner: str | None = None, limit: int = 50) -> list[Record]:
    """Return running jobs that have not been heard of, the longest silent first."""
    return await db.fetch(STALE, after, owner, limit)
