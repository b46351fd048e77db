"""What the CLI prints: tables for people, JSON for programs, one error sentence on stderr."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

COLOURS = {
    "ok": "green",
    "running": "green",
    "done": "green",
    "warn": "yellow",
    "degraded": "yellow",
    "restarting": "yellow",
    "waiting": "yellow",
    "fail": "red",
    "down": "red",
    "failed": "red",
    "quarantined": "red",
    "buried": "red",
}

_PIPED_WIDTH = 1000
# Names, errors and bodies come from outside: nothing in them may steer a terminal or turn its text around.
_STEERING = {
    number: f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
    for number in (
        *(n for n in range(0x20) if n not in (0x09, 0x0A)),
        *range(0x7F, 0xA0),
        *range(0x200B, 0x2010),
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
    )
}
_LONG = frozenset(
    {"reason", "said", "last_error", "lastError", "found", "hint", "detail", "message", "error"}
)
_HUMP = re.compile(r"(?<=[a-z])[A-Z]")
_MOMENT = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?Z$")


class Output:
    """Writes results to stdout; with `as_json` everything a command shows is one JSON value."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        # A table that is piped on is not cut to the width of a terminal that is not there.
        width = None if sys.stdout.isatty() else _PIPED_WIDTH
        self._console = Console(highlight=False, width=width)

    def json(self, value: Any) -> None:
        """Print a value as indented JSON."""
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")

    def record(self, value: Any) -> None:
        """Print a value as JSON on one line, at once: what a command prints that goes on (JSON Lines)."""
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        sys.stdout.flush()

    def document(self, text: str, kind: str) -> None:
        """Print a text as it is; as JSON an object of its `format` and the `text`."""
        if self.as_json:
            self.json({"format": kind, "text": text})
        else:
            sys.stdout.write(text)

    def line(self, text: str = "") -> None:
        """Print a line for people; nothing when JSON was asked for."""
        if not self.as_json:
            self._console.print(Text(_plain(text)))

    def table(
        self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str = "nothing"
    ) -> None:
        """Print rows as a table with these columns; whole rows as JSON when that was asked for."""
        if self.as_json:
            self.json(list(rows))
            return
        if not rows:
            self.line(empty)
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(_heading(column), no_wrap=column not in _LONG, overflow="fold")
        for row in rows:
            table.add_row(*(_cell(row.get(column)) for column in columns))
        self._console.print(table)

    def facts(self, values: Mapping[str, Any]) -> None:
        """Print names and values, one a line."""
        if self.as_json:
            self.json(dict(values))
            return
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            self._console.print(Text(f"{name:<{width}}  ").append(_cell(value)))


def _heading(column: str) -> str:
    return _HUMP.sub(lambda found: f" {found[0].lower()}", column).replace("_", " ")


def _cell(value: Any) -> Text:
    text = _plain(_words(value))
    return Text(text, style="dim" if text == "-" else COLOURS.get(text, ""))


def _words(value: Any) -> str:
    """Return a value as a person reads it; `--json` has it exactly."""
    if value is None or value in ([], {}, ""):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, list):
        return ", ".join(_words(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    return _MOMENT.sub(r"\1 \2", str(value))


def _plain(text: str) -> str:
    return text.translate(_STEERING)


def complain(message: str) -> None:
    """Print an error for people on stderr."""
    sys.stderr.write(f"wharfd: {_plain(message)}\n")
