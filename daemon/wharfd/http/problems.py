"""The answers that say no: exceptions a handler raises, and their RFC 9457 form.

Every problem is `application/problem+json`. Beside the standard members it carries the ones that older
callers read: `success` (always false), `message`, `detail`, `errors` and `request_id`. Nothing here ever
holds the text of an unexpected exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from ..errors import WharfdError

CONTENT_TYPE = "application/problem+json"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


@dataclass(frozen=True)
class FieldError:
    """One value that is wrong: `field` is its path, such as `orders[2].amount`; `where` the part it is in."""

    field: str
    message: str
    where: str = "body"


class HttpProblem(WharfdError):
    """The request cannot be answered."""

    status = 500

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int | None = None,
        kind: str = "about:blank",
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(message)
        self.status = status or type(self).status
        self.kind = kind
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.members = members

    def document(self, *, request_id: str, instance: str) -> dict[str, Any]:
        """The problem as JSON members, for the request with this id at this path."""
        sentence = str(self)
        document: dict[str, Any] = {
            "type": self.kind,
            "title": status_phrase(self.status),
            "status": self.status,
            "detail": sentence,
            "instance": instance,
            "success": False,
            "message": sentence,
            "request_id": request_id,
        }
        if self.errors:
            document["errors"] = [
                {"field": error.field, "message": error.message, "in": error.where} for error in self.errors
            ]
        for name, value in self.members.items():
            document.setdefault(name, value)
        return document


def status_phrase(status: int) -> str:
    """The words that belong to a status, such as `Not Found`."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


class BadRequest(HttpProblem):
    """the request cannot be understood"""

    status = 400


class Unauthorized(HttpProblem):
    """credentials are needed: send the header Authorization: Bearer <token>, or X-API-Key"""

    status = 401

    def __init__(self, message: str | None = None, **arguments: Any) -> None:
        super().__init__(message, **arguments)
        self.headers.setdefault("WWW-Authenticate", 'Bearer realm="wharfd"')


class Forbidden(HttpProblem):
    """the caller may not do this"""

    status = 403


class NotFound(HttpProblem):
    """there is nothing here"""

    status = 404


class MethodNotAllowed(HttpProblem):
    """the path exists, but not with this method"""

    status = 405

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        allow = ", ".join(sorted(allowed))
        super().__init__(f"{method} is not possible on this path, only {allow}", headers={"Allow": allow})


class BodyTimeout(HttpProblem):
    """the body did not arrive in time"""

    status = 408


class Conflict(HttpProblem):
    """the request does not fit the present state"""

    status = 409


class Gone(HttpProblem):
    """it was here and is no more"""

    status = 410


class PreconditionFailed(HttpProblem):
    """it was changed in the meantime"""

    status = 412


class BodyTooLarge(HttpProblem):
    """the body is too large"""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than the {limit} bytes that this path takes", limit=limit)


class UnsupportedMediaType(HttpProblem):
    """the body is of a type that this path does not take"""

    status = 415


class Invalid(HttpProblem):
    """some values are wrong"""

    status = 422

    def __init__(self, *errors: FieldError, message: str | None = None, **arguments: Any) -> None:
        super().__init__(message or _summary(errors), errors=errors, **arguments)


def _summary(errors: Sequence[FieldError]) -> str | None:
    if not errors:
        return None
    first = f"{errors[0].field}: {errors[0].message}" if errors[0].field else errors[0].message
    return first if len(errors) == 1 else f"{first} (and {len(errors) - 1} more)"


class TooMany(HttpProblem):
    """too many requests; ask again later"""

    status = 429

    def __init__(self, message: str | None = None, *, retry_after: float = 1.0, **arguments: Any) -> None:
        super().__init__(message, **arguments)
        self.headers["Retry-After"] = whole_seconds(retry_after)


class ServerFault(HttpProblem):
    """something went wrong on our side; it is logged under the request id"""

    status = 500


class Unavailable(HttpProblem):
    """not available at the moment; ask again later"""

    status = 503

    def __init__(self, message: str | None = None, *, retry_after: float = 5.0, **arguments: Any) -> None:
        super().__init__(message, **arguments)
        self.headers["Retry-After"] = whole_seconds(retry_after)


class TimedOut(HttpProblem):
    """the answer was not ready in time"""

    status = 504


def whole_seconds(seconds: float) -> str:
    """Seconds for a header field, rounded up, at least 1."""
    return str(max(1, int(seconds) + (seconds > int(seconds))))


class ProblemDocument(msgspec.Struct, kw_only=True):
    """The form of every problem, for OpenAPI."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    success: bool
    message: str
    request_id: str
    errors: list[dict[str, str]] = []
