"""`wharfd docs`: write the generated pages of a checkout, or say which are stale."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...declare import Command
from ..client import Client
from ..output import Output


def _configure(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--write", action="store_true", help="write what is stale")
    choice.add_argument("--check", action="store_true", help="exit 1 when something is stale")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout")


def _docs(arguments: argparse.Namespace, client: Client) -> int:
    from ...docs import stale, write

    output = Output(as_json=arguments.json)
    if arguments.write:
        output.table(
            [{"written": str(path)} for path in write(arguments.root)], ["written"], empty="all fresh"
        )
        return 0
    found = stale(arguments.root)
    output.table([{"stale": str(path)} for path in found], ["stale"], empty="all fresh")
    return 1 if found else 0


COMMANDS = (
    Command(name="docs", summary="write the generated pages of a checkout", configure=_configure, run=_docs),
)
