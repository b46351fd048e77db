"""The secrets of an integration: its webhook secret and what is secret in its configuration, sealed."""

from __future__ import annotations

import base64
import os
from typing import Any

import msgspec

from wharfd import FieldError, Invalid, Record

from .model.confidential import MOST_BYTES, join, split
from .parts import Context

_TABLE = "integrations.integrations"


def make_webhook_secret() -> str:
    """Make a secret for signing what is sent to an integration, in the form of Standard Webhooks."""
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


async def seal_webhook_secret(ctx: Context, integration_id: str, secret: str) -> bytes:
    """Seal a webhook secret for its row."""
    return await ctx.secrets.seal(_TABLE, "webhook_secret", integration_id, secret.encode())


async def open_webhook_secret(ctx: Context, row: Record) -> str | None:
    """Open the webhook secret of a row."""
    if row["webhook_secret"] is None:
        return None
    opened = await ctx.secrets.open(_TABLE, "webhook_secret", row["id"], row["webhook_secret"])
    return opened.decode()


async def seal_config(
    ctx: Context, integration_id: str, config: dict[str, Any], before: Record | None = None
) -> tuple[dict[str, Any], bytes | None]:
    """Return the configuration as it may be shown, and its secrets sealed; `Invalid` names what is wrong."""
    if len(msgspec.json.encode(config)) > MOST_BYTES:
        raise Invalid(FieldError("config", f"is larger than {MOST_BYTES} bytes"))
    kept = {} if before is None else await _secrets_of(ctx, before)
    try:
        shown, secrets = split(config, kept)
    except ValueError as error:
        raise Invalid(FieldError("config", str(error))) from None
    if not secrets:
        return shown, None
    sealed = await ctx.secrets.seal(_TABLE, "config_secrets", integration_id, msgspec.json.encode(secrets))
    return shown, sealed


async def open_config(ctx: Context, row: Record) -> dict[str, Any]:
    """Return the configuration of a row as it was given."""
    return join(row["config"], await _secrets_of(ctx, row))


async def _secrets_of(ctx: Context, row: Record) -> dict[str, Any]:
    if row["config_secrets"] is None:
        return {}
    opened = await ctx.secrets.open(_TABLE, "config_secrets", row["id"], row["config_secrets"])
    return msgspec.json.decode(opened, type=dict[str, Any])
