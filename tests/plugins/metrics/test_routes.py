"""The endpoints: old shapes, bad input point by point, owners, caches, T2."""

from datetime import timedelta
from types import ModuleType

import msgspec
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from wharfd import Provides, hookimpl, sql
from wharfd.contracts.access import AUTHENTICATOR, Identity
from wharfd_metrics import rollup
from wharfd_metrics.config import Settings

from .conftest import BASE, iso, now_of, point


async def test_one_point_comes_back_as_it_was_sent(metrics):
    async with metrics() as d:
        sent = point(12.5, metric_metadata={"host": "a"})
        made = await d.post(BASE, sent)
        assert made.status == 200, made.body
        body = made.json()
        assert {name: body[name] for name in sent} == sent
        assert isinstance(body["id"], int)
        assert body["timestamp"].endswith("Z")
        (listed,) = (await d.get(f"{BASE}?service_name=api&metric_type=latency")).json()
        assert listed == body
        assert (await d.get("/api/monitoring/metrics?service_name=api&metric_type=latency")).json() == [body]


async def test_a_batch_with_bad_points_keeps_the_good_ones(metrics):
    async with metrics() as d:
        at = iso(now_of(d))
        batch = [
            point(1.0),
            point(service_name="has space"),
            point("NaN"),
            point(-1.0, metric_type="requests_total", unit=""),
            point(2.0, timestamp=at),
            point(2.0, timestamp=at),
            point(3.0, timestamp="1970-01-01T00:00:00Z"),
            point(3.0, timestamp="2999-01-01T00:00:00Z"),
            point(3.0, labels={f"l{n}": "x" for n in range(10_000)}),
            point(4.0, unit="s"),
            {"service_name": "api"},
            17,
        ]
        answer = await d.post(f"{BASE}/batch", batch)
        assert answer.status == 207, answer.body
        items = answer.json()
        assert len(items) == len(batch)
        assert [n for n, item in enumerate(items) if "id" in item] == [0, 4, 5]
        assert items[4]["id"] != items[5]["id"], "the same point twice is two points"
        errors = {item["index"]: item["error"] for item in items if "error" in item}
        assert set(errors) == {1, 2, 3, 6, 7, 8, 9, 10, 11}
        assert "negative" in errors[3]
        assert "labels has 10000" in errors[8]
        assert errors[9] == "unit 's' differs from 'ms', in which latency has been kept"
        short = (await d.post(f"{BASE}/batch?return=minimal", batch)).json()
        assert (short["accepted"], short["refused"], len(short["errors"])) == (3, 9, 9)


async def test_numbers_that_are_none_spoil_no_batch(metrics):
    """Some programs write NaN and Infinity into JSON, which does not know them."""
    async with metrics() as d:
        one = '{"service_name":"a-NaN","metric_type":"b","metric_value":%s,"metric_metadata":{"v":"NaN"}}'
        body = f"[{','.join(one % value for value in ('1', 'NaN', '-Infinity', '1e999', '2'))}]".encode()
        answer = await d.request("POST", f"{BASE}/batch", body)
        assert answer.status == 207, answer.body
        assert [item.get("error") for item in answer.json()] == [
            None, *["metric_value must be a finite number"] * 3, None,
        ]  # fmt: skip
        assert answer.json()[4]["metric_metadata"] == {"v": "NaN"}
        single = await d.request(
            "POST", BASE, (one % "1e999").encode(), headers={"Content-Type": "application/json"}
        )
        assert (single.status, "metric_value" in single.json()["detail"]) == (422, True)


