"""The arithmetic of rate limits, and the limiter without Redis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd.ratelimit import Rate, RateLimiter
from wharfd.ratelimit.memory import MemoryBudgets
from wharfd.ratelimit.verdict import Budget


class Now:
    """A clock for arithmetic."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


rates = st.builds(Rate, st.integers(1, 50), st.floats(0.01, 1000, allow_nan=False))


@given(rates, st.lists(st.tuples(st.floats(0, 2), st.integers(1, 50)), max_size=80))
def test_no_stretch_of_time_admits_more_than_the_burst_and_the_rate(rate, steps):
    now = Now()
    budgets = MemoryBudgets(10, now)
    budget = Budget.of(rate)
    admitted = []
    for pause, cost in steps:
        now.seconds += pause * rate.seconds / 4
        if cost <= rate.calls and budgets.take(b"k", budget, cost)[0]:
            admitted.append((now.seconds, cost))
    for first in range(len(admitted)):
        total = 0
        for last in range(first, len(admitted)):
            total += admitted[last][1]
            stretch = admitted[last][0] - admitted[first][0]
            # one microsecond of rounding of each of the two times
            assert total <= rate.calls + (stretch * 1e6 + 2) / budget.interval


@given(rates, st.integers(1, 50))
def test_a_refused_call_passes_after_the_time_it_was_told(rate, cost):
    cost = min(cost, rate.calls)
    now = Now()
    budgets = MemoryBudgets(10, now)
    budget = Budget.of(rate)
    while (taken := budgets.take(b"k", budget, cost))[0]:
        pass
    verdict = budget.verdict(*taken, cost, source="memory")
    assert not verdict.allowed
    assert 0 < verdict.reset_seconds <= budget.window / 1e6
    assert verdict.remaining < cost
    now.seconds += verdict.reset_seconds + 2e-6
    assert budgets.take(b"k", budget, cost)[0]


@given(rates)
def test_exactly_the_calls_come_at_once(rate):
    budgets = MemoryBudgets(10, Now())
    budget = Budget.of(rate)
    taken = [budgets.take(b"k", budget, 1)[0] for _ in range(rate.calls + 1)]
    assert taken == [True] * rate.calls + [False]


async def test_a_verdict_says_where_the_caller_stands():
    limiter = RateLimiter(None, namespace="t", now=Now())
    rate = Rate(10, 60)
    verdict = await limiter.take("n", "k", rate, cost=4)
    assert (verdict.allowed, verdict.remaining, verdict.limit) == (True, 6, 10)
    assert (verdict.window, verdict.window_seconds, verdict.reset_seconds) == (60, 60, 24)
    assert (verdict.source, verdict.degraded) == ("memory", False)
    refused = await limiter.take("n", "k", rate, cost=7)
    assert (refused.allowed, refused.remaining, refused.reset_seconds) == (False, 6, 6)
    assert (await limiter.take("n", "k", rate, cost=0)).remaining == 6
    assert (await limiter.take("n", "other", rate)).remaining == 9
    assert (await limiter.take("other", "k", rate)).remaining == 9
    assert (await limiter.named("plugin").take("n", "k", rate)).remaining == 9


async def test_a_cost_that_can_never_be_met_is_an_error():
    limiter = RateLimiter(None, namespace="t")
    for cost in (11, -1):
        with pytest.raises(ValueError, match="can never be met"):
            await limiter.take("n", "k", Rate(10, 60), cost=cost)
    with pytest.raises(ValueError, match="database"):
        await limiter.take("n", "k", Rate(10, 60), durable=True)


async def test_memory_is_bounded():
    limiter = RateLimiter(None, namespace="t", max_keys=100, now=Now())
    await limiter.take("n", "first", Rate(10, 60))
    for number in range(1000):
        await limiter.take("n", str(number), Rate(10, 60))
        await limiter.take("n", "busy", Rate(2000, 60))
    assert len(limiter._own) <= 100
    assert (await limiter.take("n", "busy", Rate(2000, 60))).remaining == 999
    assert (await limiter.take("n", "first", Rate(10, 60))).remaining == 9, "forgotten, longest untouched"


async def test_budgets_that_are_whole_make_room():
    now = Now()
    limiter = RateLimiter(None, namespace="t", now=now)
    for number in range(50):
        await limiter.take("n", str(number), Rate(10, 60))
    now.seconds += 3600
    for number in range(100):
        await limiter.take("n", f"new {number}", Rate(10, 60))
    assert len(limiter._own) == 100
