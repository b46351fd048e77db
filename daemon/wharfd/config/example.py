"""Write `config/example.toml`: the core's settings from their declarations, then each plugin's own example.

Prose stands behind `##`; an option stands behind `#` with its default, so the file as it is changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from datetime import timedelta
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from .options import REQUIRED
from .settings import CoreSettings, PluginSettings

_HEAD = """\
## wharfd: every option with its default. Written by `make docs`; copy what you change, with its heading.
## A value may be given as { file = "…" }, { env = "…" } or { credential = "…" } instead of in the open.
"""

_PLUGINS_HEAD = """\
## A plugin runs when it has its table here. These keys may stand in each of them:
"""


def example_text() -> str:
    """Return the whole example file."""
    parts = [_HEAD]
    for section in dataclasses.fields(CoreSettings):
        kind = section.default_factory
        assert kind is not dataclasses.MISSING
        parts.append(f"## {section.metadata['help']}\n[{section.name}]\n\n{_options(kind)}")
    parts.append(_PLUGINS_HEAD + "\n" + _options(PluginSettings))
    parts += [text for _, text in plugin_examples()]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def plugin_examples() -> Iterator[tuple[str, str]]:
    """Yield (plugin, text) of the `example.toml` of every plugin that ships with wharfd."""
    found = {entry.name: entry.value for entry in entry_points(group="wharfd.plugins")}
    for name, package in sorted(found.items()):
        resource = files(package.split(":")[0]) / "example.toml"
        if package.startswith("wharfd_") and resource.is_file():
            yield name, resource.read_text(encoding="utf-8")


def _options(kind: Any) -> str:
    return "\n".join(_option(field) for field in dataclasses.fields(kind))


def _option(field: dataclasses.Field[Any]) -> str:
    shown = field.metadata.get("example") or toml_literal(_default(field))
    return f"## {field.metadata['help']}\n# {field.name} = {shown}\n"


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return REQUIRED if field.default_factory is dataclasses.MISSING else field.default_factory()


def toml_literal(value: Any) -> str:
    """Write a default the way an operator types it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, timedelta):
        return f'"{_duration(value)}"'
    if isinstance(value, Iterable) and not isinstance(value, str | Path):
        return "[" + ", ".join(toml_literal(item) for item in value) + "]"
    return f'"{"" if value in (None, REQUIRED) else value}"'


def _duration(value: timedelta) -> str:
    seconds = value.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{round(seconds * 1000)}ms"
