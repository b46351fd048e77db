"""The API server as the daemon sees it: made from routes, served on sockets, stopped."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
import trio

from .. import __version__
from ..contracts.access import Authenticator
from ..db import Queries
from ..health import HealthBoard
from ..metrics import Metrics
from .answer_cache import AnswerCache, Cache
from .application import Application
from .authentication import Authentication
from .endpoint import BoundRoute, IngestMount, build_router
from .idempotency import IdempotencyKeys, Sealer
from .inside import InsideApi
from .limiting import Limits
from .measuring import HttpMetrics
from .openapi import build_document
from .own_routes import own_routes
from .pipeline import Pipeline
from .reply import encode_json
from .serving import Serving
from .sessions import Sessions
from .settings import HttpSettings
from .signing import Signer
from .tls import ServerTls
from .token_file import TokenFile


class HttpServer:
    """The API server.

    `authenticator()` returns the installed Authenticator or None, and raises `ServiceUnavailable` while its
    plugin is down. `signing_key` marks cursors, sessions and fingerprints; daemons that share a database
    share it. `mounts` are the ingest paths served here too. A missing admin token is made.
    Raises `ConfigError` for routes that collide, for wrong TLS files and wrong trusted proxies.
    """

    def __init__(
        self,
        routes: Sequence[BoundRoute],
        *,
        settings: HttpSettings,
        state_dir: Path,
        signing_key: bytes,
        authenticator: Callable[[], Authenticator | None],
        limits: Limits,
        cache: Cache,
        db: Queries,
        sealer: Sealer,
        health: HealthBoard,
        metrics: Metrics,
        log: structlog.stdlib.BoundLogger,
        mounts: Sequence[IngestMount] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._health = health
        self._document: bytes | None = None
        self._log = log
        self._tls = _load_tls(settings)
        signer = Signer(signing_key)
        admin = TokenFile(state_dir / "admin.token", log)
        if admin.create("wharfd_admin"):
            log.info("admin_token_made", path=str(admin.path))
        self.authentication = Authentication(
            admin=admin,
            operator=TokenFile(state_dir / "operator.token", log),
            sessions=Sessions(signer, db, seconds=settings.session_seconds, now=now),
            authenticator=authenticator,
            log=log,
        )
        self.idempotency = IdempotencyKeys(db, sealer, signer, log)
        self._own = own_routes(
            authentication=self.authentication,
            health=health,
            metrics=metrics,
            settings=settings,
            document=self._encoded_document,
        )
        self.routes = [*self._own, *routes]
        self.mounts = list(mounts)
        self._pipeline = pipeline = Pipeline(
            build_router(self.routes, self.mounts),
            authentication=self.authentication,
            limits=limits,
            keepers=(self.idempotency, AnswerCache(cache)),
            signer=signer,
            log=log,
        )
        self.inside = InsideApi(lambda: pipeline.router, signer)
        measure = HttpMetrics(metrics.registry)
        self.app = Application(pipeline, settings=settings, metrics=measure, log=log)
        self._serving = Serving(self.app, tls=self._tls, log=log)

    def change_routes(self, routes: Sequence[BoundRoute], mounts: Sequence[IngestMount]) -> None:
        """Serve these from now on; raises `ConfigError`, and changes nothing, if they collide."""
        wanted = [*self._own, *routes]
        self._pipeline.router = build_router(wanted, list(mounts))
        self.routes, self.mounts = wanted, list(mounts)
        self._document = None

    def _encoded_document(self) -> bytes:
        if self._document is None:
            self._document = encode_json(self.document())
        return self._document

    def document(self) -> dict[str, object]:
        """The OpenAPI 3.1 document of everything served here."""
        return build_document(self.routes, self.mounts, version=__version__)

    async def run(
        self,
        sockets: Sequence[socket.socket] = (),
        *,
        task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop`, on the sockets handed over or else on `[http] bind`; `started` gets the URLs.

        Raises `CannotListen` when an address is taken. Cancelling ends it without a drain.
        """
        await self._serving.run(sockets, task_status=task_status)

    def stop(self) -> None:
        """Stop accepting and drain: `run` returns when all is answered or the drain time is over."""
        self._health.stopping = True
        self._serving.stop()

    async def wait_empty(self) -> None:
        """Return when no connection is open."""
        await self._serving.wait_empty()

    def reload_tls(self) -> None:
        """Read certificate and key again; raises `ConfigError` and keeps the old ones if they do not fit."""
        if self._tls is not None:
            self._tls.reload()


def _load_tls(settings: HttpSettings) -> ServerTls | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return ServerTls(settings.tls_cert, settings.tls_key)
