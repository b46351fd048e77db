"""Sending samples: over a few connections, at a rate or as fast as answers come, with progress."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wharfd import WharfdError

from .samples import make_sample

_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Plan:
    """What to send where. Samples whose usual path the source does not have go to its first one."""

    url: str
    paths: tuple[str, ...]
    names: tuple[str, ...]
    count: int
    rate: float | None
    connections: int
    first: int | None

    def __post_init__(self) -> None:
        if self.count < 1 or not 1 <= self.connections <= 512 or (self.rate is not None and self.rate <= 0):
            raise WharfdError("count, connections and rate must be above 0, and connections at most 512")


@dataclass
class Sent:
    """What became of the samples."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    failed: int = 0
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    problem: str = ""

    def facts(self) -> dict[str, Any]:
        """Return it as facts to show."""
        times = sorted(self.times)
        facts: dict[str, Any] = {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "failed": self.failed,
            "per_second": round(len(times) / self.seconds, 1) if self.seconds else None,
        }
        if times:
            facts |= {
                f"p{share}_ms": round(times[min(len(times) - 1, len(times) * share // 100)] * 1000, 2)
                for share in (50, 95, 99)
            }
        if self.problem:
            facts["first_problem"] = self.problem
        return facts


def send(plan: Plan, signer: Any, *, show: bool) -> Sent:
    """Send the samples and return what became of them; the answer to each is awaited."""
    result = Sent()
    # Numbers no earlier run has used, unless asked for the very same events again.
    first = int(time.time() * 1000) if plan.first is None else plan.first
    work = iter(range(plan.count))
    lock = threading.Lock()
    started = time.monotonic()
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not show, transient=True) as progress:
        task = progress.add_task("sending", total=plan.count)

        def run() -> None:
            for number in _share(work, lock):
                if plan.rate is not None:
                    pause = started + number / plan.rate - time.monotonic()
                    if pause > 0:
                        threading.Event().wait(pause)
                outcome = courier.deliver(number)
                with lock:
                    _note(result, *outcome)
                progress.advance(task)
            courier.close()

        courier = _Courier(plan, signer, first)
        threads = [
            threading.Thread(target=run, daemon=True) for _ in range(min(plan.connections, plan.count))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    result.seconds = time.monotonic() - started
    return result


def _share(work: Iterator[int], lock: threading.Lock) -> Iterator[int]:
    while True:
        with lock:
            number = next(work, None)
        if number is None:
            return
        yield number


def _note(result: Sent, status: int, body: bytes, seconds: float, problem: str) -> None:
    result.statuses[status] += 1
    if problem:
        result.failed += 1
        result.problem = result.problem or problem
        return
    result.times.append(seconds)
    if 200 <= status < 300:
        result.accepted += 1
        result.duplicates += b'"duplicate":true' in body
    else:
        result.refused += 1
        result.problem = result.problem or f"status {status}: {body[:200].decode(errors='replace')}"


class _Courier:
    """Makes, signs and posts one sample after the other; one connection per thread."""

    def __init__(self, plan: Plan, signer: Any, first: int) -> None:
        self._plan = plan
        self._signer = signer
        self._first = first
        self._parts = urlsplit(plan.url)
        self._names = tuple(itertools.islice(itertools.cycle(plan.names), len(plan.names)))
        self._local = threading.local()

    def deliver(self, number: int) -> tuple[int, bytes, float, str]:
        """Post a sample; return status, answer, seconds, and what went wrong on the way."""
        plan = self._plan
        name = self._names[number % len(self._names)]
        unit = self._first + number // len(self._names)
        now = datetime.now(UTC)
        # The time is part of what tells events apart: the very same ones carry today's midnight.
        at = now if plan.first is None else now.replace(hour=0, minute=0, second=0, microsecond=0)
        sample = make_sample(self._signer, name, number=unit, at=at)
        path = sample.path if sample.path in plan.paths else plan.paths[0]
        began = time.perf_counter()
        try:
            connection = self._connection()
            connection.request("POST", self._parts.path.rstrip("/") + path, sample.body, dict(sample.headers))
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            self._local.connection = None
            return 0, b"", 0.0, f"{type(error).__name__}: {error}"
        return response.status, body, time.perf_counter() - began, ""

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            secure = self._parts.scheme == "https"
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            host = self._parts.hostname or "127.0.0.1"
            connection = self._local.connection = kind(host, self._parts.port, timeout=_TIMEOUT_SECONDS)
        return connection
