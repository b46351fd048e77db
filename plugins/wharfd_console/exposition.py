"""Reading the daemon's own metrics text: sums and histograms of a few families, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, fields

_LINE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

ANSWERS = "wharfd_ingest_answers_total"
ANSWER_SECONDS = "wharfd_ingest_answer_seconds_bucket"
REQUESTS = "wharfd_http_requests_total"
REQUEST_SECONDS = "wharfd_http_request_seconds_bucket"
SENDS = "wharfd_webhooks_attempts_total"
LAG = "wharfd_loop_lag_seconds"
MEMORY = "process_resident_memory_bytes"
_WANTED = (ANSWERS, ANSWER_SECONDS, REQUESTS, REQUEST_SECONDS, SENDS, LAG, MEMORY)


@dataclass(frozen=True)
class Reading:
    """The counters at one moment, as they stand since the start."""

    accepted: float = 0.0
    refused: float = 0.0
    requests: float = 0.0
    errors: float = 0.0
    delivered: float = 0.0
    undelivered: float = 0.0
    lag: float = 0.0
    memory: float = 0.0
    answer_buckets: Mapping[float, float] = field(default_factory=dict)
    request_buckets: Mapping[float, float] = field(default_factory=dict)


def read(text: str, mounted: Set[str] = frozenset()) -> Reading:
    """Return what matters of a text in the Prometheus format.

    Webhooks come in at the ingest listener, and at the API on the `mounted` paths; both are counted.
    """
    sums = {field.name: 0.0 for field in fields(Reading) if not field.name.endswith("_buckets")}
    buckets: dict[str, dict[float, float]] = {ANSWER_SECONDS: {}, REQUEST_SECONDS: {}}
    for name, labels, value in _samples(text.splitlines()):
        status = labels.get("status", "")
        if name == ANSWERS or (
            name == REQUESTS and labels.get("method") == "POST" and labels.get("route") in mounted
        ):
            sums["accepted" if status.startswith("2") else "refused"] += value
        if name == REQUESTS:
            sums["requests"] += value
            sums["errors"] += value if status.startswith("5") else 0.0
        elif name in buckets:
            bound = float(labels["le"])
            buckets[name][bound] = buckets[name].get(bound, 0.0) + value
        elif name == SENDS:
            sums["delivered" if labels.get("outcome") == "2xx" else "undelivered"] += value
        elif name in (LAG, MEMORY):
            sums["lag" if name == LAG else "memory"] = value
    return Reading(**sums, answer_buckets=buckets[ANSWER_SECONDS], request_buckets=buckets[REQUEST_SECONDS])


def _samples(lines: Iterable[str]) -> Iterable[tuple[str, dict[str, str], float]]:
    for line in lines:
        if not line.startswith(_WANTED):
            continue
        match = _LINE.match(line)
        if match is not None and match[1] in _WANTED:
            yield match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])


def between(before: Mapping[float, float], after: Mapping[float, float]) -> dict[float, float]:
    """What came into each bucket in the meantime; everything, when the counters began anew."""
    fresh = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    return dict(after) if any(count < 0 for count in fresh.values()) else fresh
