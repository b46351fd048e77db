"""`wharfd alerts`: what fires, what fired, acknowledge, silence."""

from __future__ import annotations

import argparse
from urllib.parse import quote

from wharfd import Client, Command, Output, seconds_of

BASE = "/api/v1/alerts"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="what fires (the default)")
    history = actions.add_parser("history", help="what fired, the newest first")
    history.add_argument("--rule", help="only of plugin.rule")
    history.add_argument("--limit", type=int, default=50)
    actions.add_parser("rules", help="every rule and how its last evaluation went")
    for action, words in (("ack", "say that somebody looks after it"), ("resolve", "end it by hand")):
        one = actions.add_parser(action, help=words)
        one.add_argument("alert", help="its id")
        one.add_argument("--note", default="")
    quiet = actions.add_parser("silence", help="keep alerts quiet for a while")
    quiet.add_argument("rule", help="plugin.rule; * and ? stand for anything")
    quiet.add_argument("--key", default="*")
    quiet.add_argument("--for", dest="seconds", type=seconds_of, required=True, metavar="2h")
    quiet.add_argument("--reason", required=True)
    actions.add_parser("silences", help="list the silences")
    loud = actions.add_parser("unsilence", help="end a silence")
    loud.add_argument("silence", help="its id")


def run(arguments: argparse.Namespace, client: Client) -> int:
    """Do what was asked and print the answer."""
    output, action = Output(as_json=arguments.json), arguments.action or "list"
    if action == "list":
        rows = client.get(BASE)["items"]
        output.table(rows, ["severity", "plugin", "rule", "key", "message", "id"], empty="nothing fires")
    elif action == "history":
        rows = client.get(f"{BASE}/history", rule=arguments.rule, limit=arguments.limit)["items"]
        columns = ["started_at", "status", "severity", "plugin", "rule", "key", "resolved_at", "id"]
        output.table(rows, columns, empty="nothing fired yet")
    elif action == "rules":
        output.table(client.get(f"{BASE}/rules")["items"], ["name", "severity", "findings", "problem"])
    elif action == "silences":
        rows = client.get(f"{BASE}/silences")["items"]
        columns = ["id", "active", "plugin", "rule", "key", "ends_at", "reason"]
        output.table(rows, columns, empty="nothing is silenced")
    elif action == "silence":
        plugin, dot, rule = arguments.rule.partition(".")
        body = {"plugin": plugin, "rule": rule if dot else "*", "key": arguments.key}
        body |= {"reason": arguments.reason, "seconds": arguments.seconds}
        output.facts(client.post(f"{BASE}/silences", body))
    elif action == "unsilence":
        client.call("DELETE", f"{BASE}/silences/{quote(arguments.silence, safe='')}")
        output.facts({"id": arguments.silence, "active": False})
    else:
        path = f"{BASE}/{quote(arguments.alert, safe='')}/{action}"
        output.facts(client.post(path, {"note": arguments.note}))
    return 0


def commands() -> list[Command]:
    """Return the command group."""
    return [Command(name="alerts", summary="see and answer alerts", configure=configure, run=run)]
