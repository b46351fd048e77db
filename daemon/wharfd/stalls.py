"""A thread that notices when the event loop stands still and says whose code it stands in.

The loop cannot report this itself: while a plugin blocks it, nothing else runs. Looking costs nothing until
then: the running task, its plugin and its stack are read from outside, at the time of the stall.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

import trio
from structlog.contextvars import STRUCTLOG_KEY_PREFIX

from .log import get_logger

_MAX_FRAMES = 30


@dataclass(frozen=True)
class Stall:
    """The loop standing still: for how long so far, in which task, whose plugin, where in the code."""

    seconds: float
    plugin: str
    task: str
    stack: tuple[str, ...]


class StallWatch:
    """Watches one event loop from a thread, between `with` and its end. `tick` is the loop's sign of life.

    Logs `event_loop_blocked` once the loop has not ticked for `after_seconds`, again each time the stall has
    doubled, and `event_loop_resumed` when it is over. `on_stall` is called in the thread, for a metric.
    """

    def __init__(
        self,
        *,
        after_seconds: float = 1.0,
        plugin_of_module: Callable[[str], str | None] = lambda module: None,
        on_stall: Callable[[Stall], None] = lambda stall: None,
    ) -> None:
        self._after = after_seconds
        self._plugin_of_module = plugin_of_module
        self._on_stall = on_stall
        self._log = get_logger()
        self._last_tick = time.monotonic()
        self._over = threading.Event()
        self._root: trio.lowlevel.Task | None = None
        self._loop_thread = 0
        self._thread: threading.Thread | None = None

    def tick(self) -> None:
        """Say that the loop moves."""
        self._last_tick = time.monotonic()

    def __enter__(self) -> StallWatch:
        self._root = trio.lowlevel.current_root_task()
        self._loop_thread = threading.get_ident()
        self.tick()
        self._thread = threading.Thread(target=self._watch, name="wharfd-stalls", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(5)

    def _watch(self) -> None:
        report_at = self._after
        began = 0.0
        while not self._over.wait(self._after / 4):
            last = self._last_tick
            age = time.monotonic() - last
            if age >= report_at:
                began = last
                report_at = age * 2
                self._report(age)
            elif age < self._after and began:
                self._log.warning("event_loop_resumed", blocked_seconds=round(last - began, 3))
                began, report_at = 0.0, self._after

    def _report(self, age: float) -> None:
        stall = self.look(age)
        self._log.error(
            "event_loop_blocked",
            seconds=round(stall.seconds, 3),
            blocking_plugin=stall.plugin or "unknown",
            task=stall.task,
            frames=list(stall.stack),
        )
        self._on_stall(stall)

    def look(self, age: float) -> Stall:
        """Return what the loop's thread is doing right now."""
        frames = list(_frames(sys._current_frames().get(self._loop_thread)))
        task = _running_task(self._root)
        plugin = _plugin_of_task(task) or next(
            (found for module, _ in frames if (found := self._plugin_of_module(module))), ""
        )
        places = tuple(place for _, place in frames[:_MAX_FRAMES])
        return Stall(age, plugin, task.name if task is not None else "", places)


def _frames(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    """Give module and place of every frame, the innermost first."""
    for found, line in traceback.walk_stack(frame) if frame is not None else ():
        code = found.f_code
        yield str(found.f_globals.get("__name__", "")), f"{code.co_filename}:{line} in {code.co_qualname}"


def _running_task(root: trio.lowlevel.Task | None) -> trio.lowlevel.Task | None:
    """Find the task whose coroutine is being executed; None between two tasks."""
    pending = [root] if root is not None else []
    while pending:
        task = pending.pop()
        if getattr(task.coro, "cr_running", False):
            return task
        try:
            pending.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
        except RuntimeError:
            # The loop came back to life and changed the set under us; then there is no stall to explain.
            return None
    return None


def _plugin_of_task(task: trio.lowlevel.Task | None) -> str:
    """Read the `plugin` of the task's log context, from outside the task."""
    if task is None:
        return ""
    values: dict[str, Any] = {variable.name: value for variable, value in task.context.items()}
    plugin = values.get(f"{STRUCTLOG_KEY_PREFIX}plugin")
    return plugin if isinstance(plugin, str) else ""
