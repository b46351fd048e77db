"""The daemon's side of systemd's protocols: telling it how we are, and taking over the sockets it holds.

Without systemd everything here does nothing and says so by its return value. When to ping the watchdog is
decided in `watchdog.py`.
"""

from __future__ import annotations

import array
import os
import socket
import stat
import time
from collections.abc import Iterable, Mapping, MutableMapping

from .log import get_logger

_FIRST_DESCRIPTOR = 3
_SEND_SECONDS = 1.0  # systemd reads at once; if it does not, nobody is helped by our waiting longer
_MAX_STATUS = 500


class Notifier:
    """Tells systemd about the daemon's state. Every method says whether the message was handed over."""

    def __init__(self, address: str | None) -> None:
        self._address: str | None = None
        if address and address[0] in "/@":
            # A leading @ stands for the zero byte of an abstract socket.
            self._address = "\0" + address[1:] if address[0] == "@" else address

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """Use the socket systemd named, and take the name out of the environment of our children."""
        return cls(environ.pop("NOTIFY_SOCKET", None))

    @property
    def connected(self) -> bool:
        """Whether there is a systemd to talk to."""
        return self._address is not None

    def ready(self, status: str = "") -> bool:
        """Say that start or reload is over."""
        return self._send("READY=1", *_status(status))

    def reloading(self, status: str = "") -> bool:
        """Say that the configuration is being read again; `ready` ends it."""
        # Type=notify-reload tells this reload from an earlier one by the time.
        return self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", *_status(status))

    def stopping(self, status: str = "") -> bool:
        """Say that the daemon is on its way out."""
        return self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> bool:
        """Set the line that `systemctl status` shows."""
        return self._send(*_status(text))

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for this much more time to start or stop, from now."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def watchdog(self) -> bool:
        """Say that the daemon is alive."""
        return self._send("WATCHDOG=1")

    def store(self, name: str, sockets: Iterable[socket.socket | int]) -> bool:
        """Leave sockets (or other descriptors) with systemd; after a restart they come back by `name`.

        They outlive a crash and a restart, not a stop. The unit needs FileDescriptorStoreMax=.
        """
        descriptors = [item if isinstance(item, int) else item.fileno() for item in sockets]
        return self._send("FDSTORE=1", f"FDNAME={_checked_name(name)}", descriptors=descriptors)

    def remove_stored(self, name: str) -> bool:
        """Have systemd forget what was stored under `name`."""
        return self._send("FDSTOREREMOVE=1", f"FDNAME={_checked_name(name)}")

    def _send(self, *lines: str, descriptors: list[int] | None = None) -> bool:
        if self._address is None or not lines:
            return False
        rights = []
        if descriptors:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.settimeout(_SEND_SECONDS)
                link.sendmsg(["\n".join(lines).encode()], rights, 0, self._address)
        except OSError as exc:
            get_logger().warning("systemd_not_told", message=lines[0], reason=exc.strerror or str(exc))
            return False
        return True


def listen_fds(environ: MutableMapping[str, str] = os.environ) -> dict[str, list[socket.socket]]:
    """Return the sockets that systemd holds for us, by the FileDescriptorName= of their unit.

    Takes the variables out of the environment, so that a child does not think they are its own. Variables
    meant for another process are left to it. Descriptors that are no sockets are closed.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    del environ["LISTEN_PID"]
    try:
        count = int(environ.pop("LISTEN_FDS", "0"))
    except ValueError:
        count = 0
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    found: dict[str, list[socket.socket]] = {}
    for index in range(max(0, min(count, 1024))):
        descriptor = _FIRST_DESCRIPTOR + index
        name = names[index] if index < len(names) and names[index] else "unknown"
        taken = _take(descriptor)
        if taken is not None:
            found.setdefault(name, []).append(taken)
    return found


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the WatchdogSec= that systemd holds this process to, or None."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return microseconds / 1_000_000 if microseconds > 0 else None


def _take(descriptor: int) -> socket.socket | None:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError as exc:
        get_logger().warning("inherited_descriptor_missing", descriptor=descriptor, reason=exc.strerror)
        return None
    os.set_inheritable(descriptor, False)
    if not stat.S_ISSOCK(mode):
        os.close(descriptor)
        return None
    taken = socket.socket(fileno=descriptor)  # family and type are asked of the kernel
    taken.setblocking(False)
    return taken


def _status(text: str) -> list[str]:
    # A newline would begin another assignment.
    return [f"STATUS={' '.join(text.split())[:_MAX_STATUS]}"] if text else []


def _checked_name(name: str) -> str:
    if not name or len(name) > 255 or ":" in name or not name.isascii() or not name.isprintable():
        raise ValueError(f"descriptor name {name!r} must be printable ASCII without a colon")
    return name
