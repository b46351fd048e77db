"""`Vault`: seals secrets before they go into the database and opens them after, with keys the database lacks.

The keys come from a `KeyStore` (`wharfd.keystore` keeps them in PostgreSQL). Once opened they stay in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import trio

from ..errors import (
    DamagedSecret,
    DatabaseUnavailable,
    KeyNotLoaded,
    SecretError,
    StatementTimeout,
    UnknownKey,
)
from ..log import every, get_logger
from . import sealed as form
from .keys import DataKey, Kind, MasterKeys, WrappedKey
from .sealed import Place

CHECK_PURPOSE = "wharfd.check"

_PURPOSE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,2}")


class KeyStore(Protocol):
    """Where wrapped data keys are kept, for all daemons on one database."""

    async def all(self) -> list[tuple[WrappedKey, bool]]:
        """Return every key, and whether it is the current one of its purpose and kind."""
        ...

    async def find(self, key_id: int) -> WrappedKey | None:
        """Return the key with that id."""
        ...

    async def add_first(self, key: WrappedKey) -> WrappedKey:
        """Store a key for a purpose that has none; return the current one, which may be another daemon's."""
        ...

    async def add_next(self, key: WrappedKey) -> None:
        """Store a key and make it the current one; the one before it only opens from now on."""
        ...


@dataclass
class _Ring:
    """The keys in memory, shared by every view of one vault."""

    store: KeyStore
    masters: MasterKeys
    opened: dict[int, DataKey] = field(default_factory=dict, repr=False)
    current: dict[tuple[str, Kind], int] = field(default_factory=dict)
    making: trio.Lock = field(default_factory=trio.Lock, repr=False)


