"""Is an endpoint fit to be kept? Everything that is wrong is told at once, by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wharfd import FieldError, Invalid, OutboundError, PluginContext

from ..config import Settings
from ..model.filters import FilterError, compile_filter, path_steps
from ..model.keys import SigningKey, new_key, read_key
from ..model.patterns import MAX_PATTERNS, pattern_problem
from ..model.signing import header_problems
from ..store.endpoints import NewEndpoint

_SHORTEST_TIMEOUT = 0.1
_FASTEST = 10_000.0


def check_endpoint(ctx: PluginContext[Settings], endpoint: NewEndpoint) -> list[FieldError]:
    """Return what is wrong with an endpoint, as far as that is possible without asking the network."""
    problems: list[FieldError] = []
    try:
        ctx.http.vet_url(endpoint.url, policy=ctx.state["policy"])
    except OutboundError as error:
        problems.append(FieldError("url", str(error)))
    problems += _check_events(endpoint.events)
    problems += _check_filter(endpoint.filter)
    for name, sentence in header_problems(endpoint.headers).items():
        problems.append(FieldError(f"headers.{name}" if name else "headers", sentence))
    problems += _check_limits(ctx.settings, endpoint)
    return problems


def _check_events(events: Sequence[str]) -> list[FieldError]:
    if not events:
        return [FieldError("events", "needs at least one event type or pattern")]
    if len(events) > MAX_PATTERNS:
        return [FieldError("events", f"may hold at most {MAX_PATTERNS} patterns")]
    return [
        FieldError(f"events[{i}]", sentence)
        for i, pattern in enumerate(events)
        if (sentence := pattern_problem(pattern)) is not None
    ]


def _check_filter(given: Mapping[str, Any] | None) -> list[FieldError]:
    if given is None:
        return []
    try:
        compile_filter(given)
    except FilterError as error:
        return [FieldError(error.field, error.message)]
    return []


def _check_limits(settings: Settings, endpoint: NewEndpoint) -> list[FieldError]:
    problems = []
    if endpoint.order_by is not None and endpoint.order_by != "*":
        try:
            path_steps(endpoint.order_by, "orderBy")
        except FilterError as error:
            problems.append(FieldError("orderBy", error.message))
    if not 1 <= endpoint.max_in_flight <= settings.max_in_flight:
        problems.append(FieldError("maxInFlight", f"must be between 1 and {settings.max_in_flight}"))
    if endpoint.rate_per_second is not None and not 0.001 <= endpoint.rate_per_second <= _FASTEST:
        problems.append(FieldError("ratePerSecond", f"must be between 0.001 and {_FASTEST:g}"))
    longest = settings.timeout.total_seconds()
    if endpoint.timeout_seconds is not None and not _SHORTEST_TIMEOUT <= endpoint.timeout_seconds <= longest:
        problems.append(FieldError("timeoutSeconds", f"must be between {_SHORTEST_TIMEOUT} and {longest:g}"))
    return problems


def key_given_or_made(secret: str | None, kind: Any, field: str = "secret") -> SigningKey:
    """Return the key a caller gave, or a new one; raises `Invalid` without ever showing the key."""
    if secret is None:
        return new_key(kind)
    try:
        return read_key(secret)
    except ValueError as error:
        raise Invalid(FieldError(field, str(error))) from None
