"""Minor units are exact or say that they are not."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd_netbanx.model.money import MAX_MINOR, convert, exponent, format_minor, to_minor


@pytest.mark.parametrize(
    ("value", "currency", "amount", "exact"),
    [
        (10.1, "EUR", 1010, True),
        (10.105, "EUR", 1010, False),
        (10.115, "EUR", 1012, False),
        (0.1 + 0.2, "EUR", 30, False),
        (19.99, "usd", 1999, True),
        (500.0, "JPY", 500, True),
        (500.5, "JPY", 500, False),
        (1.234, "KWD", 1234, True),
        (1.2345, "CLF", 12345, True),
        (-3.3, "GBP", -330, True),
        (0.0, "EUR", 0, True),
        (1e15, "EUR", 10**17, False),
        ("12.30", "EUR", 1230, True),
        (Decimal("12.345"), "EUR", 1234, False),
        (7, "EUR", 700, True),
    ],
)
def test_conversion(value, currency, amount, exact):
    found = convert(value, currency)
    assert (found.amount, found.exact, found.currency) == (amount, exact, currency.upper())
    assert bool(found.remark) is not exact


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "x", "", True, "1e999999999", 10**19, None, "1e30", Decimal("sNaN")]
)
def test_what_is_no_amount(value):
    with pytest.raises(ValueError, match=r"is no amount"):
        convert(value, "EUR")


@pytest.mark.parametrize("currency", ["XXX", "EURO", "", "E"])
def test_what_is_no_currency(currency):
    with pytest.raises(ValueError, match="not in ISO 4217"):
        exponent(currency)


def test_only_exact_amounts_convert_silently():
    assert to_minor("10.50", "EUR") == 1050
    with pytest.raises(ValueError, match="more than 2 decimals"):
        to_minor("10.505", "EUR")


@given(st.integers(-MAX_MINOR // 10**4, MAX_MINOR // 10**4), st.sampled_from(["EUR", "JPY", "KWD", "CLF"]))
def test_there_and_back(amount, currency):
    assert to_minor(format_minor(amount, currency), currency) == amount


@given(st.integers(-(10**12), 10**12))
def test_every_float_of_two_decimals_is_exact(cents):
    found = convert(cents / 100, "EUR")
    assert (found.amount, found.exact) == (cents, True)
