"""Taking an upload in: read all of it, judge every row, and only then load it in one transaction.

Whatever goes wrong before that commit leaves nothing behind; after it, everything is there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from wharfd import BadRequest, FieldError, HttpProblem, Invalid, UnsupportedMediaType

from .config import Settings
from .model.money import text_of_minor
from .model.options import BadOption, BatchOptions, read_options
from .model.order import Rules
from .reading import Limits, Malformed, Parser, Row, format_of, make_parser
from .spool import Spool

MOST_REPORTED = 1000
_LEAST_BYTES = 16_384
_STEP_BYTES = 65_536  # parsed at a time, so that others get their turn


@dataclass
class Upload:
    """What was read: the rows in the spool, and what there is to say about them."""

    spool: Spool
    options: BatchOptions
    detected: dict[str, Any] = field(default_factory=dict)
    sha256: bytes = b""
    size: int = 0
    accepted: int = 0
    with_refs: int = 0
    amounts: dict[str, int] = field(default_factory=dict)
    invalid: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    reported: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """All rows of the file."""
        return self.spool.rows

    @property
    def fingerprint(self) -> bytes:
        """What tells two uploads under one Idempotency-Key apart."""
        from msgspec import json, to_builtins

        return hashlib.sha256(self.sha256 + json.encode(to_builtins(self.options), order="sorted")).digest()

    def take(self, row: Row) -> None:
        """Count a row and spool it."""
        order = row.order
        if order is not None:
            self.accepted += 1
            self.with_refs += order.client_ref is not None
            self.amounts[order.currency] = self.amounts.get(order.currency, 0) + order.amount
        else:
            self.invalid += 1
            for error in row.errors:
                self.report(self.spool.rows, row.line, error.column, error.code, error.message)
        self.spool.add(row)

    def report(self, index: int, line: int, column: str, code: str, message: str) -> None:
        """Note what is wrong in a row."""
        self.codes[code] += 1
        if len(self.reported) < MOST_REPORTED:
            self.reported.append(
                {"index": index, "row": line, "column": column, "code": code, "message": message}
            )


def plain_query(query: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str], str | None]:
    """Split the query into options, the header mapping (`map=Order No:client_ref,…`) and the delimiter."""
    options = dict(query)
    mapping: dict[str, str] = {}
    for pair in filter(None, options.pop("map", "").split(",")):
        header, colon, column = pair.rpartition(":")
        if not colon or not header.strip() or not column.strip():
            raise Invalid(
                FieldError("map", "is written Their Header:our_column, with commas between", "query")
            )
        mapping[header.strip()] = column.strip()
    delimiter = options.pop("delimiter", None)
    if delimiter is not None:
        delimiter = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}.get(delimiter, delimiter)
        if delimiter not in (",", ";", "\t", "|"):
            raise Invalid(FieldError("delimiter", "is comma, semicolon, tab or pipe", "query"))
    return options, mapping, delimiter


async def read_upload(
    settings: Settings,
    spool: Spool,
    chunks: AsyncIterator[bytes],
    *,
    content_type: str | None,
    query: Mapping[str, str],
) -> Upload:
    """Read and judge an upload into the spool, in constant memory.

    Raises problems for what cannot be taken at all: 400 for a body that cannot be read, 413 for too many
    rows, 415 for a type that is not taken, 422 for wrong options.
    """
    kind, charset = format_of(content_type)
    if kind is None:
        shown = (content_type or "")[:80]
        raise UnsupportedMediaType(
            f"{shown} is not taken; send application/json, application/x-ndjson or text/csv",
            headers={"Accept": "application/json, application/x-ndjson, text/csv"},
        )
    plain, mapping, delimiter = plain_query(query)

    def rules_of(body: Mapping[str, Any]) -> Rules:
        in_body.update(body)
        chosen = read_options(plain, body)
        return Rules(
            currency=chosen.currency or settings.currency,
            json_unit=settings.json_amounts,
            keep_unknown=chosen.unknown_fields == "keep",
            account_needed=chosen.fifo,
        )

    upload = Upload(spool, BatchOptions())
    in_body: set[str] = set()
    try:
        limits = Limits(settings.max_rows, settings.max_row_bytes)
        parser = make_parser(kind, charset, limits, rules=rules_of({}), mapping=mapping, delimiter=delimiter)
        parser.rules_of = rules_of
        await _read(upload, parser, chunks, limits)
        upload.options = read_options(plain, parser.options)
    except BadOption as error:
        place = ("body", f"options.{error.name}") if error.name in in_body else ("query", error.name)
        said = str(error).removeprefix(f"{error.name} ")
        raise Invalid(FieldError(place[1], said, place[0])) from error
    except Malformed as error:
        raise _refused(error) from error
    upload.detected = parser.detected
    if not upload.rows:
        raise BadRequest("there is no order in it", code="empty")
    _check_totals(upload, parser)
    return upload


async def _read(upload: Upload, parser: Parser, chunks: AsyncIterator[bytes], limits: Limits) -> None:
    digest = hashlib.sha256()
    waiting = bytearray()
    async for chunk in chunks:
        digest.update(chunk)
        upload.size += len(chunk)
        waiting += chunk
        # A row that is not complete is read again with the next piece. Tiny pieces, sent by mistake or on
        # purpose, are therefore collected first.
        if len(waiting) < _LEAST_BYTES:
            continue
        await _feed(upload, parser, bytes(waiting), limits)
        waiting.clear()
    await _feed(upload, parser, bytes(waiting), limits)
    for row in parser.end():
        _take(upload, row, limits)
    upload.sha256 = digest.digest()


async def _feed(upload: Upload, parser: Parser, data: bytes, limits: Limits) -> None:
    for start in range(0, len(data), _STEP_BYTES):
        for row in parser.feed(data[start : start + _STEP_BYTES]):
            _take(upload, row, limits)
        await trio.lowlevel.checkpoint()


def _take(upload: Upload, row: Row, limits: Limits) -> None:
    if upload.rows >= limits.max_rows:
        raise Malformed("too_many_rows", f"there are more than {limits.max_rows} orders; split the file")
    upload.take(row)


def _refused(error: Malformed) -> HttpProblem:
    status = 413 if error.code in ("too_many_rows",) else 400
    where = f" (row {error.row})" if error.row is not None else ""
    members: dict[str, Any] = {"code": error.code}
    if error.row is not None:
        members["row"] = error.row
    return HttpProblem(f"{error}{where}; nothing was stored", status=status, **members)


def _check_totals(upload: Upload, parser: Parser) -> None:
    """Compare with what the sender says the file holds; raises 422, with the wrong rows if there are any."""
    totals = parser.totals
    if totals is None:
        return
    wrong = []
    if totals.count is not None and totals.count != upload.rows:
        wrong.append(f"it says {totals.count} orders and holds {upload.rows}")
    if totals.amounts and upload.invalid:
        if upload.options.on_invalid == "skip_rows":
            wrong.append(f"its amounts cannot be compared, because {_rows_are(upload.invalid)} wrong")
    elif totals.amounts:
        for currency in sorted({*totals.amounts, *upload.amounts}):
            said, found = totals.amounts.get(currency, 0), upload.amounts.get(currency, 0)
            if said != found:
                wrong.append(
                    f"it says {text_of_minor(said, currency)} {currency} and adds up to "
                    f"{text_of_minor(found, currency)}"
                )
    if wrong:
        raise Invalid(
            message=f"the control totals do not fit: {'; '.join(wrong)}; nothing was stored",
            code="control_totals",
            **(_wrong_rows(upload) if upload.invalid else {}),
        )


def _rows_are(count: int) -> str:
    return f"{count} rows are" if count != 1 else "1 row is"


def _wrong_rows(upload: Upload) -> dict[str, Any]:
    return {
        "rowErrors": upload.reported,
        "rowErrorCount": sum(upload.codes.values()),
        "invalidRows": upload.invalid,
        "rowErrorCodes": dict(upload.codes),
    }


def rejected(upload: Upload) -> Invalid:
    """The 422 for a batch with wrong rows: the first of them, how many there are, and of which kinds."""
    upload.reported.sort(key=lambda error: error["index"])
    fields = [
        FieldError(
            f"orders[{error['index']}]{'.' + error['column'] if error['column'] else ''}", error["message"]
        )
        for error in upload.reported[:50]
    ]
    count = upload.invalid
    first = upload.reported[0]
    column = f", {first['column']}" if first["column"] else ""
    return Invalid(
        *fields,
        message=f"{count} of {upload.rows} rows cannot be taken, the first is row {first['row']}{column}: "
        f"{first['message']}; nothing was stored",
        code="invalid_rows",
        **_wrong_rows(upload),
    )
