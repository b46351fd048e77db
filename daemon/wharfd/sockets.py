"""Listening sockets: opened from an address, with a sentence for every reason they cannot be."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from .errors import CannotListen

_BACKLOG = 1024


def open_sockets(binds: Sequence[str]) -> list[socket.socket]:
    """Listen on each `address:port`, `[v6]:port` or `unix:/path`; all of them, or none and `CannotListen`."""
    opened: list[socket.socket] = []
    try:
        for bind in binds:
            opened.append(_open(bind))
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


def _open(bind: str) -> socket.socket:
    try:
        if bind.startswith("unix:"):
            return _open_unix(Path(bind[5:]))
        host, port = split_bind(bind)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((host, port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise CannotListen(_sentence(bind, error)) from error
    listener.setblocking(False)
    return listener


def split_bind(bind: str) -> tuple[str, int]:
    """Read `address:port`; raises `CannotListen` for anything else."""
    host, _, port = bind.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise CannotListen(
            f"{bind!r} is not an address to listen on; write 127.0.0.1:8470, [::1]:8470 or unix:/path"
        )
    return host, int(port)


def _open_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            if _answers(path):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            path.unlink()  # left behind by a server that is gone
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def _sentence(bind: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{bind} is in use by another program; stop it, or choose another bind address"
    if error.errno == errno.EACCES:
        return f"{bind} is not for this user to listen on; use a port above 1023, or let systemd open it"
    if error.errno in (errno.EADDRNOTAVAIL, socket.EAI_NONAME):
        return f"{bind} is not an address of this machine; use one of its own, or 127.0.0.1"
    return f"{bind} cannot be listened on: {error.strerror or error}"


def describe(listener: socket.socket, *, secure: bool) -> str:
    """The URL at which a listening socket is reached."""
    scheme = "https" if secure else "http"
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"{scheme}+unix://{name}"
    host = f"[{name[0]}]" if listener.family == socket.AF_INET6 else name[0]
    return f"{scheme}://{host}:{name[1]}"
