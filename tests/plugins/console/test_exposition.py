"""The course of the figures, from the daemon's own metrics text."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from wharfd import quantile
from wharfd_console.exposition import between, read


def test_a_reading_sums_what_belongs_together():
    registry = CollectorRegistry()
    answers = Counter("wharfd_ingest_answers_total", "x", ["source", "status"], registry=registry)
    requests = Counter("wharfd_http_requests_total", "x", ["route", "status"], registry=registry)
    seconds = Histogram("wharfd_ingest_answer_seconds", "x", ["source"], buckets=(0.1, 1), registry=registry)
    Gauge("wharfd_loop_lag_seconds", "x", registry=registry).set(0.25)
    Gauge("wharfd_loop_lag_seconds_of_somebody_else", "x", registry=registry).set(9)
    answers.labels('a"b\\', "200").inc(3)
    answers.labels("other", "202").inc(2)
    answers.labels("other", "401").inc(1)
    requests.labels("/", "200").inc(7)
    requests.labels("/", "503").inc(2)
    seconds.labels("a").observe(0.05)
    seconds.labels("b").observe(0.5)
    found = read(generate_latest(registry).decode())
    assert (found.accepted, found.refused, found.requests, found.errors, found.lag) == (5, 1, 9, 2, 0.25)
    assert found.answer_buckets == {0.1: 1, 1.0: 2, float("inf"): 2}


def test_an_empty_text_is_all_zero():
    assert read("").accepted == 0


def test_counters_that_began_anew_count_from_zero():
    assert between({0.1: 5.0, 1.0: 9.0}, {0.1: 6.0, 1.0: 12.0}) == {0.1: 1.0, 1.0: 3.0}
    assert between({0.1: 5.0}, {0.1: 2.0}) == {0.1: 2.0}


INF = float("inf")


@pytest.mark.parametrize(
    ("buckets", "share", "value"),
    [
        ({}, 0.5, None),
        ({1.0: 0.0, INF: 0.0}, 0.5, None),
        ({1.0: 10.0, INF: 10.0}, 0.5, 0.5),
        ({1.0: 0.0, 2.0: 10.0, INF: 10.0}, 0.5, 1.5),
        ({1.0: 0.0, INF: 10.0}, 0.99, 1.0),
    ],
)
def test_quantiles(buckets, share, value):
    assert quantile(buckets, share) == value
