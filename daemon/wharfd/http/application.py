"""The Quart-trio application: its lifespan and test client are Quart's, its requests go through our pipeline.

Quart's own routing, contexts and signals cost several times what the pipeline does, and its request body has
no back-pressure; `asgi_http_class` is the seam Quart offers for taking their place.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import structlog
import trio
from quart_trio import QuartTrio
from structlog.contextvars import bind_contextvars

from .arrival import Arrival
from .body import Receive
from .clients import TrustedProxies
from .connection import PlainConnection
from .measuring import HttpMetrics
from .pipeline import Pipeline
from .protocol import CONNECTION
from .reply import Answer
from .sending import Send, StreamBroken, send_answer
from .settings import HttpSettings

_OBSERVE_SECONDS = 1.0
_CUT_SECONDS = 2.0


class Exchange:
    """One request and its answer."""

    def __init__(self, app: Any, scope: Any) -> None:
        self._app: Application = app
        self._scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        """Answer one request. A GET ends when its caller hangs up; a write always runs to its end."""
        app, measure = self._app, self._app.measure
        arrival = Arrival(self._scope, receive, app.proxies, app.settings.body_timeout_seconds)
        bind_contextvars(request_id=arrival.request_id)
        if arrival.trace_id is not None:
            bind_contextvars(trace_id=arrival.trace_id)
        connection: PlainConnection | None = self._scope.get("state", {}).get(CONNECTION)
        measure.in_flight.inc()
        answer, ready = None, None
        try:
            if connection is not None and arrival.method in ("GET", "HEAD"):
                with connection.while_present():
                    answer = await app.pipeline.answer(arrival)
            else:
                answer = await app.pipeline.answer(arrival)
            ready = perf_counter()
            if answer is not None:
                await send_answer(
                    send, arrival.body, answer, head=arrival.method == "HEAD", stopping=app.stopping
                )
        except StreamBroken as broken:
            app.log.error("stream_failed", exc_info=broken.__cause__, **_route_of(arrival))
            if connection is None:
                raise
            # Cut, so that a broken answer cannot be taken for a whole one.
            connection.cut()
            with trio.move_on_after(_CUT_SECONDS):
                await arrival.body.wait_gone()
        finally:
            measure.in_flight.dec()
            await self._tell(arrival, answer, (ready or perf_counter()) - arrival.started)

    async def _tell(self, arrival: Arrival, answer: Answer | None, seconds: float) -> None:
        """Count it, log it, and let the Authenticator know."""
        app = self._app
        status = answer.status if answer is not None else 499  # the caller left before there was an answer
        template = arrival.endpoint.template if arrival.endpoint is not None else "unmatched"
        plugin = arrival.endpoint.plugin if arrival.endpoint is not None else "core"
        app.measure.answered(arrival.method, template, plugin, status, seconds)
        if app.settings.access_log != "off":
            emit = app.log.info if app.settings.access_log == "info" else app.log.debug
            emit(
                "request_answered",
                method=arrival.method[:20],
                route=template,
                plugin=plugin,
                status=status,
                ms=round(seconds * 1000, 2),
                subject=arrival.caller.identity.subject,
                client=str(arrival.client),
            )
        authenticator = arrival.caller.authenticator
        if authenticator is not None:
            with trio.CancelScope(deadline=trio.current_time() + _OBSERVE_SECONDS, shield=True):
                try:
                    await authenticator.observe(
                        arrival.caller.identity, endpoint=template, status=status, seconds=seconds
                    )
                except Exception:
                    app.log.exception("authenticator_observe_failed")


class Application(QuartTrio):
    """The ASGI application that hypercorn serves."""

    asgi_http_class = Exchange  # type: ignore[assignment]

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        settings: HttpSettings,
        metrics: HttpMetrics,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        super().__init__("wharfd", static_folder=None, template_folder=None)
        self.pipeline = pipeline
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self.settings = settings
        self.measure = metrics
        self.log = log
        self.stopping = trio.Event()


def _route_of(arrival: Arrival) -> dict[str, Any]:
    if arrival.endpoint is None:
        return {}
    return {"route": arrival.endpoint.template, "plugin": arrival.endpoint.plugin}
