"""The course of the daemon's figures over the last minutes, kept in memory and taken all the time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import trio

from wharfd import HttpProblem, IngestRoute, PluginContext, WharfdError, quantile
from wharfd.contracts.access import Identity
from wharfd.contracts.daemon import API

from .config import Settings
from .exposition import Reading, between, read

# Who the figures of the overview are asked for as: it reads, and can do nothing else.
WATCHER = Identity("console", "operator")

_RATES = ("accepted", "refused", "requests", "errors", "delivered", "undelivered")
_SURVEY_SECONDS = 10.0
_WATCHED_START = 5  # plugins still start while the first samples are taken


@dataclass(frozen=True)
class Sample:
    """The figures of one moment; rates are per second since the sample before. None: not known."""

    accepted: float | None = None
    refused: float | None = None
    answer_p50: float | None = None
    answer_p99: float | None = None
    requests: float | None = None
    errors: float | None = None
    request_p50: float | None = None
    request_p99: float | None = None
    delivered: float | None = None
    undelivered: float | None = None
    backlog: float | None = None
    buried: float | None = None
    pool: float | None = None
    cache: float | None = None
    lag: float | None = None
    memory: float | None = None


@dataclass
class Survey:
    """What is asked for less often: status, performance, schedules; `missing` says what could not be had."""

    status: dict[str, Any] = field(default_factory=dict)
    performance: dict[str, Any] = field(default_factory=dict)
    schedules: list[dict[str, Any]] = field(default_factory=list)
    pool: float | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def queues(self) -> list[dict[str, Any]]:
        """The work queues; empty while they are not known."""
        return list(self.performance.get("queues", ()))

    @property
    def backlog(self) -> float | None:
        """Work that is due and not done yet, over all queues."""
        return None if not self.performance else float(sum(one["due"] for one in self.queues))

    @property
    def buried(self) -> float | None:
        """Work that was given up, over all queues."""
        return None if not self.performance else float(sum(one["buried"] for one in self.queues))


class Sampler:
    """Takes a sample every few seconds; pages read `samples` and `survey`, followers wait for the next."""

    def __init__(self, ctx: PluginContext[Settings]) -> None:
        self._ctx = ctx
        self.every = ctx.settings.sample_every.total_seconds()
        self.samples: deque[Sample] = deque(
            [Sample()] * round(ctx.settings.history.total_seconds() / self.every),
            maxlen=round(ctx.settings.history.total_seconds() / self.every),
        )
        self.survey = Survey()
        self.taken = 0
        self.viewers = 0
        self._next = trio.Event()
        self._mounted = frozenset(
            path for _, route in ctx.plugins.declared(IngestRoute) for path in route.paths
        )
        self._reading: Reading | None = None
        self._read_at = 0.0

    @property
    def accepted(self) -> float:
        """How many webhooks were accepted since the start, at either listener."""
        return 0.0 if self._reading is None else self._reading.accepted

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take samples until cancelled; started after the first."""
        surveyed = -_SURVEY_SECONDS
        while True:
            began = trio.current_time()
            if self.taken < _WATCHED_START or began - surveyed >= _SURVEY_SECONDS - self.every / 2:
                await self.look_around()
                surveyed = began
            await self.take()
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep_until(began + self.every)

    async def wait_next(self) -> None:
        """Return when there is a newer sample."""
        await self._next.wait()

    async def look_around(self) -> None:
        """Ask for status, queues and schedules; what cannot be had is noted and asked for again later."""
        found = Survey()
        for name, path, member in (
            ("status", "/api/v1/status", None),
            ("performance", "/api/performance/status", "data"),
            ("schedules", "/api/v1/schedules", "schedules"),
        ):
            try:
                answer = await self._ctx.services.get(API).get(WATCHER, path)
            except (WharfdError, ExceptionGroup) as error:
                self._ctx.log.warning("console_survey_incomplete", path=path, reason=str(error))
                found.missing[name] = str(error)
                continue
            setattr(found, name, answer if member is None else answer[member])
        pools = self._ctx.db.statistics().pools
        limit = sum(pool.limit for pool in pools)
        found.pool = sum(pool.used for pool in pools) / limit if limit else None
        self.survey = found

    async def take(self) -> None:
        """Take one sample and wake whoever waits for it."""
        try:
            text = await self._ctx.services.get(API).get(WATCHER, "/metrics")
        except HttpProblem as error:
            self._ctx.log.warning("console_sample_missed", reason=str(error))
            sample = Sample()
        else:
            sample = self._sample(read(text.decode(), self._mounted), trio.current_time())
        self.samples.append(sample)
        self.taken += 1
        self._next.set()
        self._next = trio.Event()

    def _sample(self, now: Reading, at: float) -> Sample:
        before, seconds = self._reading, at - self._read_at
        self._reading, self._read_at = now, at
        rates: dict[str, float] = {}
        answers: dict[float, float] = {}
        requests: dict[float, float] = {}
        if before is not None and seconds > 0:
            for name in _RATES:
                rates[name] = max(0.0, getattr(now, name) - getattr(before, name)) / seconds
            answers = between(before.answer_buckets, now.answer_buckets)
            requests = between(before.request_buckets, now.request_buckets)
        return Sample(
            **rates,
            answer_p50=quantile(answers, 0.5),
            answer_p99=quantile(answers, 0.99),
            request_p50=quantile(requests, 0.5),
            request_p99=quantile(requests, 0.99),
            backlog=self.survey.backlog,
            buried=self.survey.buried,
            pool=self.survey.pool,
            cache=self.survey.performance.get("cache", {}).get("hitRate"),
            lag=now.lag,
            memory=now.memory,
        )
