"""How an outcome turns into what is written to the row; delays; words for failures. No database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd.declare import Retry
from wharfd.errors import DatabaseUnavailable, Overloaded, ServiceUnavailable
from wharfd.work import Again, Bury, Cancel, Done, Hold, RetryAfter, Snooze
from wharfd.work.outcomes import Verdict, handed_back, judge, single
from wharfd.work.retry import delay_seconds, told

RETRY = Retry(attempts=3, delays=(1, 5), jitter=0)
LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("end", "verdict"),
    [
        (None, Verdict("done", 2)),
        (Done(), Verdict("done", 2)),
        ({"anything": "else"}, Verdict("done", 2)),
        (RetryAfter(7, "busy"), Verdict("ready", 2, 7.0, error="busy", note=True)),
        (RetryAfter(-1, "past"), Verdict("ready", 2, 0.0, error="past", note=True)),
        (Snooze(9), Verdict("ready", 1, 9.0)),
        (Snooze(until=LATER), Verdict("ready", 1, until=LATER)),
        (Again(LATER), Verdict("ready", 0, until=LATER)),
        (Bury("no"), Verdict("buried", 2, error="no", note=True)),
        (Hold("off"), Verdict("held", 1, error="off")),
        (Cancel(), Verdict("cancelled", 2)),
        (ValueError("bad"), Verdict("ready", 2, 5.0, error="ValueError: bad", note=True)),
        (SystemExit(3), Verdict("ready", 2, 5.0, error="SystemExit: 3", note=True)),
        (Overloaded("full", retry_after=4), Verdict("ready", 1, 4, error="Overloaded: full")),
    ],
)
def test_what_an_outcome_does_to_the_row(end, verdict):
    assert judge(end, 2, RETRY) == verdict


@pytest.mark.parametrize("end", [ValueError("bad"), RetryAfter(1, "bad")])
def test_the_last_attempt_buries(end):
    verdict = judge(end, 3, RETRY)
    assert (verdict.state, verdict.note) == ("buried", True)
    assert "bad" in verdict.error


@pytest.mark.parametrize("error", [ServiceUnavailable(), DatabaseUnavailable("away")])
def test_what_is_away_costs_no_attempt_even_the_last_time(error):
    verdict = judge(error, 3, RETRY)
    assert (verdict.state, verdict.attempts, verdict.note) == ("ready", 2, False)
    assert verdict.delay > 0


def test_handing_back_costs_nothing_and_changes_no_time():
    assert handed_back(1) == Verdict("ready", 0)


def test_times_are_utc_and_must_carry_a_zone():
    zone = timezone(timedelta(hours=2))
    assert Snooze(until=datetime(2030, 1, 1, 2, tzinfo=zone)).until == LATER
    with pytest.raises(ValueError, match="time zone"):
        Snooze(until=datetime(2030, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="one of them"):
        Snooze()


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=8),
    st.floats(0, 0.99),
    st.integers(-2, 100),
)
def test_a_delay_is_that_of_its_attempt_within_its_jitter(delays, jitter, attempt):
    retry = Retry(delays=tuple(delays), jitter=jitter)
    planned = delays[min(max(attempt, 1), len(delays)) - 1]
    found = delay_seconds(retry, attempt)
    assert planned * (1 - jitter) - 1e-6 <= found <= planned * (1 + jitter) + 1e-6


@given(st.text())
def test_a_failure_is_told_in_what_a_text_column_holds(text):
    found = told(ValueError(text))
    assert "\x00" not in found
    assert len(found) <= 2000
    found.encode()


def test_an_error_that_cannot_be_shown_is_still_told():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    assert told(Mute()) == "Mute: its message cannot be shown"
    assert told(ValueError()) == "ValueError"
    assert told("lone \ud800 surrogate").encode()


def test_one_exception_comes_out_of_its_groups():
    leaf = RetryAfter(3)
    assert single(ExceptionGroup("a", [ExceptionGroup("b", [leaf])])) is leaf
    pair = ExceptionGroup("c", [ValueError(), KeyError()])
    assert single(pair) is pair
