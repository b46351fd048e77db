"""Opens the listening sockets of ingest, or takes over one that systemd has opened."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import trio

from ..errors import ListenError

_BACKLOG = 1024


async def open_sockets(bind: str) -> list[socket.socket]:
    """Listen on `host:port`, `[v6]:port` or `unix:/path`; port 0 takes a free one.

    A name may stand for several addresses; all of them are opened or none.
    Raises `ListenError`, with the address and the reason.
    """
    if bind.startswith("unix:"):
        return [_open_unix(Path(bind.removeprefix("unix:")))]
    host, separator, port = bind.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise ListenError(f"[ingest] bind is {bind!r}; write it host:port, [::1]:port or unix:/path")
    opened: list[socket.socket] = []
    try:
        found = await trio.socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            opened.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
    except OSError as error:
        for listening in opened:
            listening.close()
        raise ListenError(
            f"cannot listen on {bind}: {error.strerror or error}; change [ingest] bind"
        ) from error
    return opened


def adopt_socket(descriptor: int) -> socket.socket:
    """Take over a listening stream socket handed in by the service manager.

    Raises `ListenError` if the descriptor is anything else.
    """
    try:
        adopted = socket.socket(fileno=os.dup(descriptor))
    except OSError as error:
        raise ListenError(f"descriptor {descriptor} is no socket: {error.strerror}") from error
    listens = adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if adopted.type != socket.SOCK_STREAM or not listens:
        adopted.close()
        raise ListenError(
            f"descriptor {descriptor} is no listening stream socket; use ListenStream= in the socket unit"
        )
    return adopted


def _open_unix(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise OSError(0, "another process listens there")
            path.unlink()  # left behind by a process that was killed
        listening.bind(str(path))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ListenError(
            f"cannot listen on unix:{path}: {error.strerror or error}; change [ingest] bind"
        ) from error
    return listening
