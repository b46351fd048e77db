"""Opening the vault at start: which master key, and whether it is the one this database was sealed with."""

from __future__ import annotations

from pathlib import Path

import trio

from ..db import Database, sql
from ..errors import MasterKeyError
from ..secrets import Secret
from ..secrets.keyfile import load_master_keys, load_or_make_master_key
from ..secrets.keys import MasterKeys
from ..secrets.vault import Vault
from .table import DataKeyTable

KEK_IDS = sql("secrets_list_master_ids", "SELECT DISTINCT kek_id FROM wharfd.data_keys ORDER BY kek_id")


async def open_vault(database: Database, *, configured: Secret | None, key_path: Path) -> Vault:
    """Return a vault whose master key is proven to fit the database.

    The keys are those of `[secrets] key`, or else of the file `key_path`, which is made when it is missing
    and the database holds nothing sealed yet. Raises `MasterKeyError`, with nothing written anywhere, when
    the right key is not among them.
    """
    vault = Vault(DataKeyTable(database), await _master_keys(database, configured, key_path))
    await vault.check()
    return vault


async def _master_keys(database: Database, configured: Secret | None, key_path: Path) -> MasterKeys:
    if configured is not None:
        return MasterKeys.parse(configured)
    if await trio.Path(key_path).exists():
        return load_master_keys(key_path)
    used = [row["kek_id"] for row in await database.fetch(KEK_IDS)]
    if used:
        raise MasterKeyError(
            f"{key_path} is missing, but the database is sealed with master key {' and '.join(used)}; "
            f"restore that file, or set [secrets] key"
        )
    return load_or_make_master_key(key_path)
