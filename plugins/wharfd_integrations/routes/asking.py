"""Reading what a caller asks for: whose row, which scopes, which networks; and wrong values told by field."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from wharfd import FieldError, Invalid, Request
from wharfd.contracts.access import Identity

T = TypeVar("T")

# No control characters anywhere: PostgreSQL cannot keep the zero character, and lists show one line.
# (Python's `$` also matches before a last line feed, therefore the second half.)
_ONE_LINE = r"^[^\x00-\x1f\x7f]*$(?!\n)"

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=_ONE_LINE)]
Owner = Annotated[str, Meta(min_length=1, max_length=128, pattern=_ONE_LINE)]
Word = Annotated[str, Meta(max_length=200, pattern=_ONE_LINE)]
Moment = Annotated[datetime, Meta(tz=True)]
Limit = Annotated[int, Meta(ge=1, le=500)]
PerMinute = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[int, Meta(ge=0, le=10 * 365 * 86400)]


def owner_of(identity: Identity, asked: str | UnsetType | None, *, field: str, needed: bool) -> str | None:
    """Return whose the new row is. A caller with an owner makes rows of its own only.

    A caller who sees everybody's rows says whose it is; None makes it the house's. With `needed` it has to
    say so: a key without owner sees everybody's rows, and that must not happen by leaving something out.
    """
    if identity.owner is not None:
        if asked is not UNSET and asked != identity.owner:
            raise Invalid(FieldError(field, "must be left out, or be your own"))
        return identity.owner
    if asked is UNSET:
        if needed:
            raise Invalid(
                FieldError(field, "is missing; say whose it is, or null for one that sees everybody's")
            )
        return None
    assert asked is None or isinstance(asked, str)
    return asked


def checked(field: str, parse: Callable[[Iterable[str]], T], texts: Iterable[str]) -> T:
    """Return `parse(texts)`; what it finds wrong becomes a 422 that names the field."""
    try:
        return parse(texts)
    except ValueError as error:
        raise Invalid(FieldError(field, str(error))) from None


def in_utc(field: str, at: datetime | None, where: str = "body") -> datetime | None:
    """Return the time in UTC; raises `Invalid` for one that lies outside the years 1 to 9999 there."""
    try:
        return None if at is None else at.astimezone(UTC)
    except OverflowError:
        raise Invalid(FieldError(field, "is no time between the years 1 and 9999", where)) from None


def optional_body(request: Request, type_: type[T]) -> T:
    """Decode a body that may be left out."""
    if not request.raw.strip():
        return type_()
    try:
        return msgspec.json.decode(request.raw, type=type_)
    except msgspec.ValidationError as error:
        raise Invalid(FieldError("", str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Invalid(FieldError("", "the body is not JSON")) from None


def given(body: Any, name: str, before: Any) -> Any:
    """The value of a field that may be left out, or what it was before."""
    value = getattr(body, name)
    return before if value is UNSET else value
