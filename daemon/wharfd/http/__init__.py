"""The HTTP API: what a plugin's handlers get, return and raise. `docs/http-api.md` explains the rest."""

from __future__ import annotations

from .decoding import struct_of_text
from .endpoint import BoundRoute, IngestMount
from .headers import Headers
from .paging import Page, Pagination, decode_cursor, encode_cursor, offset_of, page_of, paginate
from .problems import (
    BadRequest,
    BodyTimeout,
    BodyTooLarge,
    Conflict,
    FieldError,
    Forbidden,
    Gone,
    HttpProblem,
    Invalid,
    NotFound,
    PreconditionFailed,
    TooMany,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from .reply import Event, EventStream, Reply, Stream
from .request import Request

SentEvent = Event  # what plugins call it, beside domain events

__all__ = [
    "BadRequest",
    "BodyTimeout",
    "BodyTooLarge",
    "BoundRoute",
    "Conflict",
    "Event",
    "EventStream",
    "FieldError",
    "Forbidden",
    "Gone",
    "Headers",
    "HttpProblem",
    "IngestMount",
    "Invalid",
    "NotFound",
    "Page",
    "Pagination",
    "PreconditionFailed",
    "Reply",
    "Request",
    "SentEvent",
    "Stream",
    "TooMany",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMediaType",
    "decode_cursor",
    "encode_cursor",
    "offset_of",
    "page_of",
    "paginate",
    "struct_of_text",
]
