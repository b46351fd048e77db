"""Read the TOML file, put the environment above it, and split it into core and plugin tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import tomli

from ..errors import ConfigError, Problem
from .options import Reader
from .overrides import apply_overrides
from .settings import CoreSettings, PluginSettings

S = TypeVar("S")

_RESERVED = tuple(f.name for f in dataclasses.fields(PluginSettings))


@dataclass(frozen=True)
class Configuration:
    """What was read: the core's settings, and each plugin's table, not yet typed.

    `remarks` says what is allowed and perhaps not meant, `unseen` which secrets were left unread, so that
    nothing that depends on them is checked. Those of a plugin's table join when it is typed.
    """

    core: CoreSettings
    plugins: Mapping[str, PluginSettings]
    tables: Mapping[str, Mapping[str, Any]]
    environ: Mapping[str, str]
    problems: tuple[Problem, ...] = field(default=())
    remarks: list[str] = field(default_factory=list)
    unseen: list[Problem] = field(default_factory=list)
    secrets_later: bool = False

    @property
    def enabled(self) -> tuple[str, ...]:
        """The plugins that shall run, in the order of the file."""
        return tuple(name for name, settings in self.plugins.items() if settings.enabled)


def configuration_text(path: Path | None) -> str:
    """Return the text of the file; no file is an empty one. Raises `ConfigError` when it cannot be read."""
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "name another with --config, or write one: wharfd config example"
        raise ConfigError([Problem(str(path), "there is no such file", hint)]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error})")]) from None


def load_configuration(
    text: str, environ: Mapping[str, str], *, name: str = "configuration", secrets_later: bool = False
) -> Configuration:
    """Read `text`; problems are kept in the result so that the plugins' problems can join them.

    A `Secret` that only the daemon itself can read is left unread and kept among the `unseen`; with
    `secrets_later` so is every `Secret` that cannot be read, for a command that needs none of them. A text or
    path that is to come from such a place is a problem all the same: there is nothing to stand for it.
    Raises `ConfigError` only when the text is not TOML at all.
    """
    try:
        document: dict[str, Any] = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError([Problem(name, f"is not TOML: {error}")]) from None
    problems = apply_overrides(document, environ)
    reader = _reader(environ, secrets_later)
    tables = document.pop("plugins", {})
    core = reader.read(CoreSettings, document, "")
    plugins, rest = {}, {}
    if not isinstance(tables, Mapping):
        reader.problem("plugins", "expected tables such as [plugins.netbanx]")
        tables = {}
    for plugin, table in tables.items():
        if not isinstance(table, Mapping):
            reader.problem(f"plugins.{plugin}", f"expected a table; write [plugins.{plugin}]")
            continue
        mine = {key: value for key, value in table.items() if key in _RESERVED}
        plugins[plugin] = reader.read(PluginSettings, mine, f"plugins.{plugin}") or PluginSettings()
        rest[plugin] = {key: value for key, value in table.items() if key not in _RESERVED}
    found = (*problems, *reader.problems)
    return Configuration(
        core or CoreSettings(), plugins, rest, environ, found, reader.remarks, reader.unseen, secrets_later
    )


def plugin_settings(configuration: Configuration, name: str, kind: type[S]) -> tuple[S | None, list[Problem]]:
    """Read a plugin's table into its settings class; return the settings or what is wrong."""
    reader = _reader(configuration.environ, configuration.secrets_later)
    settings = reader.read(kind, configuration.tables.get(name, {}), f"plugins.{name}")
    configuration.remarks.extend(reader.remarks)
    configuration.unseen.extend(reader.unseen)
    return settings, reader.problems


def _reader(environ: Mapping[str, str], secrets_later: bool) -> Reader:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    return Reader(environ, Path(folder) if folder else None, secrets_later=secrets_later)
