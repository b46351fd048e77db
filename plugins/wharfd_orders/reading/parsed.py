"""What parsers have in common: rows, control totals, limits, and the error that ends a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from ..model.money import EXPONENTS, WrongAmount, minor_of_number
from ..model.order import Order, RowError, Rules

_KEPT_BYTES = 8192  # of a wrong row, for whoever wants to correct it


class Malformed(ValueError):
    """A file that cannot be read on: `code`, and `row` where it was noticed."""

    def __init__(self, code: str, message: str, *, row: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.row = row


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file: an order, or what is wrong with it.

    `line` is where a person finds it: the line of a text file, the number of the element in JSON. `raw` is
    the row as it came, as JSON, kept only when it is wrong.
    """

    line: int
    order: Order | None
    errors: tuple[RowError, ...] = ()
    raw: bytes = b""


@dataclass(frozen=True)
class Totals:
    """What the sender says the file holds; amounts in minor units by currency."""

    count: int | None = None
    amounts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """What is taken at most. `max_rows` and `max_row_bytes` are stated in the docs and in the answer."""

    max_rows: int = 1_000_000
    max_row_bytes: int = 65_536


class Parser(Protocol):
    """Reads one file. `totals` and `options` are known at the end, `detected` after the first piece.

    `rules_of` is asked for the rules when a JSON document brings options of its own.
    """

    rules_of: Callable[[Mapping[str, Any]], Rules] | None
    totals: Totals | None
    options: Mapping[str, Any]
    detected: dict[str, Any]

    def feed(self, data: bytes) -> Iterator[Row]:
        """Give the rows that are complete with this piece. Raises `Malformed`."""
        ...

    def end(self) -> Iterator[Row]:
        """Give the rows that the end completes. Raises `Malformed`."""
        ...


def wrong(line: int, errors: list[RowError], value: Any) -> Row:
    """Return a row that cannot be taken, with what it said."""
    try:
        raw = value if isinstance(value, bytes) else msgspec.json.encode(value)
    except (UnicodeEncodeError, ValueError, TypeError):
        raw = msgspec.json.encode({"_line": repr(value)[:_KEPT_BYTES]})
    if len(raw) > _KEPT_BYTES or b"\\u0000" in raw:
        raw = msgspec.json.encode(
            {"_line": raw[:_KEPT_BYTES].decode("utf-8", "replace").replace("\\u0000", "")}
        )
    return Row(line, None, tuple(errors), raw)


def broken(line: int, code: str, message: str, text: bytes) -> Row:
    """Return a row that could not even be read."""
    shown = text[:_KEPT_BYTES].decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return Row(line, None, (RowError("", code, message),), msgspec.json.encode({"_line": shown}))


def read_totals(given: Any) -> Totals:
    """Read `{"count": 2, "amounts": {"EUR": "12.50"}}`; raises `Malformed`.

    An amount is text in major units, or a whole number of minor units.
    """
    if not isinstance(given, dict):
        raise Malformed("control_totals", "controlTotals must be an object with count and amounts")
    count, amounts = given.get("count"), given.get("amounts") or {}
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
        raise Malformed("control_totals", "controlTotals.count must be a whole number")
    if not isinstance(amounts, dict):
        raise Malformed("control_totals", 'controlTotals.amounts must be an object such as {"EUR": "12.50"}')
    minor: dict[str, int] = {}
    for currency, value in amounts.items():
        if currency not in EXPONENTS:
            raise Malformed("control_totals", f"controlTotals.amounts: {currency[:20]!r} is no currency")
        try:
            minor[currency] = 0 if value in (0, "0", "0.00") else minor_of_number(value, currency)
        except WrongAmount as error:
            raise Malformed("control_totals", f"controlTotals.amounts.{currency}: {error}") from error
    return Totals(count, minor)
