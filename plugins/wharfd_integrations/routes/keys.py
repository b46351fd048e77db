"""`/api/v1/keys`: make, list, rotate and revoke keys."""

from __future__ import annotations

from datetime import datetime, timedelta

from wharfd import (
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    Page,
    Rate,
    Record,
    Request,
    Route,
    Transaction,
    decode_cursor,
    page_of,
)

from ..minting import Draft, Minted, facts, mint
from ..model.record import stamp
from ..model.scopes import parse_networks, parse_scopes
from ..parts import Context, parts_of
from ..store.integration_rows import lock_integration
from ..store.key_rows import descendants, get_key, list_keys, lock_key, replace_key, revoke_keys
from ..store.lookup import tell_changed
from .asking import (
    checked,
    in_utc,
    optional_body,
    owner_of,
)
from .key_shapes import Key, KeyQuery, MadeKey, NewKey, Revoked, RevokeKey, RotateKey, shown


async def create_key(ctx: Context, request: Request) -> MadeKey:
    """Make a key and show it once."""
    wanted: NewKey = request.body
    draft = Draft(
        name=wanted.name,
        owner=owner_of(request.identity, wanted.owner, field="owner", needed=True),
        scopes=checked("scopes", parse_scopes, wanted.scopes),
        allow_list=checked("allow_list", parse_networks, wanted.allow_list),
        rate_per_minute=wanted.rate_per_minute,
        expires_at=in_utc("expires_at", wanted.expires_at),
        signed_only=wanted.signed_only,
        integration_id=wanted.integration_id,
        with_secret=wanted.with_secret or wanted.signed_only,
    )
    async with ctx.db.transaction() as tx:
        if draft.integration_id is not None:
            integration = await lock_integration(tx, draft.integration_id, request.owner)
            if integration is None or integration["owner"] != draft.owner:
                raise Invalid(FieldError("integration_id", "is no integration of that owner"))
        minted = await mint(ctx, tx, request.identity, draft)
        await record_key(ctx, tx, request, "key.created", minted)
        return await made(tx, ctx, minted)


async def show_keys(ctx: Context, request: Request) -> Page[Key]:
    """List keys, newest first; without `ended` those that work."""
    query: KeyQuery = request.query
    if request.owner is not None and query.owner not in (None, request.owner):
        return Page(items=[])
    after = decode_cursor(request, query.cursor, str)
    rows = await list_keys(
        ctx.db.read,
        owner=request.owner or query.owner,
        integration_id=query.integration_id,
        ended=query.ended,
        limit=query.limit + 1,
        after=after[0] if after else None,
    )
    now = ctx.now()
    return page_of(request, rows, query.limit, item=lambda row: shown(row, now), key=lambda row: (row["id"],))


async def show_key(ctx: Context, request: Request) -> Key:
    """Show one key."""
    row = await get_key(ctx.db, request.path["id"], request.owner)
    if row is None:
        raise no_key(request.path["id"])
    return shown(row, ctx.now())


async def rotate_key(ctx: Context, request: Request) -> MadeKey:
    """Make a successor with the same rights and let the old key go on for a while."""
    wanted = optional_body(request, RotateKey)
    async with ctx.db.transaction() as tx:
        old = await get_key(tx, request.path["id"], request.owner)
        if old is not None and old["integration_id"] is not None:
            await lock_integration(tx, old["integration_id"], None)  # before its keys, as everywhere
        old = await lock_key(tx, request.path["id"], request.owner)
        if old is None:
            raise no_key(request.path["id"])
        ends = in_utc("expires_at", wanted.expires_at)
        minted, _ = await rotate(ctx, tx, request, old, wanted.overlap_seconds, ends)
        return await made(tx, ctx, minted)


async def revoke_key(ctx: Context, request: Request) -> Revoked:
    """Stop a key at once, on every daemon; once more does nothing."""
    wanted = optional_body(request, RevokeKey)
    async with ctx.db.transaction() as tx:
        row = await lock_key(tx, request.path["id"], request.owner)
        if row is None:
            raise no_key(request.path["id"])
        ids = [row["id"]]
        if wanted.descendants:
            ids += await descendants(tx, row["id"])
        return Revoked(revoked=await revoke(ctx, tx, request, ids, wanted.reason))


