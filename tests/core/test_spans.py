"""Spans of time: read as operators write them, told as sentences have them."""

import argparse
from datetime import timedelta

import pytest

from wharfd import read_span, seconds_of, span_words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1.5h", 5400), ("30 d", 2_592_000), ("250ms", 0.25), ("2w", 1_209_600)],
)
def test_what_is_read(text, seconds):
    assert read_span(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["90", "d", "1y", "-1d", "2 hours", "", "9999999999s", "999999999w"])
def test_what_is_no_span_is_told(text):
    with pytest.raises(ValueError, match=r"write it like|longer than can be counted"):
        read_span(text)
    with pytest.raises(argparse.ArgumentTypeError, match="is not a duration"):
        seconds_of(text)


def test_an_option_has_an_end():
    assert seconds_of("36500d") == 36500 * 86_400
    with pytest.raises(argparse.ArgumentTypeError, match="longer than a hundred years"):
        seconds_of("36501d")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (90, "1.5 minutes"),
        (3600, "1 hour"),
        (6000, "1.67 hours"),
        (432_000, "5 days"),
    ],
)
def test_what_is_said(seconds, words):
    assert span_words(timedelta(seconds=seconds)) == words
