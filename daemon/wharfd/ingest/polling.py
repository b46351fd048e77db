"""Waits for many sockets at once: each is registered one single time, and costs nothing until it is readable.

trio's own wait is registered anew for every request and wakes a task for each. Here one task waits for all,
on an epoll of our own inside trio's, and calls a plain function per readable socket. Linux only; without it
the listener waits with trio.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable

import trio

Readable = Callable[[bool], None]

_EVENTS_PER_TURN = 64
_CALLS_PER_TURN = 8  # then the others: a commit that can start now serves more than one further request
AVAILABLE = hasattr(select, "epoll")


class Poller:
    """Calls a function for every watched socket that has become readable; `run` is the task that does it.

    Readiness is told at its edge, once: whoever is called reads until nothing is left. The argument says
    that the peer has finished or is gone, after what is still to be read. The functions must not raise.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Readable] = {}
        self._again: deque[tuple[int, Readable]] = deque()
        self._called = trio.Event()

    def watch(self, connected: socket.socket, readable: Readable) -> None:
        """Call `readable` whenever the socket becomes readable, until `forget`."""
        number = connected.fileno()
        self._watched[number] = readable
        self._epoll.register(number, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)

    def forget(self, connected: socket.socket) -> None:
        """Call it no more; before the socket is closed."""
        number = connected.fileno()
        if self._watched.pop(number, None) is not None and not self._epoll.closed:
            self._epoll.unregister(number)

    def call_again(self, connected: socket.socket) -> None:
        """Call the socket's function once more when the others have had their turn."""
        number = connected.fileno()
        readable = self._watched.get(number)
        if readable is not None:
            self._again.append((number, readable))
            self._called.set()

    async def run(self) -> None:
        """Wait and call, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_again)
                await self._run_events()
        finally:
            self._epoll.close()

    async def _run_events(self) -> None:
        gone = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for count, (number, events) in enumerate(self._epoll.poll(0, _EVENTS_PER_TURN), 1):
                readable = self._watched.get(number)
                if readable is not None:
                    readable(bool(events & gone))
                if not count % _CALLS_PER_TURN:
                    await trio.lowlevel.checkpoint()

    async def _run_again(self) -> None:
        while True:
            await self._called.wait()
            self._called = trio.Event()
            for count in range(1, len(self._again) + 1):
                number, readable = self._again.popleft()
                if self._watched.get(number) is readable:
                    readable(False)
                if not count % _CALLS_PER_TURN:
                    await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