async def test_batches_that_are_refused_as_a_whole(metrics):
    async with metrics("max_batch = 3") as d:
        for body, status, words in (
            (b'[{"metric_value": NaN}]', 422, "[0].metric_value: must be a finite"),
            (b'[{"metric_value": nan}]', 400, "not JSON"),
            (b"[" * 5000, 400, "not JSON"),
            (b"", 400, "not JSON"),
            (b"{}", 422, "list of points"),
            (msgspec.json.encode([point()] * 4), 422, "has 4 points"),
            (msgspec.json.encode([point(service_name=""), point(unit="no unit")]), 422, "service_name"),
        ):
            answer = await d.request("POST", f"{BASE}/batch", body)
            assert answer.status == status, answer.body
            assert words in answer.body.decode()
            assert answer.json()["detail"]
        named = (await d.post(f"{BASE}/batch", [point(service_name=""), point(unit="no unit")])).json()[
            "errors"
        ]
        assert [error["field"] for error in named] == ["[0].service_name", "[1].unit"]
        assert (await d.post(f"{BASE}/batch", [])).json() == []


async def test_a_single_bad_point_is_422(metrics):
    async with metrics() as d:
        for wrong in (point(service_name="a b"), point("x"), {}, point(1.0, more=1), point(1e300)):
            answer = await d.post(BASE, wrong)
            assert answer.status == 422, answer.body
            assert answer.json()["errors"]


async def test_bad_queries(metrics):
    async with metrics() as d:
        for query in (
            "?limit=0",
            "?limit=10001",
            "?offset=-1",
            "?start_time=yesterday",
            "?start_time=2026-11-02T00:00:00Z&end_time=2026-11-01T00:00:00Z",
            "?label=nocolon",
            "/aggregate?service_name=a",
            "/aggregate?service_name=a&metric_type=b&interval=minute",
            "/aggregate?service_name=a&metric_type=b&start_time=2000-01-01&end_time=2026-01-01",
        ):
            answer = await d.get(BASE + query)
            assert answer.status == 422, (query, answer.body)


async def test_labels_are_bounded_with_a_clear_error(metrics):
    async with metrics("max_series_per_metric = 3\nmax_series = 5") as d:
        first = await d.post(f"{BASE}/batch", [point(labels={"user": str(n)}) for n in range(5)])
        errors = [item["error"] for item in first.json() if "error" in item]
        assert len(errors) == 2
        assert "latency of api has 3 sets of labels, the most there may be" in errors[0]
        other = await d.post(f"{BASE}/batch", [point(metric_type=f"m{n}") for n in range(3)])
        assert [item.get("error") for item in other.json()] == [
            None,
            None,
            "there are 5 series, the most an owner may have; this would be one more",
        ]
        again = await d.post(f"{BASE}/batch", [point(labels={"user": "1"})])
        assert again.status == 200, "a series that exists goes on"


async def test_aggregates_have_the_old_shape_and_percentiles(metrics):
    async with metrics() as d:
        hour = now_of(d)
        values = [float(n) for n in range(1, 101)]
        await d.post(
            f"{BASE}/batch",
            [point(v, timestamp=iso(hour + timedelta(seconds=n))) for n, v in enumerate(values)],
        )
        query = f"{BASE}/aggregate?service_name=api&metric_type=latency&interval=hour&start_time={iso(hour)}"
        query += f"&end_time={iso(hour + timedelta(hours=1))}"
        fresh = (await d.get(query)).json()
        assert fresh["interval"] == "hour"
        (bucket,) = fresh["data"]
        assert bucket["timestamp"] == iso(hour)
        assert (bucket["count"], bucket["min_value"], bucket["max_value"]) == (100, 1.0, 100.0)
        assert (bucket["avg_value"], bucket["sum"]) == (50.5, 5050.0)
        for name, true in (("p50", 50), ("p95", 95), ("p99", 99)):
            assert abs(bucket[name] - true) <= 0.01 * true
        assert await rollup.roll_up(d.context("metrics")) > 0
        await d.post(BASE, point(1000.0, timestamp=iso(hour + timedelta(minutes=30))))
        (late,) = (await d.get(query)).json()["data"]
        assert (late["count"], late["max_value"]) == (101, 1000.0), "a late point changes its hour at once"


AS = {
    "a": Identity("key_a", "key", "a", frozenset({"*"})),
    "b": Identity("key_b", "key", "b", frozenset({"*"})),
}


