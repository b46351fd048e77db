"""`wharfd top` and `wharfd completion`: for whoever sits at a terminal."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from ...declare import Command
from ..client import Client
from ..output import Output


def _configure_top(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="how often to look (2)")
    parser.add_argument(
        "--once", action="store_true", help="look once and end; so also with --json or piped on"
    )


def _look(client: Client) -> dict[str, Any]:
    status = client.get("/api/v1/status")
    performance = client.get("/api/performance/status")
    return {"status": status, "performance": performance.get("data", performance)}


def _top(arguments: argparse.Namespace, client: Client) -> int:
    output = Output(as_json=arguments.json)
    if arguments.json:
        output.json(_look(client))
        return 0
    if arguments.once or not sys.stdout.isatty():
        _draw(output, _look(client))
        return 0
    pause = threading.Event()  # never set: ctrl-c ends it
    while True:
        seen = _look(client)
        sys.stdout.write("\x1b[H\x1b[2J")
        output.line(time.strftime("wharfd top   %H:%M:%S   ctrl-c ends"))
        _draw(output, seen)
        pause.wait(max(0.2, arguments.every))


def _draw(output: Output, seen: Mapping[str, Any]) -> None:
    status = dict(seen["status"])
    plugins = status.pop("plugins", [])
    output.facts({name: value for name, value in status.items() if not isinstance(value, dict | list)})
    for name, value in seen["performance"].items():
        if isinstance(value, dict):
            facts = {key: one for key, one in value.items() if not isinstance(one, dict | list)}
            if facts:
                output.line(f"\n{name}")
                output.facts(facts)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            columns = [key for key, one in value[0].items() if not isinstance(one, dict | list)]
            output.line(f"\n{name}")
            output.table(value, columns[:9])
    output.line("\nplugins")
    output.table(plugins, ["name", "state", "restarts", "last_error"], empty="no plugin is enabled")


def _configure_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def _completion(arguments: argparse.Namespace, client: Client) -> int:
    from ..completion import places, script

    text = script(arguments.shell, places(arguments.root))
    Output(as_json=arguments.json).document(text, arguments.shell)
    return 0


COMMANDS = (
    Command(name="top", summary="watch the running daemon", configure=_configure_top, run=_top),
    Command(
        name="completion",
        summary="print completion for a shell: source <(wharfd completion bash)",
        configure=_configure_completion,
        run=_completion,
    ),
)
