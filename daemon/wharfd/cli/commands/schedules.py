"""`wharfd schedules`: what runs by the clock, and running it now."""

from __future__ import annotations

import argparse
from urllib.parse import quote

from ...declare import Command
from ..client import Client
from ..output import Output


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list the schedules (the default)")
    run = actions.add_parser("run", help="let one fire now")
    run.add_argument("name", help="plugin.schedule")


def _schedules(arguments: argparse.Namespace, client: Client) -> int:
    output = Output(as_json=arguments.json)
    if arguments.action == "run":
        output.facts(client.post(f"/api/v1/schedules/{quote(arguments.name, safe='')}/run"))
        return 0
    rows = client.get("/api/v1/schedules")["schedules"]
    output.table(
        rows, ["name", "when", "next_at", "last_at", "last_outcome"], empty="no schedule is declared"
    )
    return 0


COMMANDS = (
    Command(name="schedules", summary="list schedules; run one now", configure=_configure, run=_schedules),
)
