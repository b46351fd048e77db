"""Keep each plugin in a nursery of its own: start it, restart it, give up on it, and let the others be.

A plugin that crashes is restarted after 1, 2, 4 … 60 s; one that crashes five times in ten minutes is put in
quarantine and tried again every fifteen minutes, or when an operator resumes it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog
import trio

from .errors import NotReady

CRASHES_ALLOWED = 5
CRASH_WINDOW_SECONDS = 600.0
QUARANTINE_SECONDS = 900.0
LONGEST_DELAY_SECONDS = 60.0
STABLE_SECONDS = 60.0  # a plugin that ran this long starts its back-off anew

log = structlog.get_logger("wharfd.supervisor")


class State(StrEnum):
    """Where a plugin stands."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    QUARANTINED = "quarantined"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class PluginStatus:
    """What the operator sees of a plugin."""

    name: str
    origin: str
    state: State
    since: float
    restarts: int
    last_error: str | None
    retry_in_seconds: float | None


@dataclass
class Life:
    """What to do in each part of a plugin's life; made by the app, called by the supervisor.

    `live(nursery, ready)` provisions the plugin and starts everything it runs in `nursery`, and calls
    `ready()` when it serves. `end()` cleans up, shielded and bounded, also after a failed start.
    """

    name: str
    origin: str
    live: Callable[[trio.Nursery, Callable[[], None]], Awaitable[None]]
    end: Callable[[], Awaitable[None]]
    start_timeout: float = 60.0
    stop_timeout: float = 30.0
    on_start_failure: str = "retry"


class StartFailed(Exception):
    """A plugin with on_start_failure = "fail" did not start; the daemon stops."""


