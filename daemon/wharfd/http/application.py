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
        measure.in_flight.inc()
        answer, ready = None, None
        try:
            if arrival.method in ("GET", "HEAD"):
                answer = await _while_present(arrival, app.pipeline)
            else:
                answer = await app.pipeline.answer(arrival)
            ready = perf_counter()
            if answer is not None:
                await send_answer(
                    send, arrival.body, answer, head=arrival.method == "HEAD", stopping=app.stopping
                )
        except StreamBroken as broken:
            app.log.error("stream_failed", exc_info=broken.__cause__, **_route_of(arrival))
            await self._cut(arrival)
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

    async def _cut(self, arrival: Arrival) -> None:
        """Cut the connection, so that a broken answer cannot be taken for a whole one."""
        connection = self._scope.get("state", {}).get(CONNECTION)
        if connection is None:
            raise StreamBroken()
        connection.cut()
        with trio.move_on_after(_CUT_SECONDS):
            await arrival.body.wait_gone()


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


async def _while_present(arrival: Arrival, pipeline: Pipeline) -> Answer | None:
    """Answer a read; None when the caller hung up meanwhile, and then the work for it is cancelled."""
    if not arrival.body.complete:
        return await pipeline.answer(arrival)
    answer: Answer | None = None
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            await arrival.body.wait_gone()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        answer = await pipeline.answer(arrival)
        nursery.cancel_scope.cancel()
    return answer


def _route_of(arrival: Arrival) -> dict[str, Any]:
    if arrival.endpoint is None:
        return {}
    return {"route": arrival.endpoint.template, "plugin": arrival.endpoint.plugin}
