"""The one place that knows asyncio: an asyncio loop hosted inside trio, and ways to call into it.

asyncpg and redis-py speak asyncio only. `open_bridge()` hosts a loop for them; `Bridge.run` runs an asyncio
function as a task of that loop, `Bridge.drive` steps an asyncio coroutine inside the calling trio task (no
task, no extra scheduling: as fast as native asyncio), `Bridge.iterate` reads an asyncio iterator. A trio
cancellation or deadline cancels the asyncio side and waits until it has unwound. Nothing about PostgreSQL
or Redis lives here.

Every turn of a busy loop that an answer of the database waits for is time a provider waits. So whoever drives
a coroutine is woken by the future itself and not by a callback in a queue, and a socket is read again
without asking first whether that queue is empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from typing import Any, Generic, TypeVar

import structlog
import trio
import trio_asyncio
from trio_asyncio._loop import current_loop

T = TypeVar("T")

_log = structlog.get_logger("wharfd.db.bridge")
_open: trio.lowlevel.RunVar[Bridge] = trio.lowlevel.RunVar("wharfd_bridge")


class Bridge:
    """A running asyncio loop; usable from every trio task of the same run, whatever its context."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = copy_context()
        self._context.run(current_loop.set, loop)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The asyncio loop, for a library that wants it as an argument."""
        return self._loop

    async def run(self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Call an asyncio function as a task of the loop and return what it returns.

        Cancellation: cancels the task and waits until it has unwound. An asyncio cancellation that no trio
        scope asked for becomes ConnectionAbortedError, because it would otherwise pass for a shutdown.
        """
        await trio.lowlevel.checkpoint_if_cancelled()

        async def call() -> T:
            return await function(*args, **kwargs)

        task = self._loop.create_task(call(), context=self._context.copy())
        return await self.drive(_await_future(task))

    async def drive(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run an asyncio coroutine inside this trio task and return what it returns.

        For code that only awaits futures of the loop, such as a query on an open asyncpg connection. What
        needs `asyncio.current_task()` (timeouts, connecting, redis-py) must go through `run`.
        """
        if current_loop.get() is not self._loop:
            current_loop.set(self._loop)  # callbacks made on the way inherit it from this task
        return await _drive(coroutine)

    def iterate(self, iterable: AsyncIterable[T]) -> Iteration[T]:
        """Read an asyncio iterator with `async for` in trio; cancelling ends an asyncio generator."""
        return Iteration(self, iterable)


class Iteration(Generic[T]):
    """An asyncio iterator as a trio one."""

    def __init__(self, bridge: Bridge, iterable: AsyncIterable[T]) -> None:
        self._bridge = bridge
        self._iterator = aiter(iterable)

    def __aiter__(self) -> Iteration[T]:
        return self

    async def __anext__(self) -> T:
        return await self._bridge.run(self._iterator.__anext__)


async def _await_future(future: asyncio.Future[T]) -> T:
    return await future


async def _drive(coroutine: Coroutine[Any, Any, T]) -> T:
    task = trio.lowlevel.current_task()
    raise_cancel: Callable[[], None] | None = None
    failure: BaseException | None = None
    while True:
        try:
            future = coroutine.send(None) if failure is None else coroutine.throw(failure)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except asyncio.CancelledError as error:
            if raise_cancel is None:
                raise ConnectionAbortedError("the asyncio side was cancelled from within") from error
            raise_cancel()
            raise AssertionError("unreachable: raise_cancel always raises") from error
        failure = None
        if future is None:  # asyncio.sleep(0): let the others run
            await trio.lowlevel.checkpoint()
            continue

        def abort(raise_it: Callable[[], None], waited: asyncio.Future[Any] = future) -> trio.lowlevel.Abort:
            nonlocal raise_cancel
            raise_cancel = raise_it
            waited.cancel()
            return trio.lowlevel.Abort.FAILED  # wait for the asyncio side to unwind

        if isinstance(future, _Prompt) and future.sleeper is None:
            future.sleeper = task
        else:
            future.add_done_callback(lambda _: trio.lowlevel.reschedule(task))
        await trio.lowlevel.wait_task_rescheduled(abort)


class _Prompt(asyncio.Future[Any]):
    """A future that wakes the trio task that waits for it at once, unless that task itself cancels it."""

    sleeper: trio.lowlevel.Task | None = None

    def set_result(self, result: Any) -> None:
        super().set_result(result)
        self._wake()

    def set_exception(self, exception: type[BaseException] | BaseException) -> None:
        super().set_exception(exception)
        self._wake()

    def cancel(self, msg: Any = None) -> bool:
        if not super().cancel(msg):
            return False
        if self.sleeper is not None:
            self.get_loop().call_soon(self._wake)
        return True

    def _wake(self) -> None:
        sleeper, self.sleeper = self.sleeper, None
        if sleeper is not None:
            trio.lowlevel.reschedule(sleeper)


async def _watch(fd: Any, handle: Any, wait_ready: Callable[[Any], Awaitable[None]]) -> None:
    """Run the handle whenever the descriptor is ready, until it is cancelled."""
    with handle._scope:
        try:
            while not handle._cancelled:
                try:
                    await wait_ready(fd)
                except OSError:
                    if handle._cancelled:  # closed in the meantime
                        return
                    raise
                if not handle._cancelled:
                    handle._run()
        except Exception as error:
            handle._raise(error)


def current_bridge() -> Bridge:
    """Return the bridge that is open in this trio run."""
    try:
        return _open.get()
    except LookupError:
        raise RuntimeError("no bridge is open in this trio run; open one with open_bridge()") from None


async def run_asyncio(function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
    """Call an asyncio function on the bridge of this trio run; see `Bridge.run`."""
    return await current_bridge().run(function, *args, **kwargs)


@contextmanager
def unwrapped() -> Iterator[None]:
    """Let a lone exception out of the exception groups that internal nurseries wrapped it in."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaf: BaseException = group
        while isinstance(leaf, BaseExceptionGroup) and len(leaf.exceptions) == 1:
            leaf = leaf.exceptions[0]
        if isinstance(leaf, BaseExceptionGroup):
            raise
        raise leaf from leaf.__cause__


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # A stray error of one connection's callback must never end the daemon, which is trio-asyncio's default.
    error = context.get("exception")
    _log.error(
        "asyncio_error", message=context.get("message"), exc_info=error if error is not None else False
    )


@asynccontextmanager
async def open_bridge() -> AsyncIterator[Bridge]:
    """Host an asyncio loop for as long as the block runs; one per trio run."""
    with unwrapped():
        async with trio_asyncio.open_loop() as loop:
            loop.set_exception_handler(_report)
            loop.create_future = lambda: _Prompt(loop=loop)
            loop._io_task = _watch
            bridge = Bridge(loop)
            token = _open.set(bridge)
            try:
                yield bridge
            finally:
                _open.reset(token)