@dataclass
class Supervised:
    """One plugin under supervision."""

    life: Life
    notify: Callable[[str, str, str], None] = lambda plugin, old, new: None
    state: State = State.WAITING
    before: State = State.WAITING  # the state it was in before this one
    since: float = 0.0
    restarts: int = 0
    last_error: str | None = None
    retry_at: float | None = None
    settled: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)
    _crashes: deque[float] = field(default_factory=lambda: deque(maxlen=CRASHES_ALLOWED))
    _failures: int = 0
    _resume: trio.Event = field(default_factory=trio.Event)
    _stop: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def status(self) -> PluginStatus:
        """Return what there is to say about the plugin now."""
        left = None if self.retry_at is None else max(0.0, self.retry_at - trio.current_time())
        age = trio.current_time() - self.since
        return PluginStatus(
            self.life.name, self.life.origin, self.state, age, self.restarts, self.last_error, left
        )

    def resume(self) -> None:
        """Try again at once, with a clean record."""
        self._crashes.clear()
        self._failures = 0
        self._resume.set()

    def end(self, state: State) -> None:
        """Say that the plugin does not run, and never will."""
        self._move(state)
        self.ended.set()

    def stop(self) -> None:
        """End the plugin in good order."""
        self._stop.cancel()

    async def supervise(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the plugin until it is stopped; says started after the first success or the first failure."""
        self._move(State.STARTING)

        def settle() -> None:
            if not self.settled.is_set():
                self.settled.set()
                task_status.started()

        try:
            with self._stop:
                while await self._live_once(settle):
                    settle()
                    await self._wait_before_retry()
        finally:
            settle()
            if self.state is not State.FAILED:
                self._move(State.STOPPED)
            self.ended.set()

    async def _live_once(self, settle: Callable[[], None]) -> bool:
        """Live one life; True when the plugin should be tried again."""

        def ready() -> None:
            start_limit.deadline = float("inf")
            self.last_error = None
            self._move(State.RUNNING)
            settle()

        self._move(State.STARTING)
        error: BaseException | None = None
        try:
            with trio.move_on_after(self.life.start_timeout) as start_limit:
                async with trio.open_nursery() as nursery:
                    await self.life.live(nursery, ready)
            if start_limit.cancelled_caught:
                error = TimeoutError(f"it did not start within {self.life.start_timeout:g} s")
        except BaseException as raised:
            error = _fault(raised)
            if error is None:
                raise
        finally:
            with trio.move_on_after(self.life.stop_timeout, shield=True) as limit:
                await self._end()
            if limit.cancelled_caught:
                log.error("plugin_cleanup_too_slow", plugin=self.life.name, seconds=self.life.stop_timeout)
        if error is None:
            return False  # everything it ran has returned: it is done for good
        return self._judge(error)

    async def _end(self) -> None:
        try:
            await self.life.end()
        except (Exception, BaseExceptionGroup) as error:
            if _fault(error) is None:
                raise
            log.exception("plugin_cleanup_failed", plugin=self.life.name)

    def _judge(self, error: BaseException) -> bool:
        running = self.state is State.RUNNING
        if running and trio.current_time() - self.since >= STABLE_SECONDS:
            self._failures = 0
        self._failures += 1
        self.last_error = _describe(error)
        if not running and self.life.on_start_failure == "fail":
            self._move(State.FAILED)
            raise StartFailed(f"plugin {self.life.name} did not start: {self.last_error}") from error
        if not running and self.life.on_start_failure == "ignore":
            log.error("plugin_left_out", plugin=self.life.name, reason=self.last_error)
            self._move(State.FAILED)
            return False
        self.restarts += 1
        if isinstance(error, NotReady):
            log.warning("plugin_not_ready", plugin=self.life.name, reason=self.last_error)
        else:
            self._crashes.append(trio.current_time())
            log.error("plugin_crashed", plugin=self.life.name, error=self.last_error, exc_info=error)
        return True

    async def _wait_before_retry(self) -> None:
        now = trio.current_time()
        recent = [at for at in self._crashes if now - at <= CRASH_WINDOW_SECONDS]
        if len(recent) >= CRASHES_ALLOWED:
            delay = QUARANTINE_SECONDS
            self._move(State.QUARANTINED)
            log.error(
                "plugin_quarantined",
                plugin=self.life.name,
                crashes=len(recent),
                last_error=self.last_error,
                hint=f"mend it, then: wharfd plugins resume {self.life.name}",
            )
        else:
            delay = min(LONGEST_DELAY_SECONDS, 2.0 ** min(self._failures - 1, 6)) * random.uniform(0.9, 1.1)  # noqa: S311
            self._move(State.RESTARTING)
        self._resume = trio.Event()
        self.retry_at = now + delay
        with trio.move_on_after(delay):
            await self._resume.wait()
        self.retry_at = None

    def _move(self, new: State) -> None:
        old, self.state = self.state, new
        if old is not new:
            self.before = old
            self.since = trio.current_time()
            self.notify(self.life.name, old, new)


def _fault(error: BaseException) -> BaseException | None:
    """Return what the plugin did wrong; None when this is only cancellation or the user's Ctrl-C."""
    if isinstance(error, trio.Cancelled | KeyboardInterrupt | GeneratorExit):
        return None
    if isinstance(error, BaseExceptionGroup):
        _, rest = error.split((trio.Cancelled, KeyboardInterrupt, GeneratorExit))
        if rest is None:
            return None
        interrupts, _ = error.split(KeyboardInterrupt)
        if interrupts is not None:
            return None
        found: BaseException = rest
        while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
            found = found.exceptions[0]
        return found
    return error


def _describe(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_describe(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class Supervisor:
    """All supervised plugins, by name."""

    def __init__(self) -> None:
        self.plugins: dict[str, Supervised] = {}
        self._observers: list[Callable[[str, str, str], Any]] = []

    def add(self, life: Life) -> Supervised:
        """Take a plugin under supervision; start it with `supervise`."""
        self.plugins[life.name] = Supervised(life, self._notify)
        return self.plugins[life.name]

    def add_broken(self, name: str, origin: str, error: str) -> None:
        """List a plugin that cannot run at all."""

        async def nothing(*_: object) -> None:
            """It has no life to live."""

        broken = self.add(Life(name, origin, nothing, nothing))
        broken.last_error = error
        broken.end(State.FAILED)

    async def stop(self, name: str) -> None:
        """End a plugin in good order, and wait until it has."""
        self.plugins[name].stop()
        await self.plugins[name].ended.wait()

    def remove(self, name: str) -> None:
        """Forget a plugin that has ended and shall not be there."""
        self.plugins.pop(name).end(State.STOPPED)

    def observe(self, observer: Callable[[str, str, str], Any]) -> None:
        """Call `observer(plugin, old, new)` at each change of state."""
        self._observers.append(observer)

    def running(self, name: str) -> bool:
        """Whether the plugin serves right now."""
        return name in self.plugins and self.plugins[name].state is State.RUNNING

    def statuses(self) -> list[PluginStatus]:
        """Return the status of every plugin, in start order."""
        return [plugin.status for plugin in self.plugins.values()]

    def _notify(self, plugin: str, old: str, new: str) -> None:
        for observer in self._observers:
            try:
                observer(plugin, old, new)
            except Exception:
                log.exception("plugin_state_observer_failed", plugin=plugin)
