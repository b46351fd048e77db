"""A daemon with the metrics plugin that publishes nothing by itself, and points to send."""

from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

import wharfd_metrics

BASE = "/api/v1/monitoring/metrics"


def point(value=1.0, **changes):
    return {"service_name": "api", "metric_type": "latency", "metric_value": value, "unit": "ms", **changes}


def iso(at):
    return at.isoformat().replace("+00:00", "Z")


@pytest.fixture
def metrics(daemon):
    @asynccontextmanager
    async def start(config="", plugins=None, **options):
        text = f"[plugins.metrics]\npublish = false\n{config}"
        given = {"metrics": wharfd_metrics, **(plugins or {})}
        async with daemon(plugins=given, config=text, **options) as d:
            yield d

    return start


def now_of(d):
    """This hour's beginning, an hour ago, so that what the tests send is never in the future."""
    return d.context("metrics").now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
