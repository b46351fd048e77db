"""From a delivery to its reply: the one way in, used by the public listener and by the API server."""

from __future__ import annotations

from typing import Any

import structlog

from ..declare import IngestRoute
from ..errors import Overloaded
from .committer import GroupCommitter, Told
from .failures import describe
from .message import Delivery, Reply, come_back, problem
from .observing import Sampler

_FAULT_SECONDS = 10.0


class Answerer:
    """Answers deliveries through a committer: `answer` is what both servers call."""

    def __init__(self, committer: GroupCommitter, *, log: structlog.stdlib.BoundLogger) -> None:
        self._committer = committer
        self._log = log
        self._sampler = Sampler()

    async def answer(self, route: IngestRoute, ctx: Any, delivery: Delivery) -> Reply:
        """Return what the sender is told: a refusal of `admit`, or the reply after the durable commit.

        A GET or HEAD goes to the route's `answer`, and is 405 without one. A plugin that raises is 503:
        the delivery may be genuine, so it must come again.
        """
        try:
            if delivery.method == "POST":
                admission = route.admit(ctx, delivery)
                if isinstance(admission, Reply):
                    return admission
                return await self._committer.submit(route, ctx, admission, size=len(delivery.body))
            if route.answer is None or delivery.method not in ("GET", "HEAD"):
                allow = "POST" if route.answer is None else "GET, HEAD, POST"
                return problem(405, f"use {allow} here", ("Allow", allow))
            reply = route.answer(ctx, delivery)
            if isinstance(reply, Reply):
                return reply
            raise TypeError(f"answer returned {type(reply).__name__} instead of a Reply")
        except Exception as error:
            return self._refuse(route, error)

    def take(self, route: IngestRoute, ctx: Any, delivery: Delivery, told: Told) -> Reply | None:
        """As `answer` for a POST, without a task that waits: None says that `told` hears the reply later."""
        try:
            admission = route.admit(ctx, delivery)
            if isinstance(admission, Reply):
                return admission
            self._committer.take(route, ctx, admission, told, size=len(delivery.body))
        except Exception as error:
            return self._refuse(route, error)
        return None

    def _refuse(self, route: IngestRoute, error: Exception) -> Reply:
        if isinstance(error, Overloaded):
            return come_back(error.retry_after, str(error))
        suppressed = self._sampler.suppressed(route.source)
        if suppressed is not None:
            # No traceback: an error on the way of a delivery may quote its headers or body.
            self._log.error(
                "ingest_plugin_failed", source=route.source, error=describe(error), suppressed=suppressed
            )
        return come_back(_FAULT_SECONDS, "this delivery could not be looked at; send it again")
