"""New pairs for an integration, checking a pair, and the connection test."""

from __future__ import annotations

import hmac

from msgspec import UNSET, Struct

from wharfd import Conflict, Rate, Request, Route

from ..authenticator import key_hash
from ..minting import Draft, mint
from ..model.key_text import parse_key
from ..model.record import KeyRecord, standing
from ..model.scopes import parse_scopes
from ..parts import Context, parts_of
from ..probing import probe
from ..sealing import make_webhook_secret, open_config, open_webhook_secret, seal_webhook_secret
from ..store.integration_rows import get_integration, update_integration
from ..store.key_rows import current_key, keys_of_integration, lock_key
from .asking import checked, optional_body
from .integration_changes import held, no_integration, note
from .integration_shapes import ConnectionResult, Pair, Regeneration, Rotation
from .keys import record_key, revoke, rotate


class PairToCheck(Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A pair that somebody presented to the caller."""

    api_key: str
    api_secret: str


class PairVerdict(Struct, kw_only=True, rename="camel"):
    """Whether the pair is good now, and whose it is; nothing is told about one that is not."""

    valid: bool
    integration_id: str | None = None
    scopes: list[str] = []


async def regenerate(ctx: Context, request: Request) -> Pair:
    """Make a new pair and webhook secret; everything before stops working at once."""
    wanted = optional_body(request, Regeneration)
    async with ctx.db.transaction() as tx:
        row = await held(tx, request)
        old = await current_key(tx, row["id"])
        asked = wanted.scopes if wanted.scopes is not None else ([] if old is None else old["scopes"])
        await revoke(
            ctx, tx, request, await keys_of_integration(tx, row["id"]), "its credentials were made anew"
        )
        draft = Draft(
            name=row["name"],
            owner=row["owner"],
            scopes=checked("scopes", parse_scopes, asked),
            allow_list=() if old is None else tuple(old["allow_list"]),
            rate_per_minute=None if old is None else old["rate_per_minute"],
            expires_at=None if old is None else old["expires_at"],
            signed_only=old is not None and old["signed_only"],
            integration_id=row["id"],
            with_secret=True,
            pair=True,
            rotated_from=None if old is None else old["id"],
        )
        minted = await mint(ctx, tx, request.identity, draft)
        webhook_secret = None
        if row["webhook_url"] is not None:
            webhook_secret = make_webhook_secret()
            sealed = await seal_webhook_secret(ctx, row["id"], webhook_secret)
            await update_integration(tx, row["id"], dict(row) | {"webhook_secret": sealed})
        await note(ctx, tx, request, "integration.credentials_regenerated", row, {"key_id": minted.id})
        await record_key(ctx, tx, request, "key.created", minted)
        return Pair(
            api_key=minted.key,
            api_secret=minted.secret or "",
            key_id=minted.id,
            webhook_secret=webhook_secret or UNSET,
        )


async def rotate_pair(ctx: Context, request: Request) -> Pair:
    """Make a new pair and let the old one go on for a while."""
    wanted = optional_body(request, Rotation)
    scopes = None if wanted.scopes is None else checked("scopes", parse_scopes, wanted.scopes)
    async with ctx.db.transaction() as tx:
        row = await held(tx, request)
        current = await current_key(tx, row["id"])
        old = None if current is None else await lock_key(tx, current["id"], None)
        if old is None:
            raise Conflict("this integration has no pair to rotate; use regenerate-credentials")
        minted, ends = await rotate(ctx, tx, request, old, wanted.overlap_seconds, scopes=scopes)
        await note(ctx, tx, request, "integration.rotated", row, {"key_id": minted.id})
        return Pair(
            api_key=minted.key, api_secret=minted.secret or "", key_id=minted.id, old_valid_until=ends
        )


async def verify_pair(ctx: Context, request: Request) -> PairVerdict:
    """Say whether a pair of key and secret is good; only while its integration is active, only one's own."""
    wanted: PairToCheck = request.body
    key = parse_key(wanted.api_key)
    if key is None or key.mode != ctx.settings.mode:
        return PairVerdict(valid=False)
    record = await parts_of(ctx).keyring.find(key.short)
    if record is None or not hmac.compare_digest(key_hash(ctx.secrets, key), record.hash):
        return PairVerdict(valid=False)
    if not await _fits(ctx, record, wanted.api_secret) or request.owner not in (None, record.owner):
        return PairVerdict(valid=False)
    refusal = standing(record, ctx.now(), None)
    if refusal is not None and refusal.outcome != "address":  # where it comes from is the caller's to see
        return PairVerdict(valid=False)
    return PairVerdict(valid=True, integration_id=record.integration_id, scopes=sorted(record.scopes))


async def try_connection(ctx: Context, request: Request) -> ConnectionResult:
    """Call the integration's webhook URL, or the address in its configuration, and say how it went."""
    row = await get_integration(ctx.db, request.path["id"], request.owner)
    if row is None:
        raise no_integration(request)
    return await probe(
        ctx,
        row["id"],
        webhook_url=row["webhook_url"],
        webhook_secret=await open_webhook_secret(ctx, row),
        config=await open_config(ctx, row),
    )


async def _fits(ctx: Context, record: KeyRecord, secret: str) -> bool:
    if record.secret is None:
        return False
    kept = await ctx.secrets.open("integrations.keys", "secret", record.id, record.secret)
    return hmac.compare_digest(kept, secret.encode())


_OLD, _NEW = "/api/integrations", "/api/v1/integrations"
_WRITE = "integrations:write"

ROUTES = (
    Route(
        method="POST", path=f"{_NEW}/{{id}}/regenerate-credentials",
        aliases=(f"{_OLD}/{{id}}/regenerate-credentials",), handler=regenerate, scope=_WRITE, body=bytes,
        returns=Pair, max_body_bytes=16384, rate=Rate(60, 60),
        summary="Make a new pair; the old one stops at once",
    ),
    Route(
        method="POST", path=f"{_NEW}/{{id}}/rotate", aliases=(f"{_OLD}/{{id}}/rotate",), handler=rotate_pair,
        scope=_WRITE, body=bytes, returns=Pair, max_body_bytes=16384, rate=Rate(60, 60),
        summary="Make a new pair; the old one goes on for the overlap",
    ),
    Route(
        method="POST", path=f"{_NEW}/verify", aliases=(f"{_OLD}/verify",), handler=verify_pair,
        scope="integrations:read", body=PairToCheck, returns=PairVerdict, max_body_bytes=4096,
        rate=Rate(600, 60), summary="Check a pair of key and secret",
    ),
    Route(
        method="POST", path=f"{_NEW}/{{id}}/test", aliases=(f"{_OLD}/{{id}}/test",), handler=try_connection,
        scope=_WRITE, returns=ConnectionResult, rate=Rate(20, 60),
        summary="Test the connection to an integration",
    ),
)  # fmt: skip
