"""Status, gates, rates, options, cells: the pure rules."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd_orders.executing.breaker import Breaker
from wharfd_orders.model.columns import escape, map_header, snake, unescape
from wharfd_orders.model.flow import allowance
from wharfd_orders.model.gate import Steering, Window, gate_of
from wharfd_orders.model.options import BadOption, lane_of, read_options
from wharfd_orders.model.state import STATES, Counts
from wharfd_orders.pace import Rates

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ({"ready": 3}, "pending"),
        ({"waiting": 3, "skipped": 1}, "pending"),
        ({"ready": 2, "running": 1}, "processing"),
        ({"ready": 2, "done": 1}, "processing"),
        ({"held": 1, "done": 9}, "processing"),
        ({"done": 3}, "completed"),
        ({"done": 2, "duplicate": 1}, "completed"),
        ({"duplicate": 3}, "completed"),
        ({"buried": 3}, "failed"),
        ({"buried": 1, "skipped": 2}, "failed"),
        ({"done": 2, "buried": 1}, "partial"),
        ({"done": 2, "skipped": 1}, "partial"),
        ({"duplicate": 2, "buried": 1}, "partial"),
        ({"done": 2, "cancelled": 1}, "cancelled"),
        ({"cancelled": 3}, "cancelled"),
    ],
)
def test_the_status_of_a_batch(rows, status):
    assert Counts(rows).status == status


@given(st.dictionaries(st.sampled_from(STATES), st.integers(0, 50)))
def test_counts_add_up_whatever_they_are(rows):
    counts = Counts(rows)
    assert counts.total == sum(rows.values())
    assert counts.processed + counts.open + counts.cancelled == counts.total
    assert counts.succeeded + counts.failed + counts.duplicates == counts.processed
    assert (counts.status in ("pending", "processing")) == (counts.open > 0)


@pytest.mark.parametrize(
    ("steering", "phase"),
    [
        (Steering(), "running"),
        (Steering(needs_approval=True), "awaiting_approval"),
        (Steering(needs_approval=True, approved=True), "running"),
        (Steering(paused=True), "paused"),
        (Steering(paused=True, cancelled=True), "cancelling"),
        (Steering(start_at=NOON + timedelta(seconds=1)), "scheduled"),
        (Steering(start_at=NOON), "running"),
    ],
)
def test_gates(steering, phase):
    gate = gate_of(steering, Window(), NOON)
    assert (gate.phase, gate.open) == (phase, phase == "running")


@pytest.mark.parametrize(
    ("opens", "closes", "hour", "open_now", "next_hour"),
    [(6, 15, 12, True, None), (6, 15, 15, False, 6), (6, 15, 5, False, 6), (22, 4, 23, True, None),
     (22, 4, 3, True, None), (22, 4, 4, False, 22), (6, 6, 1, True, None)],
)  # fmt: skip
def test_cut_off(opens, closes, hour, open_now, next_hour):
    window, now = Window(time(opens), time(closes)), NOON.replace(hour=hour)
    gate = gate_of(Steering(), window, now)
    assert gate.open is open_now
    if next_hour is not None:
        assert gate.phase == "after_cut_off"
        assert gate.until.hour == next_hour
        assert timedelta(0) < gate.until - now <= timedelta(days=1)


@given(st.floats(0.01, 1000), st.lists(st.floats(0.001, 30), min_size=1, max_size=40))
def test_a_rate_is_never_exceeded(rate, pauses):
    """Over any run of pauses: at most the rate times the time, and one burst on top."""
    left = 0.0
    released = []
    for pause in pauses:
        count, left = allowance(rate, left + pause)
        released.append(count)
    for first in range(len(pauses)):
        for last in range(first, len(pauses)):
            seconds = sum(pauses[first + 1 : last + 1])
            assert sum(released[first : last + 1]) <= rate * seconds + max(rate, 1.0) + 1e-6


def test_a_steady_rate_is_reached():
    left, total = 0.0, 0
    for _ in range(1000):
        count, left = allowance(7.0, left + 0.1)
        total += count
    assert 698 <= total <= 700


def test_options():
    options = read_options(
        {"onInvalid": "skip_rows", "dry_run": "true", "max_per_second": "2.5"}, {"stopOnError": True}
    )
    assert (options.on_invalid, options.validate_only, options.max_per_second, options.stop_on_error) == (
        "skip_rows", True, 2.5, True,
    )  # fmt: skip
    for query, body, name in (
        ({"onInvalid": "maybe"}, {}, "onInvalid"),
        ({"exekutor": "x"}, {}, "exekutor"),
        ({"maxPerSecond": "0"}, {}, "maxPerSecond"),
        ({"maxPerSecond": "fast"}, {}, "maxPerSecond"),
        ({"startAt": "2026-11-20T15:00:00"}, {}, "startAt"),
        ({"priority": "-1"}, {}, "priority"),
        ({"currency": "EURO"}, {}, "currency"),
        ({"fifo": "true"}, {"fifo": False}, "fifo"),
        ({}, {"validateOnly": "perhaps"}, "validateOnly"),
    ):
        with pytest.raises(BadOption) as caught:
            read_options(query, body)
        assert caught.value.name == name


def test_lanes():
    assert lane_of(transactional=True, fifo=False) == "bulk"
    assert lane_of(transactional=False, fifo=True) == "call_fifo"


@pytest.mark.parametrize("header", ["Client Ref", "clientRef", "client-ref", " CLIENT_REF ", "client ref."])
def test_headers_in_any_spelling(header):
    assert snake(header) == "client_ref"


def test_header_problems_are_all_told():
    columns, errors = map_header(["client_ref", "produkt", "amount"], {}, keep_unknown=False)
    assert columns == ["client_ref", None, "amount"]
    assert [(e.column, e.code) for e in errors] == [
        ("produkt", "unknown_column"), ("product_id", "column_missing"), ("transaction_type", "column_missing"),
    ]  # fmt: skip
    assert "did you mean product_id" in errors[0].message
    columns, errors = map_header(
        ["produkt", "type", "amount", "shop"], {"produkt": "product_id"}, keep_unknown=True
    )
    assert (columns, errors) == (["product_id", "transaction_type", "amount", "data:shop"], [])


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("'=1", "''=1"),
        ("-12.50", "-12.50"),
        ("12", "12"),
        ("plain", "plain"),
        ("'quoted", "'quoted"),
        ("", ""),
    ],
)
def test_cells_are_safe_for_spreadsheets_and_read_back(cell, safe):
    assert escape(cell) == safe
    assert unescape(safe) == cell


@given(st.text())
def test_any_cell_reads_back(cell):
    assert unescape(escape(cell)) == cell


def test_the_breaker():
    now = [0.0]
    breaker = Breaker(3, 10, lambda: now[0])
    for _ in range(2):
        breaker.failed()
    assert breaker.wait_seconds() == 0
    breaker.failed()
    assert breaker.wait_seconds() == 10
    now[0] = 10.0
    assert breaker.wait_seconds() == 0  # one probe …
    assert breaker.wait_seconds() == 10  # … and the others wait
    breaker.succeeded()
    assert (breaker.open, breaker.wait_seconds()) == (False, 0)


def test_pace_follows_the_last_half_minute():
    rates = Rates()
    assert rates.note(1, 0.0, 0, 100, None).eta_seconds is None
    assert rates.note(1, 0.1, 0, 100, 5.0).per_second == 5.0
    pace = rates.note(1, 10.0, 50, 50, 1.0)
    assert (pace.per_second, pace.eta_seconds) == (5.0, 10.0)
    assert rates.note(1, 20.0, 100, 0, None).eta_seconds == 0.0