def keys():
    """A plugin that knows two callers, by bearer."""
    module = ModuleType("keys")

    class Known:
        async def authenticate(self, credentials):
            return AS.get(credentials.bearer)

        async def observe(self, identity, *, endpoint, status, seconds):
            return None

    @hookimpl
    def register_services(settings):
        return [Provides(AUTHENTICATOR, lambda ctx: Known())]

    module.register_services = register_services
    return module


async def test_an_owner_sees_only_its_own(metrics):
    async with metrics(plugins={"keys": keys()}) as d:
        for token, value in (("a", 1.0), ("b", 2.0), ("", 3.0)):
            assert (await d.post(BASE, point(value), token=token)).status == 200
        query = "service_name=api&metric_type=latency"
        seen = {
            token: sorted(p["metric_value"] for p in (await d.get(f"{BASE}?{query}", token=token)).json())
            for token in ("a", "b", "")
        }
        assert seen == {"a": [1.0], "b": [2.0], "": [1.0, 2.0, 3.0]}
        for token, count in (("a", 1), ("b", 1), ("", 3)):
            (bucket,) = (await d.get(f"{BASE}/aggregate?{query}", token=token)).json()["data"]
            assert bucket["count"] == count
        assert (await d.get(f"{BASE}?{query}", token=None)).status == 401


async def test_answers_are_cached_and_thrown_away_by_writes(metrics):
    async with metrics() as d:
        query = f"{BASE}?service_name=api&metric_type=latency"
        counted = d.context("metrics").cache.statistics
        await d.post(BASE, point(1.0))
        for _ in range(2):
            assert len((await d.get(query)).json()) == 1
        names = counted().names["points"]
        assert (names.local_hits, names.misses) == (1, 1)
        await d.post(BASE, point(2.0))
        assert len((await d.get(query)).json()) == 2
        await d.post(BASE, point(2.0, metric_type="other"))
        assert len((await d.get(query)).json()) == 2
        assert counted().names["points"].local_hits == 2, "another metric's points throw nothing away"


async def test_pages_labels_and_times(metrics):
    async with metrics() as d:
        hour = now_of(d)
        await d.post(
            f"{BASE}/batch",
            [
                point(
                    float(n),
                    labels={"region": "eu" if n % 2 else "us"},
                    timestamp=iso(hour + timedelta(minutes=n)),
                )
                for n in range(10)
            ],
        )
        query = f"{BASE}?service_name=api&metric_type=latency"
        values = [p["metric_value"] for p in (await d.get(f"{query}&limit=3&offset=2")).json()]
        assert values == [7.0, 6.0, 5.0]
        eu = [p["metric_value"] for p in (await d.get(f"{query}&label=region:eu")).json()]
        assert eu == [9.0, 7.0, 5.0, 3.0, 1.0]
        naive = (hour + timedelta(minutes=5)).replace(tzinfo=None).isoformat()
        assert len((await d.get(f"{query}&start_time={naive}")).json()) == 5
        zoned = (hour + timedelta(minutes=5)).isoformat()  # its plus sign not escaped
        assert len((await d.get(f"{query}&start_time={zoned}")).json()) == 5


async def test_units_that_differ_are_not_added_up(metrics):
    async with metrics(plugins={"keys": keys()}) as d:
        await d.post(BASE, point(1.0, labels={"a": "1"}))
        refused = await d.post(BASE, point(1.0, labels={"a": "2"}, unit="s"))
        assert refused.status == 422
        assert refused.json()["detail"] == "unit: 's' differs from 'ms', in which latency has been kept"
        two = [
            point(1.0, metric_type="x", labels={"a": n}, unit=unit) for n, unit in (("1", "s"), ("2", "ms"))
        ]
        assert (await d.post(f"{BASE}/batch?return=minimal", two)).json()["refused"] == 1
        await d.post(BASE, point(1.0, labels={"a": "2"}, unit="s"), token="a")  # another owner may
        answer = await d.get(f"{BASE}/aggregate?service_name=api&metric_type=latency")
        assert answer.status == 422
        assert "in ms and s" in answer.json()["detail"] + str(answer.json()["errors"])
        assert (await d.get(f"{BASE}/aggregate?service_name=api&metric_type=latency&label=a:2")).json()[
            "unit"
        ] == "s"


