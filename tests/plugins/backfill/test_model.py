"""Reports: what they change, what they cannot, and the speed that follows from them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd_backfill.model import Conflicting, Impossible, Job, Report, apply, is_stale, percentage

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
JOB = Job(100, 200, 100, "running", 0.0, None, None, NOON, 1)


def later(seconds):
    return NOON + timedelta(seconds=seconds)


def test_progress_speed_and_estimate():
    job = apply(JOB, Report(current_block=120), later(10))
    assert (job.progress, job.speed, job.version) == (20.0, 2.0, 2)
    assert job.estimated == later(10) + timedelta(seconds=40)
    job = apply(job, Report(current_block=160), later(20))
    assert job.speed == pytest.approx(0.7 * 2 + 0.3 * 4)
    assert apply(job, Report(estimated=later(99)), later(30)).estimated == later(99)


def test_a_pause_is_not_slowness():
    job = apply(JOB, Report(current_block=120), later(10))
    paused = apply(job, Report(status="paused"), later(20))
    assert paused.estimated is None
    resumed = apply(paused, Report(status="running"), later(5000))
    assert resumed.speed == job.speed
    assert apply(resumed, Report(current_block=140), later(5010)).speed == pytest.approx(2.0)


@pytest.mark.parametrize(
    "report",
    [Report(current_block=201), Report(current_block=99), Report(progress=100.5), Report(progress=-1)],
)
def test_the_impossible(report):
    with pytest.raises(Impossible):
        apply(JOB, report, later(1))


@pytest.mark.parametrize(
    ("change", "report"),
    [
        ({}, Report(version=2)),
        ({"current_block": 150}, Report(current_block=149)),
        ({"progress": 50.0}, Report(progress=49.9)),
        ({"status": "completed"}, Report(status="running")),
        ({"status": "completed", "current_block": 200}, Report(current_block=150)),
        ({"status": "failed"}, Report(status="completed")),
        ({"status": "failed"}, Report(status="paused")),
    ],
)
def test_conflicts(change, report):
    with pytest.raises(Conflicting):
        apply(replace(JOB, **change), report, later(1))


def test_ends():
    done = apply(JOB, Report(status="completed"), later(1))
    assert (done.progress, done.current_block, done.estimated) == (100.0, 200, None)
    assert apply(done, Report(status="completed"), later(2)) is done
    failed = apply(JOB, Report(status="failed", error="boom"), later(1))
    assert failed.error == "boom"
    again = apply(failed, Report(status="running"), later(2))
    assert (again.status, again.error) == ("running", None)


@given(st.lists(st.tuples(st.integers(90, 210), st.sampled_from([None, "running", "paused"])), max_size=30))
def test_progress_is_monotonic_whatever_is_reported(reports):
    job = JOB
    for seconds, (block, status) in enumerate(reports):
        try:
            after = apply(job, Report(current_block=block, status=status), later(seconds))
        except (Impossible, Conflicting):
            continue
        assert after.current_block >= job.current_block
        assert after.progress >= job.progress
        assert after.version == job.version + 1
        assert after.speed is None or after.speed >= 0
        job = after
    assert 0 <= job.progress <= 100


def test_ranges_of_one_block():
    assert percentage(5, 5, 5) == 0.0
    one = Job(5, 5, 5, "running", 0.0, None, None, NOON, 1)
    assert apply(one, Report(status="completed"), later(1)).progress == 100.0


def test_stale():
    after = timedelta(minutes=15)
    assert not is_stale("running", NOON, NOON + after, after)
    assert is_stale("running", NOON, NOON + after + timedelta(seconds=1), after)
    assert not is_stale("paused", NOON, NOON + 10 * after, after)
