"""A declared route made ready to be answered: decoders built, names fixed, nothing looked up per request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ..contracts.access import Identity
from ..declare import Route
from ..errors import ConfigError, NotReady, Problem, ServiceUnavailable
from ..ingest import Delivery, Reply
from .decoding import BodyDecoder, QueryDecoder
from .problems import Forbidden, NotFound, Unavailable
from .routing import Router, Taken


@dataclass(frozen=True)
class BoundRoute:
    """A route and the plugin it belongs to.

    `context()` returns the running plugin's context, and None (or raises `ServiceUnavailable`) while the
    plugin is not running. With `signed_in` a route of scope None still wants a known caller, whatever its
    scopes. `hidden` keeps it out of the OpenAPI document.
    """

    route: Route
    plugin: str
    context: Callable[[], Any]
    signed_in: bool = False
    hidden: bool = False


@dataclass(frozen=True)
class IngestMount:
    """Paths of the ingest listener that are served here too.

    `answer(delivery)` is the same that the ingest listener calls: it gets an `ingest.Delivery` and returns an
    `ingest.Reply`.
    """

    source: str
    paths: tuple[str, ...]
    answer: Callable[[Delivery], Awaitable[Reply]]
    methods: tuple[str, ...] = ("POST",)
    max_body_bytes: int = 1 << 20


class Endpoint:
    """One route as the pipeline uses it."""

    __slots__ = ("body", "bound", "mount", "open", "plugin", "query", "route", "template")

    def __init__(self, bound: BoundRoute, template: str) -> None:
        self.bound = bound
        self.route = bound.route
        self.plugin = bound.plugin
        self.template = template
        self.open = bound.route.scope is None and not bound.signed_in
        self.body = BodyDecoder(bound.route.body)
        self.query = QueryDecoder(bound.route.query, lenient=template in bound.route.kept)
        self.mount: IngestMount | None = None

    def check(self, identity: Identity) -> None:
        """Raise `Forbidden` or `NotFound` when this caller may not use the route."""
        scope = self.route.scope
        if scope is not None and not identity.may(scope):
            raise Forbidden(
                f"this needs the scope {scope}, which the caller does not hold",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
                scope=scope,
            )
        if self.route.house and identity.owner is not None:
            raise NotFound("there is nothing here for a caller that sees one owner's rows")

    def context(self) -> Any:
        """The plugin's context; raises `Unavailable` (503), naming the plugin, while it is not running."""
        try:
            found = self.bound.context()
        except (ServiceUnavailable, NotReady) as error:
            raise self._down() from error
        if found is None:
            raise self._down()
        return found

    def _down(self) -> Unavailable:
        return Unavailable(f"the plugin {self.plugin} is not running at the moment", plugin=self.plugin)


def build_router(routes: list[BoundRoute], mounts: list[IngestMount]) -> Router[Endpoint]:
    """Enter every route and every ingest path; raises `ConfigError` naming all conflicts at once.

    A plugin's own GET route takes the place of the short answer its ingest path gives to the public.
    """
    router: Router[Endpoint] = Router()
    taken: list[Taken] = []
    for bound in routes:
        for path in bound.route.paths:
            clash = router.add(bound.route.method, path, Endpoint(bound, path), bound.plugin)
            if clash is not None:
                taken.append(clash)
    own = {path for bound in routes if bound.route.method == "GET" for path in bound.route.paths}
    for mount in mounts:
        for method in mount.methods:
            for path in mount.paths:
                if method == "GET" and path in own:
                    continue
                endpoint = _mounted(mount, method, path)
                clash = router.add(method, path, endpoint, mount.source)
                if clash is not None:
                    taken.append(clash)
    if taken:
        raise ConfigError([Problem("routes", str(clash), "disable one of the two") for clash in taken])
    return router


async def _never_called(_ctx: Any, _request: Any) -> None:
    raise AssertionError("an ingest path has no handler of its own")


def _mounted(mount: IngestMount, method: str, path: str) -> Endpoint:
    route = Route(
        method="GET" if method == "GET" else "POST",
        path=path,
        handler=_never_called,
        scope=None,
        body=bytes,
        max_body_bytes=mount.max_body_bytes,
    )
    endpoint = Endpoint(BoundRoute(route, mount.source, lambda: mount, hidden=method == "GET"), path)
    endpoint.mount = mount
    return endpoint
