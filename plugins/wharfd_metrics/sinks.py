"""The sink that comes with the plugin: OTLP over HTTP in JSON, as every OpenTelemetry collector takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from wharfd import NetworkPolicy, PluginContext, WharfdError
from wharfd.contracts.metrics import MetricPoint

from .config import Otlp, Settings

_CUMULATIVE = 2


class OtlpSink:
    """Posts a daemon's metrics to a collector. Counters are cumulative: a minute that fails loses nothing."""

    name = "otlp"

    def __init__(self, ctx: PluginContext[Settings], settings: Otlp) -> None:
        self._ctx = ctx
        self._settings = settings
        self._policy = NetworkPolicy(settings.allow_networks)

    async def push(self, points: Sequence[MetricPoint]) -> None:
        """Send the points; raises when the collector is away, refuses, or takes only a part."""
        headers = {"Content-Type": "application/json"}
        headers |= {name: value.reveal() for name, value in self._settings.headers.items()}
        answer = await self._ctx.http.request(
            "POST", self._settings.url, headers=list(headers.items()), body=encode(points, self._ctx.node),
            deadline=self._settings.timeout.total_seconds(), policy=self._policy,
        )  # fmt: skip
        if not 200 <= answer.status < 300:
            raise WharfdError(f"the collector answered {answer.status}")
        rejected = _rejected(answer.body)
        if rejected:
            raise WharfdError(f"the collector took all but {rejected} points")


class _Partial(msgspec.Struct, rename="camel"):
    rejected_data_points: int | str = 0


class _Answer(msgspec.Struct, rename="camel"):
    partial_success: _Partial | None = None


def _rejected(body: bytes) -> int:
    if not body.strip():
        return 0
    try:
        partial = msgspec.json.decode(body, type=_Answer).partial_success
    except msgspec.DecodeError as error:
        raise WharfdError("the collector's answer is not OTLP") from error
    return int(partial.rejected_data_points) if partial is not None else 0


def encode(points: Iterable[MetricPoint], node: str) -> bytes:
    """Return an ExportMetricsServiceRequest in JSON."""
    metrics: dict[str, dict[str, Any]] = {}
    for point in points:
        counter = point.kind == "counter"
        metric = metrics.setdefault(point.name, _metric(point.name, point.unit, counter=counter))
        data = {
            "attributes": _attributes(point.labels),
            "timeUnixNano": _nanoseconds(point.at),
            "asDouble": point.value,
        }
        if counter:
            data["startTimeUnixNano"] = _nanoseconds(point.since)
        metric["sum" if counter else "gauge"]["dataPoints"].append(data)
    resource = {"service.name": "wharfd", "service.instance.id": node}
    scope = {"scope": {"name": "wharfd.metrics"}, "metrics": list(metrics.values())}
    document = {"resource": {"attributes": _attributes(resource)}, "scopeMetrics": [scope]}
    return msgspec.json.encode({"resourceMetrics": [document]})


def _metric(name: str, unit: str, *, counter: bool) -> dict[str, Any]:
    kind: dict[str, Any] = {"dataPoints": []}
    if counter:
        kind |= {"aggregationTemporality": _CUMULATIVE, "isMonotonic": True}
    return {"name": name, "unit": unit, "sum" if counter else "gauge": kind}


def _attributes(labels: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in labels.items()]


def _nanoseconds(at: datetime) -> str:
    """64-bit numbers are text in protobuf's JSON."""
    return str(int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000)
