"""Money: what is taken, what it means, and what is said about the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd_orders.model.money import (
    EXPONENTS,
    LARGEST,
    WrongAmount,
    minor_of_minor_text,
    minor_of_number,
    minor_of_text,
    text_of_minor,
)


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("12.50", "EUR", 1250),
        ("12.5", "EUR", 1250),
        ("12", "EUR", 1200),
        (" 12.00 ", "EUR", 1200),
        ("0.01", "EUR", 1),
        ("12.500", "EUR", 1250),  # more digits, but no more than zeros
        ("1250", "JPY", 1250),
        ("1250.0", "JPY", 1250),
        ("1.234", "KWD", 1234),
        ("007", "INR", 700),
    ],
)
def test_text_is_in_major_units(text, currency, minor):
    assert minor_of_text(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1,250.00", "amount_thousands_separator"),
        ("1.250,00", "amount_thousands_separator"),
        ("1,250", "amount_thousands_separator"),
        ("1'250.00", "amount_thousands_separator"),
        ("1 250.00", "amount_thousands_separator"),
        ("1\u202f250.00", "amount_thousands_separator"),
        ("1,25,000.00", "amount_thousands_separator"),
        ("12,50", "amount_decimal_comma"),
        ("1e3", "amount_float"),
        ("1.2e+10", "amount_float"),
        ("12.345", "amount_precision"),
        ("-5", "amount_not_positive"),
        ("0", "amount_not_positive"),
        ("0.00", "amount_not_positive"),
        ("EUR 12", "amount_not_a_number"),
        ("12€", "amount_not_a_number"),
        ("٣", "amount_not_a_number"),
        ("+5", "amount_not_a_number"),
        (".5", "amount_not_a_number"),
        ("5.", "amount_not_a_number"),
        ("NaN", "amount_not_a_number"),
        ("", "amount_missing"),
        ("-", "amount_missing"),
        ("99999999999999.99", "amount_too_large"),
    ],
)
def test_what_could_be_read_two_ways_is_refused(text, code):
    with pytest.raises(WrongAmount) as caught:
        minor_of_text(text, "EUR")
    assert caught.value.code == code
    assert str(caught.value)


@pytest.mark.parametrize(
    ("value", "unit", "minor"),
    [(1250, "minor", 1250), (1250, "major", 125000), ("12.50", "minor", 1250), ("12.50", "major", 1250)],
)
def test_json_values(value, unit, minor):
    assert minor_of_number(value, "EUR", unit=unit) == minor


@pytest.mark.parametrize("value", [12.5, 12.0, 1e3, float("inf")])
def test_floats_are_refused_even_when_they_look_whole(value):
    with pytest.raises(WrongAmount) as caught:
        minor_of_number(value, "EUR")
    assert caught.value.code == "amount_float"


@pytest.mark.parametrize("value", [True, None, [], {}])
def test_other_json_values_are_no_amounts(value):
    with pytest.raises(WrongAmount) as caught:
        minor_of_number(value, "EUR")
    assert caught.value.code == "amount_not_a_number"


def test_minor_text():
    assert minor_of_minor_text("1250") == 1250
    for text, code in (
        ("12.50", "amount_float"),
        ("1,250", "amount_thousands_separator"),
        ("-1", "amount_not_positive"),
    ):
        with pytest.raises(WrongAmount) as caught:
            minor_of_minor_text(text)
        assert caught.value.code == code


@given(st.integers(1, LARGEST), st.sampled_from(sorted(EXPONENTS)))
def test_what_is_written_reads_back(minor, currency):
    assert minor_of_text(text_of_minor(minor, currency), currency) == minor
