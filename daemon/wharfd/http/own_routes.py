"""The server's own endpoints: health, metrics, the API's description, and browser sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from ..declare import Rate, Route
from ..health import HealthBoard, HealthReport
from ..metrics import CONTENT_TYPE as METRICS_TYPE
from ..metrics import Metrics
from .authentication import Authentication
from .docs_page import docs_page
from .endpoint import BoundRoute
from .problems import NotFound
from .reply import Reply
from .request import Request
from .sessions import Session
from .settings import HttpSettings

_DETAIL_SCOPE = "system:read"


class Live(msgspec.Struct):
    """The process answers."""

    status: Literal["ok"] = "ok"


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """The admin or operator token."""

    token: str

    def __repr__(self) -> str:
        return "SignIn(…)"


class SessionInfo(msgspec.Struct, kw_only=True):
    """Who is signed in. `csrf_token` goes into X-CSRF-Token of writes by cookie; None without a session."""

    subject: str
    kind: str
    csrf_token: str | None = None
    expires_at: datetime | None = None


def own_routes(
    *,
    authentication: Authentication,
    health: HealthBoard,
    metrics: Metrics,
    settings: HttpSettings,
    document: Callable[[], bytes],
) -> list[BoundRoute]:
    """Health, metrics, OpenAPI, the docs page and sessions, as routes of the provider `core`."""
    page = docs_page()

    async def live(_ctx: Any, _request: Request) -> Live:
        """Say that the process answers; asks nothing else."""
        return Live()

    async def ready(_ctx: Any, request: Request) -> Reply:
        """Say whether traffic should come; with system:read also why."""
        report = await health.report()
        body: Any = report if request.identity.may(_DETAIL_SCOPE) else {"status": report.status}
        return Reply(200 if report.ready else 503, body, {} if report.ready else {"Retry-After": "5"})

    async def expose(_ctx: Any, _request: Request) -> Reply:
        """Give all metrics in the Prometheus text format."""
        return Reply(200, metrics.expose(), content_type=METRICS_TYPE)

    async def describe(_ctx: Any, _request: Request) -> Reply:
        """Give this document."""
        return Reply(200, document(), content_type="application/json")

    async def show_docs(_ctx: Any, _request: Request) -> Reply:
        """Show the API in a browser."""
        return page

    async def sign_in(_ctx: Any, request: Request) -> Reply:
        """Begin a browser session with the admin or operator token."""
        session, cookie = authentication.sign_in(request.body.token, request.client, secure=request.secure)
        return Reply(201, _info(session), {"Set-Cookie": cookie})

    async def who(_ctx: Any, request: Request) -> SessionInfo:
        """Say who is calling."""
        session = authentication.session_of(request.headers)
        if session is not None and session.kind == request.identity.kind:
            return _info(session)
        return SessionInfo(subject=request.identity.subject, kind=request.identity.kind)

    async def sign_out(_ctx: Any, request: Request) -> Reply:
        """End the browser session."""
        session = authentication.session_of(request.headers)
        if session is None:
            raise NotFound("there is no session to end")
        await authentication.sessions.end(session)
        return Reply(204, None, {"Set-Cookie": authentication.sessions.end_cookie(secure=request.secure)})

    def bind(route: Route, *, signed_in: bool = False) -> BoundRoute:
        return BoundRoute(route, "core", lambda: health, signed_in=signed_in)

    return [
        bind(Route(method="GET", path="/health/live", handler=live, scope=None, returns=Live)),
        bind(Route(method="GET", path="/health/ready", handler=ready, scope=None, returns=HealthReport)),
        bind(
            Route(
                method="GET",
                path="/metrics",
                handler=expose,
                scope=None if settings.open_metrics else "metrics:read",
                returns=Reply,
            )
        ),
        bind(
            Route(method="GET", path="/openapi.json", handler=describe, scope=None, returns=dict[str, Any]),
            signed_in=not settings.open_docs,
        ),
        bind(Route(method="GET", path="/docs", handler=show_docs, scope=None, returns=Reply)),
        bind(
            Route(
                method="POST",
                path="/api/v1/session",
                handler=sign_in,
                scope=None,
                body=SignIn,
                returns=SessionInfo,
                status=201,
                max_body_bytes=8192,
                rate=Rate(calls=30, seconds=60),
            )
        ),
        bind(
            Route(method="GET", path="/api/v1/session", handler=who, scope=None, returns=SessionInfo),
            signed_in=True,
        ),
        bind(
            Route(method="DELETE", path="/api/v1/session", handler=sign_out, scope=None, status=204),
            signed_in=True,
        ),
    ]


def _info(session: Session) -> SessionInfo:
    return SessionInfo(
        subject=session.kind,
        kind=session.kind,
        csrf_token=session.csrf_token,
        expires_at=datetime.fromtimestamp(session.expires_at, UTC),
    )
