"""How a key is written: every key parses, and nothing that was mistyped or cut does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd_integrations.model.key_text import (
    LONGEST,
    checksum,
    make_key,
    make_secret,
    parse_key,
    parse_public,
)

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-. "


@given(st.sampled_from(["live", "test"]))
def test_a_made_key_parses_to_itself(mode):
    key = make_key(mode)
    assert parse_key(key.text) == key
    assert key.text.startswith(f"whk_{mode}_{key.short}_")
    assert len(key.text) == len("whk_live_") + 10 + 1 + 43 + 6 <= LONGEST
    assert parse_public(key.public) == (mode, key.short)
    assert key.text not in repr(key)


@given(st.data())
def test_a_key_with_any_character_changed_is_refused(data):
    text = make_key("live").text
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([c for c in CHARACTERS if c != text[place]]))
    assert parse_key(text[:place] + other + text[place + 1 :]) is None


@given(st.data())
def test_a_key_that_was_cut_or_doubled_or_swapped_is_refused(data):
    text = make_key("live").text
    cut = data.draw(st.integers(0, len(text) - 1))
    assert parse_key(text[:cut]) is None
    assert parse_key(text + text[cut]) is None
    place = data.draw(st.integers(0, len(text) - 2))
    if text[place] != text[place + 1]:
        assert parse_key(text[:place] + text[place + 1] + text[place] + text[place + 2 :]) is None


@given(st.text(max_size=200))
def test_other_text_is_refused_without_raising(text):
    assert parse_key(text) is None


@pytest.mark.parametrize("around", ["{}\n", " {}", "{} ", "\n{}", "{}\0"])
def test_blanks_around_a_key_are_not_forgiven(around):
    assert parse_key(around.format(make_key("live").text)) is None


def test_the_checksum_is_the_published_one():
    # Anybody can recompute it: CRC-32 of "123456789" is 0xCBF43926, in base 62 with digits, capitals, small.
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number = 0
    for character in checksum("123456789"):
        number = number * 62 + digits.index(character)
    assert number == 0xCBF43926


def test_keys_and_secrets_do_not_repeat():
    keys = [make_key("live") for _ in range(2000)]
    assert len({key.short for key in keys}) == len({key.text for key in keys}) == 2000
    assert len({make_secret() for _ in range(2000)}) == 2000


@pytest.mark.parametrize(
    "text", ["whk_live_", "whk_prod_0123456789", "whk_live_01234567l9", "whk_live_0123456789_x"]
)
def test_what_is_no_public_part(text):
    assert parse_public(text) is None
