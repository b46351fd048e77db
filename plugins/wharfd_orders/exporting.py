"""Results as files: JSON Lines and CSV. What failed is written so that it can be corrected and sent again."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from wharfd import Queries, Record

from .model.columns import TEMPLATE, escape
from .model.money import text_of_minor
from .routes.views import result_view
from .store import results

_REUPLOADED = ("failed", "unprocessed")
_RESULT_COLUMNS = (
    "row", "index", "client_ref", "status", "success", "order_id", "model_order_id", "error_code", "error",
    "attempts", "finished_at",
)  # fmt: skip


def order_of(row: Record) -> dict[str, Any]:
    """Return the order of a row as it can be sent again: amounts as text, which reads the same everywhere."""
    payload = dict(row["payload"])
    if "_cells" in payload or "_line" in payload or row["currency"] is None:
        return payload
    currency = row["currency"]
    payload["cartItems"] = [
        {**item, "amount": text_of_minor(item["amount"], currency)} for item in payload["cartItems"]
    ]
    return payload


def json_line(row: Record, which: str) -> dict[str, Any]:
    """Return a line: the result, or for what can be sent again the order with what was wrong beside it."""
    view = result_view(row)
    if which not in _REUPLOADED:
        return view
    order = order_of(row)
    return {
        **order,
        "_row": view["row"],
        "_status": view["status"],
        "_code": view["code"],
        "_error": view["error"],
    }


def csv_columns(which: str) -> tuple[str, ...]:
    """Return the header of a CSV file."""
    if which not in _REUPLOADED:
        return _RESULT_COLUMNS
    return (*TEMPLATE, "row", "status", "error_code", "error")


def csv_row(row: Record, which: str) -> list[str]:
    """Return a row of a CSV file, safe for spreadsheets."""
    view = result_view(row)
    facts = {
        "row": view["row"], "index": view["index"], "client_ref": view["clientRef"], "status": view["status"],
        "success": None if view["success"] is None else str(view["success"]).lower(),
        "order_id": view["orderId"], "model_order_id": view["modelOrderId"], "error_code": view["code"],
        "error": view["error"], "attempts": view["attempts"], "finished_at": view["finishedAt"],
    }  # fmt: skip
    if which in _REUPLOADED:
        facts.update(flat(order_of(row)))
    return ["" if facts.get(name) is None else escape(str(facts[name])) for name in csv_columns(which)]


def flat(order: dict[str, Any]) -> dict[str, Any]:
    """Return an order as the cells of a row; of several items the first. JSON Lines has them all."""
    if "_cells" in order:
        return {name: cell for name, cell in order.items() if name in TEMPLATE} | (
            {"amount": order["amount_minor"]} if "amount_minor" in order else {}
        )
    items = order.get("cartItems")
    item = items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else {}
    mode = order.get("transactionMode")
    mode = mode if isinstance(mode, dict) else {}
    return {
        "client_ref": order.get("clientRef"), "account": order.get("account"), "item_id": item.get("id"),
        "product_id": item.get("productId"), "scheme_name": item.get("schemeName"),
        "transaction_type": item.get("transactionType"), "amount": item.get("amount"),
        "quantity": item.get("quantity"), "currency": order.get("currency"), "mode": mode.get("mode"),
        "email": mode.get("email"),
        "opt_out_of_nomination": "true" if order.get("optOutOfNomination") else None,
    }  # fmt: skip


def write_csv(rows: Sequence[Sequence[str]]) -> bytes:
    """Return rows as CSV in UTF-8 with CRLF."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


async def file_chunks(db: Queries, batch: int, which: str, kind: str) -> AsyncIterator[bytes]:
    """Give the file piece by piece, in constant memory."""
    if kind == "csv":
        # The mark makes spreadsheets read UTF-8; our own reader takes it off again.
        yield b"\xef\xbb\xbf" + write_csv([csv_columns(which)])
    async for rows in results.stream(db, batch, which):
        if kind == "csv":
            yield write_csv([csv_row(row, which) for row in rows])
        else:
            yield b"".join(msgspec.json.encode(json_line(row, which)) + b"\n" for row in rows)


async def checksum(db: Queries, batch: int, which: str, kind: str) -> dict[str, Any]:
    """Return SHA-256 and size of a file by making it."""
    digest, size = hashlib.sha256(), 0
    async for chunk in file_chunks(db, batch, which, kind):
        digest.update(chunk)
        size += len(chunk)
    return {"which": which, "format": kind, "sha256": digest.hexdigest(), "bytes": size}


def template(kind: str) -> bytes:
    """Return an example file that can be sent as it is with validateOnly."""
    row = {
        "client_ref": "A-0001", "account": "ACC-1", "item_id": "1", "product_id": "F12",
        "scheme_name": "Growth", "transaction_type": "purchase", "amount": "1250.00", "quantity": "1",
        "currency": "EUR", "mode": "email", "email": "someone@example.org", "opt_out_of_nomination": "false",
    }  # fmt: skip
    if kind == "csv":
        return write_csv([TEMPLATE, [row[name] for name in TEMPLATE]])
    order = {
        "clientRef": "A-0001", "account": "ACC-1", "currency": "EUR",
        "cartItems": [{"id": "1", "productId": "F12", "schemeName": "Growth", "transactionType": "purchase",
                       "amount": "1250.00", "quantity": 1}],
        "transactionMode": {"mode": "email", "email": "someone@example.org"}, "optOutOfNomination": False,
    }  # fmt: skip
    if kind == "jsonl":
        return msgspec.json.encode(order) + b"\n"
    return msgspec.json.format(msgspec.json.encode({"orders": [order], "options": {"validateOnly": True}}))
