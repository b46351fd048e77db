"""How the daemon is doing: every check with its own time, all at once, kept for a second.

Degraded is still ready: traffic should come. Only a critical check that is down makes the daemon not ready.
The state of a plugin comes before its checks: a plugin that is not running is degraded, whatever they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import structlog
import trio

from .declare import Health, HealthCheck

State = Literal["ok", "degraded", "down"]

_KEPT_SECONDS = 1.0
_WORST: dict[State, int] = {"ok": 0, "degraded": 1, "down": 2}


@dataclass(frozen=True)
class BoundCheck:
    """A check and the plugin it belongs to; `context()` returns None while the plugin is not running."""

    check: HealthCheck
    plugin: str
    context: Callable[[], Any]


class CheckResult(msgspec.Struct, kw_only=True):
    """What one check found."""

    name: str
    plugin: str
    state: State
    critical: bool
    reason: str = ""
    detail: dict[str, Any] = {}
    ms: float = 0.0


class PluginHealth(msgspec.Struct, kw_only=True):
    """How a plugin is doing, as its supervisor sees it."""

    name: str
    state: str
    reason: str = ""


class HealthReport(msgspec.Struct, kw_only=True):
    """Everything `/health/ready` knows."""

    status: Literal["ok", "degraded", "down", "stopping"]
    ready: bool
    checks: list[CheckResult]
    plugins: list[PluginHealth]

    def troubles(self) -> list[str]:
        """What is not as it should be, a sentence each; a plugin that does not run is told of once."""
        down = {one.name for one in self.plugins if one.state != "running"}
        plugins = [
            (f"the plugin {one.name}", one.state, one.reason) for one in self.plugins if one.name in down
        ]
        checks = [
            (f"{one.plugin}.{one.name}", one.state, one.reason)
            for one in self.checks
            if one.state != "ok" and one.plugin not in down
        ]
        return [
            f"{name} is {state}" + (f": {reason}" if reason else "")
            for name, state, reason in [*plugins, *checks]
        ]


class HealthBoard:
    """Runs the checks when somebody asks.

    `plugin_states()` gives each plugin's state (`running`, `restarting`, `quarantined`, …) and the reason.
    """

    def __init__(
        self,
        checks: Sequence[BoundCheck],
        *,
        plugin_states: Callable[[], Mapping[str, tuple[str, str]]],
        log: structlog.stdlib.BoundLogger,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._checks = tuple(checks)
        self._plugin_states = plugin_states
        self._log = log
        self._clock = clock
        self._turn = trio.Lock()
        self._kept: HealthReport | None = None
        self._kept_at = 0.0
        self._kept_for: Mapping[str, tuple[str, str]] = {}
        self.stopping = False

    async def report(self) -> HealthReport:
        """Run every check at once, each in its own time; within a second the last report is given again.

        Unless a plugin's state has changed since: what was said before it started is over.
        """
        async with self._turn:
            states = self._plugin_states()
            old = self._clock() - self._kept_at > _KEPT_SECONDS
            if self._kept is None or old or states != self._kept_for:
                self._kept = await self._run(states)
                self._kept_at, self._kept_for = self._clock(), states
        if self.stopping:
            return msgspec.structs.replace(self._kept, status="stopping", ready=False)
        return self._kept

    async def _run(self, states: Mapping[str, tuple[str, str]]) -> HealthReport:
        results: list[CheckResult | None] = [None] * len(self._checks)

        async def fill(position: int, bound: BoundCheck) -> None:
            results[position] = await self._result(bound, states)

        async with trio.open_nursery() as nursery:
            for position, bound in enumerate(self._checks):
                nursery.start_soon(fill, position, bound)
        found = [result for result in results if result is not None]
        plugins = [PluginHealth(name=name, state=state, reason=why) for name, (state, why) in states.items()]
        critical_down = any(result.critical and result.state == "down" for result in found)
        troubled = any(result.state != "ok" for result in found)
        troubled = troubled or any(plugin.state != "running" for plugin in plugins)
        return HealthReport(
            status="down" if critical_down else "degraded" if troubled else "ok",
            ready=not critical_down,
            checks=sorted(found, key=lambda result: (-_WORST[result.state], result.plugin, result.name)),
            plugins=sorted(plugins, key=lambda plugin: plugin.name),
        )

    async def _result(self, bound: BoundCheck, states: Mapping[str, tuple[str, str]]) -> CheckResult:
        started = trio.current_time()
        health = await self._ask(bound, states)
        return CheckResult(
            name=bound.check.name,
            plugin=bound.plugin,
            state=health.state,
            critical=bound.check.critical,
            reason=health.reason,
            detail=dict(health.detail),
            ms=round((trio.current_time() - started) * 1000, 2),
        )

    async def _ask(self, bound: BoundCheck, states: Mapping[str, tuple[str, str]]) -> Health:
        state, reason = states.get(bound.plugin, ("running", ""))
        context = bound.context() if state == "running" else None
        if context is None:
            why = f": {reason}" if reason else ""
            return Health(
                "degraded",
                f"the plugin {bound.plugin} is {'not running' if state == 'running' else state}{why}",
            )
        seconds = bound.check.timeout_seconds
        try:
            with trio.move_on_after(seconds):
                found: Health = await bound.check.check(context)
                return found
        except trio.Cancelled:
            raise
        except (Exception, SystemExit) as error:
            return self._failed(bound, error)
        except BaseExceptionGroup as group:
            passing, rest = group.split((trio.Cancelled, KeyboardInterrupt, GeneratorExit))
            if passing is not None or rest is None:
                raise
            return self._failed(bound, rest)
        return Health("down", f"no answer within {seconds:g} s")

    def _failed(self, bound: BoundCheck, error: BaseException) -> Health:
        self._log.error("health_check_failed", plugin=bound.plugin, check=bound.check.name, exc_info=error)
        return Health("down", f"the check itself failed with {type(error).__name__}; see the log")
