"""Is an endpoint fit to be kept? Everything that is wrong is told at once, by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from wharfd import FieldError, Invalid, OutboundError, PluginContext

from ..config import Settings
from ..model.filters import FilterError, compile_filter, path_steps
from ..model.keys import SigningKey, new_key, read_key
from ..model.never import never_problems
from ..model.patterns import MAX_PATTERNS, pattern_problem
from ..model.signing import header_problems
from ..model.tls import TlsProblem, authorities_end, check_client_key, client_certificate_ends
from ..store.endpoints import NewEndpoint

_SHORTEST_TIMEOUT = 0.1
_FASTEST = 10_000.0


def check_endpoint(
    ctx: PluginContext[Settings], endpoint: NewEndpoint, *, tls: bool = True
) -> list[FieldError]:
    """Return what is wrong with an endpoint, as far as that is possible without asking the network.

    `tls` False leaves its certificates alone: one that has ended must not keep the rest from being changed.
    """
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
    if tls:
        problems += _check_tls(endpoint, ctx.now())
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
    return [FieldError(field, sentence) for field, sentence in never_problems(given)]


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


def _check_tls(endpoint: NewEndpoint, now: datetime) -> list[FieldError]:
    problems = []
    given = [endpoint.ca, endpoint.client_certificate, endpoint.client_key]
    if any(text is not None for text in given) and endpoint.url.lower().startswith("http://"):
        problems.append(FieldError("url", "must begin with https:// when ca or clientCertificate are given"))
    if endpoint.ca is not None:
        try:
            authorities_end(endpoint.ca, now)
        except TlsProblem as problem:
            problems.append(FieldError("ca", str(problem)))
    if endpoint.client_certificate is None:
        if endpoint.client_key is not None:
            problems.append(FieldError("clientCertificate", "is missing: a clientKey needs its certificate"))
        return problems
    try:
        client_certificate_ends(endpoint.client_certificate, now)
    except TlsProblem as problem:
        return [*problems, FieldError("clientCertificate", str(problem))]
    if endpoint.client_key is None:
        return [*problems, FieldError("clientKey", "is missing: a clientCertificate needs its key")]
    try:
        check_client_key(endpoint.client_certificate, endpoint.client_key)
    except TlsProblem as problem:
        problems.append(FieldError("clientKey", str(problem)))
    return problems


def tls_ends(endpoint: NewEndpoint, now: datetime) -> datetime | None:
    """Return when the first of the endpoint's certificates ends; they were checked before."""
    ends = []
    if endpoint.ca is not None:
        ends.append(authorities_end(endpoint.ca, now))
    if endpoint.client_certificate is not None:
        ends.append(client_certificate_ends(endpoint.client_certificate, now))
    return min(ends, default=None)


def key_given_or_made(secret: str | None, kind: Any, field: str = "secret") -> SigningKey:
    """Return the key a caller gave, or a new one; raises `Invalid` without ever showing the key."""
    if secret is None:
        return new_key(kind)
    try:
        return read_key(secret)
    except ValueError as error:
        raise Invalid(FieldError(field, str(error))) from None
