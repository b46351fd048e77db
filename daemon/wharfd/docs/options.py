"""`docs/configure.md`: every option with its type, its default and its meaning, from the typed settings."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from ..config.example import toml_literal
from ..config.options import REQUIRED, field_types
from ..config.overrides import OVERRIDES
from ..config.settings import CoreSettings, PluginSettings
from ..registry import Registry
from ..secrets import Secret

_HEAD = """\
# Configure

One TOML file, named by `--config` or `WHARFD_CONFIG`. Without a file wharfd runs on its defaults, with no
plugin. A plugin runs when it has its table `[plugins.NAME]`. `wharfd config example` prints a file with every
option and its default, `wharfd check` says everything that is wrong with yours at once, and a daemon that is
started with a mistake in it exits with 78.

This page is written from the settings themselves by `make docs`.

## How values are written

| type | written like |
|---|---|
| text, path, network | `"127.0.0.1:8470"`, `"/etc/wharfd/tls.pem"`, `"10.0.0.0/8"` |
| whole number, number | `500`, `0.8` |
| duration | `"500ms"`, `"90s"`, `"5m"`, `"2h"`, `"30d"`, `"1w"` |
| date and time | `2026-08-01T00:00:00Z` |
| secret | text, or better one of the three below |
| list of … | `["a", "b"]` |
| table | `{ name = value }` in one line, or a table of its own with the path in its heading |

A text, a path and a secret may lie elsewhere: `{ file = "/etc/wharfd/key" }`, `{ env = "NAME" }` or
`{ credential = "name" }` (systemd); `docs/secrets.md`. An option marked *live* follows
`systemctl reload wharfd`; the others need a restart.

## From the environment

Set, these stand above the file; they are kept from the systems that wharfd replaces.

"""

_PLUGINS = """\
## In the table of every plugin

These the core reads itself.
"""

_WORDS: dict[Any, str] = {
    str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path",
    timedelta: "duration", datetime: "date and time", Secret: "secret",
    IPv4Network: "network", IPv6Network: "network",
}  # fmt: skip


def options_page(registry: Registry) -> str:
    """Return the page of all options of the core and of the shipped plugins."""
    parts = [_HEAD + "\n".join(_overrides()) + "\n"]
    for section in dataclasses.fields(CoreSettings):
        parts += _tables(section.default_factory, section.name, str(section.metadata["help"]))
    parts.append(_PLUGINS + "\n" + "\n".join(_rows(PluginSettings)) + "\n")
    for name, plugin in sorted(registry.host.plugins.items()):
        if plugin.settings is not None:
            more = f"`plugins/wharfd_{name}/README.md` says what it does."
            parts += _tables(type(plugin.settings), f"plugins.{name}", more)
    return "\n".join(parts)


def _overrides() -> Iterator[str]:
    yield "| variable | sets |"
    yield "|---|---|"
    for name, (path, _, expected) in OVERRIDES.items():
        yield f"| `{name}` | `[{'.'.join(path[:-1])}] {path[-1]}`, {expected} |"
    parts = "`REDIS_HOST`, `REDIS_PORT`, `REDIS_DB`, `REDIS_PASSWORD`"
    yield f"| {parts} | `[redis] url`, when `REDIS_URL` is not set |"


def _tables(kind: Any, path: str, words: str) -> Iterator[str]:
    """Yield the table of a settings class, then those of the settings classes within it."""
    heading = f"[[{path[:-2]}]]" if path.endswith("[]") else f"[{path}]"
    yield f"## `{heading}`\n\n{words[:1].upper()}{words[1:].rstrip('.')}.\n\n" + "\n".join(_rows(kind)) + "\n"
    for field in dataclasses.fields(kind):
        found = list(_settings_in(field_types(kind)[field.name]))
        for inner, suffix in found:
            yield from _tables(inner, f"{path}.{field.name.rstrip('_')}{suffix}", str(field.metadata["help"]))


def _rows(kind: Any) -> Iterator[str]:
    yield "| option | type | default | meaning |"
    yield "|---|---|---|---|"
    for field in dataclasses.fields(kind):
        words = _type_words(field_types(kind)[field.name])
        live = " (*live*)" if field.metadata.get("live") else ""
        meaning = str(field.metadata["help"]).replace("|", "\\|")
        yield f"| `{field.name.rstrip('_')}` | {words} | {_default(field)} | {meaning}{live} |"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        value = REQUIRED
    if value is REQUIRED:
        return "**required**"
    if value is None or value == {} or dataclasses.is_dataclass(value):
        return "–"
    return f"`{toml_literal(value)}`"


def _type_words(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type_words(one) for one in inner if one is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{toml_literal(one)}`" for one in inner)
    if origin is tuple:
        return f"list of {_several(inner[0])}"
    if dataclasses.is_dataclass(kind) or (origin is dict and dataclasses.is_dataclass(inner[1])):
        return "table"
    if origin is dict:
        return f"table of {_several(inner[1])}"
    return _WORDS[kind]


def _several(kind: Any) -> str:
    words = _type_words(kind)
    return (
        words if words.startswith(("`", "true")) or words == "text" else words.replace(" or ", "s or ") + "s"
    )


def _settings_in(kind: Any) -> Iterator[tuple[Any, str]]:
    """Yield the settings classes that a type holds, and what their place adds to the path."""
    origin, inner = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        yield kind, ""
    elif origin is dict:
        yield from ((found, ".NAME" + suffix) for found, suffix in _settings_in(inner[1]))
    elif origin is tuple:
        yield from ((found, "[]" + suffix) for found, suffix in _settings_in(inner[0]))
    else:
        for one in inner:
            yield from _settings_in(one)
