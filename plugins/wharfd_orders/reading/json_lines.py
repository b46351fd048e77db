"""JSON Lines: one order a line; the last may say the control totals."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from ..model.order import Order, Rules, read_order
from .formats import detect_encoding
from .parsed import Limits, Malformed, Row, Totals, broken, read_totals, wrong

_decode = msgspec.json.Decoder().decode


class Utf8Source:
    """Turns pieces in any Unicode form into UTF-8, without a byte order mark."""

    def __init__(self, charset: str | None) -> None:
        self._charset = charset
        self._decoder: codecs.IncrementalDecoder | None = None
        self._head = b""
        self.encoding = ""

    def take(self, data: bytes, *, final: bool = False) -> bytes:
        """Return the piece as UTF-8; plain UTF-8 passes through unchecked. Raises `Malformed`.

        The first few bytes are kept back until they show whether they are a mark.
        """
        if not self.encoding:
            self._head += data
            if len(self._head) < 4 and not final:
                return b""
            data, self._head = self._head, b""
            self.encoding, mark = detect_encoding(data[:8], self._charset or "utf-8")
            data = data[mark:]
            if self.encoding != "utf-8":
                self._decoder = codecs.getincrementaldecoder(self.encoding)("strict")
        if self._decoder is None:
            return data
        try:
            return self._decoder.decode(data, final).encode()
        except (UnicodeDecodeError, UnicodeEncodeError) as error:
            raise Malformed("encoding", f"the file is not {self.encoding} as its beginning says") from error


class JsonLinesParser:
    """Reads JSON Lines."""

    def __init__(self, charset: str | None, limits: Limits, *, rules: Rules) -> None:
        self.totals: Totals | None = None
        self.options: Mapping[str, Any] = {}
        self.rules_of: Callable[[Mapping[str, Any]], Rules] | None = None
        self.detected: dict[str, Any] = {"format": "jsonl", "encoding": "utf-8"}
        self._source = Utf8Source(charset)
        self._limits = limits
        self._rules = rules
        self._rest = b""
        self._line = 0
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[Row]:
        """Give the rows whose line ends in this piece."""
        yield from self._lines(self._source.take(data))

    def _lines(self, piece: bytes) -> Iterator[Row]:
        self.detected["encoding"] = self._source.encoding or "utf-8"
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            row = self._read(line)
            if row is not None:
                yield row
        if len(self._rest) > self._limits.max_row_bytes:
            if not self._skipping:
                self._skipping = True
                yield self._too_long(self._line + 1, self._rest)
            self._rest = b""

    def end(self) -> Iterator[Row]:
        """Give the last row, whose line has no end."""
        yield from self._lines(self._source.take(b"", final=True))
        if self._rest.strip() or self._skipping:
            row = self._read(self._rest)
            self._rest = b""
            if row is not None:
                yield row

    def _read(self, line: bytes) -> Row | None:
        self._line += 1
        if self._skipping:
            self._skipping = False
            return None
        if not line or line.isspace():
            return None
        if len(line) > self._limits.max_row_bytes:
            return self._too_long(self._line, line)
        try:
            value = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._unreadable(line, error)
        if self.totals is not None:
            raise Malformed("rows_after_totals", "there are rows after the control totals", row=self._line)
        if isinstance(value, dict) and "controlTotals" in value and "cartItems" not in value:
            self.totals = read_totals(value["controlTotals"])
            return None
        order = read_order(value, self._rules)
        if isinstance(order, Order):
            return Row(self._line, order)
        return wrong(self._line, order, value)

    def _unreadable(self, line: bytes, error: Exception) -> Row:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return broken(self._line, "encoding", "the line is not UTF-8 as the others are", line)
        if isinstance(error, RecursionError):
            return broken(self._line, "nested_too_deeply", "is nested too deeply", line)
        return broken(self._line, "malformed", f"the line is not JSON: {_sentence(error)}", line)

    def _too_long(self, number: int, line: bytes) -> Row:
        limit = self._limits.max_row_bytes
        return broken(number, "row_too_long", f"the line is longer than {limit} bytes", line[:200])


def _sentence(error: Exception) -> str:
    text = str(error).removeprefix("JSON is malformed: ")
    return text[:1].lower() + text[1:160]
