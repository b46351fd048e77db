"""Sketches against exact percentiles, the planner against every instant, what a point may be."""

import math
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

from wharfd import Sample
from wharfd.contracts.metrics import MetricPoint
from wharfd_metrics.checking import Point, decode_points, problem_with, utc
from wharfd_metrics.config import Otlp, Settings
from wharfd_metrics.planning import DAY, HOUR, buckets_in, ceiling, floor, plan
from wharfd_metrics.sinks import encode
from wharfd_metrics.sketch import MOST_BUCKETS, RELATIVE_ERROR, Summary
from wharfd_metrics.telemetry import points_of, unit_of

T0 = datetime(2026, 11, 10, 12, 30, tzinfo=UTC)
LATE = timedelta(days=7)

size = st.floats(min_value=1e-8, max_value=1e8)
values = st.lists(st.one_of(size, size.map(lambda v: -v), st.just(0.0)), min_size=1, max_size=200)
shares = st.floats(min_value=0, max_value=1)


def exact(numbers, share):
    return sorted(numbers)[math.floor(share * (len(numbers) - 1))]


def close(estimate, true):
    return abs(estimate - true) <= RELATIVE_ERROR * abs(true) * (1 + 1e-9)


@given(values, shares)
def test_a_quantile_is_within_one_percent_of_the_exact_one(numbers, share):
    assert close(Summary.of(numbers).quantile(share), exact(numbers, share))


@given(st.lists(values, min_size=1, max_size=6), shares)
def test_merging_is_the_same_as_having_seen_everything(parts, share):
    merged = Summary()
    for part in parts:
        summary = Summary.of(part)
        merged.merge(Summary.stored(summary.count, summary.sum, summary.min, summary.max, summary.sketch()))
    everything = [number for part in parts for number in part]
    whole = Summary.of(everything)
    assert (merged.count, merged.min, merged.max) == (whole.count, whole.min, whole.max)
    assert merged.buckets == whole.buckets
    assert math.isclose(merged.sum, whole.sum, rel_tol=1e-9, abs_tol=1e-3)
    assert close(merged.quantile(share), exact(everything, share))


def test_known_percentiles():
    summary = Summary.of(float(n) for n in range(1, 10001))
    for share, true in ((0.5, 5000), (0.95, 9500), (0.99, 9900)):
        assert summary.quantile(share) == pytest.approx(true, rel=RELATIVE_ERROR)
    assert (summary.quantile(0), summary.quantile(1)) == (1.0, 10000.0)


def test_a_sketch_stays_small_whatever_it_sees():
    summary = Summary.of(10.0 ** (n / 50) for n in range(-7000, 7000))
    assert len(summary.buckets.above) <= MOST_BUCKETS
    assert sum(summary.buckets.above.values()) == summary.count == 14000
    assert close(summary.quantile(0.99), 10.0 ** ((-7000 + math.floor(0.99 * 13999)) / 50))
    assert len(summary.sketch()) < 20_000


def test_nothing_has_no_quantiles():
    with pytest.raises(ValueError, match="nothing has no quantiles"):
        Summary().quantile(0.5)


times = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001


@given(times, times, st.sampled_from(["hour", "day"]))
def test_a_plan_covers_the_range_once(one, other, interval):
    start, end = min(one, other), max(one, other)
    segments = plan(start, end, interval, datetime(2000, 1, 1, tzinfo=UTC))
    if start == end:
        assert segments == []
        return
    assert (segments[0].start, segments[-1].end) == (start, end)
    for before, after in pairwise(segments):
        assert before.end == after.start
        assert before.source != after.source
    for segment in segments:
        assert segment.start < segment.end
        if segment.source != "raw":
            assert floor(segment.start, segment.source) == segment.start
            assert floor(segment.end, segment.source) == segment.end
        else:
            assert segment.end - segment.start < 2 * HOUR
    if interval == "day":
        assert sum((s.end - s.start for s in segments if s.source == "hour"), timedelta()) < 2 * DAY
    else:
        assert all(s.source != "day" for s in segments)


@given(times, times)
def test_a_plan_reads_no_points_that_are_gone(one, other):
    start, end = min(one, other), max(one, other)
    segments = plan(start, end, "hour", datetime(2030, 1, 1, tzinfo=UTC))
    assert all(segment.source == "hour" for segment in segments)


@pytest.mark.parametrize(
    ("start", "end", "interval", "sources"),
    [
        (T0, T0 + HOUR * 3, "hour", ["raw", "hour", "raw"]),
        (T0, T0 + timedelta(minutes=5), "hour", ["raw"]),
        (floor(T0, "hour"), floor(T0, "hour") + 5 * HOUR, "hour", ["hour"]),
        (floor(T0, "day"), floor(T0, "day") + 5 * DAY, "day", ["day"]),
        (T0, T0 + 5 * DAY, "day", ["raw", "hour", "day", "hour", "raw"]),
        (T0, T0 + 2 * HOUR, "day", ["raw", "hour", "raw"]),
    ],
)
def test_which_tables_answer(start, end, interval, sources):
    assert [
        segment.source for segment in plan(start, end, interval, datetime(2000, 1, 1, tzinfo=UTC))
    ] == sources


