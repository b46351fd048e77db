"""The suites, one file each: how much a part of wharfd does per second, and how long one of it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..ground import Ground
from ..plan import Figure, Suite
from . import api, cache, delivery, ingest, processing, query, work

RUN: dict[Suite, tuple[Callable[[Ground], Awaitable[list[Figure]]], int]] = {
    # the suite, and how many measures it takes
    "ingest": (ingest.run, 1),
    "processing": (processing.run, 1),
    "delivery": (delivery.run, 1),
    "work": (work.run, 2),
    "cache": (cache.run, 2),
    "api": (api.run, 1),
    "query": (query.run, 3),
}
