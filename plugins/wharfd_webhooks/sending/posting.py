"""One send: transform, sign, post, and put what came back into an `Answer`. Touches no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import trio

from wharfd import Cancel, OutboundError, PluginContext
from wharfd.contracts.webhooks import Change, Outgoing, Skip

from ..config import Settings
from ..model.endpoint import Endpoint
from ..model.signing import delivery_headers, header_problems
from ..model.verdicts import Answer

USER_AGENT = "wharfd-webhooks/1"


@dataclass(frozen=True)
class Parcel:
    """What is to be sent: the message as it was kept, and which delivery and try this is."""

    delivery_id: str
    message_id: str
    event_type: str
    number: int
    body: bytes


class TransformFailed(Exception):
    """No plugin gave a usable answer for the transform that the endpoint asks for."""


async def post(ctx: PluginContext[Settings], endpoint: Endpoint, parcel: Parcel) -> Answer:
    """Send one delivery and say how it ended; raises `Cancel` when a plugin wants it not to be sent.

    Never raises for anything the receiver or the network does.
    """
    started = trio.current_time()
    settings = ctx.settings
    try:
        body, extra = await _transformed(ctx, endpoint, parcel)
    except TransformFailed as error:
        return _failed("transform", str(error), started)
    if not endpoint.keys:
        return _failed("no_secret", "none of the endpoint's secrets can be opened; rotate it", started)
    headers = delivery_headers(
        message_id=parcel.message_id,
        delivery_id=parcel.delivery_id,
        event_type=parcel.event_type,
        timestamp=int(ctx.now().timestamp()),
        body=body,
        keys=endpoint.keys,
        custom={**endpoint.headers, **extra},
        legacy=endpoint.legacy,
        casing=settings.header_case,
    )
    headers.append(("User-Agent", USER_AGENT))
    deadline = settings.timeout.total_seconds()
    if endpoint.timeout_seconds is not None:
        deadline = min(deadline, endpoint.timeout_seconds)
    try:
        response = await ctx.http.request(
            "POST",
            endpoint.url,
            headers=headers,
            body=body,
            deadline=deadline,
            connect_deadline=min(deadline, settings.connect_timeout.total_seconds()),
            max_response_bytes=settings.max_response_bytes,
            policy=ctx.state["policy"],
            ca=endpoint.ca,
            client_cert=endpoint.client_certificate,
        )
    except OutboundError as error:
        return Answer(
            error.status,
            error.kind,
            str(error),
            request_sent=error.request_sent,
            seconds=trio.current_time() - started,
        )
    return Answer(
        response.status,
        retry_after=response.header("retry-after"),
        body=response.text(),
        request_sent=response.request_sent,
        seconds=trio.current_time() - started,
    )


def _failed(kind: str, sentence: str, started: float) -> Answer:
    return Answer(None, kind, sentence, seconds=trio.current_time() - started)


async def _transformed(
    ctx: PluginContext[Settings], endpoint: Endpoint, parcel: Parcel
) -> tuple[bytes, Mapping[str, str]]:
    """Return the bytes to send and headers on top, after the plugin that knows the endpoint's transform."""
    if endpoint.transform is None:
        return parcel.body, {}
    delivery = Outgoing(
        transform=endpoint.transform,
        delivery_id=parcel.delivery_id,
        endpoint_id=endpoint.id,
        owner=endpoint.owner,
        url=endpoint.url,
        event_type=parcel.event_type,
        attempt=parcel.number,
        body=msgspec.json.decode(parcel.body),
    )
    answers: list[Any] = await ctx.hooks.call("before_delivery", delivery=delivery)
    given = [answer for answer in answers if isinstance(answer, Change | Skip)]
    if not given:
        raise TransformFailed(f"no plugin answered for the transform {endpoint.transform!r}")
    if len(given) > 1:
        raise TransformFailed(f"{len(given)} plugins answered for the transform {endpoint.transform!r}")
    answer = given[0]
    if isinstance(answer, Skip):
        raise Cancel(answer.reason)
    problems = header_problems(answer.headers)
    if problems:
        raise TransformFailed(
            f"the transform {endpoint.transform!r} set a header: {next(iter(problems.values()))}"
        )
    try:
        return msgspec.json.encode(answer.body), answer.headers
    except (TypeError, ValueError) as error:
        raise TransformFailed(f"the transform {endpoint.transform!r} gave what is no JSON: {error}") from None
