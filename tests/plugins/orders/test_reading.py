"""Parsers: the same rows whatever the pieces, and a stated answer for every kind of bad input."""

from __future__ import annotations

import codecs

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wharfd_orders.model.order import Rules
from wharfd_orders.reading import Limits, Malformed, make_parser
from wharfd_orders.reading.formats import format_of

RULES = Rules(currency="EUR")
HEAD = "client_ref,product_id,transaction_type,amount,quantity\r\n"


def read(kind, data, *, size=7, charset=None, rules=RULES, limits=None, **choices):
    """Parse in pieces of so many bytes; return the parser and its rows."""
    parser = make_parser(kind, charset, limits or Limits(1000, 2000), **({"rules": rules} | choices))
    rows = []
    for start in range(0, len(data), size):
        rows += parser.feed(data[start : start + size])
    rows += parser.end()
    return parser, rows


def order(ref, **more):
    item = {"productId": "F1", "transactionType": "purchase", "amount": 100}
    return {"clientRef": ref, "cartItems": [item | more.pop("item", {})]} | more


def jsonl(*values):
    return b"".join(msgspec.json.encode(value) + b"\n" for value in values)


def refs(rows):
    return [row.order.client_ref if row.order else [error.code for error in row.errors] for row in rows]


def codes(rows):
    return [(row.line, error.column, error.code) for row in rows for error in row.errors]


# -- the three formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 64, 100_000])
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("jsonl", jsonl(order("a"), order("b", data={"x": 'q"\\}]'}))),
        ("jsonl", b"\xef\xbb\xbf" + jsonl(order("a"), order("b")).replace(b"\n", b"\r\n").strip()),
        ("jsonl", jsonl(order("a")) + b"\n  \n" + jsonl(order("b"))),
        ("json", msgspec.json.encode([order("a"), order("b", data={"x": 'q"\\}]', "y": [[{}]]})])),
        ("json", b' {"options" : {} , "orders":[ ' + b" , ".join(map(msgspec.json.encode, (order("a"), order("b")))) + b" ] } \n"),
        ("json", '{"orders": [{"clientRef":"a","cartItems":[{"productId":"é\\u00e9","transactionType":"buy","amount":1}]},{"clientRef":"b","cartItems":[{"productId":"x","transactionType":"buy","amount":1}]}]}'.encode("utf-16")),
        ("csv", (HEAD + "a,F1,purchase,1.00,1\r\nb,F1,purchase,2.00,\r\n").encode()),
        ("csv", (HEAD + "a,F1,purchase,1.00,1\r\nb,F1,purchase,2.00,").encode()),
        ("csv", ("\ufeff" + HEAD + '"a","F""1",purchase,1.00,1\r\n\r\nb,"F\r\n1",purchase,2.00,').encode()),
        ("csv", (HEAD.replace(",", ";") + "a;F1;purchase;1.00;1\nb;F1;purchase;2.00;").encode("utf-16")),
        ("csv", (HEAD.replace(",", "\t") + "a\tF1\tpurchase\t1.00\t1\rb\tF1\tpurchase\t2.00\t").encode()),
        ("csv", "Client Ref|Produkt ü|Type|amountMinor\na|F1|purchase|100\nb|F1|purchase|200\n".encode("cp1252")),
    ],
)  # fmt: skip
def test_good_files_in_any_pieces(kind, data, size):
    mapping = {"mapping": {"Produkt ü": "product_id"}} if kind == "csv" else {}
    parser, rows = read(kind, data, size=size, **mapping)
    assert refs(rows) == ["a", "b"]
    assert parser.detected["format"] == kind


def test_csv_says_what_it_found_out():
    data = "Client Ref;Product ID;type;Amount\na;Grün;purchase;1.00\n".encode("cp1252")
    parser, rows = read("csv", data)
    assert parser.detected == {
        "format": "csv",
        "encoding": "windows-1252",
        "delimiter": ";",
        "columns": {
            "Client Ref": "client_ref",
            "Product ID": "product_id",
            "type": "transaction_type",
            "Amount": "amount",
        },
    }
    assert msgspec.json.decode(rows[0].order.payload)["cartItems"][0]["productId"] == "Grün"


def test_lines_are_those_of_the_file():
    _, rows = read("csv", (HEAD + 'a,"F\n\n1",purchase,1,1\n\nb,F1,purchase,0,\n').encode())
    assert [row.line for row in rows] == [2, 6]
    _, rows = read("jsonl", b"\n" + jsonl(order("a")) + b"{\n")
    assert [row.line for row in rows] == [2, 3]


