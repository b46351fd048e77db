"""The chain: how an audit row becomes bytes, and how each seal depends on all seals before it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ..db import Record
from ..errors import SealRefused

START = bytes(32)  # what the first seal continues

# The columns that are hashed, as SQL that gives the same text on every server and in every time zone.
# (PostgreSQL writes jsonb in one canonical form.)
HASHED_COLUMNS = """a.id, (extract(epoch FROM a.recorded_at) * 1000000)::bigint AS recorded_us, a.actor,
    a.action, a.subject, a.owner, a.ip, a.detail::text AS detail_text"""


@dataclass(frozen=True)
class Seal:
    """One link of the chain. Written down elsewhere, the newest one proves everything before it."""

    seq: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash.hex()}"

    @classmethod
    def read(cls, text: str) -> Seal:
        """Return the seal that was written as `text`; raises `SealRefused`."""
        written = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text)
        if written is None:
            raise SealRefused("is no head of the chain; one is a number, a colon and 64 hexadecimal digits")
        return cls(int(written[1]), bytes.fromhex(written[2]))


def hash_of_row(row: Record) -> bytes:
    """Return the hash of an audit row, read with `HASHED_COLUMNS`."""
    return _digest(
        "wharfd audit 1",
        row["id"],
        str(row["recorded_us"]),
        row["actor"],
        row["action"],
        row["subject"],
        row["owner"],
        row["ip"],
        row["detail_text"],
    )


def hash_of_missing(audit_id: str) -> bytes:
    """Return what is sealed in place of a row that vanished before it could be sealed."""
    return _digest("wharfd audit 1 missing", audit_id)


def continued(before: Seal, row_hash: bytes) -> Seal:
    """Return the seal that follows `before` for a row with that hash."""
    seq = before.seq + 1
    return Seal(seq, hashlib.sha256(before.hash + seq.to_bytes(8, "big") + row_hash).digest())


def _digest(*parts: str | None) -> bytes:
    """Hash the parts so that no two lists of parts give the same bytes; None is not the empty text."""
    digest = hashlib.sha256()
    for part in parts:
        raw = b"" if part is None else part.encode()
        digest.update(b"\0" if part is None else b"\1")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.digest()
