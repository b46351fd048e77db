"""Calls made at about the same time, done together: one statement for many, and no wait for a single one.

Whoever comes first leads: it takes everything that waits and does it. Whatever arrives meanwhile is the next
group. So an idle sender adds nothing and a busy one fills its groups by itself; there is no timer. Two groups
never run at once, and a caller waits for at most the group before its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

A = TypeVar("A")
R = TypeVar("R")


class _Entry(Generic[A, R]):
    __slots__ = ("called", "error", "item", "leads", "result")

    def __init__(self, item: A) -> None:
        self.item = item
        self.called = trio.Event()
        self.leads = False
        self.result: R
        self.error: BaseException | None = None


class Gathering(Generic[A, R]):
    """`await gathering(item)` returns the result that `act` gave for the item, in a group of its choice.

    `act` gets up to `most` items and returns as many results in their order; it runs shielded from the
    cancellation of whoever happens to lead. Cancelling a caller takes its item out while it only waits.
    With `linger`, a group that comes within so many seconds of the last one waits as long for others to join:
    for what nobody waits for, where fewer groups are worth more than the few milliseconds.
    """

    def __init__(
        self, act: Callable[[Sequence[A]], Awaitable[Sequence[R]]], *, most: int = 200, linger: float = 0.0
    ) -> None:
        self._act = act
        self._most = most
        self._linger = linger
        self._ended = float("-inf")
        self._waiting: deque[_Entry[A, R]] = deque()
        self._led = False
        self.groups = 0
        self.items = 0

    async def __call__(self, item: A) -> R:
        """Do it together with others and return its result; raises what the whole group raised."""
        await trio.lowlevel.checkpoint_if_cancelled()
        entry: _Entry[A, R] = _Entry(item)
        self._waiting.append(entry)
        if self._led:
            try:
                await entry.called.wait()
            except trio.Cancelled:
                self._withdraw(entry)
                raise
        else:
            self._led = entry.leads = True
        if entry.leads:
            await self._lead()
        if entry.error is not None:
            raise entry.error
        return entry.result

    def _withdraw(self, entry: _Entry[A, R]) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
        if entry.leads:
            self._hand_over()

    def _hand_over(self) -> None:
        """Call the next one to lead; while nobody waits, nobody leads."""
        self._led = bool(self._waiting)
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].called.set()

    async def _lead(self) -> None:
        """Do one group, the caller's own entry first in it, and hand over."""
        if trio.current_time() - self._ended < self._linger and len(self._waiting) < self._most:
            with trio.CancelScope(shield=True):
                await trio.sleep(self._linger)
        group = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        self.groups += 1
        self.items += len(group)
        try:
            with trio.CancelScope(shield=True):
                results = await self._act([entry.item for entry in group])
            if len(results) != len(group):
                raise RuntimeError(f"{len(results)} results for {len(group)} items")
            for entry, result in zip(group, results, strict=True):
                entry.result = result
        except Exception as error:
            for entry in group:
                entry.error = error
        finally:
            self._ended = trio.current_time()
            for entry in group:
                entry.called.set()
            self._hand_over()