def test_equal_orders_have_equal_fingerprints_in_any_format():
    csv_order = read("csv", (HEAD + "a,F1,purchase,1.00,\n").encode())[1][0].order
    json_order = read("jsonl", jsonl(order("a")))[1][0].order
    text_order = read("json", msgspec.json.encode([order("a", item={"amount": "1.00"})]))[1][0].order
    assert csv_order.fingerprint == json_order.fingerprint == text_order.fingerprint
    assert (
        read("jsonl", jsonl(order("a", item={"amount": 101})))[1][0].order.fingerprint
        != json_order.fingerprint
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=8).filter(lambda k: "\x00" not in k), st.text(max_size=12), max_size=3
        ),
        max_size=8,
    ),
    st.integers(1, 60),
)
def test_the_list_cutter_agrees_with_a_json_library(datas, size):
    wanted = [order(f"r{n}", data=data) for n, data in enumerate(datas)]
    _, rows = read("json", msgspec.json.encode(wanted), size=size)
    assert len(rows) == len(wanted)
    for row, given_order in zip(rows, wanted, strict=True):
        if any("\x00" in text for text in given_order["data"].values()):
            assert refs([row]) == [["zero_character"]]
        else:
            assert msgspec.json.decode(row.order.payload).get("data", {}) == given_order["data"]


# -- what is wrong in a row stays in the row ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "column", "code"),
    [
        ({"item": {"amount": 12.5}}, "cartItems[0].amount", "amount_float"),
        ({"item": {"amount": "1,250.00"}}, "cartItems[0].amount", "amount_thousands_separator"),
        ({"item": {"amount": None}}, "cartItems[0].amount", "amount_missing"),
        ({"item": {"quantity": -3}}, "cartItems[0].quantity", "quantity_not_positive"),
        ({"item": {"quantity": 0}}, "cartItems[0].quantity", "quantity_not_positive"),
        ({"item": {"quantity": 1.5}}, "cartItems[0].quantity", "not_whole"),
        ({"item": {"quantity": True}}, "cartItems[0].quantity", "not_whole"),
        ({"item": {"productId": None}}, "cartItems[0].productId", "missing"),
        ({"item": {"productId": 1 << 60}}, "cartItems[0].productId", "number_too_large"),
        ({"item": {"transactionType": "DROP;"}}, "cartItems[0].transactionType", "malformed"),
        ({"item": {"amunt": 1}}, "cartItems[0].amunt", "unknown_field"),
        ({"curency": "EUR"}, "curency", "unknown_field"),
        ({"currency": "EURO"}, "currency", "unknown_currency"),
        ({"currency": "eur"}, "currency", "unknown_currency"),
        ({"cartItems": []}, "cartItems", "missing"),
        ({"cartItems": [3]}, "cartItems[0]", "not_an_object"),
        ({"cartItems": [order("x")["cartItems"][0]] * 101}, "cartItems", "too_many"),
        ({"clientRef": "x" * 129}, "clientRef", "too_long"),
        ({"clientRef": "a\nb"}, "clientRef", "malformed"),
        ({"clientRef": 7}, "clientRef", "not_text"),
        ({"transactionMode": {"email": "nobody"}}, "transactionMode.email", "malformed"),
        ({"transactionMode": "email"}, "transactionMode", "not_an_object"),
        ({"optOutOfNomination": "yes"}, "optOutOfNomination", "not_a_boolean"),
        ({"data": {"x": "y" * 9000}}, "data", "too_long"),
        ({"data": {"x": ["\x00"]}}, "data", "zero_character"),
        ({"data": []}, "data", "not_an_object"),
    ],
)
def test_wrong_orders(change, column, code):
    limits = Limits(10, 20_000)
    _, rows = read("jsonl", jsonl(order("a"), order("b", **change), order("c")), limits=limits)
    assert (2, column, code) in codes(rows)
    assert rows[0].order
    assert rows[2].order
    assert rows[1].raw
    msgspec.json.decode(rows[1].raw)


