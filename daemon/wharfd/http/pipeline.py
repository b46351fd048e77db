"""What happens to every request between its arrival and its answer, in order.

find the route · who is it · may it · how often · is the plugin there · decode · replay or cache · handler ·
problem or answer · fields. Nothing that a handler raises leaves here, `trio.Cancelled` excepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote

import structlog
import trio

from ..contracts.access import ANONYMOUS
from ..errors import DatabaseUnavailable, NotReady, Overloaded, ServiceUnavailable, StatementTimeout
from .arrival import Arrival
from .authentication import Authentication, Presented
from .conditional import etag_of, is_known
from .endpoint import Endpoint
from .ingest_mount import answer_delivery
from .limiting import Limits, take_all
from .problems import (
    CONTENT_TYPE,
    HttpProblem,
    MethodNotAllowed,
    NotFound,
    ServerFault,
    TimedOut,
    Unauthorized,
    Unavailable,
)
from .reply import Answer, encode_json, to_answer
from .request import Request
from .routing import OtherMethods, Router
from .signing import Signer

_NOT_RUNNING_YET = (ServiceUnavailable, NotReady, DatabaseUnavailable)
_TOO_SLOW = (trio.TooSlowError, StatementTimeout)


class Keeper(Protocol):
    """Answers instead of the handler when it can: a stored answer, or a cached one."""

    def wants(self, endpoint: Endpoint, arrival: Arrival) -> bool:
        """Whether this request is one for it."""
        ...

    async def answer(self, endpoint: Endpoint, request: Request, call: Any) -> Answer:
        """Return the kept answer, or call the handler with `await call()` and keep what it returns."""
        ...


class Pipeline:
    """Answers requests. Everything it needs comes in here; it knows nothing of sockets or of Quart."""

    def __init__(
        self,
        router: Router[Endpoint],
        *,
        authentication: Authentication,
        limits: Limits,
        keepers: tuple[Keeper, ...],
        signer: Signer,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.router = router
        self._authentication = authentication
        self._limits = limits
        self._keepers = keepers
        self._signer = signer
        self._log = log

    async def answer(self, arrival: Arrival) -> Answer:
        """Return the answer to a request, whatever happens on the way."""
        try:
            answer = await self._answer(arrival)
        except trio.Cancelled:
            raise
        except (Exception, SystemExit) as error:
            answer = self._refuse(arrival, self._problem_for(arrival, error))
        except BaseExceptionGroup as group:
            passing, rest = group.split((trio.Cancelled, KeyboardInterrupt, GeneratorExit))
            problem = self._problem_for(arrival, rest) if rest is not None else ServerFault()
            if passing is not None:
                raise passing from None
            answer = self._refuse(arrival, problem)
        return _finish(arrival, answer)

    async def _answer(self, arrival: Arrival) -> Answer:
        endpoint = self._find(arrival)
        if endpoint is None:
            return Answer(204, {"allow": ", ".join(sorted(arrival.allowed))})
        if endpoint.mount is not None:
            return await answer_delivery(endpoint.mount, arrival)
        await self._admit(endpoint, arrival)
        context = endpoint.context()
        request = await self._request(endpoint, arrival)

        async def call() -> Answer:
            return await _run_handler(endpoint, context, request)

        for keeper in self._keepers:
            if keeper.wants(endpoint, arrival):
                return await keeper.answer(endpoint, request, call)
        return await call()

    def _find(self, arrival: Arrival) -> Endpoint | None:
        """The endpoint; None for OPTIONS on a known path."""
        found = self.router.find(arrival.method, arrival.raw_path)
        if found is None:
            raise NotFound("there is nothing at this path")
        if isinstance(found, OtherMethods):
            arrival.allowed = found.methods
            if arrival.method == "OPTIONS":
                return None
            raise MethodNotAllowed(arrival.method[:20], found.methods)
        arrival.endpoint, arrival.parameters = found.value, found.parameters
        return found.value

    async def _admit(self, endpoint: Endpoint, arrival: Arrival) -> None:
        """Find out who it is, whether it may, and whether not too often."""
        route = endpoint.route

        async def read_body() -> bytes:
            return b"" if route.stream else await arrival.body.read(route.max_body_bytes)

        presented = Presented(arrival.method, arrival.target, arrival.headers, arrival.client, read_body)
        if endpoint.open:
            arrival.caller = self._authentication.identify_here(presented)
        else:
            arrival.caller = await self._authentication.identify(presented)
            identity = arrival.caller.identity
            if identity is ANONYMOUS:
                raise _sent_to_sign_in(route.sign_in, arrival) if route.sign_in else Unauthorized()
            endpoint.check(identity)
        identity = arrival.caller.identity
        if route.rate is not None or identity.rate_per_minute is not None:
            name = f"{route.method} {route.path}"
            arrival.fields |= await take_all(self._limits, name, route.rate, identity, arrival.client)

    async def _request(self, endpoint: Endpoint, arrival: Arrival) -> Request:
        route, headers = endpoint.route, arrival.headers
        query = endpoint.query.decode(arrival.query)
        raw, chunks = b"", None
        if route.stream:
            endpoint.body.check_type(None, headers.get("content-encoding"))
            chunks = arrival.body.stream(route.max_body_bytes)
        elif arrival.body.complete and route.body is None:
            pass
        else:
            if route.body is not None:
                endpoint.body.check_type(headers.get("content-type"), headers.get("content-encoding"))
            raw = await arrival.body.read(route.max_body_bytes)
        return Request(
            method=arrival.method,
            url_path=arrival.raw_path,
            route=route.path,
            path=arrival.parameters,
            query=query,
            body=None if route.stream else endpoint.body.decode(raw),
            raw=raw,
            headers=headers,
            identity=arrival.caller.identity,
            id=arrival.request_id,
            trace_id=arrival.trace_id,
            client=arrival.client,
            secure=arrival.secure,
            signer=self._signer,
            chunks=chunks,
        )

    def _problem_for(self, arrival: Arrival, error: BaseException) -> HttpProblem:
        """The problem to tell; what nobody expected is logged here, once, and not told."""
        error = _sole(error)
        if isinstance(error, HttpProblem):
            if error.status >= 500 and not isinstance(error, Unavailable):
                self._log_failure("request_failed", arrival, error)
            return error
        if isinstance(error, Overloaded):
            return Unavailable(str(error), retry_after=error.retry_after)
        if isinstance(error, _NOT_RUNNING_YET):
            self._log.warning("request_not_possible", reason=str(error), **_facts(arrival))
            return Unavailable(str(error))
        self._log_failure("handler_failed", arrival, error)
        return TimedOut() if isinstance(error, _TOO_SLOW) else ServerFault()

    def _log_failure(self, event: str, arrival: Arrival, error: BaseException) -> None:
        self._log.error(event, exc_info=error, **_facts(arrival))

    @staticmethod
    def _refuse(arrival: Arrival, problem: HttpProblem) -> Answer:
        document = problem.document(request_id=arrival.request_id, instance=arrival.raw_path)
        headers = {name.lower(): value for name, value in problem.headers.items()}
        return Answer(problem.status, headers | {"content-type": CONTENT_TYPE}, encode_json(document))


def _sent_to_sign_in(path: str, arrival: Arrival) -> HttpProblem:
    """Send a browser to where it signs in, with the way back; a program gets the plain 401."""
    if "text/html" not in arrival.headers.get("accept", ""):
        return Unauthorized()
    target = f"{path}?next={quote(arrival.target, safe='')}"
    return HttpProblem("sign in first", status=303, headers={"Location": target})


async def _run_handler(endpoint: Endpoint, context: Any, request: Request) -> Answer:
    """Call the handler within the route's time; raises `TimedOut` (504) when it takes longer."""
    seconds = endpoint.route.timeout_seconds
    with trio.move_on_after(seconds):
        return to_answer(await endpoint.route.handler(context, request), endpoint.route.status)
    raise TimedOut(f"the answer was not ready within {seconds:g} s")