async def test_pool_queries_and_publish(metrics):
    async with metrics() as d:
        pool = (await d.get("/api/v1/monitoring/database/pool")).json()
        assert {"size", "checked_in", "checked_out", "overflow", "total_connections"} <= set(pool["metrics"])
        queries = (await d.get("/api/v1/monitoring/database/queries")).json()
        assert queries["metrics"]["total_queries"] > 0
        assert queries["metrics"]["slow_query_threshold"] == 0.2
        done = await d.post("/api/v1/monitoring/database/publish-metrics")
        assert done.status == 200
        assert done.json()["status"] == "success"
        assert done.json()["points"] > 20
        (used,) = (await d.get(f"{BASE}?service_name=wharfd&metric_type=wharfd_metrics_pool_limit")).json()
        assert used["metric_value"] > 0
        assert "node" in used["labels"]


async def test_the_collector_gets_the_metrics(metrics, receiver):
    config = f'[plugins.metrics.otlp]\nurl = "{receiver.url}/v1/metrics"\nallow_networks = ["127.0.0.0/8"]\n'
    async with metrics(config + '[plugins.metrics.otlp.headers]\nAuthorization = "Bearer t"\n') as d:
        done = (await d.post("/api/v1/monitoring/database/publish-metrics")).json()
        assert done["failed_sinks"] == [], done
        (request,) = receiver.requests
        assert request.path == "/v1/metrics"
        assert request.header("authorization") == "Bearer t"
        assert request.header("content-type") == "application/x-protobuf"
        (resource,) = ExportMetricsServiceRequest.FromString(request.body).resource_metrics
        names = {metric.name for metric in resource.scope_metrics[0].metrics}
        assert {"process_cpu_seconds_total", "wharfd_metrics_pool_limit"} <= names


async def test_a_collector_that_takes_a_part_or_says_something_else_is_told(metrics, receiver):
    partial = ExportMetricsServiceResponse(partial_success={"rejected_data_points": 3}).SerializeToString()
    config = f'[plugins.metrics.otlp]\nurl = "{receiver.url}/v1/metrics"\nallow_networks = ["127.0.0.0/8"]\n'
    async with metrics(config) as d:
        for body, failed in ((b"", []), (partial, ["otlp"]), (b"<html>", ["otlp"])):

            async def answer(conversation, body=body):
                await conversation.send(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                )

            receiver.answer = answer
            done = (await d.post("/api/v1/monitoring/database/publish-metrics")).json()
            assert done["failed_sinks"] == failed, body


async def test_a_collector_that_is_away_stops_nothing(metrics):
    config = (
        '[plugins.metrics.otlp]\nurl = "http://127.0.0.1:1/v1/metrics"\nallow_networks = ["127.0.0.0/8"]\n'
    )
    async with metrics(config) as d:
        done = (await d.post("/api/v1/monitoring/database/publish-metrics")).json()
        assert (done["status"], done["failed_sinks"]) == ("partial", ["otlp"])
        assert done["points"] > 20


def test_settings_have_the_limits_of_the_requirements():
    assert Settings().keep_points == timedelta(days=90)


COUNT = sql("test.count", "SELECT count(*) FROM metrics.points")


async def test_a_batch_with_an_idempotency_key_is_kept_once(metrics):
    async with metrics() as d:
        for _ in range(2):
            answer = await d.post(f"{BASE}/batch", [point()], headers={"Idempotency-Key": "k1"})
            assert answer.status == 200, answer.body
        assert await d.db.fetchval(COUNT) == 1
