"""The `wharfd` command: `main(argv)` returns the exit code.

0 done · 1 it failed · 2 wrong usage · 69 the daemon cannot be reached · 78 the configuration is wrong ·
130 interrupted. `docs/cli.md` says it at length.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..config.options import did_you_mean
from ..declare import Command
from ..errors import ConfigError, WharfdError
from .arguments import config_of
from .client import Client, ClientError
from .output import Output, complain

UNREACHABLE = 69  # EX_UNAVAILABLE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        common, rest = _common_options().parse_known_args(arguments)
        parsed = build_parser(common, rest).parse_args(rest, namespace=common)
        return int(parsed.execute(parsed) or 0)
    except ConfigError as error:
        complain(str(error))
        return error.exit_code
    except ClientError as error:
        complain(str(error))
        return UNREACHABLE if error.status is None else 1
    except WharfdError as error:
        complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        complain(f"{error.filename}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        return 130


def _common_options() -> argparse.ArgumentParser:
    """The options that every command takes, wherever they stand on the line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path, default=_from_environment("WHARFD_CONFIG"))
    parser.add_argument("--state-dir", type=Path, default=default_state_dir())
    parser.add_argument("--url")
    parser.add_argument("--json", action="store_true")
    return parser


_EVERYWHERE = """\
everywhere:
  --config FILE     the TOML file (WHARFD_CONFIG; else the one of the daemon of the state folder)
  --state-dir DIR   the folder for all state (WHARFD_STATE_DIR; by default .wharfd)
  --url URL         a daemon elsewhere (WHARFD_URL), with the key in WHARFD_KEY
  --json            print JSON
"""


class Parser(argparse.ArgumentParser):
    """A parser whose help is the answer to a line that ends before the word it needs (`missing`)."""

    _needed = ""

    def add_subparsers(self, **options: Any) -> Any:
        """Add what follows; one that is required gives help instead of wrong usage when it is left out.

        What follows that is argparse's own matter, and wrong usage when it is left out.
        """
        if "dest" in options and options.pop("required", False):
            self._needed = options["dest"]
        return super().add_subparsers(**{"parser_class": argparse.ArgumentParser, **options})

    def missing(self, parsed: argparse.Namespace) -> bool:
        """Say whether the word that decides what to do was left out."""
        return bool(self._needed) and getattr(parsed, self._needed) is None


def build_parser(common: argparse.Namespace, rest: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; plugins are imported for it only when no core command is asked for."""
    from . import commands

    parser = Parser(
        prog="wharfd",
        description="The back office of a commerce business in one daemon.",
        epilog=_EVERYWHERE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wharfd {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    without_plugins = {command.name for command in commands.CORE} - {"completion"} | {"--version"}
    for command in commands.CORE:
        _add(subparsers, command)
    if not rest or rest[0] not in without_plugins:
        for command in commands.of_plugins(config_of(common)):
            _add(subparsers, command)
        _refuse_unknown(parser, rest, subparsers.choices)
    parser.set_defaults(root=parser, execute=lambda parsed: _help(parser, parsed))
    return parser


def _refuse_unknown(parser: argparse.ArgumentParser, rest: Sequence[str], known: Mapping[str, Any]) -> None:
    """End with usage and a way out when the command is not there; argparse would only list those that are."""
    name = next((word for word in rest if not word.startswith("-")), None)
    if name is not None and name not in known:
        hint = did_you_mean(name, known) or "wharfd --help lists them"
        parser.error(
            f"there is no command {name!r}; {hint} "
            "(a plugin's commands are there when the configuration enables it)"
        )


def _add(subparsers: Any, command: Command) -> None:
    parser = subparsers.add_parser(
        command.name,
        help=command.summary,
        description=command.summary,
        epilog=_EVERYWHERE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.configure(parser)
    parser.set_defaults(execute=lambda parsed: _execute(command, parser, parsed))


def _execute(command: Command, parser: Parser, parsed: argparse.Namespace) -> int:
    from .commands import client_for

    if parser.missing(parsed):
        return _help(parser, parsed)
    return command.run(parsed, client_for(parsed))


def _help(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    Output(as_json=parsed.json).document(parser.format_help(), "text")
    return 0


def default_state_dir() -> Path:
    """Return where the state lies unless `--state-dir` says otherwise."""
    return _from_environment("WHARFD_STATE_DIR") or _from_environment("STATE_DIRECTORY") or Path(".wharfd")


def _from_environment(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value) if value else None


__all__ = ["Client", "ClientError", "build_parser", "main"]
