"""The server's own metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class HttpMetrics:
    """Requests by route template, never by path."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "wharfd_http_requests_total",
            "Requests answered by the API server.",
            ("method", "route", "plugin", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "wharfd_http_request_seconds",
            "Time from a request's head until its answer was ready to be sent.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "wharfd_http_requests_in_flight", "Requests being answered now.", registry=registry
        )
        self.connections = Gauge("wharfd_http_connections", "Open connections.", registry=registry)
        self.refused = Counter(
            "wharfd_http_connections_refused_total",
            "Connections closed at once because there were too many.",
            registry=registry,
        )
        self._children: dict[tuple[str, str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, method: str, route: str, plugin: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        method = method if method in _METHODS else "OTHER"
        key = (method, route, plugin, status)
        found = self._children.get(key)
        if found is None:
            found = (
                self._requests.labels(method, route, plugin, str(status)),
                self._seconds.labels(method, route),
            )
            self._children[key] = found
        found[0].inc()
        found[1].observe(seconds)
