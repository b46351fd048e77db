"""The plugin's page of the console: backfill jobs and how far each is."""

from __future__ import annotations

from typing import Any

from wharfd import ConsolePage, Request
from wharfd.contracts.console import ask, wanted
from wharfd.contracts.html import (
    Column,
    Html,
    badge,
    card,
    choice,
    code,
    field,
    join,
    meter,
    moment,
    number,
    search,
    table,
)

JOBS = "/console/backfill/jobs"
_STATUSES = ("", "running", "paused", "completed", "failed")


async def render_jobs(ctx: Any, request: Request) -> Html:
    """List the jobs that match, the newest first."""
    given = {name: wanted(request, name) for name in ("status", "job_type")}
    jobs = await ask(ctx, request, "/api/v1/monitoring/backfill/status", **given, limit=100)
    form = search(
        JOBS,
        choice("Status", "status", [(status, status or "any") for status in _STATUSES], given["status"]),
        field("Kind", "job_type", given["job_type"]),
    )
    rows = [
        (
            moment(one["started_at"]),
            one["job_type"],
            join((badge(one["status"]), badge("stale", "bad") if one["stale"] else ""), " "),
            meter(one["progress_percentage"] / 100, f"{one['progress_percentage']:g} %", "good"),
            f"{one['progress_percentage']:g} %",
            f"{number(one['current_block'])} of {number(one['end_block'])}",
            number(one["blocks_per_second"]),
            moment(one["estimated_completion"]),
            moment(one["reported_at"]),
            one["error_message"] or code(one["id"]),
        )
        for one in jobs
    ]
    columns = ["Started", "Kind", "Status", "Progress", Column("", right=True), Column("Block", right=True)]
    columns += [Column("Per second", right=True), "Expected end", "Last heard", Column("Job", wide=True)]
    listed = table("Backfill jobs", columns, rows, nothing="No job matches; one begins with its first report")
    return card("Jobs", form, listed, note="A job that has not reported for a while is stale.")


PAGES = [
    ConsolePage(
        path="backfill/jobs", title="Jobs", render=render_jobs, icon="work", order=450, live_seconds=3
    )
]
