"""Reading the daemon's own metrics text: sums and histograms of a few families, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_LINE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

ANSWERS = "wharfd_ingest_answers_total"
ANSWER_SECONDS = "wharfd_ingest_answer_seconds_bucket"
REQUESTS = "wharfd_http_requests_total"
LAG = "wharfd_loop_lag_seconds"
MEMORY = "process_resident_memory_bytes"
_WANTED = (ANSWERS, ANSWER_SECONDS, REQUESTS, LAG, MEMORY)


@dataclass(frozen=True)
class Reading:
    """The counters at one moment, as they stand since the start."""

    accepted: float = 0.0
    refused: float = 0.0
    requests: float = 0.0
    errors: float = 0.0
    lag: float = 0.0
    memory: float = 0.0
    answer_buckets: Mapping[float, float] = field(default_factory=dict)


def read(text: str) -> Reading:
    """Return what matters of a text in the Prometheus format."""
    sums = {"accepted": 0.0, "refused": 0.0, "requests": 0.0, "errors": 0.0, "lag": 0.0, "memory": 0.0}
    buckets: dict[float, float] = {}
    for name, labels, value in _samples(text.splitlines()):
        status = labels.get("status", "")
        if name == ANSWERS:
            sums["accepted" if status.startswith("2") else "refused"] += value
        elif name == REQUESTS:
            sums["requests"] += value
            sums["errors"] += value if status.startswith("5") else 0.0
        elif name == ANSWER_SECONDS:
            bound = float(labels["le"])
            buckets[bound] = buckets.get(bound, 0.0) + value
        else:
            sums["lag" if name == LAG else "memory"] = value
    return Reading(**sums, answer_buckets=buckets)


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
