"""The daemon itself, for plugins that look after it: its API, its file, a rehearsal of its start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from .access import Identity
from .services import ServiceKey


class Api(Protocol):
    """Answers the same GETs as the API server, in process and with the same rights."""

    async def get(self, identity: Identity, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return what `GET path` tells this caller: dicts, lists and plain values, times as `datetime`.

        `path` is percent-encoded as in a URL; values of `query` that are None are left out.
        Raises the same problems as the API: `Forbidden` without the scope, `NotFound`, `Invalid`,
        `Unavailable` while the plugin of that path is down.
        """
        ...


class Rehearsed(msgspec.Struct, frozen=True):
    """How a daemon came up on a database that was not its own.

    `ready` is what `/health/ready` said. `opened` counts the sealed values that opened, by `table.column`.
    """

    ready: int
    seconds: float
    migrated: list[str]
    opened: dict[str, int]
    audit_checked: int


class Rehearsal(Protocol):
    """Starts this daemon on a copy of its database, to prove that the copy is good for it."""

    async def rehearse(self, url: str, folder: Path) -> Rehearsed:
        """Start on the database at `url` with `folder` as state, look, and stop.

        Pending migrations are carried out, so give it a copy that may change. No plugin's own life begins
        there: nothing is sent, claimed or scheduled. Listeners take ports of loopback that nobody knows.
        Raises the `WharfdError` that would have ended the start, or that says which sealed value does not
        open, or where the audit log was changed.
        """
        ...


class ConfigurationFile(Protocol):
    """The file this daemon was started with."""

    def harmless(self) -> tuple[str, str] | None:
        """Return its name and its text with every secret in it hidden; None without a file."""
        ...


API: ServiceKey[Api] = ServiceKey("api")
REHEARSAL: ServiceKey[Rehearsal] = ServiceKey("rehearsal")
CONFIGURATION_FILE: ServiceKey[ConfigurationFile] = ServiceKey("configuration_file")
