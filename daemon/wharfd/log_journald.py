"""The journal's native protocol: one datagram per event, every field searchable, nothing ever waited for."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import re
import socket
from collections.abc import Mapping
from typing import Any, Final

import msgspec

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"

PREFIX: Final = "WHARFD_"
_PRIORITY = {"debug": b"7", "info": b"6", "warning": b"4", "error": b"3", "critical": b"2"}
_NOT_FIELD = re.compile(r"[^A-Z0-9_]")
_MAX_FIELD_NAME = 64  # journald ignores a longer one
# fcntl's names for these arrived in Python 3.12: no more seals, shrinking, growing or writing.
_F_ADD_SEALS = 1033
_ALL_SEALS = 0x1 | 0x2 | 0x4 | 0x8


class JournalOutput:
    """Sends finished entries to journald. What does not fit into its queue is dropped and counted."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self.dropped = 0
        self._reported = 0
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def write(self, line: bytes) -> None:
        """Send one entry, with the count of those lost before it."""
        lost = self.dropped - self._reported
        if lost:
            line += b"%sDROPPED=%d\n" % (PREFIX.encode(), lost)
        try:
            self._send(line)
        except OSError:
            # Full (EAGAIN), or restarting (ENOENT, ECONNREFUSED): the next entry that passes says how many.
            self.dropped += 1
        else:
            self._reported += lost

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send(self, entry: bytes) -> None:
        try:
            self._socket.sendto(entry, self._path)
        except OSError as exc:
            if exc.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_in_memory(entry)

    def _send_in_memory(self, entry: bytes) -> None:
        """Hand over an entry too big for a datagram as a sealed memory file, as the protocol asks."""
        memory = os.memfd_create("wharfd-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            view = memoryview(entry)
            while view:
                view = view[os.write(memory, view) :]
            fcntl.fcntl(memory, _F_ADD_SEALS, _ALL_SEALS)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memory]))
            self._socket.sendmsg([], [rights], 0, self._path)
        finally:
            os.close(memory)


def encode_entry(event: Mapping[str, Any]) -> bytes:
    """Turn an event into a journal entry: MESSAGE to read, WHARFD_EVENT and the other fields to search by."""
    fields = {key: value for key, value in event.items() if key not in ("event", "level", "timestamp")}
    name = str(event.get("event", ""))
    parts = [
        _field(b"MESSAGE", message_of(name, fields)),
        b"PRIORITY=" + _PRIORITY.get(str(event.get("level")), b"6") + b"\n",
        b"SYSLOG_IDENTIFIER=wharfd\n",
        _field(b"WHARFD_EVENT", name),
    ]
    for key, value in fields.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        parts.append(_field(_field_name(key), text))
    return b"".join(parts)


def message_of(name: str, fields: Mapping[str, Any]) -> str:
    """Put an event into one line for people: `claim_lost queue=netbanx.events attempt=2`."""
    words = [name]
    for key, value in fields.items():
        if key == "exception" and isinstance(value, dict):
            words.append(f"exception={value.get('type')}: {value.get('message')}")
        else:
            words.append(f"{key}={value}")
    return " ".join(words).replace("\n", " ")[:2000]


def _field_name(key: str) -> bytes:
    return (PREFIX + _NOT_FIELD.sub("_", key.upper()))[:_MAX_FIELD_NAME].encode()


def _field(name: bytes, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if b"\n" in raw:
        return name + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n"
    return name + b"=" + raw + b"\n"
