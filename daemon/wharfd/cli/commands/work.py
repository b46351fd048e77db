"""`wharfd work`: the queues, what is buried in them, and digging it up again."""

from __future__ import annotations

import argparse
from urllib.parse import quote

from ...declare import Command
from ..client import Client
from ..output import Output


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list the queues (the default)")
    for action, words in (
        ("pause", "stop working a queue, on every daemon"),
        ("resume", "work it again"),
        ("buried", "list what was given up"),
        ("requeue", "work buried rows again"),
    ):
        one = actions.add_parser(action, help=words)
        one.add_argument("queue", help="plugin.queue")
        if action == "requeue":
            one.add_argument("keys", nargs="*", help="rows to requeue; none with --all")
            one.add_argument("--all", action="store_true", help="requeue everything that is buried")


def _work(arguments: argparse.Namespace, client: Client) -> int:
    output = Output(as_json=arguments.json)
    if arguments.action in (None, "list"):
        rows = client.get("/api/v1/work")["queues"]
        output.table(rows, ["name", "state", "ready", "due", "running", "buried", "oldest_due_seconds"])
        return 0
    path = f"/api/v1/work/{quote(arguments.queue, safe='')}"
    if arguments.action == "buried":
        rows = client.get(f"{path}/buried")["items"]
        output.table(rows, ["key", "attempts", "buried_at", "reason"], empty="nothing is buried")
    elif arguments.action == "requeue":
        body = {"all": True} if arguments.all else {"keys": arguments.keys}
        output.facts(client.post(f"{path}/requeue", body))
    else:
        output.facts(client.post(f"{path}/{arguments.action}"))
    return 0


COMMANDS = (Command(name="work", summary="look after the work queues", configure=_configure, run=_work),)
