"""Metrics: one registry per daemon, names with the plugin in front, the loop's gauges."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wharfd.declare import Metric, Rate, Route
from wharfd.http.settings import HttpSettings
from wharfd.metrics import LoopGauges, Metrics
from wharfd.testing.api import serve_routes

DECLARED = [
    Metric("counter", "accepted_total", "Webhooks accepted.", ("source",)),
    Metric("gauge", "waiting", "Webhooks waiting."),
    Metric("histogram", "seconds", "Time taken.", buckets=(0.1, 1.0)),
]


def samples(text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_a_plugins_metrics_have_its_name_in_front():
    metrics = Metrics(process=False)
    mine = metrics.for_plugin("shop", DECLARED)
    mine["accepted_total"].labels("netbanx").inc()
    mine["waiting"].set(4)
    mine["seconds"].observe(0.5)
    found = samples(metrics.expose())
    assert found["wharfd_shop_accepted_total", (("source", "netbanx"),)] == 1
    assert found["wharfd_shop_waiting", ()] == 4
    assert found["wharfd_shop_seconds_bucket", (("le", "0.1"),)] == 0
    assert found["wharfd_shop_seconds_bucket", (("le", "1.0"),)] == 1


def test_a_restarted_plugin_goes_on_counting():
    metrics = Metrics(process=False)
    metrics.for_plugin("shop", DECLARED)["accepted_total"].labels("a").inc()
    metrics.for_plugin("shop", DECLARED)["accepted_total"].labels("a").inc()
    assert samples(metrics.expose())["wharfd_shop_accepted_total", (("source", "a"),)] == 2


def test_an_undeclared_metric_is_named_with_those_there_are():
    mine = Metrics(process=False).for_plugin("shop", DECLARED)
    with pytest.raises(KeyError, match="shop declares no metric 'acepted_total'; it declares accepted_total"):
        mine["acepted_total"]
    assert list(mine) == ["accepted_total", "waiting", "seconds"]
    assert len(mine) == 3


def test_one_name_cannot_be_declared_twice():
    metrics = Metrics(process=False)
    with pytest.raises(ValueError, match="shop: the metric waiting cannot be made"):
        metrics.for_plugin("shop", [DECLARED[1], DECLARED[1]])
    metrics.for_plugin("a", [Metric("gauge", "b_c", "x")])
    with pytest.raises(ValueError, match="a_b"):
        metrics.for_plugin("a_b", [Metric("gauge", "c", "x")])


def test_two_daemons_in_one_process_do_not_see_each_other():
    one, two = Metrics(), Metrics()
    one.for_plugin("shop", DECLARED)["waiting"].set(4)
    assert b"wharfd_shop_waiting" not in two.expose()
    assert b"process_resident_memory_bytes" in two.expose()


async def test_the_loop_tells_its_lag_and_tasks(nursery, autojump_clock):
    import trio

    metrics = Metrics(process=False)
    gauges = LoopGauges(metrics, every_seconds=0.1)
    await nursery.start(gauges.watch)
    await trio.sleep(0.35)
    found = samples(metrics.expose())
    assert found["wharfd_loop_tasks", ()] > 1
    assert 0 <= found["wharfd_loop_lag_seconds", ()] <= found["wharfd_loop_lag_worst_seconds", ()]
    nursery.cancel_scope.cancel()


async def test_metrics_are_for_those_who_may_read_them():
    async with serve_routes() as api:
        assert (await api.get("/metrics", token=None)).status == 401
        answer = await api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    async with serve_routes(settings=HttpSettings(bind=("127.0.0.1:0",), open_metrics=True)) as api:
        assert (await api.get("/metrics", token=None)).status == 200


async def test_requests_are_counted_by_template_and_never_by_path():
    async def handler(ctx, request):
        return {}

    route = Route(method="GET", path="/x/{id}", handler=handler, scope="test:x", rate=Rate(100, 60))
    metrics = Metrics(process=False)
    async with serve_routes([route], metrics=metrics) as api:
        for n in range(5):
            await api.get(f"/x/{n}")
            await api.get(f"/nowhere/{n}")
        await api.request("BREW", "/x/1")
    found = samples(metrics.expose())

    def counted(**labels):
        return found["wharfd_http_requests_total", tuple(sorted(labels.items()))]

    assert counted(method="GET", route="/x/{id}", plugin="test", status="200") == 5
    assert counted(method="GET", route="unmatched", plugin="core", status="404") == 5
    assert counted(method="OTHER", route="unmatched", plugin="core", status="405") == 1
    assert found["wharfd_http_requests_in_flight", ()] == 0
    assert found["wharfd_http_request_seconds_count", (("method", "GET"), ("route", "/x/{id}"))] == 5
