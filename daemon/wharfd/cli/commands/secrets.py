"""`wharfd secrets`: the master key that seals what is secret at rest."""

from __future__ import annotations

import argparse

from ...declare import Command
from ..client import Client
from ..output import Output


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("new-key", help="print a fresh master key for [secrets] key")
    rotate = actions.add_parser("rotate", help="wrap all data keys with the current master key")
    rotate.add_argument("--dry-run", action="store_true", help="only count what would change")


def _secrets(arguments: argparse.Namespace, client: Client) -> int:
    from ...secrets.keys import MasterKey

    if arguments.action == "rotate":
        body = {"dry_run": arguments.dry_run}
        Output(as_json=arguments.json).facts(client.post("/api/v1/secrets/rotate", body))
        return 0
    Output(as_json=arguments.json).facts({"key": MasterKey.make().text()})
    return 0


COMMANDS = (Command(name="secrets", summary="look after the master key", configure=_configure, run=_secrets),)
