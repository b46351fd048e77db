"""`wharfd check` and `wharfd config`: everything about the TOML file that needs no running daemon."""

from __future__ import annotations

import argparse
import os

from ...declare import Command
from ...errors import SecretUnreadable
from ...loading import LoadedPlugin
from ..arguments import config_of
from ..client import Client
from ..output import Output, complain


def _configure_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strict",
        action="store_true",
        help="fail on a plugin that cannot be loaded, and on a secret that is not seen here, too",
    )


def _check(arguments: argparse.Namespace, client: Client) -> int:
    from ...app import prepare

    output = Output(as_json=arguments.json)
    prepared = prepare(config_of(arguments), arguments.state_dir, os.environ, unseen_is_wrong=False)
    rows = [
        {"plugin": p.name, "from": p.origin, "state": "fail" if p.broken else "ok", "reason": p.error}
        for p in prepared.registry.host.plugins.values()
    ]
    output.line(f"configuration: {prepared.path or 'none was named; everything has its default'}")
    output.table(rows, ["plugin", "from", "state", "reason"], empty="no plugin is enabled")
    plugins = prepared.registry.host.plugins.values()
    for remark in [*prepared.configuration.remarks, *(one for p in plugins for one in _own_remarks(p))]:
        complain(f"remark: {remark}")
    unseen = prepared.configuration.unseen
    for problem in unseen:
        complain(f"not seen: {problem}")
    return 1 if arguments.strict and (unseen or any(row["state"] == "fail" for row in rows)) else 0


def _own_remarks(plugin: LoadedPlugin) -> list[str]:
    """Return what the plugin's settings remark on; that they raise instead is a remark, too."""
    remarks = getattr(plugin.settings, "remarks", None)
    try:
        return [f"plugins.{plugin.name}.{remark}" for remark in remarks()] if callable(remarks) else []
    except SecretUnreadable:
        return []  # that one is not seen is said of itself
    except (Exception, SystemExit) as error:
        return [f"plugins.{plugin.name}: its remarks() failed: {type(error).__name__}: {error}"]


def _configure_config(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("example", help="print an example with every option and its default")


def _config(arguments: argparse.Namespace, client: Client) -> int:
    from ...config.example import example_text

    Output(as_json=arguments.json).document(example_text(), "toml")
    return 0


COMMANDS = (
    Command(
        name="check",
        summary="check the configuration; exit 78 when wrong",
        configure=_configure_check,
        run=_check,
    ),
    Command(
        name="config", summary="print an example configuration", configure=_configure_config, run=_config
    ),
)
