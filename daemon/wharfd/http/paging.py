"""Lists in pieces: opaque cursors that cannot be forged, and page numbers for older callers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from .problems import FieldError, Invalid
from .request import Request

T = TypeVar("T")
R = TypeVar("R")

_MARK = 16


class Page(msgspec.Struct, Generic[T], kw_only=True):
    """A piece of a list. `next_cursor` is what to send as `cursor` for the next one, None at the end."""

    items: list[T]
    next_cursor: str | None = None


def encode_cursor(request: Request, *key: Any) -> str:
    """Make the cursor that stands for the sort key of the last item shown.

    It is good for this route and this owner only; `key` may hold text, numbers, dates and None.
    """
    payload = msgspec.json.encode(key)
    mark = request.signer.sign(_purpose(request), payload)
    return base64.urlsafe_b64encode(mark + payload).rstrip(b"=").decode("ascii")


def decode_cursor(request: Request, cursor: str | None, *types: Any) -> tuple[Any, ...] | None:
    """Return the sort key in a cursor, one value per type, or None for the first page.

    Raises `Invalid` (422) for a cursor that was changed, or made for another list or another owner.
    """
    if not cursor:
        return None
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise _bad_cursor() from error
    mark, payload = data[:_MARK], data[_MARK:]
    if not request.signer.holds(_purpose(request), payload, mark):
        raise _bad_cursor()
    try:
        return tuple(msgspec.json.decode(payload, type=tuple[types]))  # type: ignore[valid-type]
    except msgspec.DecodeError as error:
        raise _bad_cursor() from error


def page_of(
    request: Request,
    rows: Sequence[R],
    limit: int,
    *,
    item: Callable[[R], T],
    key: Callable[[R], tuple[Any, ...]],
) -> Page[T]:
    """Make a page from rows of a query that asked for `limit + 1` of them.

    `item` turns a row into what is shown, `key` gives the values the query sorts by.
    """
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(
        items=[item(row) for row in shown],
        next_cursor=encode_cursor(request, *key(shown[-1])) if more and shown else None,
    )


def _purpose(request: Request) -> str:
    return f"cursor {request.route} {request.identity.owner or ''}"


def _bad_cursor() -> Invalid:
    message = "is not a cursor of this list; start again without one"
    return Invalid(FieldError("cursor", message, "query"))


class Pagination(msgspec.Struct, kw_only=True, rename="camel"):
    """The `pagination` member of older list answers."""

    page: int
    limit: int
    total: int
    total_pages: int
    has_next: bool
    has_previous: bool


def paginate(page: int, limit: int, total: int) -> Pagination:
    """Describe page number `page` (from 1) of a list with `total` items."""
    pages = -(-total // limit)
    return Pagination(
        page=page,
        limit=limit,
        total=total,
        total_pages=pages,
        has_next=page < pages,
        has_previous=1 < page <= pages + 1,
    )


def offset_of(page: int, limit: int, *, deepest: int = 100_000) -> int:
    """How many rows to skip for page number `page` (from 1).

    Raises `Invalid` beyond `deepest` rows: skipping costs the database more the deeper it goes.
    """
    if page < 1:
        raise Invalid(FieldError("page", "starts at 1", "query"))
    offset = (page - 1) * limit
    if offset > deepest:
        raise Invalid(FieldError("page", f"goes beyond {deepest} rows; use cursor instead", "query"))
    return offset
