"""The statement histogram: small, bounded, honest within one step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wharfd.db.queries import rows_affected
from wharfd.db.statistics import Counter, Statistics, slot_of, upper_seconds

STEP = 2 ** (1 / 4)


@given(st.floats(min_value=2e-6, max_value=130))
def test_a_duration_lies_in_its_slot(seconds):
    upper = upper_seconds(slot_of(seconds))
    assert upper / STEP * 0.999 <= seconds <= upper * 1.001


@given(st.floats(min_value=0, max_value=1e9))
def test_every_duration_has_a_slot(seconds):
    assert 0 <= slot_of(seconds) < 108


@given(
    st.lists(st.floats(min_value=1e-5, max_value=60), min_size=1, max_size=200),
    st.sampled_from([0.5, 0.95, 0.99]),
)
def test_percentiles_are_within_a_step_of_the_true_ones(durations, share):
    counter = Counter()
    for seconds in durations:
        counter.add(seconds, 1, failed=False)
    ordered = sorted(durations)
    index = next(i for i in range(len(ordered)) if i + 1 >= share * len(ordered))
    assert ordered[index] / 1.001 <= counter.percentile(share) * 1.001
    assert counter.percentile(share) <= ordered[index] * STEP * 1.001


def test_names_are_bounded():
    statistics = Statistics(slow_seconds=10)
    for number in range(2100):
        statistics.record(f"n{number}", 0.001, 1)
    shown = statistics.statements()
    assert len(shown) == 2001
    assert sum(s.count for s in shown) == 2100
    statistics.clear()
    assert statistics.statements() == []


def test_row_counts_of_command_tags():
    assert [rows_affected(t) for t in ("INSERT 0 3", "UPDATE 7", "CREATE TABLE", "COPY 12", "SELECT 1")] == [
        3,
        7,
        0,
        12,
        1,
    ]
