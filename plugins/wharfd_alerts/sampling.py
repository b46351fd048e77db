"""What a daemon sees of itself, written down every few seconds: pool, cache, disk, clock, its own metrics.

A rule is evaluated on one daemon only, and must know of all of them; `readings` gives it what they reported.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import trio

from wharfd import PluginContext, Schedule, WharfdError, WorkQueue, write_durably

from . import store
from .config import Settings
from .expression import Rates, values_of

EVERY_SECONDS = 15.0
STALE_SECONDS = 120.0  # a daemon that reported nothing for so long is silent
_WINDOW = 40  # samples of cache counters kept: ten minutes
_DAY = timedelta(days=1)


class Reading(msgspec.Struct, frozen=True):
    """One thing a daemon measured. `key` tells readings of one name apart."""

    name: str
    value: float
    key: str = ""


class Report(msgspec.Struct, frozen=True):
    """Everything one daemon reported last."""

    readings: list[Reading]
    unknown: list[str] = []  # operator's rules whose metric this daemon does not have


@dataclass
class Sampler:
    """Measures one daemon again and again; keeps what differences need."""

    ctx: PluginContext[Settings]
    plugins_down: dict[str, str] = field(default_factory=dict)
    _cache: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    _rates: dict[str, Rates] = field(default_factory=dict)
    _noted: str | None = None  # the daemon noted in the state folder; None until that was read

    @property
    def node(self) -> str:
        """What tells this daemon from others, also from those on the same host."""
        return f"{self.ctx.node}-{os.getpid()}"

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Report until cancelled; a database that is away is waited for."""
        task_status.started()
        while True:
            try:
                await self.report()
                await self.succeed()
            except (WharfdError, OSError) as error:  # away, busy, too slow, full: the next time is soon
                self.ctx.log.warning("readings_not_reported", reason=str(error))
            await trio.sleep(EVERY_SECONDS)

    async def report(self) -> Report:
        """Measure once and write it down."""
        report = await self.measure()
        await self.ctx.db.execute(store.REPORT, self.node, msgspec.to_builtins(report))
        counts = {row["severity"]: row["count"] for row in await self.ctx.db.fetch(store.COUNTS)}
        for severity in ("info", "warning", "critical"):
            self.ctx.metrics["firing"].labels(severity).set(counts.get(severity, 0))
        self.ctx.metrics["reading"].clear()  # what is not measured any more is not shown any more
        for reading in report.readings:
            if not reading.name.startswith("rule."):
                self.ctx.metrics["reading"].labels(reading.name, reading.key).set(reading.value)
        return report

    async def succeed(self) -> None:
        """Take leave for the daemon that ran on this state folder before, if it died without doing so.

        The folder has one owner at a time: whoever is noted in it and is not this daemon is gone.
        """
        note = self.ctx.state_dir / "node"
        if self._noted is None:
            self._noted = await trio.to_thread.run_sync(_noted_in, note)
        if self._noted == self.node:
            return
        if self._noted and await self._leave(self._noted):
            self.ctx.log.warning("daemon_before_died", node=self._noted)
        await trio.to_thread.run_sync(write_durably, note, self.node.encode())
        self._noted = self.node

    async def leave(self) -> None:
        """Say that this daemon stops on purpose."""
        await self._leave(self.node)

    async def _leave(self, node: str) -> bool:
        return node in {row["node"] for row in await self.ctx.db.fetch(store.LEAVE, node)}

    async def measure(self) -> Report:
        """Measure once."""
        readings = [*self._pools(), *self._slow_queries(), *await self._cache_rate()]
        usage = await trio.to_thread.run_sync(shutil.disk_usage, self.ctx.state_dir)
        readings.append(Reading("disk_free_ratio", usage.free / usage.total))
        before = perf_counter()
        there = await store.now(self.ctx.db)
        half = timedelta(seconds=(perf_counter() - before) / 2)
        readings.append(Reading("clock_skew_seconds", (self.ctx.now() - there - half).total_seconds()))
        readings += [
            Reading("plugin_down", 1, f"{name} {state}") for name, state in self.plugins_down.items()
        ]
        own, unknown = self._own_rules()
        return Report(readings + own, unknown)

    def _pools(self) -> Iterable[Reading]:
        for pool in self.ctx.db.statistics().pools:
            yield Reading("pool_used_ratio", pool.used / pool.limit, pool.purpose)

    def _slow_queries(self) -> Iterable[Reading]:
        since = self.ctx.now() - timedelta(minutes=5)
        worst: dict[str, float] = {}
        for slow in self.ctx.db.statistics().slow:
            if slow.at >= since:
                worst[slow.name] = max(worst.get(slow.name, 0.0), slow.seconds)
        return [Reading("slow_query_seconds", seconds, name) for name, seconds in worst.items()]

    async def _cache_rate(self) -> list[Reading]:
        hits = calls = 0
        for plugin in sorted(plugin_names(self.ctx)):
            try:
                statistics = await self.ctx.plugins.call(plugin, lambda ctx: ctx.cache.statistics())
            except WharfdError:
                continue  # not running: it asks the cache for nothing
            for counted in statistics.names.values():
                good = counted.local_hits + counted.redis_hits + counted.coalesced
                hits, calls = hits + good, calls + good + counted.misses
        if self._cache and calls < self._cache[-1][1]:
            self._cache.clear()  # a plugin went away and took its counters along
        self._cache.append((hits, calls))
        asked = calls - self._cache[0][1]
        if asked < max(1, self.ctx.settings.cache_min_calls):
            return []
        return [Reading("cache_hit_ratio", (hits - self._cache[0][0]) / asked)]

    def _own_rules(self) -> tuple[list[Reading], list[str]]:
        rules = {name: rule for name, rule in self.ctx.settings.rules.items() if rule.service is None}
        if not rules:
            return [], []
        samples = list(self.ctx.metrics.samples())
        readings, unknown = [], []
        for name, rule in rules.items():
            values = values_of(rule, samples)
            if values is None:
                unknown.append(name)
                continue
            if rule.rate is not None:
                rates = self._rates.setdefault(name, Rates(rule.rate.total_seconds()))
                values = rates.over(values, trio.current_time())
            readings += [Reading(f"rule.{name}", value, key) for key, value in values.items()]
        return readings, unknown


def _noted_in(note: Path) -> str:
    """Return the daemon that is noted; "" for none, as where a crash of the machine left no text."""
    try:
        text = note.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    return "" if "\0" in text else text


def plugin_names(ctx: PluginContext[Any]) -> set[str]:
    """Return every plugin that has work or schedules here, itself included."""
    return {
        ctx.name,
        *(plugin for kind in (WorkQueue, Schedule) for plugin, _ in ctx.plugins.declared(kind)),
    }


async def reports(ctx: PluginContext[Settings]) -> tuple[dict[str, Report], dict[str, float]]:
    """Return the fresh reports by daemon, and the silent daemons with the seconds since their last one."""
    fresh: dict[str, Report] = {}
    silent: dict[str, float] = {}
    for row in await store.nodes(ctx.db):
        if row["age_seconds"] > STALE_SECONDS:
            silent[row["node"]] = row["age_seconds"]
        else:
            fresh[row["node"]] = msgspec.convert(row["readings"], Report)
    return fresh, silent


async def readings(ctx: PluginContext[Settings], name: str) -> list[tuple[str, Reading]]:
    """Return (daemon, reading) of one name from every daemon that reports."""
    fresh, _ = await reports(ctx)
    return [(node, one) for node, report in fresh.items() for one in report.readings if one.name == name]