@pytest.mark.parametrize(
    ("cells", "column", "code"),
    [
        ("b,F1,purchase,1.5.0,1", "amount", "amount_not_a_number"),
        ('b,F1,purchase,"1,250.00",1', "amount", "amount_thousands_separator"),
        ('b,F1,purchase,"12,50",1', "amount", "amount_decimal_comma"),
        ("b,F1,purchase,,1", "amount", "amount_missing"),
        ("b,F1,purchase,1,-4", "quantity", "quantity_not_positive"),
        ("b,F1,purchase,1,2.5", "quantity", "not_whole"),
        ("b,,purchase,1,", "product_id", "missing"),
        ("b,F1,,1,", "transaction_type", "missing"),
        ("b,F1,purchase,1", "", "cell_count"),
        ("b,F1,purchase,1,1,1", "", "cell_count"),
        ('b,"F1"x,purchase,1,1', "", "malformed"),
    ],
)
def test_wrong_csv_rows(cells, column, code):
    _, rows = read("csv", f"{HEAD}a,F1,purchase,1,\r\n{cells}\r\nc,F1,purchase,1,\r\n".encode())
    assert codes(rows) == [(3, column, code)]
    assert [row.line for row in rows] == [2, 3, 4]


def test_everything_that_is_wrong_in_a_csv_row():
    _, (row,) = read("csv", f"{HEAD}café,,=x,1e3,-1\r\n".encode())
    assert [(error.column, error.code) for error in row.errors] == [
        ("quantity", "quantity_not_positive"), ("amount", "amount_float"), ("client_ref", "malformed"),
        ("product_id", "missing"), ("transaction_type", "malformed"),
    ]  # fmt: skip
    assert "ASCII" in row.errors[2].message


def test_a_malformed_line_costs_that_line_only():
    data = jsonl(*(order(f"r{n}") for n in range(998))) + b'{"clientRef": "x", \n' + jsonl(order("last"))
    _, rows = read("jsonl", data, size=4096)
    assert len(rows) == 1000
    assert codes(rows) == [(999, "", "malformed")]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"clientRef":"\xff"}', "encoding"),
        (b"[1,2]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"a":"' + b"x" * 3000 + b'"}', "row_too_long"),
        (b"clientRef,amount", "malformed"),
    ],
)
def test_lines_that_are_no_orders(line, code):
    for size in (100, 100_000):
        _, rows = read("jsonl", jsonl(order("a")) + line + b"\n" + jsonl(order("b")), size=size)
        assert refs(rows) == ["a", [code], "b"]


def test_a_line_that_is_nested_too_deeply_for_any_python():
    data = jsonl(order("a")) + b"[" * 60_000 + b"\n" + jsonl(order("b"))
    _, rows = read("jsonl", data, size=100_000, limits=Limits(10, 65_536))
    assert refs(rows) == ["a", ["nested_too_deeply"], "b"]


# -- encodings ---------------------------------------------------------------------------------------------


def test_a_file_that_turns_from_utf_8_to_windows_1252():
    head = HEAD.encode() + "a,Grün,purchase,1,\r\n".encode()
    _, rows = read("csv", head + "b,Grün,purchase,1,\r\n".encode("cp1252") + b"c,F1,purchase,1,\r\n")
    assert refs(rows) == ["a", ["encoding"], "c"]


def test_a_file_that_turns_from_windows_1252_to_utf_8():
    first = HEAD.encode() + "a,Grün,purchase,1,\r\n".encode("cp1252")
    filler = b"f,F1,purchase,1,\r\n" * 4000
    last = "z,Grün,purchase,1,\r\n".encode()
    limits = Limits(10_000, 2000)
    parser, rows = read("csv", first + filler + last, size=65_536, limits=limits)
    assert parser.detected["encoding"] == "windows-1252"
    assert refs(rows)[0] == "a"
    assert refs(rows)[-1] == ["encoding_mixed"]


def test_a_charset_that_is_given_holds():
    data = (HEAD + "a,Grün,purchase,1,\r\n").encode("latin-1")
    parser, rows = read("csv", data, charset="iso-8859-1")
    assert (parser.detected["encoding"], refs(rows)) == ("iso-8859-1", ["a"])
    with pytest.raises(Malformed, match="is not taken"):
        read("csv", data, charset="rot13")


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_utf_16_that_breaks_off(mark):
    name = "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"
    data = mark + jsonl(order("a")).decode().encode(name)
    assert refs(read("jsonl", data)[1]) == ["a"]
    with pytest.raises(Malformed, match="not utf-16"):
        read("jsonl", data + "\ud800".encode(name, "surrogatepass") + "x\n".encode(name))


