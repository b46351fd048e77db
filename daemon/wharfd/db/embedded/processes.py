"""The processes that work in a data folder, found by what they are and not by a number in a file.

A pid in `postmaster.pid` may have been given to somebody else since, and may be that of a process that is
dead and waits to be reaped. The server's processes all have the data folder as their working directory,
and that cannot be mistaken. They are held by pidfd, so a signal never reaches a stranger.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trio

_PROGRAMS = frozenset({"postgres", "initdb"})


@dataclass(frozen=True)
class Found:
    """A living process, held by its pidfd."""

    pid: int
    pidfd: int

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone takes it silently."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    async def wait_gone(self) -> None:
        """Wait until the process has ended."""
        await trio.lowlevel.wait_readable(self.pidfd)


@contextmanager
def working_in(folder: Path) -> Iterator[list[Found]]:
    """Hold PostgreSQL's processes whose working directory is `folder` or below it."""
    with ExitStack() as stack:
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and _works_in(int(name), folder):
                with suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(int(name))
                    stack.callback(os.close, pidfd)
                    # Looked at again: between the look and the open the pid may have changed hands.
                    if _works_in(int(name), folder):
                        found.append(Found(int(name), pidfd))
        yield found


def _works_in(pid: int, folder: Path) -> bool:
    try:
        # A zombie has no working directory, and that of another user is none of our business.
        where = os.readlink(f"/proc/{pid}/cwd")
        program = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    return program in _PROGRAMS and Path(where).is_relative_to(folder)


async def wait_all_gone(processes: list[Found], seconds: float) -> list[Found]:
    """Wait until all have ended, `seconds` at most; return those that have not."""
    left = list(processes)
    with trio.move_on_after(seconds):
        while left:
            await left[0].wait_gone()
            left.pop(0)
    return left


def alive(pid: int) -> bool:
    """Return whether PostgreSQL would take this pid for that of a living server."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # PostgreSQL knows that a server on its own folder is its own user's
    return True
