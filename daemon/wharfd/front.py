"""The front of the daemon: the ingest listener and the API server, over one intake."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
import trio

from .config import CoreSettings, IngestSettings
from .contracts.access import AUTHENTICATOR, Authenticator
from .contracts.daemon import API
from .declare import IngestRoute
from .health import HealthBoard
from .http import BoundRoute, IngestMount
from .http.server import HttpServer
from .http.settings import HttpSettings
from .ingest import Delivery, ListenerLimits, ListenerStatistics, Trust, come_back, serve_ingest
from .intake import Intake
from .life import PluginLives
from .sockets import describe, open_sockets
from .systemd import Notifier

log = structlog.get_logger("wharfd.front")

_DOWN_SECONDS = 5.0


@dataclass(frozen=True)
class Sockets:
    """Listening sockets, opened before anything else so that a taken port stops the start early."""

    api: list[socket.socket]
    ingest: list[socket.socket]

    @classmethod
    def open(
        cls, core: CoreSettings, handed_over: Mapping[str, list[socket.socket]], notifier: Notifier
    ) -> Sockets:
        """Take what systemd holds, and open what it does not.

        It holds sockets of a socket unit under the names `api` and `ingest`, and those that an earlier run
        gave it to keep, so that a restart refuses nobody. Kept ones of another address are given up.
        Raises `CannotListen`.
        """
        held = dict(handed_over)
        api = _take(held, "api", core.http.bind, notifier)
        try:
            ingest = _take(held, "ingest", core.ingest.bind, notifier)
        except BaseException:
            for opened in api:
                opened.close()
            raise
        for name, strangers in held.items():
            notifier.remove_stored(name)
            for stranger in strangers:
                stranger.close()
        return cls(api, ingest)

    def __enter__(self) -> Sockets:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (*self.api, *self.ingest):
            opened.close()


def _take(
    held: dict[str, list[socket.socket]], purpose: str, bind: str, notifier: Notifier
) -> list[socket.socket]:
    kept = f"{purpose}-{hashlib.sha256(bind.encode()).hexdigest()[:12]}"
    for name in (purpose, kept):
        if held.get(name):
            return held.pop(name)
    opened = open_sockets([bind])
    notifier.store(kept, opened)
    return opened


class Front:
    """Both listeners. `serve` runs them, `drain` ends them in good order.

    Raises `ConfigError` when made with routes that collide or wrong TLS files.
    """

    def __init__(
        self,
        core: CoreSettings,
        sockets: Sockets,
        lives: PluginLives,
        intake: Intake,
        health: HealthBoard,
        own_routes: list[BoundRoute],
        signing_key: bytes,
    ) -> None:
        machinery = lives.machinery
        self._core = core
        self._sockets = sockets
        self._lives = lives
        self._intake = intake
        self._own_routes = own_routes
        self._tls = _tls(core.ingest)
        self._drain = trio.Event()
        self._listened, self._served, self._committed = trio.Event(), trio.Event(), trio.Event()
        self.api_urls = [describe(one, secure=core.http.tls is not None) for one in sockets.api]
        self.ingest_urls = [describe(one, secure=core.ingest.tls is not None) for one in sockets.ingest]
        self._server = HttpServer(
            [*own_routes, *lives.bound_routes()],
            settings=_http_settings(core),
            state_dir=machinery.state.path,
            signing_key=signing_key,
            authenticator=lambda: _authenticator(lives),
            limits=machinery.limits.named("http"),
            cache=machinery.cache,
            db=machinery.db.named("http"),
            sealer=machinery.vault,
            health=health,
            metrics=machinery.metrics,
            log=structlog.get_logger("wharfd.http"),
            mounts=self._mounts(),
        )
        lives.services.offer("core", API, self._server.inside)

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `drain`; started when both listeners accept."""
        async with trio.open_nursery() as nursery:
            await nursery.start(_marked, self._intake.committer.run, self._committed)
            if self._intake.keeper is not None:
                await nursery.start(self._intake.keeper.run)
            await nursery.start(_marked, self._serve_api, self._served)
            await nursery.start(_marked, self._serve_ingest, self._listened)
            task_status.started()
            await self._drain.wait()
            for ended in (self._listened, self._served, self._committed):
                await ended.wait()
            nursery.cancel_scope.cancel()

    def serve_routes(self) -> None:
        """Serve what the plugins declare now; raises `ConfigError` and changes nothing if routes collide."""
        self._server.change_routes([*self._own_routes, *self._lives.bound_routes()], self._mounts())

    async def drain(self) -> None:
        """Stop accepting, answer what was admitted, commit it, and return."""
        self._drain.set()
        self._server.stop()
        await self._listened.wait()
        await self._served.wait()
        self._intake.committer.stop()
        await self._committed.wait()

    async def _serve_api(self, task_status: trio.TaskStatus[list[str]]) -> None:
        await self._server.run(self._sockets.api, task_status=task_status)

    async def _serve_ingest(self, task_status: trio.TaskStatus[ListenerStatistics]) -> None:
        settings = self._core.ingest
        await serve_ingest(
            self._lives.ingest,
            self._intake.answerer.answer,
            take=self._intake.answerer.take,
            sockets=self._sockets.ingest,
            log=log,
            limits=ListenerLimits(connections=settings.max_connections),
            tls=self._tls,
            trust=Trust([str(n) for n in settings.trusted_proxies], proxy_protocol=settings.proxy_protocol),
            observer=self._intake.observer,
            statistics=self._intake.listener,
            drain=self._drain,
            task_status=task_status,
        )

    def _mounts(self) -> list[IngestMount]:
        return [self._mount(plugin, route) for plugin, route in self._lives.registry.of(IngestRoute)]

    def _mount(self, plugin: str, route: IngestRoute) -> IngestMount:
        async def answer(delivery: Delivery) -> Any:
            mounted = self._lives.ingest.source(route.source)
            if mounted is None or not mounted.up:
                return come_back(_DOWN_SECONDS, f"the plugin {plugin} is not running at the moment")
            return await self._intake.answerer.answer(mounted.route, mounted.ctx, delivery)

        methods = ("POST",) if route.answer is None else ("POST", "GET")
        return IngestMount(route.source, route.paths, answer, methods, route.max_body_bytes)


async def _marked(
    serve: Callable[..., Awaitable[None]],
    ended: trio.Event,
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    try:
        await serve(task_status=task_status)
    finally:
        ended.set()


def _tls(settings: IngestSettings) -> ssl.SSLContext | None:
    if settings.tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls.certificate, settings.tls.key)
    return context


def _authenticator(lives: PluginLives) -> Authenticator | None:
    """The installed Authenticator; raises `ServiceUnavailable` while the plugin that offers it is down."""
    if AUTHENTICATOR.name not in lives.registry.services:
        return None
    return lives.services.get(AUTHENTICATOR)


def _http_settings(core: CoreSettings) -> HttpSettings:
    tls = core.http.tls
    return HttpSettings(
        bind=(core.http.bind,),
        tls_cert=tls.certificate if tls else None,
        tls_key=tls.key if tls else None,
        trusted_proxies=tuple(str(network) for network in core.http.trusted_proxies),
        open_metrics=core.http.open_metrics,
        access_log=core.http.access_log,
        max_connections=core.http.max_connections,
    )
