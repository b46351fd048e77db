"""The plugin's page of the console: the explorer, from the list of metrics to the course of one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from wharfd import ConsolePage, PluginContext, Request
from wharfd.contracts.charts import Series, chart
from wharfd.contracts.console import ask, wanted
from wharfd.contracts.html import (
    Column,
    Html,
    address,
    card,
    choice,
    code,
    field,
    link,
    moment,
    number,
    search,
    stack,
    table,
)

EXPLORER = "/console/metrics/explorer"
_API = "/api/v1/monitoring/metrics"
# what can be chosen: how far back, in which steps
_RANGES = {"day": ("hour", 1), "week": ("hour", 7), "month": ("day", 30), "year": ("day", 365)}
_STEP = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


async def render_explorer(ctx: PluginContext[Any], request: Request) -> Html:
    """List what is recorded, or draw the metric that was chosen."""
    service, metric = wanted(request, "service"), wanted(request, "metric")
    if service and metric:
        return await _metric(ctx, request, service, metric)
    names = (await ask(ctx, request, f"{_API}/names"))["items"]
    part = wanted(request, "part").lower()
    rows = [
        (
            one["service_name"],
            link(
                one["metric_type"], address(EXPLORER, service=one["service_name"], metric=one["metric_type"])
            ),
            one["unit"] or "–",
            number(one["series"]),
        )
        for one in names
        if part in f"{one['service_name']} {one['metric_type']}".lower()
    ]
    columns = ["Service", Column("Metric", wide=True), "Unit", Column("Series", right=True)]
    listed = table(
        "Metrics", columns, rows, nothing="No metric matches; the first points come within a minute"
    )
    return card("Metrics", search(EXPLORER, field("Part of the name", "part", part)), listed)


async def _metric(ctx: PluginContext[Any], request: Request, service: str, metric: str) -> Html:
    name, label = wanted(request, "range") or "day", wanted(request, "label")
    interval, days = _RANGES.get(name, _RANGES["day"])
    now = ctx.now()
    chosen = {"service_name": service, "metric_type": metric, "label": label}
    found = await ask(
        ctx, request, f"{_API}/aggregate", **chosen, interval=interval,
        start_time=(now - timedelta(days=days)).isoformat(),
    )  # fmt: skip
    points = await ask(ctx, request, _API, **chosen, limit=50)
    moments = _moments(now, interval, days)
    buckets = {_at(one["timestamp"]): one for one in found["data"]}
    form = search(
        EXPLORER,
        field("Service", "service", service),
        field("Metric", "metric", metric),
        field("Label", "label", label, hint="name:value"),
        choice("Range", "range", [(one, f"a {one}") for one in _RANGES], name),
    )
    unit = f" in {found['unit']}" if found["unit"] else ""

    def line(words: str, key: str, colour: int) -> Series:
        values = [buckets[at][key] if at in buckets else None for at in moments]
        return Series(words, values, colour)

    lines = [line("average", "avg_value", 1), line("95 %", "p95", 2), line("highest", "max_value", 3)]
    span = f"{days} d" if days > 1 else "24 h"
    return stack(
        link("← All metrics", EXPLORER),
        card(metric, form),
        chart(
            "course", f"Value{unit}", lines,
            span=span, kind="line",
        ),
        chart("points", f"Points per {interval}", [line("points", "count", 1)], span=span, kind="bar"),
        card("Newest points", _points(points)),
    )  # fmt: skip


def _at(value: datetime | str) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _moments(now: datetime, interval: str, days: int) -> Sequence[datetime]:
    last = now.replace(minute=0, second=0, microsecond=0)
    last = last if interval == "hour" else last.replace(hour=0)
    count = days * (24 if interval == "hour" else 1)
    return [last - _STEP[interval] * back for back in range(count - 1, -1, -1)]


def _points(points: list[dict[str, Any]]) -> Html:
    rows = [
        (
            moment(one["timestamp"]),
            number(one["metric_value"]),
            one["unit"] or "–",
            code(", ".join(f"{name}:{value}" for name, value in one["labels"].items()) or "–"),
        )
        for one in points
    ]
    columns = ["Time", Column("Value", right=True), "Unit", Column("Labels", wide=True)]
    return table("Points", columns, rows, nothing="No points are kept as they came; see the aggregates")


PAGES = [
    ConsolePage(path="metrics/explorer", title="Explorer", render=render_explorer, icon="overview", order=800)
]
