"""`webhook_secrets`: sealed with a key that is not ours, so they can only be listed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from wharfd import Importer, OldRow, PluginContext, Transaction, Unfit

from ..config import Settings
from .origin import SYSTEM


def convert(row: OldRow, settings: Settings) -> NoReturn:
    """Refuse it, and say what to do."""
    raise Unfit(
        f"the key {row.text('name') or row.text('endpoint')!r} is encrypted by the old system; enter "
        "it again: POST /api/webhook-secrets, or keys of the source in the configuration"
    )


async def write(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[Any]) -> int:
    """Nothing was converted."""
    return 0


async def read(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[Any]) -> list[Any]:
    """Nothing was converted."""
    return []


KEYS = Importer(
    name="keys",
    system=SYSTEM,
    table="webhook_secrets",
    key=("id",),
    needs=("id", "endpoint", "encryptedKey"),
    convert=convert,
    write=write,
    read=read,
)
