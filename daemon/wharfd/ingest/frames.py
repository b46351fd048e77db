"""How a record lies in a spool file: written so that a cut or damaged file still gives up every whole record.

A record is marker, length, time, checksum, payload. The checksum covers length and time as well, so a run of
zeros (what a crash leaves of a file that had grown) is no record. Nothing here touches a disk.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

FILE_HEADER = b"wharfd spool v1\n"

_MARKER = b"\xf5\x9aWR"
_FIELDS = struct.Struct("<IdI")  # length of the payload, wall clock when it was written, CRC-32
_OVERHEAD = len(_MARKER) + _FIELDS.size
_PAYLOAD_BYTES = 256 << 20  # more than any request we take; a longer length is damage


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record: where it stood, when it was written, what it says."""

    offset: int
    written_at: float
    payload: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes between `start` and `end` that belong to no whole record. `tail`: nothing follows them."""

    start: int
    end: int
    tail: bool


def frame(payload: bytes, written_at: float) -> bytes:
    """Return the payload as a record."""
    checksum = _checksum(payload, written_at)
    return _MARKER + _FIELDS.pack(len(payload), written_at, checksum) + payload


def scan(data: bytes) -> tuple[Sequence[Record], Sequence[Damage]]:
    """Return every whole record of a file, in order, and what lies between them."""
    records: list[Record] = []
    damages: list[Damage] = []
    position = len(FILE_HEADER) if data.startswith(FILE_HEADER) else 0
    while position < len(data):
        record = _read(data, position)
        if record is not None:
            records.append(record)
            position += _OVERHEAD + len(record.payload)
            continue
        start = position
        position = data.find(_MARKER, start + 1)
        while position >= 0 and _read(data, position) is None:
            position = data.find(_MARKER, position + 1)
        if position < 0:
            damages.append(Damage(start, len(data), tail=True))
            break
        damages.append(Damage(start, position, tail=False))
    return records, damages


def _read(data: bytes, position: int) -> Record | None:
    if not data.startswith(_MARKER, position) or position + _OVERHEAD > len(data):
        return None
    length, written_at, checksum = _FIELDS.unpack_from(data, position + len(_MARKER))
    start = position + _OVERHEAD
    if length > _PAYLOAD_BYTES or start + length > len(data):
        return None
    payload = data[start : start + length]
    return Record(position, written_at, payload) if _checksum(payload, written_at) == checksum else None


def _checksum(payload: bytes, written_at: float) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<Id", len(payload), written_at)))
