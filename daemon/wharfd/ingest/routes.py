"""Which path belongs to which ingest route, and whether its plugin is up.

The table is shared by the public listener and the API server. It decides nothing about a delivery.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..declare import IngestRoute


@dataclass(slots=True)
class Mounted:
    """An ingest route in place: the plugin it belongs to and the context its functions are called with."""

    route: IngestRoute
    ctx: Any
    plugin: str
    up: bool = True

    @property
    def allow(self) -> str:
        """The methods of this path, as the `Allow` header says it."""
        return "POST" if self.route.answer is None else "GET, HEAD, POST"


class RouteTable:
    """Finds the route of a path. Mounting and unmounting may happen while the listener runs."""

    def __init__(self) -> None:
        self._by_path: dict[bytes, Mounted] = {}
        self._by_source: dict[str, Mounted] = {}

    def mount(self, route: IngestRoute, ctx: Any, *, plugin: str) -> Mounted:
        """Serve the route's paths. Raises `ValueError` naming both sides if a path or source is taken."""
        if (taken := self._by_source.get(route.source)) is not None:
            raise ValueError(
                f"ingest source {route.source!r} of plugin {plugin!r} is already declared"
                f" by plugin {taken.plugin!r}; rename one of them"
            )
        keys = [_key(path) for path in route.paths]
        for key in keys:
            if (taken := self._by_path.get(key)) is not None or keys.count(key) > 1:
                owner = taken.plugin if taken is not None else plugin
                raise ValueError(
                    f"ingest path {key.decode()!r} of plugin {plugin!r} is already declared"
                    f" by plugin {owner!r}; change one of them"
                )
        mounted = Mounted(route, ctx, plugin)
        self._by_path.update(dict.fromkeys(keys, mounted))
        self._by_source[route.source] = mounted
        return mounted

    def unmount(self, plugin: str) -> None:
        """Forget every route of a plugin; its paths answer 404 from now on."""
        self._by_path = {key: m for key, m in self._by_path.items() if m.plugin != plugin}
        self._by_source = {key: m for key, m in self._by_source.items() if m.plugin != plugin}

    def suspend(self, plugin: str) -> None:
        """Answer 503 on the plugin's paths until `resume`: it is down, not gone."""
        self._switch(plugin, up=False)

    def resume(self, plugin: str) -> None:
        """Serve the plugin's paths again."""
        self._switch(plugin, up=True)

    def find(self, path: bytes) -> Mounted | None:
        """Return what is mounted at exactly this path, compared byte by byte."""
        return self._by_path.get(path)

    def source(self, name: str) -> Mounted | None:
        """Return what is mounted for a source, down or not."""
        return self._by_source.get(name)

    def __iter__(self) -> Iterator[Mounted]:
        return iter(list(self._by_source.values()))

    def _switch(self, plugin: str, *, up: bool) -> None:
        for mounted in self._by_source.values():
            if mounted.plugin == plugin:
                mounted.up = up


def _key(path: str) -> bytes:
    try:
        return path.encode("ascii")
    except UnicodeEncodeError:
        raise ValueError(f"ingest path {path!r}: write it percent-encoded, in ASCII") from None
