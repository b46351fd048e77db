"""The commands of the core, one file a group, and the way to those of the plugins."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import tomli

from ...declare import Command
from ..arguments import config_of
from ..client import Client
from . import (
    audit,
    bench,
    configuration,
    daemon,
    database,
    doctor,
    documentation,
    importing,
    plugins,
    schedules,
    secrets,
    terminal,
    work,
)

CORE: tuple[Command, ...] = (
    *daemon.COMMANDS,
    *configuration.COMMANDS,
    *plugins.COMMANDS,
    *database.COMMANDS,
    *schedules.COMMANDS,
    *work.COMMANDS,
    *secrets.COMMANDS,
    *audit.COMMANDS,
    *doctor.COMMANDS,
    *bench.COMMANDS,
    *importing.COMMANDS,
    *terminal.COMMANDS,
    *documentation.COMMANDS,
)


def client_for(parsed: argparse.Namespace) -> Client:
    """Return a client for the daemon that the configuration describes."""
    bind = "127.0.0.1:8470"
    path = config_of(parsed)
    if path is not None and path.is_file():
        try:
            document = tomli.loads(path.read_text(encoding="utf-8"))
            bind = str(document.get("http", {}).get("bind", bind))
        except (tomli.TOMLDecodeError, UnicodeDecodeError, AttributeError):
            pass  # `wharfd check` says what is wrong; a client only needs the address
    environ = {**os.environ, "WHARFD_URL": parsed.url} if parsed.url else os.environ
    return Client.for_daemon(bind, parsed.state_dir, environ)


def of_plugins(path: Path | None) -> list[Command]:
    """Return the commands of the plugins that the configuration enables; without one, of all installed."""
    from ...config import configuration_text, load_configuration
    from ...loading import PluginHost, find_plugins, installed_plugins
    from ...registry import collect

    configuration = load_configuration(configuration_text(path), os.environ, secrets_later=True)
    folder = configuration.core.daemon.plugins_dir
    wanted = configuration.enabled if path is not None else list(installed_plugins(folder))
    host = PluginHost()
    found, _ = find_plugins(dict.fromkeys(wanted), folder)
    for plugin in found:
        host.add(plugin)
    registry, _ = collect(host, configuration)
    return [command for _, command in registry.of(Command)]
