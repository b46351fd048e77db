"""GETs of the API without a socket: the same routes, scopes and decoding, for pages shown by plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
import trio

from ..contracts.access import Identity
from .endpoint import Endpoint
from .problems import NotFound, TimedOut
from .reply import EventStream, Reply, Stream
from .request import Request
from .routing import Found, Router
from .signing import Signer


class InsideApi:
    """Answers GETs in process; see `wharfd.contracts.daemon.Api`. Kept answers are not used."""

    def __init__(self, router: Callable[[], Router[Endpoint]], signer: Signer) -> None:
        self._router = router
        self._signer = signer

    async def get(self, identity: Identity, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return what `GET path` tells this caller, as plain values."""
        found = self._router().find("GET", path)
        if not isinstance(found, Found) or found.value.mount is not None:
            raise NotFound(f"there is nothing at {path}")
        endpoint, route = found.value, found.value.route
        endpoint.check(identity)
        given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        request = Request(
            url_path=path,
            route=route.path,
            path=found.parameters,
            query=endpoint.query.decode(urlencode(given).encode()),
            identity=identity,
            id="inside",
            signer=self._signer,
        )
        context = endpoint.context()
        with trio.move_on_after(route.timeout_seconds):
            return _plain(await route.handler(context, request))
        raise TimedOut(f"{path} did not answer within {route.timeout_seconds:g} s")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Reply):
        return _plain(value.body)
    if isinstance(value, (Stream, EventStream)):
        raise TypeError("a stream cannot be asked for from inside")
    if isinstance(value, (bytes, str)) or value is None:
        return value
    return msgspec.to_builtins(value, builtin_types=(datetime, bytes), enc_hook=_record)


def _record(value: Any) -> Any:
    if hasattr(value, "keys"):
        return {name: _plain(value[name]) for name in value.keys()}  # noqa: SIM118 - a Record is no dict
    raise NotImplementedError(f"{type(value).__name__} is no plain value")