async def rotate(
    ctx: Context,
    tx: Transaction,
    request: Request,
    old: Record,
    overlap_seconds: int | None,
    expires_at: datetime | None = None,
    scopes: tuple[str, ...] | None = None,
) -> tuple[Minted, datetime]:
    """Make the successor of `old` (held by the caller); returns it and when the old one ends.

    Raises `Forbidden` when the caller does not hold what the key may do: a rotation shows a working key.
    """
    overlap = ctx.settings.rotation_overlap if overlap_seconds is None else timedelta(seconds=overlap_seconds)
    if overlap > ctx.settings.longest_overlap:
        most = int(ctx.settings.longest_overlap.total_seconds())
        raise Invalid(FieldError("overlap_seconds", f"must not be above {most}"))
    if old["revoked_at"] is not None:
        raise Conflict(f"{old['id']} is revoked; make a new key")
    if old["replaced_at"] is not None:
        raise Conflict(f"{old['id']} was replaced at {stamp(old['replaced_at'])}; rotate its successor")
    draft = Draft(
        name=old["name"],
        owner=old["owner"],
        scopes=tuple(old["scopes"]) if scopes is None else scopes,
        allow_list=tuple(old["allow_list"]),
        rate_per_minute=old["rate_per_minute"],
        expires_at=expires_at or old["expires_at"],
        signed_only=old["signed_only"],
        integration_id=old["integration_id"],
        with_secret=old["has_secret"],
        pair=old["pair"],
        rotated_from=old["id"],
    )
    minted = await mint(ctx, tx, request.identity, draft)
    ends = ctx.now() + overlap
    await replace_key(tx, old["id"], ends)
    await forget(ctx, tx, old["short"])
    await record_key(ctx, tx, request, "key.rotated", minted, old_key_id=old["id"], old_valid_until=ends)
    return minted, ends


async def revoke(ctx: Context, tx: Transaction, request: Request, ids: list[str], reason: str) -> list[str]:
    """Revoke keys, tell every daemon, write it down; returns those that were not revoked before."""
    rows = await revoke_keys(tx, ids, request.identity.subject, reason)
    for row in rows:
        await forget(ctx, tx, row["short"])
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="key.revoked",
            subject=row["id"],
            detail={"reason": reason},
            owner=row["owner"],
            ip=str(request.client) if request.client else None,
        )
    return [row["id"] for row in rows]


async def forget(ctx: Context, tx: Transaction, what: str) -> None:
    """Have this daemon forget a key or integration at the commit, and the others right after."""
    await tell_changed(tx, what)
    tx.after_commit(lambda: parts_of(ctx).keyring.forget(what))


async def record_key(
    ctx: Context, tx: Transaction, request: Request, action: str, minted: Minted, **more: object
) -> None:
    """Write a new key into the audit log."""
    await ctx.audit.record(
        tx,
        actor=request.identity.subject,
        action=action,
        subject=minted.id,
        detail=facts(minted) | more,
        owner=minted.draft.owner,
        ip=str(request.client) if request.client else None,
    )


async def made(tx: Transaction, ctx: Context, minted: Minted) -> MadeKey:
    """The one answer in which a key can be seen."""
    row = await get_key(tx, minted.id, None)
    if row is None:
        raise Forbidden()
    return MadeKey(key=minted.key, secret=minted.secret, details=shown(row, ctx.now()))


def no_key(key_id: str) -> NotFound:
    """The answer for a key that is not there, or another owner's."""
    return NotFound(f"there is no key {key_id[:60]!r}")


_RATE = Rate(60, 60)

ROUTES = (
    Route(
        method="POST", path="/api/v1/keys", handler=create_key, scope="keys:write", body=NewKey,
        returns=MadeKey, status=201, rate=_RATE, summary="Make an API key; it is shown once",
    ),
    Route(
        method="GET", path="/api/v1/keys", handler=show_keys, scope="keys:read", query=KeyQuery,
        returns=Page[Key], summary="List API keys",
    ),
    Route(
        method="GET", path="/api/v1/keys/{id}", handler=show_key, scope="keys:read", returns=Key,
        summary="Show an API key",
    ),
    Route(
        method="POST", path="/api/v1/keys/{id}/rotate", handler=rotate_key, scope="keys:write", body=bytes,
        returns=MadeKey, status=201, rate=_RATE, max_body_bytes=4096,
        summary="Make a successor; the old key goes on for the overlap",
    ),
    Route(
        method="POST", path="/api/v1/keys/{id}/revoke", handler=revoke_key, scope="keys:write", body=bytes,
        returns=Revoked, max_body_bytes=4096, summary="Stop an API key at once, on every daemon",
    ),
    Route(
        method="DELETE", path="/api/v1/keys/{id}", handler=revoke_key, scope="keys:write", body=bytes,
        returns=Revoked, max_body_bytes=4096, summary="Stop an API key at once; the same as revoke",
    ),
)  # fmt: skip