def _sole(error: BaseException) -> BaseException:
    """The one exception inside nested groups of one; the group itself when there are several."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _facts(arrival: Arrival) -> Mapping[str, Any]:
    endpoint = arrival.endpoint
    if endpoint is None:
        return {"method": arrival.method}
    return {"plugin": endpoint.plugin, "route": endpoint.template, "method": arrival.method}


def _finish(arrival: Arrival, answer: Answer) -> Answer:
    """Add the fields that every answer has, and turn a GET that the caller has already into a 304."""
    headers = answer.headers
    readable = arrival.method in ("GET", "HEAD")
    if isinstance(answer.body, bytes):
        if readable and answer.status == 200:
            etag = headers.setdefault("etag", etag_of(answer.body))
            if is_known(etag, arrival.headers.get("if-none-match")):
                answer.status, answer.body = 304, b""
                headers.pop("content-type", None)
        if answer.status not in (204, 304) and answer.status >= 200:
            headers["content-length"] = str(len(answer.body))
    fresh = readable and answer.status in (200, 304)
    headers.setdefault("cache-control", "private, no-cache" if fresh else "no-store")
    headers["x-request-id"] = arrival.request_id
    headers.setdefault("x-content-type-options", "nosniff")
    headers.setdefault("referrer-policy", "no-referrer")
    headers.setdefault("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
    for name, value in arrival.fields.items():
        headers.setdefault(name, value)
    return answer
