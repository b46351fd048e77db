"""Text and ids made clean, statistics from counters, wrong settings."""

import unicodedata
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd_feedback.config import Settings
from wharfd_feedback.model import Refused, clean_id, clean_text, statistics


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  good \r\n work\r", "good \n work"),
        ("e\u0301", "é"),
        ("👩‍🚀 <b>&amp;'; DROP TABLE", "👩‍🚀 <b>&amp;'; DROP TABLE"),
        ("safe\u202etxt.exe", "safetxt.exe"),
        ("a\tb", "a\tb"),
        ("مرحبا", "مرحبا"),
    ],
)
def test_text_is_made_clean(text, cleaned):
    assert clean_text(text, 100) == cleaned


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "blank"),
        (" \n ", "blank"),
        ("\u202e", "blank"),
        ("x" * 101, "has 101 characters, at most 100"),
        ("a\0b", "U+0000"),
        ("a\x1bb", "U+001B"),
        ("a\ud800b", "U+D800"),
    ],
)
def test_text_that_is_not_taken(text, words):
    with pytest.raises(Refused, match=words.replace("+", r"\+")):
        clean_text(text, 100)


@given(st.text(max_size=60))
def test_clean_text_stays_as_it_is(text):
    try:
        once = clean_text(text, 50)
    except Refused:
        return
    assert clean_text(once, 50) == once
    assert unicodedata.is_normalized("NFC", once)
    assert 0 < len(once) <= 50


@pytest.mark.parametrize("text", ["", "x" * 201, " a", "a\n", "a\0", "a\u202eb"])
def test_ids_that_are_none(text):
    with pytest.raises(Refused):
        clean_id(text)


def test_an_id_comes_back():
    assert clean_id("insight-7 é") == "insight-7 é"


def test_statistics():
    counted = dict.fromkeys(("comments", "inaccurate", "misleading", "spam"), 0)
    counted |= {f"rating_{n}": n for n in range(1, 6)}
    shown = statistics("i", counted | {"spam": 2, "comments": 4})
    assert shown["total_ratings"] == 15
    assert shown["average_rating"] == round(55 / 15, 4)
    assert shown["rating_distribution"] == {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5}
    assert (shown["total_comments"], shown["total_flags"], shown["flag_types"]) == (4, 2, {"spam": 2})
    nothing = statistics("i", dict.fromkeys(counted, 0))
    assert (nothing["average_rating"], nothing["total_ratings"]) == (0.0, 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Settings(max_comment=0), "max_comment: "),
        (lambda: Settings(changes_per_user=0), "changes_per_minute: "),
        (lambda: Settings(keep=timedelta(hours=1)), "keep: "),
    ],
)
def test_wrong_settings_say_which(make, words):
    with pytest.raises(ValueError, match=words):
        make()
