"""Checks request headers and writes the head of a request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ...errors import HeaderRefused, OutboundError
from .urls import Target

Headers = Mapping[str, str] | Iterable[tuple[str, str]]

# They frame the message or belong to the connection; the client writes them itself.
FRAMING_HEADERS = frozenset(
    ["accept-encoding", "connection", "content-length", "expect", "host", "http2-settings", "keep-alive"]
    + ["proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"]
    + ["transfer-encoding", "upgrade"]
)
MAX_HEADER_VALUE = 8192
MAX_HEADERS = 100
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}")
_VALUE = re.compile(r"(?:[!-~](?:[ -~\t]*[!-~])?)?")
_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])


def check_header(name: str, value: str) -> None:
    """Raise `HeaderRefused` when a header cannot be sent as it stands.

    Refused are names that are no token, values with control characters (CR, LF, NUL), non-ASCII or
    surrounding blanks, values over 8 KiB, and the headers that frame the message (`FRAMING_HEADERS`).
    The message never shows the value.
    """
    if not _NAME.fullmatch(name):
        raise HeaderRefused(f"the header name {name[:64]!r} is not valid")
    if name.lower() in FRAMING_HEADERS:
        raise HeaderRefused(f"the header {name} is set by wharfd itself")
    if len(value) > MAX_HEADER_VALUE or not _VALUE.fullmatch(value):
        raise HeaderRefused(
            f"the value of the header {name} must be printable ASCII of at most {MAX_HEADER_VALUE} characters"
        )


def request_head(method: str, target: Target, headers: Headers, body_length: int, user_agent: str) -> bytes:
    """Write the request line and all headers; the given headers keep their order and casing."""
    if method not in _METHODS:
        raise OutboundError(f"the method {method[:16]!r} is not one that wharfd sends")
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if len(pairs) > MAX_HEADERS:
        raise HeaderRefused(f"a request may have at most {MAX_HEADERS} headers")
    lines = [f"{method} {target.path} HTTP/1.1", f"Host: {target.authority}"]
    given = set()
    for name, value in pairs:
        check_header(name, value)
        given.add(name.lower())
        lines.append(f"{name}: {value}")
    if "user-agent" not in given:
        lines.append(f"User-Agent: {user_agent}")
    if "accept" not in given:
        lines.append("Accept: */*")
    lines.append("Accept-Encoding: identity")
    if body_length or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {body_length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
