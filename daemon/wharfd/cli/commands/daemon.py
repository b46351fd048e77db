"""`wharfd run`, `init` and `status`: the process itself."""

from __future__ import annotations

import argparse
import os

from ...declare import Command
from ..client import Client
from ..output import Output


def _nothing(parser: argparse.ArgumentParser) -> None:
    """The common options are all there are."""


def _run(arguments: argparse.Namespace, client: Client) -> int:
    from ...app import prepare, run_until_stopped

    return run_until_stopped(prepare(arguments.config, arguments.state_dir, os.environ))


def _init(arguments: argparse.Namespace, client: Client) -> int:
    """Make what a first start would make, so that a package can do it before the service starts."""
    from ...app import initialise_and_stop, prepare

    code = initialise_and_stop(prepare(arguments.config, arguments.state_dir, os.environ))
    output = Output(as_json=arguments.json)
    if output.as_json:
        output.json({"made": str(arguments.state_dir)})
    return code


def _status(arguments: argparse.Namespace, client: Client) -> int:
    output = Output(as_json=arguments.json)
    status = client.get("/api/v1/status")
    if arguments.json:
        output.json(status)
        return 0
    plugins = status.pop("plugins", [])
    output.facts(status)
    output.line()
    output.table(plugins, ["name", "state", "restarts", "last_error"], empty="no plugin is enabled")
    return 0


COMMANDS = (
    Command(name="run", summary="run the daemon in the foreground", configure=_nothing, run=_run),
    Command(
        name="init", summary="make state folder, keys and tables, then stop", configure=_nothing, run=_init
    ),
    Command(name="status", summary="say how the running daemon is", configure=_nothing, run=_status),
)