# -- whole files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "data", "code"),
    [
        ("json", b"", "empty"),
        ("csv", b"", "empty"),
        ("json", b"hello", "malformed"),
        ("json", b'{"orders": 3}', "malformed"),
        ("json", b'{"order": []}', "unknown_member"),
        ("json", b"{}", "malformed"),
        ("json", b'{"orders": [], "orders": []}', "malformed"),
        ("json", b"[{} {}]", "malformed"),
        ("json", b"[{},]x", "malformed"),
        ("json", b'[{"a": 1}', "cut"),
        ("json", b'[{"a": "b', "cut"),
        ("json", b"[] []", "malformed"),
        ("json", b'["' + b"x" * 70_000, "row_too_long"),
        ("json", b'{"options": 1, "orders": []}', "options"),
        ("csv", b"client_ref,amount\n", "column_missing"),
        ("csv", HEAD.replace("quantity", "colour").encode(), "unknown_column"),
        ("csv", HEAD.replace("quantity", "type").encode(), "column_twice"),
        ("csv", HEAD.replace("quantity", "amount_minor").encode(), "column_missing"),
        ("csv", (HEAD + 'a,"F1,purchase,1,\n' + "x,F1,purchase,1,\n" * 200).encode(), "quote_open"),
        ("csv", (HEAD + 'a,"F1').encode(), "quote_open"),
        ("csv", (HEAD + "#TOTAL,x\n").encode(), "control_totals"),
        ("csv", (HEAD + "#TOTAL,1\na,F1,purchase,1,\n").encode(), "rows_after_totals"),
        ("jsonl", b'{"controlTotals": {"count": 0}}\n' + jsonl(order("a")), "rows_after_totals"),
        ("jsonl", b'{"controlTotals": {"count": "many"}}\n', "control_totals"),
        ("jsonl", b'{"controlTotals": {"amounts": {"EUR": 1.5}}}\n', "control_totals"),
        ("jsonl", b'{"controlTotals": {"amounts": {"XXQ": 1}}}\n', "control_totals"),
    ],
)
def test_files_that_cannot_be_read(kind, data, code):
    for size in (5 if len(data) < 1000 else 997, 100_000):
        with pytest.raises(Malformed) as caught:
            read(kind, data, size=size)
        assert caught.value.code == code


def test_control_totals_are_read_from_every_format():
    for kind, data in (
        ("json", b'{"controlTotals": {"count": 2, "amounts": {"EUR": "2.00"}}, "orders": []}'),
        ("jsonl", jsonl(order("a"), order("b"), {"controlTotals": {"count": 2, "amounts": {"EUR": 200}}})),
        ("csv", (HEAD + "#TOTAL,2,2.00,EUR\r\n").encode()),
    ):
        parser, _ = read(kind, data)
        assert (parser.totals.count, dict(parser.totals.amounts)) == (2, {"EUR": 200}), kind


def test_options_that_say_how_to_read_must_come_first():
    one = msgspec.json.encode(order("a")).decode()
    for text, fine in (
        (f'{{"options": {{"currency": "USD"}}, "orders": [{one}]}}', True),
        (f'{{"orders": [{one}], "options": {{"currency": "USD"}}}}', False),
        (f'{{"orders": [{one}], "options": {{"validateOnly": true}}}}', True),
    ):
        parser = make_parser("json", None, Limits(), rules=Rules(currency="EUR"))
        parser.rules_of = lambda options: Rules(currency=options.get("currency", "EUR"))
        if fine:
            rows = [*parser.feed(text.encode()), *parser.end()]
            assert rows[0].order.currency == parser.options.get("currency", "EUR")
        else:
            with pytest.raises(Malformed, match="before orders"):
                list(parser.feed(text.encode()))


@pytest.mark.parametrize(
    ("content_type", "found"),
    [
        (None, ("json", None)),
        ("application/json", ("json", None)),
        ("Application/JSON; charset=utf-8", ("json", "utf-8")),
        ("application/x-ndjson", ("jsonl", None)),
        ('text/csv; header=present; charset="ISO-8859-1"', ("csv", "ISO-8859-1")),
        ("multipart/form-data; boundary=x", (None, None)),
        ("application/pdf", (None, None)),
    ],
)
def test_content_types(content_type, found):
    assert format_of(content_type) == found
