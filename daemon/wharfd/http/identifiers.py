"""Request ids and trace ids: taken from the caller when they are sane, made here when not."""

from __future__ import annotations

import re

from ..ids import new_id

_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:\-]{8,128}$")
_TRACEPARENT = re.compile(r"^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$")
_ZERO = "0" * 32


def request_id_of(given: str | None) -> str:
    """The caller's X-Request-Id when it is 8 to 128 plain characters, else a new one."""
    if given is not None and _REQUEST_ID.match(given):
        return given
    return new_id("req")


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace id in a W3C traceparent field, None when there is none or it is malformed."""
    if traceparent is None:
        return None
    match = _TRACEPARENT.match(traceparent.strip().lower())
    if match is None or match[1] == _ZERO or match[2] == _ZERO[:16]:
        return None
    return match[1]
