"""Open-loop load: operations begin when they are due, whether or not those before them have ended.

Each latency counts from the moment the operation was due. A target that stalls is therefore charged for
everything that came due meanwhile; a load generator that waited for answers would have left that out
("coordinated omission"), and would have shown the stall as one slow answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import trio

from .histogram import Histogram

_MOST_WAITING = 20_000
_END_SECONDS = 30.0


class Measured(msgspec.Struct, kw_only=True):
    """What one stretch of load came to; `slots` are those of its histogram."""

    asked: int
    done: int
    failed: int
    seconds: float
    slots: list[tuple[int, int]]
    maximum: float
    error: str = ""

    @property
    def histogram(self) -> Histogram:
        """The latencies."""
        return Histogram(self.slots, self.maximum)

    @property
    def rate(self) -> float:
        """Operations done per second."""
        return self.done / self.seconds if self.seconds else 0.0


async def offer(
    operation: Callable[[int], Awaitable[None]],
    *,
    rate: float,
    seconds: float,
    at_once: int,
    first: int = 0,
    closed: bool = False,
    total: int | None = None,
) -> Measured:
    """Begin `rate` operations a second for so many seconds and measure each from when it was due.

    `operation(number)` does one and raises when it fails; at most `at_once` are under way, later ones wait,
    and their wait counts. With `closed` the next begins when one has ended, as fast as it goes, and latencies
    count from there: for the highest rate, not for how long anybody waits. After `total` none begins.
    """
    histogram = Histogram()
    failures: list[str] = []
    begun = trio.current_time()
    asked = 0
    send, receive = trio.open_memory_channel[tuple[int, float]](0 if closed else _MOST_WAITING)

    async def work(source: trio.MemoryReceiveChannel[tuple[int, float]]) -> None:
        async with source:
            async for number, due in source:
                try:
                    await operation(number)
                except Exception as error:
                    failures.append(f"{type(error).__name__}: {error}")
                else:
                    histogram.add(trio.current_time() - due)

    with trio.move_on_after(seconds + _END_SECONDS):
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(work, receive.clone())
            receive.close()
            async with send:
                while (now := trio.current_time()) < begun + seconds and (total is None or asked < total):
                    if closed:
                        await send.send((first + asked, now))
                        asked += 1
                        continue
                    due = begun + asked / rate
                    if due > now:
                        await trio.sleep_until(due)
                        continue
                    try:
                        send.send_nowait((first + asked, due))
                    except trio.WouldBlock:
                        failures.append("too many operations wait; the target does not keep up")
                    asked += 1
                    if asked % 64 == 0:
                        await trio.lowlevel.checkpoint()
    took = trio.current_time() - begun
    return Measured(
        asked=asked,
        done=histogram.count,
        failed=asked - histogram.count,
        seconds=took,
        slots=histogram.slots(),
        maximum=histogram.maximum,
        error=failures[0] if failures else "",
    )
