"""The load: senders that deliver operation after operation, and send each again until it is acknowledged.

Paced by arrival, not by answers: while the daemon is away operations come due all the same, and their wait
counts from the moment they came due, so an outage shows in the latencies instead of hiding in a pause.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import trio

from .http import exchange
from .ledger import Ledger
from .workload import Workload

_ANSWER_SECONDS = 30.0
_AGAIN_SECONDS = 0.05
_FAULTS = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, EOFError, trio.TooSlowError)


class Load:
    """Delivers at `rate` per second over `senders` connections to whichever of `ports` a sender drew.

    `outcomes` counts what single requests came to: a status, `refused`, `cut` (no whole answer) or `slow`.
    `worst` is the longest time from when an operation came due to its acknowledgement.
    """

    def __init__(
        self,
        workload: Workload,
        ledger: Ledger,
        ports: Callable[[], Sequence[int]],
        *,
        random: Random,
        rate: float,
        senders: int,
        prefix: str = "op",
    ) -> None:
        self._workload, self._ledger, self._ports = workload, ledger, ports
        self._random = random
        self._rate = rate
        self._senders = senders
        self._prefix = prefix
        self._numbers = 0
        self._stop = trio.Event()
        self.ended = trio.Event()
        self._acked = trio.Event()
        self._last_start = 0.0
        self.outcomes: Counter[str] = Counter()
        self.worst = 0.0
        self.waits: list[float] = []

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver until `stop`, then until what is under way is acknowledged or `finish` gives up."""
        send, receive = trio.open_memory_channel[tuple[str, float]](max(self._senders, int(self._rate)))
        async with trio.open_nursery() as nursery:
            for _ in range(self._senders):
                nursery.start_soon(self._sender, receive.clone(), Random(self._random.random()))
            receive.close()
            task_status.started()
            async with send:
                begun = trio.current_time()
                while not self._stop.is_set():
                    self._numbers += 1
                    await send.send((f"{self._prefix}-{self._numbers}", trio.current_time()))
                    due = begun + self._numbers / self._rate
                    if due < trio.current_time() - 0.5:  # all senders were held up: no burst afterwards
                        begun = trio.current_time() - self._numbers / self._rate
                    with trio.move_on_at(due):
                        await self._stop.wait()
        self.ended.set()

    def stop(self) -> None:
        """Begin no more operations."""
        self._stop.set()

    async def next_acknowledged(self, since: float) -> float:
        """Wait until an operation sent after `since` is acknowledged; return how long after it that was."""
        while self._last_start < since:
            await self._acked.wait()
        return trio.current_time() - since

    async def more(self, count: int) -> None:
        """Wait until so many more operations are acknowledged."""
        wanted = self._ledger.acknowledged + count
        while self._ledger.acknowledged < wanted:
            await self._acked.wait()

    async def _sender(self, operations: trio.MemoryReceiveChannel[tuple[str, float]], random: Random) -> None:
        stream: trio.SocketStream | None = None
        try:
            async with operations:
                async for operation, due in operations:
                    self._ledger.offer(operation)
                    request = self._workload.request(operation, random)
                    while True:
                        began = trio.current_time()
                        stream, accepted = await self._try(stream, request, random)
                        if accepted:
                            break
                        await trio.sleep(_AGAIN_SECONDS * random.uniform(0.5, 1.5))
                    self._acknowledged(operation, due, began)
        finally:
            if stream is not None:
                await trio.aclose_forcefully(stream)

    async def _try(
        self, stream: trio.SocketStream | None, request: bytes, random: Random
    ) -> tuple[trio.SocketStream | None, bool]:
        kept = stream is not None
        try:
            with trio.fail_after(_ANSWER_SECONDS):
                if stream is None:
                    stream = await trio.open_tcp_stream("127.0.0.1", random.choice(self._ports()))
                answer = await exchange(stream, request)
        except _FAULTS as error:
            if stream is not None:
                await trio.aclose_forcefully(stream)
            self.outcomes[_name(error, kept)] += 1
            return None, False
        self.outcomes[str(answer.status)] += 1
        if answer.closes:
            with suppress(*_FAULTS):
                await stream.aclose()
            stream = None
        return stream, 200 <= answer.status < 300

    def _acknowledged(self, operation: str, due: float, began: float) -> None:
        now = trio.current_time()
        self._ledger.acknowledge(operation, now - due)
        self.worst = max(self.worst, now - due)
        self.waits.append(now - due)
        self._last_start = max(self._last_start, began)
        self._acked.set()
        self._acked = trio.Event()


def _name(error: BaseException, kept: bool) -> str:
    if isinstance(error, trio.TooSlowError):
        return "slow"
    numbers = {error.errno} if isinstance(error, OSError) else set()
    for inner in (error.__cause__, *getattr(error.__cause__, "exceptions", ())):
        numbers.add(getattr(inner, "errno", None))
    if errno.ECONNREFUSED in numbers:
        return "refused"
    # A kept connection may be closed by the other side at any time; a fresh one may not.
    return "cut" if not kept else "cut while kept"
