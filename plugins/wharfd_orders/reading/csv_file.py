"""CSV: a header, then one order a row; a last row `#TOTAL,count,amount,currency` says the control totals.

Encoding, delimiter and columns are found out from the beginning of the file and told in the answer. Quoted
cells may hold delimiters, quotes and line ends.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..model.columns import known_headers, map_header, order_of_cells, unescape
from ..model.order import Order, RowError, Rules, read_order
from .formats import detect_encoding
from .parsed import Limits, Malformed, Row, Totals, broken, read_totals, wrong

DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_BYTES = 65_536
_BROKEN = re.compile(r"[\udc80-\udcff]")  # what a byte that does not fit the encoding is decoded to
_LINE_END = re.compile(r"\r\n|\n|\r(?!\n|$)")


class CsvParser:
    """Reads CSV."""

    def __init__(
        self,
        charset: str | None,
        limits: Limits,
        *,
        rules: Rules,
        mapping: Mapping[str, str] | None = None,
        delimiter: str | None = None,
    ) -> None:
        self.totals: Totals | None = None
        self.options: Mapping[str, Any] = {}
        self.rules_of: Callable[[Mapping[str, Any]], Rules] | None = None
        self.detected: dict[str, Any] = {"format": "csv"}
        self._charset = charset
        self._limits = limits
        self._rules = rules
        self._mapping = mapping or {}
        self._delimiter = delimiter
        self._sample = b""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._guessed = False
        self._text = ""
        self._line = 1
        self._columns: Sequence[str | None] | None = None

    def feed(self, data: bytes) -> Iterator[Row]:
        """Give the rows that are complete with this piece."""
        if self._decoder is None:
            self._sample += data
            if len(self._sample) < _SAMPLE_BYTES:
                return
            data = self._begin()
        assert self._decoder is not None
        self._text += self._decoder.decode(data)
        yield from self._rows(final=False)

    def end(self) -> Iterator[Row]:
        """Give the rows that the end completes."""
        data = self._begin() if self._decoder is None else b""
        assert self._decoder is not None
        self._text += self._decoder.decode(data, final=True)
        yield from self._rows(final=True)
        if self._columns is None:
            raise Malformed("empty", "the file is empty; its first row must be the header")

    def _begin(self) -> bytes:
        encoding, mark = detect_encoding(self._sample, self._charset)
        self.detected["encoding"] = encoding
        self._guessed = encoding == "windows-1252" and self._charset is None
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        data, self._sample = self._sample[mark:], b""
        return data

    def _rows(self, *, final: bool) -> Iterator[Row]:
        for number, record in self._records(final=final):
            if record.strip():
                row = self._read(number, record)
                if row is not None:
                    yield row

    def _records(self, *, final: bool) -> Iterator[tuple[int, str]]:
        """Cut the text into records, at line ends outside quotes; gives the line each begins on."""
        text, start, at, quotes = self._text, 0, 0, 0
        for end in _LINE_END.finditer(text):
            quotes += text.count('"', at, end.start())
            at = end.end()
            if quotes % 2:
                if end.start() - start > self._limits.max_row_bytes:
                    raise self._never_closed()
                continue
            record = text[start : end.start()]
            number = self._line
            self._line += 1 + (record.count("\n") if quotes else 0)
            start, quotes = at, 0
            yield number, record
        self._text = text[start:]
        if final and self._text:
            if self._text.count('"') % 2:
                raise self._never_closed()
            rest, self._text = self._text.rstrip("\r"), ""
            yield self._line, rest
        elif len(self._text) > self._limits.max_row_bytes:
            if '"' in self._text:
                raise self._never_closed()
            limit = self._limits.max_row_bytes
            raise Malformed("row_too_long", f"a row is longer than {limit} bytes", row=self._line)

    def _never_closed(self) -> Malformed:
        return Malformed(
            "quote_open", f"a quote that is opened in line {self._line} is not closed", row=self._line
        )

    def _read(self, number: int, record: str) -> Row | None:
        if self._columns is None:
            self._header(record)
            return None
        if len(record) > self._limits.max_row_bytes:
            limit = self._limits.max_row_bytes
            return broken(number, "row_too_long", f"the row is longer than {limit} bytes", b"")
        problem = self._encoding_problem(record)
        if problem is not None:
            shown = record.encode("utf-8", "surrogateescape")
            return broken(number, problem[0], problem[1], shown)
        try:
            cells = self._cells(record)
        except csv.Error as error:
            return broken(number, "malformed", f"is not CSV: {error}", record.encode())
        if cells and cells[0].strip().upper() == "#TOTAL":
            self._take_totals(cells, number)
            return None
        if self.totals is not None:
            raise Malformed("rows_after_totals", "there are rows after the control totals", row=number)
        given, errors = order_of_cells(self._columns, cells, self._rules)
        order = read_order(given, self._rules) if given is not None else []
        if isinstance(order, Order):
            if not errors:
                return Row(number, order)
            order = []
        return wrong(number, [*errors, *map(_by_column, order)], self._as_given(cells))

    def _cells(self, record: str) -> list[str]:
        assert self._delimiter is not None
        rows = list(csv.reader([record], delimiter=self._delimiter, strict=True))
        return rows[0] if rows else []

    def _as_given(self, cells: Sequence[str]) -> dict[str, str]:
        assert self._columns is not None
        pairs = zip(self._columns, cells, strict=False)
        return {"_cells": "1"} | {name: unescape(cell) for name, cell in pairs if name is not None}

    def _encoding_problem(self, record: str) -> tuple[str, str] | None:
        if record.isascii():
            return None
        if _BROKEN.search(record):
            encoding = self.detected["encoding"]
            return "encoding", f"the row is not {encoding} as the others are"
        if self._guessed:
            try:
                record.encode("cp1252").decode("utf-8")
            except UnicodeError:
                return None
            return "encoding_mixed", "the row is UTF-8, and others are Windows-1252; send one encoding"
        return None

    def _header(self, record: str) -> None:
        if _BROKEN.search(record):
            raise Malformed("encoding", f"the header is not {self.detected['encoding']}", row=1)
        if self._delimiter is None:
            choices = {sign: next(csv.reader([record], delimiter=sign), []) for sign in DELIMITERS}
            self._delimiter = max(
                DELIMITERS, key=lambda sign: (known_headers(choices[sign], self._mapping), len(choices[sign]))
            )
        try:
            cells = self._cells(record)
        except csv.Error as error:
            raise Malformed("malformed", f"the header is not CSV: {error}", row=1) from error
        columns, errors = map_header(cells, self._mapping, keep_unknown=self._rules.keep_unknown)
        if errors:
            sentences = "; ".join(f"{error.column}: {error.message}" for error in errors[:10])
            raise Malformed(errors[0].code, f"the header cannot be taken: {sentences}", row=1)
        self._columns = columns
        self.detected["delimiter"] = self._delimiter
        self.detected["columns"] = {
            cell.strip(): column for cell, column in zip(cells, columns, strict=True) if column is not None
        }

    def _take_totals(self, cells: Sequence[str], number: int) -> None:
        count, amount, currency = ([cell.strip() for cell in cells[1:4]] + ["", "", ""])[:3]
        if count and not count.isdigit():
            raise Malformed("control_totals", f"#TOTAL: {count[:20]!r} is no count", row=number)
        amounts = {currency or self._rules.currency or "": amount} if amount else {}
        self.totals = read_totals({"count": int(count) if count else None, "amounts": amounts})


_PLACES = {
    "clientRef": "client_ref", "productId": "product_id", "schemeName": "scheme_name", "id": "item_id",
    "transactionType": "transaction_type", "mode": "mode", "email": "email",
    "optOutOfNomination": "opt_out_of_nomination",
}  # fmt: skip


def _by_column(error: RowError) -> RowError:
    """Name the column of the file instead of the member of the order."""
    name = error.column.rpartition(".")[2]
    return RowError(_PLACES.get(name, name), error.code, error.message)