def test_days_are_utc():
    at = datetime(2026, 11, 11, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    assert floor(at, "day") == datetime(2026, 11, 10, tzinfo=UTC)
    assert ceiling(floor(at, "day"), "day") == floor(at, "day")
    assert buckets_in(T0, T0 + DAY, "hour") == 25


def point(**changes):
    return msgspec.structs.replace(Point("api", "latency", 1.0, unit="ms"), **changes)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (point(service_name="has space"), "service_name 'has space' must"),
        (point(metric_type=""), "metric_type '' must"),
        (point(metric_type="x" * 101), "metric_type"),
        (point(service_name="a\0b"), "service_name"),
        (point(metric_value=float("nan")), "finite"),
        (point(metric_value=float("inf")), "finite"),
        (point(metric_value=-1e201), "finite"),
        (point(metric_type="requests_total", metric_value=-1.0), "negative"),
        (point(unit="milli seconds"), "unit"),
        (point(labels={f"l{n}": "x" for n in range(17)}), "labels has 17"),
        (point(labels={f"l{n}": "x" for n in range(10_000)}), "labels has 10000"),
        (point(labels={"has space": "x"}), "label 'has space'"),
        (point(labels={"l": "x" * 101}), "label l"),
        (point(labels={"l": "\0"}), "label l"),
        (point(metric_metadata={"x": "y" * 5000}), "metric_metadata has"),
        (point(metric_metadata={"x": "\0"}), "metric_metadata cannot"),
        (point(timestamp=T0 + timedelta(minutes=6)), "future"),
        (point(timestamp=T0 - timedelta(days=8)), "older than the 7 days"),
        (point(timestamp=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))), "out of range"),
    ],
)
def test_what_is_wrong_with_a_point(wrong, words):
    problem = problem_with(wrong, T0, LATE)
    assert problem is not None
    assert words in problem


@pytest.mark.parametrize(
    "good",
    [
        point(),
        point(metric_value=-5.0),
        point(metric_value=0.0),
        point(unit="µs"),
        point(unit="%"),
        point(labels={"region": "eu-1"}, metric_metadata={"host": "a"}),
        point(timestamp=T0.replace(tzinfo=None)),
        point(timestamp=T0 - timedelta(days=6)),
    ],
)
def test_what_is_right(good):
    assert problem_with(good, T0, LATE) is None


def test_a_time_without_zone_is_utc():
    assert utc(datetime(2026, 1, 1)) == datetime(2026, 1, 1, tzinfo=UTC)  # noqa: DTZ001


@pytest.mark.parametrize(
    "text", [b'{"service_name":"a"}', b"[]", b'{"service_name":"a","metric_type":"b","metric_value":"NaN"}']
)
def test_what_is_no_point_is_named_and_the_others_are_kept(text):
    good = b'{"service_name":"a","metric_type":"b","metric_value":1}'
    points, problems = decode_points(b"[" + good + b"," + text + b"," + good + b"]")
    assert list(points) == [0, 2]
    assert list(problems) == [1]


@given(
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    st.floats(allow_nan=False, allow_infinity=False),
)
@settings(max_examples=30)
def test_otlp_is_what_collectors_read(labels, value):
    points = [
        MetricPoint("requests_total", "counter", "", labels, abs(value), T0, T0 - DAY),
        MetricPoint("requests_total", "counter", "", {}, 1.0, T0, T0 - DAY),
        MetricPoint("lag_seconds", "gauge", "s", {}, value, T0, T0 - DAY),
    ]
    (resource,) = ExportMetricsServiceRequest.FromString(encode(points, "dock-1")).resource_metrics
    named = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert named == {"service.name": "wharfd", "service.instance.id": "dock-1"}
    total, lag = resource.scope_metrics[0].metrics
    assert total.sum.is_monotonic
    assert total.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    first, second = total.sum.data_points
    assert {one.key: one.value.string_value for one in first.attributes} == labels
    assert (first.as_double, second.as_double) == (abs(value), 1.0)
    assert first.time_unix_nano - first.start_time_unix_nano == 86400 * 10**9
    (last,) = lag.gauge.data_points
    assert (lag.unit, last.as_double, last.start_time_unix_nano) == ("s", value, 0)


def test_which_samples_are_published():
    samples = [
        Sample("process_start_time_seconds", "gauge", {}, T0.timestamp()),
        Sample("a_total", "counter", {"x": "1"}, 3.0),
        Sample("a_created", "counter", {}, 1.0),
        Sample("h_bucket", "histogram", {"le": "1"}, 1.0),
        Sample("h_sum", "histogram", {}, 2.5),
        Sample("bad", "gauge", {}, float("nan")),
        Sample("python_info", "info", {}, 1.0),
    ]
    kept = {p.name: p for p in points_of(samples, T0 + HOUR)}
    assert set(kept) == {"process_start_time_seconds", "a_total", "h_sum"}
    assert kept["h_sum"].kind == "counter"
    assert kept["a_total"].since == T0
    assert [unit_of(n) for n in ("x_seconds", "x_seconds_sum", "x_bytes_total", "x")] == ["s", "s", "By", ""]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Settings(max_batch=0), "max_batch: "),
        (lambda: Settings(late=timedelta(days=40)), "late: "),
        (lambda: Settings(keep_points=timedelta(days=8)), "keep_points: "),
        (lambda: Settings(keep_hours=timedelta(days=30)), "keep_hours: "),
        (lambda: Otlp("ftp://x"), "url: "),
        (lambda: Otlp("https://x", allow_networks=("x",)), "allow_networks: "),
    ],
)
def test_wrong_settings_say_which(make, words):
    with pytest.raises(ValueError, match=words):
        make()
