"""`OldRow`: a row of an old table, read with types whatever it came from: PostgreSQL, JSON Lines or CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import WharfdError

if TYPE_CHECKING:
    from ..db import Record

_TRUE, _FALSE = ("t", "true", "1", "yes", "y"), ("f", "false", "0", "no", "n")
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_scalar = msgspec.json.Decoder(float_hook=Decimal).decode
_EARLIEST, _LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def read_fields(line: bytes | str) -> dict[str, Any]:
    """Return the fields of a JSON object, numbers of a column to their last digit; raises DecodeError."""
    return {
        name: msgspec.json.decode(raw) if memoryview(raw)[0] in b"{[" else _scalar(raw)
        for name, raw in _fields(line).items()
    }


def columns_of(records: Sequence[msgspec.Struct]) -> list[list[Any]]:
    """Return the fields of records as columns, in the order of declaration: what `unnest($1, $2, …)` takes.

    Without a record there are no columns; a page without one is never written.
    """
    return [list(column) for column in zip(*map(msgspec.structs.astuple, records), strict=True)]


def stored_of(records: Sequence[msgspec.Struct], rows: Iterable[Record], *key: str) -> list[Any]:
    """Return what stands in the table for each record, as one of its own type; None where nothing does.

    `rows` has the columns that the records have as fields, `key` names those by which the two are matched.

    Without a record there is nothing to match; a page without one is never compared.
    """
    kind, identity = type(records[0]), attrgetter(*key)
    found = {identity(one): one for one in (kind(**dict(row)) for row in rows)}
    return [found.get(identity(one)) for one in records]


class Unfit(WharfdError):
    """A row of the old system cannot be taken over."""


class OldRow:
    """One row. Every getter returns None for NULL and raises `Unfit` for what is not of its type.

    With `needed` NULL is unfit too. In CSV an empty field is NULL.
    """

    def __init__(self, values: Mapping[str, Any], *, key: str = "") -> None:
        self.values = values
        self.key = key
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Say something about this row that a person should know; equal notes are counted together."""
        self.notes.append(text)

    def _value(self, column: str) -> Any:
        value = self.values.get(column)
        return None if value == "" else value

    def text(self, column: str) -> str | None:
        """Return a text; numbers and truths are written out."""
        value = self._value(column)
        if value is None or isinstance(value, str):
            text = value
        elif isinstance(value, bool | int | Decimal):
            text = str(value).lower() if isinstance(value, bool) else str(value)
        else:
            text = msgspec.json.encode(value).decode()
        if text is not None and "\0" in text:
            raise Unfit(f"{column} holds the zero character, which the database cannot keep")
        return text

    def word(self, column: str, allowed: Sequence[str] = ()) -> str:
        """Return a text that must be there, one of `allowed` if that is given."""
        text = self.text(column)
        if text is None:
            raise Unfit(f"{column} is missing")
        if allowed and text not in allowed:
            raise Unfit(f"{column} {text!r} is none of {', '.join(allowed)}")
        return text

    def integer(self, column: str) -> int | None:
        """Return a whole number."""
        number = self.number(column)
        if number is None:
            return None
        if number != number.to_integral_value() or abs(number) >= 2**63:
            raise Unfit(f"{column} {number} is no whole number that can be kept")
        return int(number)

    def number(self, column: str) -> Decimal | None:
        """Return a number, exactly as it is written."""
        value = self._value(column)
        if value is None:
            return None
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            raise Unfit(f"{column} {value!r} is no number") from None
        if isinstance(value, bool) or not number.is_finite() or number.adjusted() > 300:
            raise Unfit(f"{column} {value!r} is no number")
        return number

    def flag(self, column: str, *, default: bool = False) -> bool:
        """Return a truth; NULL is `default`."""
        value = self._value(column)
        if value is None:
            return default
        word = str(value).lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise Unfit(f"{column} {value!r} is neither true nor false")

    def time(self, column: str) -> datetime | None:
        """Return a time in UTC; one without a zone is UTC already."""
        value = self._value(column)
        if value is None:
            return None
        try:
            at = datetime.fromisoformat(str(value).replace(" ", "T", 1))
        except ValueError:
            raise Unfit(f"{column} {value!r} is no time") from None
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        if not _EARLIEST <= at < _LATEST:
            raise Unfit(f"{column} {value!r} is a time outside 1990 to 2200")
        return at

    def moment(self, column: str) -> datetime:
        """Return a time that must be there."""
        at = self.time(column)
        if at is None:
            raise Unfit(f"{column} is missing")
        return at

    def json(self, column: str) -> Any:
        """Return a JSON value; in CSV and in text columns it is written as JSON."""
        value = self._value(column)
        if not isinstance(value, str):
            return value
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            raise Unfit(f"{column} is no JSON") from None

    def mapping(self, column: str) -> dict[str, Any]:
        """Return a JSON object; NULL is the empty one."""
        value = self.json(column)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise Unfit(f"{column} is no JSON object")
        return value

    def texts(self, column: str) -> list[str]:
        """Return a list of texts, also one written as PostgreSQL's `{a,b}`; NULL is empty."""
        value = self._value(column)
        if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
            return [part.strip().strip('"') for part in value[1:-1].split(",") if part.strip()]
        value = self.json(column)
        if value is None:
            return []
        if not isinstance(value, list):
            raise Unfit(f"{column} is no list")
        return [str(part) for part in value]
