"""`wharfd bench`: measure what wharfd does here; `wharfd bench validate`: is it fit for production?"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...declare import Command
from ...errors import StateFolderError, WharfdError
from ..arguments import config_of
from ..client import Client
from ..output import Output

if TYPE_CHECKING:  # what measures is only loaded when something is measured
    from ...bench import Plan, Progress, Report

SUITES = ("ingest", "processing", "delivery", "work", "cache", "api", "query")
_PATH = "/api/database/test"
_POLL_SECONDS = 0.5
VALIDATE = "validate"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "suites",
        nargs="*",
        metavar="SUITE",
        help=f"of {', '.join(SUITES)}; all without one; or: {VALIDATE}",
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each")
    parser.add_argument("--rate", type=float, help="operations offered per second; each suite has its own")
    parser.add_argument("--rows", type=int, default=20_000, help="rows in the scratch tables")
    parser.add_argument("--stress", action="store_true", help="as fast as it goes, instead of at a rate")


def _bench(arguments: argparse.Namespace, client: Client) -> int:
    import msgspec

    from ...bench import Plan

    output = Output(as_json=arguments.json)
    if arguments.suites == [VALIDATE]:
        return _validate(output, client)
    if unknown := set(arguments.suites) - set(SUITES):
        raise WharfdError(f"there is no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    given: dict[str, Any] = {
        "suites": tuple(dict.fromkeys(arguments.suites)) or SUITES,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "rate": arguments.rate,
        "rows": arguments.rows,
        "stress": arguments.stress,
    }
    try:
        plan = msgspec.convert(given, Plan)
    except msgspec.ValidationError as error:
        raise WharfdError(f"this cannot be measured: {error}") from None
    bars = _Bars(sys.stderr.isatty())
    with bars:
        try:
            report = _here(arguments, plan, bars.heard)
        except StateFolderError:
            report = _by_the_daemon(client, plan, bars.heard)
    _show(output, report)
    return 1 if report.problems or any(one.failed for one in report.figures) else 0


def _here(arguments: argparse.Namespace, plan: Plan, heard: Callable[[Progress], None]) -> Report:
    """Measure with the database of the configuration; raises `StateFolderError` when a daemon has it."""
    from ...app import bench_and_stop, prepare

    return bench_and_stop(prepare(config_of(arguments), arguments.state_dir, os.environ), plan, heard)


def _by_the_daemon(client: Client, plan: Plan, heard: Callable[[Progress], None]) -> Report:
    """Let the running daemon measure; the work is done in a process beside it."""
    import msgspec

    from ...bench import Status

    config = {
        "suites": plan.suites,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "rows": plan.rows,
        "totalWebhooks": 1_000_000,
    }
    if plan.rate is not None:
        config["rate"] = plan.rate
    client.post(_PATH, {"testType": "stress" if plan.stress else "load", "config": config})
    while True:
        status = msgspec.convert(client.get(_PATH)["data"]["run"], Status, strict=False)
        if status.progress is not None:
            heard(status.progress)
        if status.report is not None:
            return status.report
        if status.state not in ("running", "done"):
            raise WharfdError(f"the bench ended without a result: {status.reason or status.state}")
        threading.Event().wait(_POLL_SECONDS)


def _show(output: Output, report: Report) -> None:
    from ...bench.machine import sentence
    from ...bench.table import COLUMNS, rows

    if output.as_json:
        output.json(report)
        return
    output.line(sentence(report.machine))
    plan = report.plan
    output.line(
        f"{report.began:%Y-%m-%d %H:%M} UTC, {plan.rounds} rounds of {plan.seconds:g} s, "
        f"{'as fast as it goes' if plan.stress else 'open loop'}; medians (lowest–highest), "
        "latencies from when an operation was due"
    )
    output.line()
    output.table(rows(report), COLUMNS)
    for problem in report.problems:
        output.line(f"failed: {problem}")


def _validate(output: Output, client: Client) -> int:
    verdict = client.call("PUT", _PATH, {"action": VALIDATE}, timeout=90).json()["data"]
    if output.as_json:
        output.json(verdict)
    else:
        output.table(verdict["points"], ["state", "check", "reason", "hint"])
        output.line()
        output.line(
            f"ready for production, {verdict['warned']} warnings"
            if verdict["ready"]
            else f"not ready for production: {verdict['failed']} points fail"
        )
    return 0 if verdict["ready"] else 1


class _Bars:
    """Progress bars on stderr for somebody who watches, nothing for anybody else."""

    def __init__(self, watched: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars = Progress(
            TextColumn("{task.description:45}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not watched,
        )
        self._task = self._bars.add_task("starting", total=None)

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *trouble: object) -> None:
        self._bars.stop()

    def heard(self, progress: Progress) -> None:
        """Show how far it is."""
        self._bars.update(
            self._task, completed=progress.done, total=progress.total, description=progress.doing
        )


COMMANDS = (
    Command(
        name="bench",
        summary="measure what wharfd does on this machine, or validate it for production",
        configure=_configure,
        run=_bench,
    ),
)
