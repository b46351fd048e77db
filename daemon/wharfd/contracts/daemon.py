"""Asking the daemon's own API from inside, as a page does that shows what the API tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

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


API: ServiceKey[Api] = ServiceKey("api")
