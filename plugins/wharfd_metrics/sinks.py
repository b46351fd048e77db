"""The sink that comes with the plugin: OTLP over HTTP, as every OpenTelemetry collector takes it.

The messages are OpenTelemetry's own, of the package opentelemetry-proto; without it this cannot be imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from wharfd import NetworkPolicy, PluginContext, WharfdError
from wharfd.contracts.metrics import MetricPoint

from .config import Otlp, Settings


class OtlpSink:
    """Posts a daemon's metrics to a collector. Counters are cumulative: a minute that fails loses nothing."""

    name = "otlp"

    def __init__(self, ctx: PluginContext[Settings], settings: Otlp) -> None:
        self._ctx = ctx
        self._settings = settings
        self._policy = NetworkPolicy(settings.allow_networks)

    async def push(self, points: Sequence[MetricPoint]) -> None:
        """Send the points; raises when the collector is away, refuses, or takes only a part."""
        headers = {"Content-Type": "application/x-protobuf"}
        headers |= {name: value.reveal() for name, value in self._settings.headers.items()}
        answer = await self._ctx.http.request(
            "POST", self._settings.url, headers=list(headers.items()), body=encode(points, self._ctx.node),
            deadline=self._settings.timeout.total_seconds(), policy=self._policy,
        )  # fmt: skip
        if not 200 <= answer.status < 300:
            raise WharfdError(f"the collector answered {answer.status}")
        try:
            partial = ExportMetricsServiceResponse.FromString(answer.body).partial_success
        except DecodeError as error:
            raise WharfdError("the collector's answer is not OTLP") from error
        if partial.rejected_data_points:
            raise WharfdError(f"the collector took all but {partial.rejected_data_points} points")


def encode(points: Iterable[MetricPoint], node: str) -> bytes:
    """Return the points as an ExportMetricsServiceRequest."""
    metrics: dict[str, Metric] = {}
    for point in points:
        metric = metrics.setdefault(point.name, Metric(name=point.name, unit=point.unit))
        data = NumberDataPoint(
            attributes=_attributes(point.labels), time_unix_nano=_nanoseconds(point.at), as_double=point.value
        )
        if point.kind == "counter":
            data.start_time_unix_nano = _nanoseconds(point.since)
            metric.sum.data_points.append(data)
        else:
            metric.gauge.data_points.append(data)
    for metric in metrics.values():
        if metric.HasField("sum"):
            metric.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
            metric.sum.is_monotonic = True
    resource = Resource(attributes=_attributes({"service.name": "wharfd", "service.instance.id": node}))
    scope = ScopeMetrics(scope=InstrumentationScope(name="wharfd.metrics"), metrics=metrics.values())
    document = ResourceMetrics(resource=resource, scope_metrics=[scope])
    encoded: bytes = ExportMetricsServiceRequest(resource_metrics=[document]).SerializeToString()
    return encoded


def _attributes(labels: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in labels.items()]


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000
