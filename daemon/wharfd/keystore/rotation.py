"""Rotating the master key: the data keys are wrapped anew, the sealed values stay as they are."""

from __future__ import annotations

from dataclasses import dataclass

from ..db import Database, Transaction, sql
from ..secrets.keys import MasterKeys
from .table import wrapped_key

LOCK_ALL = sql(
    "secrets_lock_keys",
    "SELECT id, purpose, kind, kek_id, wrapped FROM wharfd.data_keys ORDER BY id FOR UPDATE",
)
REWRAP = sql("secrets_rewrap_key", "UPDATE wharfd.data_keys SET kek_id = $2, wrapped = $3 WHERE id = $1")


@dataclass(frozen=True)
class Rewrapped:
    """How many data keys there are, and how many of them were (or would be) wrapped anew."""

    kek_id: str
    total: int
    changed: int


async def rotate_master(database: Database, masters: MasterKeys, *, dry_run: bool = False) -> Rewrapped:
    """Wrap every data key with the current master key; the older ones of `masters` are not needed after.

    All or nothing, and again without effect when it was done already. A key that none of `masters` opens
    raises before anything is changed. `dry_run` does everything but the change.
    """

    async def unit(tx: Transaction) -> Rewrapped:
        keys = [wrapped_key(row) for row in await tx.fetch(LOCK_ALL)]
        opened = [(key, key.unwrap(masters)) for key in keys]
        fresh = [data.wrap(masters.current) for key, data in opened if key.kek_id != masters.current.id]
        if fresh and not dry_run:
            await tx.executemany(REWRAP, [(key.id, key.kek_id, key.wrapped) for key in fresh])
        return Rewrapped(masters.current.id, len(keys), len(fresh))

    return await database.repeat(unit, idempotent=True)
