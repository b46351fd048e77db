"""`wharfd backfill …`."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from wharfd import Command, Output

_PATH = "/api/v1/monitoring/backfill"
_COLUMNS = [
    "id", "job_type", "status", "progress_percentage", "current_block", "end_block", "estimated_completion",
    "started_at", "stale",
]  # fmt: skip


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    listed = actions.add_parser("list", help="list jobs, the newest first (the default)")
    listed.add_argument("--status", choices=["running", "completed", "failed", "paused"])
    listed.add_argument("--type", help="only this type of job")
    listed.add_argument("--since", metavar="TIME", help="started then or later, such as 2026-08-01")
    listed.add_argument("--until", metavar="TIME", help="started before")
    listed.add_argument("--stale", action="store_true", help="only running jobs that report nothing")
    listed.add_argument("--limit", type=int, default=20)
    parser.set_defaults(action="list", **vars(listed.parse_args([])))
    actions.add_parser("show", help="show a job").add_argument("job")
    start = actions.add_parser("start", help="begin a job")
    start.add_argument("type")
    start.add_argument("start", type=int)
    start.add_argument("end", type=int)
    for action, words in (("pause", "mark a job as paused"), ("resume", "mark it as running again")):
        actions.add_parser(action, help=words).add_argument("job")
    failed = actions.add_parser("fail", help="mark a job as failed, for example a stale one")
    failed.add_argument("job")
    failed.add_argument("--reason", required=True)


def _moment(text: str | None) -> str | None:
    """Complete a date to a time."""
    return f"{text}T00:00:00Z" if text is not None and len(text) == len("2026-08-01") else text


def _run(arguments: argparse.Namespace, client: Any) -> int:
    output = Output(as_json=arguments.json)
    if arguments.action == "list":
        rows = client.get(
            f"{_PATH}/status", status=arguments.status, job_type=arguments.type,
            stale="true" if arguments.stale else None, limit=arguments.limit,
            started_after=_moment(arguments.since), started_before=_moment(arguments.until),
        )  # fmt: skip
        output.table(rows, _COLUMNS, empty="no jobs")
        return 0
    if arguments.action == "start":
        body = {"job_type": arguments.type, "start_block": arguments.start, "end_block": arguments.end}
        output.facts(client.post(f"{_PATH}/start", body))
        return 0
    job = quote(arguments.job, safe="")
    if arguments.action == "show":
        output.facts(client.get(f"{_PATH}/{job}"))
        return 0
    body = {"status": {"pause": "paused", "resume": "running", "fail": "failed"}[arguments.action]}
    if arguments.action == "fail":
        body["error_message"] = arguments.reason
    output.facts(client.post(f"{_PATH}/progress?job_id={job}", body))
    return 0


COMMANDS = [Command(name="backfill", summary="look after backfill jobs", configure=_configure, run=_run)]
