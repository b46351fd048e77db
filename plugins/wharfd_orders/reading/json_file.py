"""JSON: a list of orders, or an object `{"orders": [...], "options": {...}, "controlTotals": {...}}`.

The text is cut into elements by looking for quotes and brackets only; each element is then decoded by itself,
so that a list of a million needs the memory of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from ..model.order import Order, Rules, read_order
from .json_lines import Utf8Source
from .parsed import Limits, Malformed, Row, Totals, broken, read_totals, wrong

_decode = msgspec.json.Decoder().decode
_PARTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\]]', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb"[^\s,\[\]{}\":]+")
_MOST_MEMBER_BYTES = 65_536  # of everything beside the orders


class JsonParser:
    """Reads a JSON document."""

    def __init__(self, charset: str | None, limits: Limits, *, rules: Rules) -> None:
        self.totals: Totals | None = None
        self.options: Mapping[str, Any] = {}
        self.rules_of: Callable[[Mapping[str, Any]], Rules] | None = None
        self.detected: dict[str, Any] = {"format": "json", "encoding": "utf-8"}
        self._source = Utf8Source(charset)
        self._limits = limits
        self._rules = rules
        self._buffer = b""
        self._at = 0
        self._number = 0
        self._state = "start"
        self._in_object = False
        self._key = ""
        self._seen: set[str] = set()
        self._found: Row | None = None
        self._rules_of_grammar: Mapping[str, Callable[[bytes], bool]] = {
            "start": self._start,
            "first": self._first,
            "element": self._element,
            "after": self._after,
            "key": self._name,
            "colon": self._colon,
            "member": self._member,
            "next": self._next,
        }

    def feed(self, data: bytes) -> Iterator[Row]:
        """Give the orders that are complete with this piece."""
        yield from self._read(self._source.take(data))

    def _read(self, piece: bytes) -> Iterator[Row]:
        self._buffer = self._buffer[self._at :] + piece
        self.detected["encoding"] = self._source.encoding or "utf-8"
        self._at = 0
        while self._step():
            if self._found is not None:
                yield self._found
        if len(self._buffer) - self._at > max(self._limits.max_row_bytes, _MOST_MEMBER_BYTES):
            limit = self._limits.max_row_bytes
            raise Malformed("row_too_long", f"an order is longer than {limit} bytes", row=self._number + 1)

    def end(self) -> Iterator[Row]:
        """Give what is left, and check that the document is complete."""
        yield from self._read(self._source.take(b"", final=True))
        self._skip()
        if self._state == "start" and self._at == len(self._buffer):
            raise Malformed("empty", "the body is empty")
        if self._state != "over":
            raise Malformed("cut", "the JSON ends in the middle", row=self._number + 1)
        if self._at != len(self._buffer):
            raise Malformed("malformed", "something follows the end of the JSON document")

    # -- one step of the grammar --------------------------------------------------------------------

    def _skip(self) -> None:
        space = _SPACE.match(self._buffer, self._at)
        assert space is not None
        self._at = space.end()

    def _step(self) -> bool:
        """Read one thing; False when more bytes are needed or the document is over."""
        self._found = None
        self._skip()
        if self._at >= len(self._buffer) or self._state == "over":
            return False
        sign = self._buffer[self._at : self._at + 1]
        return self._rules_of_grammar[self._state](sign)

    def _start(self, sign: bytes) -> bool:
        if sign == b"[":
            self._go("first")
        elif sign == b"{":
            self._in_object = True
            self._go("key")
        else:
            raise Malformed("malformed", "the body is neither a JSON list nor a JSON object")
        return True

    def _go(self, state: str, by: int = 1) -> None:
        self._at += by
        self._state = state

    def _first(self, sign: bytes) -> bool:
        if sign == b"]":
            self._close()
            return True
        return self._element(sign)

    def _element(self, sign: bytes) -> bool:
        text = self._value()
        if text is None:
            return False
        self._number += 1
        self._state = "after"
        if len(text) > self._limits.max_row_bytes:
            limit = self._limits.max_row_bytes
            message = f"the order is longer than {limit} bytes"
            self._found = broken(self._number, "row_too_long", message, text[:200])
            return True
        try:
            value = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._found = broken(self._number, "malformed", f"is not JSON: {str(error)[:160]}", text)
            return True
        order = read_order(value, self._rules)
        if isinstance(order, Order):
            self._found = Row(self._number, order)
        else:
            self._found = wrong(self._number, order, value)
        return True

    def _after(self, sign: bytes) -> bool:
        if sign == b",":
            self._go("element")
        elif sign == b"]":
            self._close()
        else:
            raise self._unexpected("a comma or the end of the list")
        return True

    def _close(self) -> None:
        self._go("next" if self._in_object else "over")

    def _name(self, sign: bytes) -> bool:
        if sign != b'"':
            raise self._unexpected("the name of a member")
        text = self._value()
        if text is None:
            return False
        self._key = str(_decoded(text))
        if self._key in self._seen:
            raise Malformed("malformed", f"the member {self._key[:40]!r} is there twice")
        self._seen.add(self._key)
        self._state = "colon"
        return True

    def _colon(self, sign: bytes) -> bool:
        if sign != b":":
            raise self._unexpected("a colon")
        self._go("member")
        return True

    def _member(self, sign: bytes) -> bool:
        if self._key == "orders":
            if sign != b"[":
                raise Malformed("malformed", "orders must be a list")
            self._go("first")
            return True
        text = self._value()
        if text is None:
            return False
        value = _decoded(text)
        if self._key == "options":
            if not isinstance(value, dict):
                raise Malformed("options", "options must be an object")
            self._take_options(value)
        elif self._key == "controlTotals":
            self.totals = read_totals(value)
        else:
            raise Malformed("unknown_member", f"the member {self._key[:40]!r} is not known beside orders")
        self._state = "next"
        return True

    def _take_options(self, options: Mapping[str, Any]) -> None:
        rules = self._rules if self.rules_of is None else self.rules_of(options)
        if rules != self._rules and self._number:
            raise Malformed("options_late", "options that say how orders are read must stand before orders")
        self.options, self._rules = options, rules

    def _next(self, sign: bytes) -> bool:
        if sign == b",":
            self._go("key")
        elif sign == b"}":
            if "orders" not in self._seen:
                raise Malformed("malformed", "the member orders is missing")
            self._go("over")
        else:
            raise self._unexpected("a comma or the end of the object")
        return True

    def _value(self) -> bytes | None:
        """Return the whole value that begins here and step over it; None when it is not all there."""
        buffer, start = self._buffer, self._at
        sign = buffer[start : start + 1]
        if sign == b'"' or sign in (b"{", b"["):
            depth = 0
            for part in _PARTS.finditer(buffer, start):
                found = part[0]
                if found == b'"':
                    return None
                if found in (b"{", b"["):
                    depth += 1
                elif found in (b"}", b"]"):
                    depth -= 1
                if depth == 0:
                    self._at = part.end()
                    return buffer[start : part.end()]
            return None
        scalar = _SCALAR.match(buffer, start)
        if scalar is None:
            raise self._unexpected("a value")
        if scalar.end() == len(buffer):
            return None
        self._at = scalar.end()
        return scalar[0]

    def _unexpected(self, wanted: str) -> Malformed:
        shown = self._buffer[self._at : self._at + 20].decode("utf-8", "replace")
        return Malformed("malformed", f"expected {wanted}, found {shown!r}", row=self._number + 1)


def _decoded(text: bytes) -> Any:
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed("malformed", f"the body is not JSON: {str(error)[:160]}") from error
