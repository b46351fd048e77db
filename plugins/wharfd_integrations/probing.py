"""The connection test of an integration: one request, and how it went.

With a webhook URL a signed `integration.test` event is posted there, as Standard Webhooks has it. Otherwise
the first of `testUrl`, `healthUrl`, `baseUrl` and `url` in the configuration is asked with GET and the
configuration's `headers`. Nothing of the answer but its status is passed on, so the test cannot be used to
read inside a network.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import urlsplit

import msgspec

from wharfd import Conflict, OutboundError, new_id

from .parts import Context, parts_of
from .routes.integration_shapes import ConnectionResult

_ADDRESSES = ("testUrl", "healthUrl", "baseUrl", "url")
_MOST_HEADERS = 20


async def probe(
    ctx: Context,
    integration_id: str,
    *,
    webhook_url: str | None,
    webhook_secret: str | None,
    config: dict[str, Any],
) -> ConnectionResult:
    """Send one request and tell status and latency; raises `Conflict` when there is no address to call."""
    if webhook_url is not None:
        method, url = "POST", webhook_url
        body = msgspec.json.encode(
            {"type": "integration.test", "timestamp": ctx.now(), "data": {"integrationId": integration_id}}
        )
        headers = signed_event(new_id("msg"), int(ctx.now().timestamp()), body, webhook_secret)
    else:
        method, url, body = "GET", _address_in(config), b""
        headers = _headers_in(config)
    host = urlsplit(url).hostname or ""
    started = ctx.clock.now()
    try:
        answer = await ctx.http.request(
            method,
            url,
            headers=headers,
            body=body,
            deadline=ctx.settings.test_timeout.total_seconds(),
            max_response_bytes=1024,
            policy=parts_of(ctx).policy,
        )
    except OutboundError as error:
        took = (ctx.clock.now() - started).total_seconds() * 1000
        return ConnectionResult(
            success=False,
            message=f"{host} could not be called: {error}",
            status=error.status,
            latency_ms=round(took, 1),
            method=method,
            host=host,
            error=error.kind,
        )
    good = 200 <= answer.status < (300 if method == "POST" else 400)
    return ConnectionResult(
        success=good,
        message=f"{host} answered {answer.status}{_hint(answer.status)}",
        status=answer.status,
        latency_ms=round(answer.timings.total * 1000, 1),
        method=method,
        host=host,
        error=None if good else "status",
    )


def signed_event(message_id: str, at: int, body: bytes, secret: str | None) -> list[tuple[str, str]]:
    """The header fields of an event as Standard Webhooks has them; unsigned without a secret."""
    headers = [
        ("Content-Type", "application/json"),
        ("webhook-id", message_id),
        ("webhook-timestamp", str(at)),
    ]
    if secret is not None:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        mark = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
        headers.append(("webhook-signature", f"v1,{base64.b64encode(mark).decode()}"))
    return headers


def _address_in(config: dict[str, Any]) -> str:
    for name in _ADDRESSES:
        value = config.get(name)
        if isinstance(value, str) and value:
            return value
    raise Conflict("there is nothing to call; give the integration a webhookUrl, or a baseUrl in its config")


def _headers_in(config: dict[str, Any]) -> list[tuple[str, str]]:
    given = config.get("headers")
    if not isinstance(given, dict):
        return []
    pairs = [(name, value) for name, value in given.items() if isinstance(value, str)]
    return pairs[:_MOST_HEADERS]


def _hint(status: int) -> str:
    if status in (401, 403):
        return ": the credentials were refused"
    if 300 <= status < 400:
        return ": redirects are not followed"
    return ""
