"""Master keys, which never enter the database, and the data keys they wrap, which live in it.

A master key wraps data keys and nothing else, so replacing it rewrites a few short rows. Storing the wrapped
keys is `wharfd.keystore`'s; the file of the master key is `keyfile.py`'s.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from ..errors import DamagedSecret, MasterKeyError
from . import cipher
from .sealed import length_prefixed
from .value import Secret

Kind = Literal["seal", "index"]

_WAY_OUT = "make one with `wharfd secrets new-key`, or with `head -c 32 /dev/urandom | base64`"


@dataclass(frozen=True)
class MasterKey:
    """A key-encryption key and its id, which is derived from it and tells nothing about it."""

    id: str
    secret: Secret = field(repr=False)

    @classmethod
    def make(cls) -> MasterKey:
        """Make a new random key."""
        return cls.of(os.urandom(cipher.KEY_BYTES))

    @classmethod
    def of(cls, raw: bytes) -> MasterKey:
        """Wrap 32 bytes that somebody else made."""
        if len(raw) != cipher.KEY_BYTES:
            raise MasterKeyError(
                f"a master key has {cipher.KEY_BYTES} bytes, this one {len(raw)}; {_WAY_OUT}"
            )
        digest = hmac.new(raw, b"wharfd master key id", hashlib.sha256).hexdigest()
        return cls("kek_" + digest[:16], Secret(raw))

    def text(self) -> str:
        """Return the key as it is written into a file. Shown once, kept nowhere else."""
        return base64.b64encode(self.secret.reveal_bytes()).decode()


class MasterKeys:
    """The master keys that are accepted: the first wraps what is new, all of them open what is old."""

    def __init__(self, keys: Iterable[MasterKey]) -> None:
        self._keys = {key.id: key for key in keys}
        if not self._keys:
            raise MasterKeyError(f"no master key is given; {_WAY_OUT}")
        self.current = next(iter(self._keys.values()))

    @classmethod
    def parse(cls, text: Secret, *, place: str = "[secrets] key") -> MasterKeys:
        """Read one base64 key per line, the current one first; blank lines and `#` comments are skipped."""
        keys = []
        for number, line in enumerate(text.reveal().splitlines(), start=1):
            word = line.split("#", 1)[0].strip()
            if not word:
                continue
            try:
                raw = base64.b64decode(word, validate=True)
            except (binascii.Error, ValueError):
                raise MasterKeyError(f"{place}, line {number}: not base64; {_WAY_OUT}") from None
            try:
                keys.append(MasterKey.of(raw))
            except MasterKeyError as exc:
                raise MasterKeyError(f"{place}, line {number}: {exc}") from None
        if not keys:
            raise MasterKeyError(f"{place}: holds no key; {_WAY_OUT}")
        return cls(keys)

    def get(self, key_id: str) -> MasterKey | None:
        """Return the key with that id, if it is one of these."""
        return self._keys.get(key_id)

    def __iter__(self) -> Iterator[MasterKey]:
        return iter(self._keys.values())

    def __repr__(self) -> str:
        return f"MasterKeys({', '.join(self._keys)})"


@dataclass(frozen=True)
class DataKey:
    """A key that seals values of one purpose (a table), or makes blind indexes for it; open, in memory."""

    id: int
    purpose: str
    kind: Kind
    secret: Secret = field(repr=False)

    @classmethod
    def make(cls, purpose: str, kind: Kind) -> DataKey:
        """Make a new random key. Its id is random too, so keys of two databases do not get mixed up."""
        return cls(secrets.randbits(62) + 1, purpose, kind, Secret(os.urandom(cipher.KEY_BYTES)))

    def wrap(self, master: MasterKey) -> WrappedKey:
        """Return this key as the database may hold it."""
        bound = _binding(self.id, self.purpose, self.kind, master.id)
        sealed = cipher.encrypt(master.secret.reveal_bytes(), self.secret.reveal_bytes(), bound)
        return WrappedKey(self.id, self.purpose, self.kind, master.id, sealed)


@dataclass(frozen=True)
class WrappedKey:
    """A data key as it lies in the database: bound to its id, purpose, kind and master key."""

    id: int
    purpose: str
    kind: Kind
    kek_id: str
    wrapped: bytes = field(repr=False)

    def unwrap(self, masters: MasterKeys) -> DataKey:
        """Return the data key.

        Raises `MasterKeyError` when its master key is not among `masters`, and `DamagedSecret` when the row
        was changed.
        """
        master = masters.get(self.kek_id)
        if master is None:
            raise MasterKeyError(
                f"data key {self.id} ({self.purpose}) is wrapped with master key {self.kek_id}, "
                f"but configured is {' and '.join(k.id for k in masters)}; "
                f"put {self.kek_id} back into [secrets] key, after the current one if you are rotating"
            )
        bound = _binding(self.id, self.purpose, self.kind, self.kek_id)
        raw = cipher.decrypt(master.secret.reveal_bytes(), self.wrapped, bound)
        if raw is None:
            raise DamagedSecret(
                f"data key {self.id} ({self.purpose}) in wharfd.data_keys was changed; "
                f"restore its row from a backup"
            )
        return DataKey(self.id, self.purpose, self.kind, Secret(raw))


def _binding(key_id: int, purpose: str, kind: str, kek_id: str) -> bytes:
    return length_prefixed(b"wharfd data key 1", str(key_id), purpose, kind, kek_id)
