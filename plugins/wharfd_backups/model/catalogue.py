"""The catalogue: one small entry per backup, written last; without its entry a backup does not count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec

Method = Literal["physical", "logical"]
Reason = Literal["daily", "manual", "migration", "gap"]
PREFIX = "catalogue/"
_FORMAT = 1


class BadEntry(ValueError):
    """An entry of the catalogue cannot be believed."""


class Part(msgspec.Struct, frozen=True):
    """One object of a backup: the data, its files' checksums, a table as CSV, or files beside."""

    kind: Literal["base", "sums", "dump", "csv", "files"]
    key: str
    bytes: int
    sha256: str
    plain_bytes: int
    name: str = ""


class Tally(msgspec.Struct, frozen=True):
    """What a table held: `rows` seen by the snapshot; `exact` unless rows may go in the meantime.

    `hash` is over all rows, in any order, of a table whose rows never change; `newest` its greatest key.
    """

    rows: int
    exact: bool = True
    hash: int | None = None
    newest: str | None = None
    deleted: int | None = None  # how many rows of it had been deleted ever, by the server's statistics


class Changes(msgspec.Struct, frozen=True):
    """What the real database says: rows `deleted` of the tables that ever changed, counted `since` then."""

    deleted: dict[str, int] = {}
    since: datetime | None = None

    def room(self, table: str, tally: Tally, counted_at: datetime) -> int:
        """Return how many rows may have been deleted since a count; all of them where nobody knows."""
        now = self.deleted.get(table, 0)
        reset = self.since is not None and self.since > counted_at
        return tally.rows if reset or tally.deleted is None or now < tally.deleted else now - tally.deleted


class Marker(msgspec.Struct, frozen=True):
    """What the tables held at a moment that a restore can go to."""

    lsn: str
    at: datetime
    snapshot: str
    tables: dict[str, Tally]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One backup."""

    id: str
    method: Method
    reason: Reason
    started_at: datetime
    finished_at: datetime
    server_version: int
    database: str
    superuser: str
    parts: tuple[Part, ...]
    system: str | None = None
    timeline: int | None = None
    start_lsn: str | None = None
    end_lsn: str | None = None
    segment_bytes: int = 16 << 20
    files: int = 0
    marker: Marker | None = None
    master_keys: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    note: str = ""
    wharfd: str = ""

    @property
    def bytes(self) -> int:
        """What all its objects take in a place."""
        return sum(part.bytes for part in self.parts)

    def part(self, kind: str) -> Part:
        """Return its first object of that kind; raises `BadEntry`."""
        for part in self.parts:
            if part.kind == kind:
                return part
        raise BadEntry(f"backup {self.id} has no {kind}")

    def has(self, kind: str) -> bool:
        """Tell whether it has an object of that kind."""
        return any(part.kind == kind for part in self.parts)


class _Envelope(msgspec.Struct):
    format: int
    entry: msgspec.Raw
    sha256: str


def key_of(backup_id: str) -> str:
    """Return the key of an entry."""
    return f"{PREFIX}{backup_id}.json"


def encode(entry: Entry) -> bytes:
    """Return an entry with a checksum over itself."""
    body = msgspec.json.encode(entry)
    return msgspec.json.encode(_Envelope(_FORMAT, msgspec.Raw(body), hashlib.sha256(body).hexdigest()))


def decode(raw: bytes, *, key: str = "") -> Entry:
    """Return the entry; raises `BadEntry` when it is not as it was written."""
    try:
        envelope = msgspec.json.decode(raw, type=_Envelope)
        if envelope.format != _FORMAT:
            raise BadEntry(f"the entry {key} has format {envelope.format}; this wharfd reads {_FORMAT}")
        if hashlib.sha256(bytes(envelope.entry)).hexdigest() != envelope.sha256:
            raise BadEntry(f"the entry {key} was changed: its checksum does not fit")
        entry = msgspec.json.decode(envelope.entry, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadEntry(f"the entry {key} is damaged and cannot be read") from None
    if key and key_of(entry.id) != key:
        raise BadEntry(f"the entry {key} is that of {entry.id}")
    return entry


def orphans(keys: Iterable[str], entries: Iterable[Entry]) -> list[str]:
    """Return the objects under `backups/` that no entry names: half-made backups, never counted as good."""
    named = {part.key for entry in entries for part in entry.parts}
    return [key for key in keys if key.startswith("backups/") and key not in named]


def summary(entry: Entry) -> dict[str, Any]:
    """Return what lists show of an entry."""
    return {
        "id": entry.id,
        "method": entry.method,
        "reason": entry.reason,
        "started_at": entry.started_at,
        "finished_at": entry.finished_at,
        "seconds": (entry.finished_at - entry.started_at).total_seconds(),
        "bytes": entry.bytes,
        "plain_bytes": sum(part.plain_bytes for part in entry.parts),
        "encrypted": bool(entry.recipients),
        "end_lsn": entry.end_lsn,
        "note": entry.note,
    }
