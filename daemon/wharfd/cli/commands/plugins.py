"""`wharfd plugins` and `wharfd plugin new`."""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import quote

from ...declare import Command
from ..client import Client
from ..output import Output


def _configure_plugins(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list the plugins and how they are (the default)")
    resume = actions.add_parser("resume", help="try a quarantined or failed plugin again at once")
    resume.add_argument("name")


def _plugins(arguments: argparse.Namespace, client: Client) -> int:
    output = Output(as_json=arguments.json)
    if arguments.action == "resume":
        output.facts(client.post(f"/api/v1/plugins/{quote(arguments.name, safe='')}/resume"))
        return 0
    rows = client.get("/api/v1/plugins")["plugins"]
    output.table(rows, ["name", "state", "restarts", "origin", "last_error"], empty="no plugin is enabled")
    return 0


def _configure_plugin(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("new", help="write a new plugin package that passes the contract tests")
    new.add_argument("name", help="snake_case, for example loyalty")
    new.add_argument("--into", type=Path, default=Path(), help="folder to make it in")


def _plugin(arguments: argparse.Namespace, client: Client) -> int:
    from ...scaffold import write_plugin

    folder = write_plugin(arguments.name, arguments.into)
    output = Output(as_json=arguments.json)
    output.facts({"made": str(folder), "next": f"pip install -e {folder} && pytest {folder}"})
    return 0


COMMANDS = (
    Command(name="plugins", summary="list plugins; resume one", configure=_configure_plugins, run=_plugins),
    Command(name="plugin", summary="write a new plugin", configure=_configure_plugin, run=_plugin),
)
