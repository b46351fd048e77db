"""`wharfd migrate`: what the database is missing, and adding it."""

from __future__ import annotations

import argparse

from ...declare import Command
from ..client import Client
from ..output import Output


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", action="store_true", help="only list what would be applied")


def _migrate(arguments: argparse.Namespace, client: Client) -> int:
    output = Output(as_json=arguments.json)
    if arguments.plan:
        rows = client.get("/api/database/migrate")["data"]["pending"]
        output.table(rows, ["plugin", "name"], empty="nothing to apply; the database is up to date")
        return 0
    result = client.post("/api/database/migrate", {"action": "migrate"})
    rows = result["data"]["applied"]
    output.table(
        rows, ["plugin", "name", "milliseconds"], empty="nothing to apply; the database is up to date"
    )
    return 0


COMMANDS = (
    Command(name="migrate", summary="apply migrations, or list them", configure=_configure, run=_migrate),
)
