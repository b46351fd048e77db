"""`backfill_jobs` of the system before, with their ids."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from wharfd import Importer, OldRow, PluginContext, Transaction, Unfit, columns_of, sql, stored_of

from .config import Settings

SYSTEM = "insight platform"
_STATUSES = ("running", "completed", "failed", "paused")

ADD = sql(
    "import_jobs",
    """INSERT INTO backfill.jobs (id, owner, job_type, start_block, end_block, current_block, status,
  progress_percentage, estimated_completion, error_message, created_by, started_at, updated_at, reported_at,
  completed_at)
SELECT id, owner, job_type, start_block, end_block, current_block, status, progress, estimated_completion,
  error_message, created_by, started_at, updated_at, updated_at, completed_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[],
  $8::float8[], $9::timestamptz[], $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[],
  $14::timestamptz[])
AS g (id, owner, job_type, start_block, end_block, current_block, status, progress, estimated_completion,
  error_message, created_by, started_at, updated_at, completed_at)
ON CONFLICT (id) DO NOTHING RETURNING id""",
)
READ = sql(
    "read_imported_jobs",
    """SELECT j.id::text AS id, j.owner, j.job_type, j.start_block, j.end_block, j.current_block, j.status,
  j.progress_percentage AS progress, j.estimated_completion, j.error_message, j.created_by, j.started_at,
  j.updated_at, j.completed_at
FROM unnest($1::uuid[]) AS g (id) JOIN backfill.jobs j USING (id)""",
)


class OldJob(msgspec.Struct, frozen=True):
    """A job as it will stand in the table."""

    id: str
    owner: str
    job_type: str
    start_block: int
    end_block: int
    current_block: int
    status: str
    progress: float
    estimated_completion: datetime | None
    error_message: str | None
    created_by: str | None
    started_at: datetime
    updated_at: datetime
    completed_at: datetime | None


def convert(row: OldRow, settings: Settings) -> OldJob:
    """Return the job. One that seems to run is paused: nobody reports to wharfd about it yet."""
    try:
        job_id = str(UUID(row.word("id")))
    except ValueError:
        raise Unfit("id is no UUID") from None
    first, last = row.integer("start_block"), row.integer("end_block")
    if first is None or last is None or first > last:
        raise Unfit(f"the blocks {first} to {last} are no range")
    current = row.integer("current_block")
    at = first if current is None else min(max(current, first), last)
    if current is not None and at != current:
        row.note("its current_block was outside its range and was moved to the nearest end")
    status = row.word("status", _STATUSES)
    if status == "running":
        row.note("it was running; it is paused here until its worker reports to wharfd")
        status = "paused"
    started = row.moment("started_at")
    completed = row.time("completed_at")
    return OldJob(
        id=job_id,
        owner="",
        job_type=row.word("job_type"),
        start_block=first,
        end_block=last,
        current_block=at,
        status=status,
        progress=min(100.0, max(0.0, float(row.number("progress_percentage") or 0))),
        estimated_completion=row.time("estimated_completion"),
        error_message=row.text("error_message"),
        created_by=row.text("created_by"),
        started_at=started,
        updated_at=row.time("updated_at") or completed or started,
        completed_at=completed,
    )


async def write(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldJob]) -> int:
    """Add the jobs that are not there."""
    return len(await tx.fetch(ADD, *columns_of(records)))


async def read(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldJob]) -> list[Any]:
    """Return the jobs as they stand in the table."""
    rows = await tx.fetch(READ, [one.id for one in records])
    return stored_of(records, rows, "id")


IMPORTERS = (
    Importer(
        name="jobs",
        system=SYSTEM,
        table="backfill_jobs",
        key=("id",),
        needs=("id", "job_type", "start_block", "end_block", "status", "started_at"),
        convert=convert,
        write=write,
        read=read,
    ),
)
