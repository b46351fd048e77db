"""`wharfd alerts`: what fires, what fired, acknowledge, silence."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

import msgspec

from wharfd import Command

BASE = "/api/v1/alerts"
_UNITS = {"m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> float:
    """Return the seconds of `30m`, `2h` or `7d`."""
    match = re.fullmatch(r"(\d+)([mhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 30m, 2h or 7d")
    return float(match[1]) * _UNITS[match[2]]


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
    quiet.add_argument("--for", dest="seconds", type=duration, required=True, metavar="2h")
    quiet.add_argument("--reason", required=True)
    actions.add_parser("silences", help="list the silences")
    loud = actions.add_parser("unsilence", help="end a silence")
    loud.add_argument("silence", help="its id")


def run(arguments: argparse.Namespace, client: Any) -> int:
    """Do what was asked and print the answer."""
    action = arguments.action or "list"
    if action == "list":
        _print(arguments, client.get(BASE)["items"], "severity", "plugin", "rule", "key", "message", "id")
    elif action == "history":
        items = client.get(f"{BASE}/history", rule=arguments.rule, limit=arguments.limit)["items"]
        _print(
            arguments, items, "started_at", "status", "severity", "plugin", "rule", "key", "resolved_at", "id"
        )
    elif action == "rules":
        _print(arguments, client.get(f"{BASE}/rules")["items"], "name", "severity", "findings", "problem")
    elif action == "silences":
        items = client.get(f"{BASE}/silences")["items"]
        _print(arguments, items, "id", "active", "plugin", "rule", "key", "ends_at", "reason")
    elif action == "silence":
        plugin, dot, rule = arguments.rule.partition(".")
        body = {"plugin": plugin, "rule": rule if dot else "*", "key": arguments.key}
        body |= {"reason": arguments.reason, "seconds": arguments.seconds}
        _print(arguments, [client.post(f"{BASE}/silences", body)], "id", "plugin", "rule", "key", "ends_at")
    elif action == "unsilence":
        client.call("DELETE", f"{BASE}/silences/{arguments.silence}")
    else:
        done = client.post(f"{BASE}/{arguments.alert}/{action}", {"note": arguments.note})
        _print(arguments, [done], "id", "status", "plugin", "rule", "key", "acknowledged_by")
    return 0


def _print(arguments: argparse.Namespace, items: list[dict[str, Any]], *columns: str) -> None:
    if getattr(arguments, "json", False):
        sys.stdout.write(msgspec.json.encode(items).decode() + "\n")
        return
    rows = [columns, *(tuple(_cell(item.get(column)) for column in columns) for item in items)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    for row in rows:
        sys.stdout.write(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        )


def _cell(value: Any) -> str:
    return "-" if value is None or value == "" else str(value)


def commands() -> list[Command]:
    """Return the command group."""
    return [Command(name="alerts", summary="see and answer alerts", configure=configure, run=run)]
