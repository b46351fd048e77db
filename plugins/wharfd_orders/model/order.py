"""One order: what is taken as one, and its normal form, which is what is stored, compared and carried out.

    {"clientRef": "A-1", "account": "ACC-9", "currency": "INR",
     "cartItems": [{"id": 1, "productId": "F12", "schemeName": "Growth", "transactionType": "purchase",
                    "amount": 125000, "quantity": 1}],
     "transactionMode": {"mode": "email", "email": "a@b.example"}, "optOutOfNomination": false,
     "data": {"anything": "else"}}

`amount` in the normal form is in minor units.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import blake2b
from typing import Any

import msgspec

from .money import EXPONENTS, LARGEST, WrongAmount, minor_of_number

MOST_ITEMS = 100
MOST_DATA_BYTES = 8192
LONGEST_REF = 128
LONGEST_TEXT = 200
LARGEST_QUANTITY = 10**9

ORDER_FIELDS = (
    "clientRef", "account", "currency", "cartItems", "transactionMode", "optOutOfNomination", "data",
)  # fmt: skip
ITEM_FIELDS = ("id", "productId", "schemeName", "transactionType", "amount", "quantity")
MODE_FIELDS = ("mode", "email")

_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,128}@[^@\s\x00-\x1f]{1,190}")
_REF = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,39}")
_FORMS = {
    _EMAIL: "is no e-mail address",
    _REF: "may hold ASCII letters, digits, signs and, inside, blanks",
    _WORD: "must begin with an ASCII letter and hold letters, digits, blanks, - and _",
}
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class RowError:
    """What is wrong in one row: where (`column` may be empty), which kind, and the sentence for people."""

    column: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Order:
    """An order in its normal form. `payload` is its JSON, `fingerprint` tells contents apart."""

    client_ref: str | None
    account: str | None
    currency: str
    amount: int
    payload: bytes
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Rules:
    """What a batch may leave out or add: the default currency, the unit of JSON numbers, unknown fields."""

    currency: str | None = None
    json_unit: str = "minor"
    keep_unknown: bool = False
    account_needed: bool = False


@dataclass(slots=True)
class _Reader:
    rules: Rules
    errors: list[RowError] = field(default_factory=list)

    def wrong(self, column: str, code: str, message: str) -> None:
        self.errors.append(RowError(column, code, message))

    def text(
        self, value: Any, column: str, *, longest: int = LONGEST_TEXT, fits: re.Pattern[str] | None = None
    ) -> str | None:
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self.wrong(column, "not_text", f"must be text, not {_kind(value)}")
            return None
        if "\x00" in value:
            self.wrong(column, "zero_character", "holds a zero character")
        elif len(value) > longest:
            self.wrong(column, "too_long", f"has {len(value)} characters; {longest} are the limit")
        elif fits is not None and not fits.fullmatch(value):
            self.wrong(column, "malformed", f"{_cut(value)!r} {_FORMS[fits]}")
        return value

    def ident(self, value: Any, column: str) -> str | int | None:
        if isinstance(value, int) and not isinstance(value, bool):
            if abs(value) >= 1 << 53:
                message = "is a number that not every program can hold; send it as text"
                self.wrong(column, "number_too_large", message)
            return value
        return self.text(value, column)

    def unknown(self, given: Mapping[str, Any], known: tuple[str, ...], path: str) -> None:
        for name in given:
            if name not in known and not name.startswith("_"):
                close = get_close_matches(name, known, 1)
                hint = f"; did you mean {close[0]}?" if close else ""
                self.wrong(f"{path}{_cut(name)}", "unknown_field", f"is not known{hint}")


def read_order(given: Any, rules: Rules) -> Order | list[RowError]:
    """Return the order that a decoded JSON value describes, or everything that is wrong with it."""
    if not isinstance(given, dict):
        return [RowError("", "not_an_object", f"an order is a JSON object, not {_kind(given)}")]
    reader = _Reader(rules)
    data = given.get("data")
    if data is not None and not isinstance(data, dict):
        reader.wrong("data", "not_an_object", f"must be an object, not {_kind(data)}")
        data = None
    if rules.keep_unknown:
        extra = {k: v for k, v in given.items() if k not in ORDER_FIELDS and not k.startswith("_")}
        data = {**(data or {}), **extra} if extra else data
    else:
        reader.unknown(given, ORDER_FIELDS, "")
    ref = reader.text(given.get("clientRef"), "clientRef", longest=LONGEST_REF, fits=_REF)
    account = reader.text(given.get("account"), "account", longest=LONGEST_REF, fits=_REF)
    if account is None and rules.account_needed and not any(e.column == "account" for e in reader.errors):
        reader.wrong("account", "missing", "is needed, because orders of an account are worked in order")
    currency = _currency(given.get("currency"), reader)
    items, amount = _items(given.get("cartItems"), currency, reader)
    mode = _mode(given.get("transactionMode"), reader)
    opted_out = given.get("optOutOfNomination", False)
    if not isinstance(opted_out, bool):
        reader.wrong("optOutOfNomination", "not_a_boolean", f"must be true or false, not {_kind(opted_out)}")
    normal: dict[str, Any] = {"currency": currency, "cartItems": items}
    if ref is not None:
        normal["clientRef"] = ref
    if account is not None:
        normal["account"] = account
    if mode is not None:
        normal["transactionMode"] = mode
    if opted_out:
        normal["optOutOfNomination"] = True
    if data:
        normal["data"] = data
        if len(_encode(data)) > MOST_DATA_BYTES:
            reader.wrong("data", "too_long", f"is larger than {MOST_DATA_BYTES} bytes")
        elif _holds_zero(data):
            reader.wrong("data", "zero_character", "holds a zero character")
    if reader.errors:
        return reader.errors
    payload = _encode(normal)
    assert currency is not None
    return Order(ref, account, currency, amount, payload, blake2b(payload, digest_size=16).digest())


def _currency(value: Any, reader: _Reader) -> str | None:
    if value is None or value == "":
        if reader.rules.currency is None:
            reader.wrong("currency", "missing", "is needed: three letters of ISO 4217, such as EUR")
        return reader.rules.currency
    if not isinstance(value, str) or value not in EXPONENTS:
        upper = value.strip().upper() if isinstance(value, str) else ""
        hint = f"; did you mean {upper}?" if upper in EXPONENTS else ""
        reader.wrong("currency", "unknown_currency", f"{_cut(str(value))!r} is no code of ISO 4217{hint}")
        return None
    return value


def _items(value: Any, currency: str | None, reader: _Reader) -> tuple[list[dict[str, Any]], int]:
    if not isinstance(value, list) or not value:
        reader.wrong("cartItems", "missing", "must be a list with at least one item")
        return [], 0
    if len(value) > MOST_ITEMS:
        reader.wrong("cartItems", "too_many", f"has {len(value)} items; {MOST_ITEMS} are the limit")
        return [], 0
    items, total = [], 0
    for number, given in enumerate(value):
        path = f"cartItems[{number}]."
        if not isinstance(given, dict):
            reader.wrong(path[:-1], "not_an_object", f"must be an object, not {_kind(given)}")
            continue
        item, amount = _item(given, path, currency, reader)
        items.append(item)
        total += amount
    if total > LARGEST:
        reader.wrong("cartItems", "amount_too_large", f"add up to more than {LARGEST} minor units")
    return items, total


def _item(
    given: Mapping[str, Any], path: str, currency: str | None, reader: _Reader
) -> tuple[dict[str, Any], int]:
    reader.unknown(given, ITEM_FIELDS, path)
    product = reader.ident(given.get("productId"), f"{path}productId")
    if product is None and not any(e.column == f"{path}productId" for e in reader.errors):
        reader.wrong(f"{path}productId", "missing", "is needed")
    kind = reader.text(given.get("transactionType"), f"{path}transactionType", longest=40, fits=_WORD)
    if kind is None and not any(e.column == f"{path}transactionType" for e in reader.errors):
        reader.wrong(f"{path}transactionType", "missing", "is needed, such as purchase")
    item: dict[str, Any] = {"productId": product, "transactionType": kind}
    identifier = reader.ident(given.get("id"), f"{path}id")
    if identifier is not None:
        item["id"] = identifier
    scheme = reader.text(given.get("schemeName"), f"{path}schemeName")
    if scheme is not None:
        item["schemeName"] = scheme
    quantity = given.get("quantity")
    if quantity is not None:
        if isinstance(quantity, bool) or not isinstance(quantity, int):
            reader.wrong(f"{path}quantity", "not_whole", f"must be a whole number, not {_kind(quantity)}")
        elif quantity <= 0:
            reader.wrong(f"{path}quantity", "quantity_not_positive", f"{quantity} is not more than zero")
        elif quantity > LARGEST_QUANTITY:
            reader.wrong(f"{path}quantity", "quantity_too_large", f"is more than {LARGEST_QUANTITY}")
        item["quantity"] = quantity
    amount = 0
    if "amount" not in given or given["amount"] in (None, ""):
        reader.wrong(f"{path}amount", "amount_missing", "is needed")
    elif currency is not None:
        try:
            amount = minor_of_number(given["amount"], currency, unit=reader.rules.json_unit)
        except WrongAmount as error:
            reader.wrong(f"{path}amount", error.code, str(error))
    item["amount"] = amount
    return item, amount


def _mode(value: Any, reader: _Reader) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        reader.wrong("transactionMode", "not_an_object", f"must be an object, not {_kind(value)}")
        return None
    reader.unknown(value, MODE_FIELDS, "transactionMode.")
    mode = reader.text(value.get("mode"), "transactionMode.mode", longest=40, fits=_WORD)
    email = reader.text(value.get("email"), "transactionMode.email", longest=320, fits=_EMAIL)
    found = {name: text for name, text in (("mode", mode), ("email", email)) if text is not None}
    return found or None


def _holds_zero(value: Any) -> bool:
    """Whether a zero character is anywhere in it, which jsonb cannot store."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any("\x00" in key or _holds_zero(inner) for key, inner in value.items())
    return isinstance(value, list) and any(_holds_zero(inner) for inner in value)


def _kind(value: Any) -> str:
    names: list[tuple[type[Any], str]] = [
        (bool, "a boolean"), (int, "a number"), (float, "a number with decimals"), (str, "text"),
        (list, "a list"), (dict, "an object"),
    ]  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
