"""The form of a sealed value, and the place it is bound to.

    version (1) · data key id (8) · place (8) · nonce (24) · ciphertext · tag (16)

The tag covers everything, the place in full. The eight bytes of the place repeat, as a hash, what the reader
knows anyway (table, column, row); they only make it possible to tell a moved value from a damaged one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ..errors import DamagedSecret, MisplacedSecret, SecretError
from . import cipher

VERSION = 1
HEADER_BYTES = 17
OVERHEAD_BYTES = HEADER_BYTES + cipher.NONCE_BYTES + cipher.TAG_BYTES
MAX_PLAINTEXT_BYTES = 1 << 20

_TABLE = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_COLUMN = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Place:
    """Where a sealed value belongs: `schema.table`, the column, and the row's id."""

    table: str
    column: str
    row_id: str

    def __post_init__(self) -> None:
        if not _TABLE.fullmatch(self.table):
            raise ValueError(f"table {self.table!r} is not written schema.table")
        if not _COLUMN.fullmatch(self.column):
            raise ValueError(f"column {self.column!r} is not a column name")
        if not self.row_id:
            raise ValueError(
                f"{self.table}.{self.column}: a secret is sealed for one row, its id cannot be empty"
            )

    def __str__(self) -> str:
        return f"{self.table}.{self.column} of row {self.row_id!r}"

    def digest(self) -> bytes:
        """Return the eight bytes that stand for the place in the header."""
        return hashlib.sha256(length_prefixed(self.table, self.column, self.row_id)).digest()[:8]


def seal(key_id: int, key: bytes, place: Place, plaintext: bytes) -> bytes:
    """Return `plaintext` sealed for `place`."""
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise SecretError(
            f"{place}: a secret of {len(plaintext)} bytes is above the {MAX_PLAINTEXT_BYTES} allowed"
        )
    header = bytes((VERSION,)) + key_id.to_bytes(8, "big") + place.digest()
    return header + cipher.encrypt(key, plaintext, _associated(key_id, place))


def key_id_of(sealed: bytes, place: Place) -> int:
    """Return the id of the data key that a sealed value names; raises when it has no such form."""
    if len(sealed) < OVERHEAD_BYTES or len(sealed) > OVERHEAD_BYTES + MAX_PLAINTEXT_BYTES:
        raise DamagedSecret(f"{place}: {len(sealed)} bytes are not a sealed value; set the secret anew")
    if sealed[0] != VERSION:
        raise DamagedSecret(
            f"{place}: format {sealed[0]} is not known; it was written by a newer wharfd, or changed since"
        )
    return int.from_bytes(sealed[1:9], "big")


def open_sealed(key: bytes, place: Place, sealed: bytes) -> bytes:
    """Return the plaintext; raises `MisplacedSecret` or `DamagedSecret`."""
    key_id = key_id_of(sealed, place)
    if sealed[9:HEADER_BYTES] != place.digest():
        raise MisplacedSecret(f"{place}: the value was sealed for another place; set the secret anew")
    plaintext = cipher.decrypt(key, sealed[HEADER_BYTES:], _associated(key_id, place))
    if plaintext is None:
        raise DamagedSecret(f"{place}: the value was changed since it was sealed; restore it or set it anew")
    return plaintext


def length_prefixed(*parts: str | bytes) -> bytes:
    """Join the parts so that no two lists of parts give the same bytes."""
    raws = (part.encode() if isinstance(part, str) else part for part in parts)
    return b"".join(len(raw).to_bytes(8, "big") + raw for raw in raws)


def _associated(key_id: int, place: Place) -> bytes:
    return length_prefixed(bytes((VERSION,)), place.table, place.column, place.row_id, str(key_id))