class Vault:
    """Seals and opens secrets at rest. What is sealed for one table, column and row opens nowhere else.

    Every table has its own data key, made on first use. A plugin's vault reaches the tables of its own
    schema only. A sealed value is 57 bytes longer than the secret; keep it in a `bytea` column.
    An owner of the database can still put an older sealed value back into its own row.
    """

    def __init__(self, store: KeyStore, masters: MasterKeys, *, schema: str | None = None) -> None:
        self._ring = _Ring(store, masters)
        self._schema = schema

    @property
    def masters(self) -> MasterKeys:
        """The master keys that are accepted, for a rotation."""
        return self._ring.masters

    def for_schema(self, schema: str) -> Vault:
        """Return a view on this vault that refuses tables outside `schema`."""
        view = Vault(self._ring.store, self._ring.masters, schema=schema)
        view._ring = self._ring
        return view

    def __repr__(self) -> str:
        return f"Vault(schema={self._schema!r}, {self._ring.masters!r})"

    # -- for plugins ----------------------------------------------------------------------------------

    async def seal(self, table: str, column: str, row_id: str, plaintext: bytes) -> bytes:
        """Return `plaintext` sealed for `schema.table`, `column` and the row with that id.

        Makes the table's data key on its first use, on a connection of its own and committed at once: call
        `prepare` in `provision`, so that this never happens inside a transaction.
        """
        place = self._place(table, column, row_id)
        key = await self._key_for(table, "seal")
        return form.seal(key.id, key.secret.reveal_bytes(), place, plaintext)

    async def open(self, table: str, column: str, row_id: str, sealed: bytes) -> bytes:
        """Return what was sealed.

        Raises `UnknownKey` (its data key is not in this database), `MisplacedSecret` (it was sealed for
        another place) or `DamagedSecret` (it is not as it was written). Each says what to do.
        """
        place = self._place(table, column, row_id)
        key_id = form.key_id_of(sealed, place)
        key = self._ring.opened.get(key_id) or await self._load(key_id, place)
        return self._opened(key, place, sealed)

    def seal_now(self, table: str, column: str, row_id: str, plaintext: bytes) -> bytes:
        """Do what `seal` does without waiting; raises `KeyNotLoaded` when `prepare(table)` was not called."""
        place = self._place(table, column, row_id)
        key = self._key_now(table, "seal")
        return form.seal(key.id, key.secret.reveal_bytes(), place, plaintext)

    def open_now(self, table: str, column: str, row_id: str, sealed: bytes) -> bytes:
        """Do what `open` does without waiting; raises `KeyNotLoaded` when the key is not in memory."""
        place = self._place(table, column, row_id)
        key = self._ring.opened.get(form.key_id_of(sealed, place))
        if key is None:
            raise KeyNotLoaded(f"{place}: its data key is not in memory; use `await open(…)`")
        return self._opened(key, place, sealed)

    async def fingerprint(self, purpose: str, value: str | bytes) -> bytes:
        """Return 32 bytes that are the same for the same value: a blind index to look sealed values up by.

        Keyed, so that nobody can try values against a dump; the key is another than the sealing one and is
        not rotated. `purpose` is `schema.table` or `schema.table.column`.
        """
        return _fingerprint(await self._key_for(self._purpose(purpose), "index"), value)

    def fingerprint_now(self, purpose: str, value: str | bytes) -> bytes:
        """Do what `fingerprint` does without waiting; raises `KeyNotLoaded` without `prepare`."""
        return _fingerprint(self._key_now(self._purpose(purpose), "index"), value)

    async def prepare(self, *tables: str, fingerprints: Iterable[str] = ()) -> None:
        """Load the keys of these tables and fingerprint purposes, making those that do not exist yet."""
        for table in tables:
            await self._key_for(self._place(table, "any", "any").table, "seal")
        for purpose in fingerprints:
            await self._key_for(self._purpose(purpose), "index")

    # -- for the daemon -------------------------------------------------------------------------------

    async def check(self) -> None:
        """Prove that the master key is the right one, or raise `MasterKeyError` before anything is written.

        On a database without any key it leaves a check key, which makes the master key this database's own.
        """
        await self.refresh()
        await self._key_for(CHECK_PURPOSE, "seal")

    async def refresh(self) -> None:
        """Read all keys anew, so that a key another daemon rotated to is used here too."""
        ring = self._ring
        async with ring.making:
            current: dict[tuple[str, Kind], int] = {}
            for wrapped, is_current in await ring.store.all():
                if wrapped.id not in ring.opened:
                    try:
                        ring.opened[wrapped.id] = wrapped.unwrap(ring.masters)
                    except DamagedSecret:
                        if wrapped.purpose == CHECK_PURPOSE:
                            raise
                        continue  # one plugin's damaged key: what needs it says so, the others go on
                if is_current:
                    current[wrapped.purpose, wrapped.kind] = wrapped.id
            ring.current = current

    async def keep_fresh(self, *, every_seconds: float = 30.0) -> None:
        """Run `refresh` for ever. When it fails, the keys in memory serve on and the reason is logged."""
        while True:
            await trio.sleep(every_seconds)
            try:
                await self.refresh()
            except (DatabaseUnavailable, StatementTimeout, SecretError) as exc:
                get_logger().warning("data_keys_not_refreshed", reason=str(exc), **every(300))

    async def rotate_data_key(self, table: str) -> int:
        """Seal new values of the table with a new data key from now on and return its id.

        The old key still opens what it sealed. Other daemons follow at their next `refresh`. Seal the old
        rows again with `wharfd.keystore.reseal`.
        """
        async with self._ring.making:
            key = DataKey.make(self._place(table, "any", "any").table, "seal")
            await self._ring.store.add_next(key.wrap(self._ring.masters.current))
            self._ring.opened[key.id] = key
            self._ring.current[table, "seal"] = key.id
        return key.id

    async def current_key_id(self, table: str) -> int:
        """Return the id of the data key that seals new values of the table."""
        return (await self._key_for(self._place(table, "any", "any").table, "seal")).id

    # -- inside ---------------------------------------------------------------------------------------

    def _place(self, table: str, column: str, row_id: str) -> Place:
        place = Place(table, column, row_id)
        self._within(table)
        return place

    def _purpose(self, purpose: str) -> str:
        if not _PURPOSE.fullmatch(purpose):
            raise ValueError(f"purpose {purpose!r} is not written schema.table or schema.table.column")
        self._within(purpose)
        return purpose

    def _within(self, name: str) -> None:
        if self._schema is not None and not name.startswith(f"{self._schema}."):
            raise SecretError(
                f"{name}: a plugin seals and opens secrets of its own schema {self._schema} only"
            )

    def _key_now(self, purpose: str, kind: Kind) -> DataKey:
        key_id = self._ring.current.get((purpose, kind))
        if key_id is None or key_id not in self._ring.opened:
            raise KeyNotLoaded(f"the key of {purpose} is not in memory; call `await prepare(…)` first")
        return self._ring.opened[key_id]

    async def _key_for(self, purpose: str, kind: Kind) -> DataKey:
        ring = self._ring
        if (key_id := ring.current.get((purpose, kind))) is not None:
            return ring.opened[key_id]
        async with ring.making:
            if (key_id := ring.current.get((purpose, kind))) is not None:
                return ring.opened[key_id]
            made = DataKey.make(purpose, kind)
            stored = await ring.store.add_first(made.wrap(ring.masters.current))
            key = made if stored.id == made.id else stored.unwrap(ring.masters)
            ring.opened[key.id] = key
            ring.current[purpose, kind] = key.id
            return key

    async def _load(self, key_id: int, place: Place) -> DataKey:
        wrapped = await self._ring.store.find(key_id)
        if wrapped is None:
            raise UnknownKey(
                f"{place}: its data key {key_id} is not in wharfd.data_keys; "
                f"restore that table from the backup the row came from, or set the secret anew"
            )
        key = wrapped.unwrap(self._ring.masters)
        self._ring.opened[key.id] = key
        return key

    def _opened(self, key: DataKey, place: Place, sealed: bytes) -> bytes:
        if key.kind != "seal" or key.purpose != place.table:
            raise DamagedSecret(
                f"{place}: names data key {key.id}, which is for {key.purpose}; set the secret anew"
            )
        return form.open_sealed(key.secret.reveal_bytes(), place, sealed)


def _fingerprint(key: DataKey, value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return hmac.new(key.secret.reveal_bytes(), raw, hashlib.sha256).digest()
