"""The columns of a CSV file: their names, what else they may be called, and a row as an order.

A CSV row is an order with one item. Columns may come in any order; unknown ones are refused unless kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from .money import EXPONENTS, WrongAmount, minor_of_minor_text, minor_of_text, text_of_minor
from .order import RowError, Rules

COLUMNS = (
    "client_ref", "account", "item_id", "product_id", "scheme_name", "transaction_type", "amount",
    "amount_minor", "quantity", "currency", "mode", "email", "opt_out_of_nomination",
)  # fmt: skip
TEMPLATE = tuple(column for column in COLUMNS if column != "amount_minor")
REPORTED = ("row", "status", "error_code", "error", "order_id", "model_order_id")  # ours, ignored on input

_SYNONYMS = {
    "ref": "client_ref", "reference": "client_ref", "order_ref": "client_ref",
    "order_reference": "client_ref",
    "client_reference": "client_ref", "client_order_ref": "client_ref", "external_id": "client_ref",
    "account_id": "account", "account_no": "account", "account_number": "account",
    "product": "product_id", "product_code": "product_id", "scheme": "scheme_name",
    "type": "transaction_type", "transaction": "transaction_type", "side": "transaction_type",
    "ccy": "currency", "currency_code": "currency", "qty": "quantity", "units": "quantity",
    "transaction_mode": "mode", "e_mail": "email", "email_address": "email",
    "opt_out_nomination": "opt_out_of_nomination", "id": "item_id", "amount_in_minor_units": "amount_minor",
}  # fmt: skip
_TRUE, _FALSE = {"true", "yes", "y", "1"}, {"false", "no", "n", "0", ""}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def snake(header: str) -> str:
    """Return a header in the form of our names: `Client Ref` and `clientRef` are `client_ref`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", header.strip())
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def known_headers(cells: Sequence[str], mapping: Mapping[str, str]) -> int:
    """Count how many cells name a column; what tells delimiters apart."""
    return sum(_column(cell, mapping) in COLUMNS for cell in cells)


def map_header(
    cells: Sequence[str], mapping: Mapping[str, str], *, keep_unknown: bool
) -> tuple[list[str | None], list[RowError]]:
    """Return the column of each cell of the header (None: not read) and what is wrong with it.

    `mapping` is the caller's, from their header to our column. With `keep_unknown` a column that nobody knows
    is named `data:<header>`.
    """
    columns: list[str | None] = []
    errors = []
    for cell in cells:
        column = _column(cell, mapping)
        if column in REPORTED or not cell.strip():
            columns.append(None)
        elif column not in COLUMNS and keep_unknown:
            columns.append(f"data:{cell.strip()}")
        elif column not in COLUMNS:
            close = get_close_matches(column, [*COLUMNS, *_SYNONYMS], 1)
            hint = f"; did you mean {_SYNONYMS.get(close[0], close[0])}?" if close else ""
            errors.append(RowError(cell.strip()[:60], "unknown_column", f"is no column of an order{hint}"))
            columns.append(None)
        elif column in columns:
            errors.append(RowError(column, "column_twice", "is there twice"))
            columns.append(None)
        else:
            columns.append(column)
    for needed in ("product_id", "transaction_type"):
        if needed not in columns:
            errors.append(RowError(needed, "column_missing", "is needed in the header"))
    if ("amount" in columns) == ("amount_minor" in columns):
        errors.append(
            RowError("amount", "column_missing", "either amount (12.50) or amount_minor (1250) is needed")
        )
    return columns, errors


def _column(cell: str, mapping: Mapping[str, str]) -> str:
    chosen = mapping.get(cell) or mapping.get(cell.strip())
    name = snake(chosen or cell)
    return name if name in COLUMNS else _SYNONYMS.get(name, name)


def order_of_cells(
    columns: Sequence[str | None], cells: Sequence[str], rules: Rules
) -> tuple[dict[str, Any] | None, list[RowError]]:
    """Return a CSV row in the form of a JSON order, for `read_order`, and what is wrong with its cells.

    A cell that is wrong is left out or replaced, so that `read_order` finds what else is wrong.
    """
    if len(cells) != len(columns):
        message = f"has {len(cells)} cells where the header has {len(columns)}"
        return None, [RowError("", "cell_count", message)]
    row = {
        column: unescape(cell).strip()
        for column, cell in zip(columns, cells, strict=True)
        if column is not None
    }
    errors: list[RowError] = []
    item: dict[str, Any] = {}
    order: dict[str, Any] = {"cartItems": [item]}
    for column, name in (("client_ref", "clientRef"), ("account", "account"), ("currency", "currency")):
        if row.get(column):
            order[name] = row[column]
    for column, name in (("item_id", "id"), ("product_id", "productId"), ("scheme_name", "schemeName"),
                         ("transaction_type", "transactionType")):  # fmt: skip
        if row.get(column):
            item[name] = row[column]
    mode = {name: row[name] for name in ("mode", "email") if row.get(name)}
    if mode:
        order["transactionMode"] = mode
    if row.get("quantity"):
        item["quantity"] = _quantity(row["quantity"], errors)
    opted = row.get("opt_out_of_nomination", "").lower()
    if opted in _TRUE:
        order["optOutOfNomination"] = True
    elif opted not in _FALSE:
        errors.append(
            RowError("opt_out_of_nomination", "not_a_boolean", f"{opted[:40]!r} is not true or false")
        )
    _amount(row, order.get("currency") or rules.currency, item, rules, errors)
    extra = {column[5:]: text for column, text in row.items() if column.startswith("data:") and text}
    if extra:
        order["data"] = extra
    return order, errors


def _amount(
    row: Mapping[str, str],
    currency: str | None,
    item: dict[str, Any],
    rules: Rules,
    errors: list[RowError],
) -> None:
    column = "amount_minor" if "amount_minor" in row else "amount"
    text = row.get(column, "")
    item["amount"] = 1 if rules.json_unit == "minor" else "1"  # until it is known
    if not text:
        errors.append(RowError(column, "amount_missing", "is needed"))
        return
    if currency not in EXPONENTS:
        return  # the currency is what will be refused
    try:
        minor = minor_of_minor_text(text) if column == "amount_minor" else minor_of_text(text, currency)
    except WrongAmount as error:
        errors.append(RowError(column, error.code, str(error)))
        return
    # In the form that reads back to the same minor units whatever unit JSON numbers are in.
    item["amount"] = minor if rules.json_unit == "minor" else text_of_minor(minor, currency)


def _quantity(text: str, errors: list[RowError]) -> int | None:
    if re.fullmatch(r"[0-9]{1,12}", text):
        return int(text)
    if re.fullmatch(r"-[0-9]+", text):
        errors.append(RowError("quantity", "quantity_not_positive", f"{text[:40]} is not more than zero"))
    else:
        errors.append(RowError("quantity", "not_whole", f"{text[:40]!r} is not a whole number"))
    return None


def escape(text: str) -> str:
    """Make a cell safe for spreadsheets: what they would take for a formula gets an apostrophe in front.

    A cell that begins with an apostrophe before such a sign gets another one, so that reading gives it back.
    """
    bare = text.lstrip("'")
    if bare.startswith(_FORMULA) and not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        return "'" + text
    return text


def unescape(text: str) -> str:
    """Give back what `escape` was given."""
    if text.startswith("'") and text.lstrip("'").startswith(_FORMULA):
        return text[1:]
    return text
