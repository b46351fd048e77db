"""Turn a TOML table into a frozen dataclass, collecting every problem instead of stopping at the first.

Supported field types: str, int, float, bool, Path, datetime, timedelta (written "90s", "5m", "2h", "30d"),
IP networks, `Secret`, Literal, Optional, tuple[T, ...], dict[str, T] and other settings dataclasses.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from ..errors import Problem, SecretError, SecretUnreadable
from ..secrets import Secret, read_secret
from ..secrets.sources import FOR_THE_DAEMON_ALONE
from ..spans import read_span

T = TypeVar("T")


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()
_REFERENCES = frozenset({"env", "file", "credential"})
_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
_NAMES |= {datetime: "a date and time", timedelta: 'a duration such as "5m"', Path: "a path"}


def option(
    default: Any = REQUIRED,
    *,
    help: str,
    live: bool = False,
    default_factory: Callable[[], Any] | None = None,
    example: str = "",
) -> Any:
    """Declare one setting. `help` is the sentence an operator reads; `live` settings follow SIGHUP.

    `example` is TOML shown in the example file where there is no default to show.
    """
    metadata = {"help": help, "live": live, "example": example}
    if default_factory is not None:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@cache
def field_types(kind: Any) -> dict[str, Any]:
    """Return the resolved types of a settings dataclass."""
    return get_type_hints(kind)


class Reader:
    """Reads one table after the other and remembers what was wrong where, and what is remarkable."""

    def __init__(
        self, environ: Mapping[str, str], credentials_dir: Path | None = None, *, secrets_later: bool = False
    ) -> None:
        self.problems: list[Problem] = []
        self.remarks: list[str] = []
        self.unseen: list[Problem] = []  # secrets that were left unread
        self._secrets_later = secrets_later
        self._environ = environ
        self._credentials_dir = credentials_dir

    def problem(self, where: str, what: str, hint: str = "") -> None:
        """Remember a problem."""
        self.problems.append(Problem(where, what, hint))

    def read(self, kind: type[T], table: Any, where: str) -> T | None:
        """Read `table` into the settings class `kind`; None when something in it was wrong."""
        if not isinstance(table, Mapping):
            self.problem(where, f"expected a table, got {_shown(table)}")
            return None
        before = len(self.problems)
        kinds = field_types(cast(Any, kind))
        # A field whose name is a word of Python (from_) is written without its underscore.
        fields = {f.name.rstrip("_"): f for f in dataclasses.fields(kind) if f.init}  # type: ignore[arg-type]
        for name in table:
            if name not in fields:
                self.problem(
                    f"{where}.{name}" if where else name, "unknown option", did_you_mean(name, fields)
                )
        values: dict[str, Any] = {}
        for name, field in fields.items():
            here = f"{where}.{name}" if where else name
            if name in table:
                values[field.name] = self._convert(kinds[field.name], table[name], here)
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                self.problem(here, "missing", field.metadata.get("help", ""))
        if len(self.problems) > before:
            return None
        made = kind.__new__(kind)
        try:
            kind.__init__(made, **values)
        except (ValueError, SecretError, SecretUnreadable) as error:
            if self.unseen and isinstance(error, SecretUnreadable):
                return made  # its fields are set; what ended is its check, at a value that is not seen here
            name, _, message = str(error).partition(": ")
            known = name.split(".")[0].split("[")[0] in fields
            self.problem(f"{where}.{name}" if known else where, message if known else str(error))
            return None
        return made

    def _convert(self, kind: Any, value: Any, where: str) -> Any:
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            return self._convert_union(kind, value, where)
        if origin is Literal:
            return self._convert_choice(get_args(kind), value, where)
        if origin is tuple:
            if not isinstance(value, list):
                return self._wrong(where, "a list", value)
            item = get_args(kind)[0]
            return tuple(self._convert(item, entry, f"{where}[{n}]") for n, entry in enumerate(value))
        if origin is dict:
            if not isinstance(value, Mapping):
                return self._wrong(where, "a table", value)
            item = get_args(kind)[1]
            return {name: self._convert(item, entry, f"{where}.{name}") for name, entry in value.items()}
        if dataclasses.is_dataclass(kind):
            return self.read(kind, value, where)  # type: ignore[arg-type]
        return self._convert_plain(kind, value, where)

    def _convert_union(self, kind: Any, value: Any, where: str) -> Any:
        choices = [choice for choice in get_args(kind) if choice is not type(None)]
        if len(choices) == 1:
            return self._convert(choices[0], value, where)
        if {IPv4Network, IPv6Network} == set(choices):
            return self._convert_plain(ip_network, value, where)
        # A string stands for the plain choice, a table for the settings class (for example a key).
        wanted = [c for c in choices if dataclasses.is_dataclass(c) is isinstance(value, Mapping)]
        reference = isinstance(value, Mapping) and _REFERENCES.issuperset(value)
        if reference and Secret in choices:
            wanted = [Secret]
        return self._convert((wanted or choices)[0], value, where)

    def _convert_choice(self, choices: tuple[Any, ...], value: Any, where: str) -> Any:
        if value in choices and type(value) in {type(c) for c in choices}:
            return value
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        listed = ", ".join(repr(choice) for choice in choices)
        self.problem(where, f"{_shown(value)} is none of {listed}", hint)
        return None

    def _convert_plain(self, kind: Any, value: Any, where: str) -> Any:
        if kind in (str, Secret, Path) and (isinstance(value, Mapping) or kind is Secret):
            return self._resolve(kind, value, where)
        if kind is float and type(value) is int:
            return float(value)
        if kind is Path and isinstance(value, str):
            return Path(value)
        if kind is timedelta and isinstance(value, str | int) and not isinstance(value, bool):
            return self._convert_duration(value, where)
        if kind is datetime and isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if kind in (ip_network, IPv4Network, IPv6Network) and isinstance(value, str):
            try:
                return ip_network(value)
            except ValueError as error:
                self.problem(where, str(error), 'write it like "10.0.0.0/8"')
                return None
        if kind is Any or type(value) is kind:
            return value
        return self._wrong(where, _NAMES.get(kind, getattr(kind, "__name__", str(kind))), value)

    def _convert_duration(self, value: str | int, where: str) -> timedelta | None:
        try:
            return read_span(str(value))
        except ValueError as error:
            self.problem(where, f"{value!r} is not a duration", str(error))
            return None

    def _resolve(self, kind: Any, value: Any, where: str) -> Any:
        try:
            reading = read_secret(value, environ=self._environ, credentials_dir=self._credentials_dir)
        except SecretUnreadable as error:
            if kind is Secret and (self._secrets_later or error.hint == FOR_THE_DAEMON_ALONE):
                self.unseen.append(Problem(where, error.what, error.hint))
                return Secret.unread(error)
            self.problem(where, error.what, error.hint)
            return None
        if reading.worry:
            self.remarks.append(f"{where}: {reading.worry}")
        return reading.secret if kind is Secret else kind(reading.secret.reveal())

    def _wrong(self, where: str, expected: str, value: Any) -> None:
        hint = "remove the quotes" if isinstance(value, str) and expected in _NAMES.values() else ""
        self.problem(where, f"expected {expected}, got {_shown(value)}", hint)


def did_you_mean(name: str, known: Any) -> str:
    """Return a hint naming the closest known word, or listing the few there are."""
    words = [str(word) for word in known]
    close = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known here: {', '.join(sorted(words))}" if 0 < len(words) <= 12 else ""


def _shown(value: Any) -> str:
    kinds = {str: "text", bool: "true/false", list: "a list", dict: "a table"}
    if isinstance(value, str) and len(value) > 40:
        return "a long text"
    return f"{kinds.get(type(value), type(value).__name__)} ({value!r})"
