"""`/api/webhook-secrets`: keys of sources, put in and rotated by people, never shown again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple

import asyncpg
import msgspec

from wharfd import (
    Conflict,
    FieldError,
    Invalid,
    NotFound,
    PluginContext,
    Record,
    Request,
    Transaction,
    new_id,
)

from ..acceptance.gates import Intake
from ..config import Settings
from ..keys import store
from ..keys.loading import COLUMN, TABLE, load
from ..schemes import KeyEncoding, find_preset, key_remarks, make_key
from ..schemes.keys import fingerprint
from .listing import read_time

Context = PluginContext[Settings]


Text = Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Description = Annotated[str, msgspec.Meta(max_length=1000)]


class NewKey(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A key to be used for a source (the old name of that is `endpoint`). Times without a zone are UTC."""

    key: Text
    source: str | None = None
    endpoint: str | None = None
    name: Name = "default"
    description: Description = ""
    key_encoding: KeyEncoding | None = None
    valid_from: str | None = None
    valid_until: str | None = None


class Rotation(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The next key, and how long the one before still counts."""

    key: Text
    overlap_seconds: int = 24 * 3600
    key_encoding: KeyEncoding | None = None


class KeyChange(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What may be changed of a key; the key itself is rotated."""

    description: Description | None = None
    is_active: bool | None = None


class Validity(NamedTuple):
    """From when until when a key counts."""

    start: datetime | None = None
    end: datetime | None = None


class KeyQuery(msgspec.Struct, kw_only=True, rename="camel"):
    """Which source's keys."""

    source: str | None = None


async def list_keys(ctx: Context, request: Request) -> dict[str, Any]:
    """List the stored keys, without the keys themselves."""
    rows = await store.list_keys(ctx.db, request.owner, request.query.source)
    return {"success": True, "data": {"secrets": [show(row) for row in rows]}, "timestamp": ctx.now()}


async def get_key(ctx: Context, request: Request) -> dict[str, Any]:
    """Return one stored key, without the key itself."""
    return {"success": True, "data": show(await _find(ctx, request)), "timestamp": ctx.now()}


async def create_key(ctx: Context, request: Request) -> dict[str, Any]:
    """Seal a key and use it from now on."""
    asked: NewKey = request.body
    source = asked.source or asked.endpoint or ""
    _check_owner(ctx, request, source)
    validity = _validity(ctx, asked)
    async with ctx.db.transaction() as tx:
        row = await _add(ctx, tx, request, source, asked, validity)
        await _record(ctx, tx, request, "webhook_secret.created", row)
    await load(ctx, _intake(ctx))
    return _told(ctx, row, asked.key)


async def rotate_key(ctx: Context, request: Request) -> dict[str, Any]:
    """Seal the next version of a key; the one before counts until the overlap is over."""
    asked: Rotation = request.body
    if not 0 <= asked.overlap_seconds <= 90 * 86400:
        raise Invalid(FieldError("overlapSeconds", "must be between 0 and 90 days"))
    old = await _find(ctx, request)
    if old["source"] not in ctx.settings.sources:
        raise Conflict(f"source {old['source']} of this key is not configured any more; delete the key")
    async with ctx.db.transaction() as tx:
        newest = await store.newest(tx, old["source"], old["name"])
        if newest is None or newest["id"] != old["id"]:
            raise Conflict(f"key {old['id']} was rotated already; rotate the newest version")
        new = NewKey(
            key=asked.key,
            name=old["name"],
            description=old["description"],
            key_encoding=asked.key_encoding or old["key_encoding"],
        )
        row = await _add(ctx, tx, request, old["source"], new, Validity(), version=old["version"] + 1)
        await store.end(tx, old["id"], timedelta(seconds=asked.overlap_seconds))
        await _record(ctx, tx, request, "webhook_secret.rotated", row)
    await load(ctx, _intake(ctx))
    return _told(ctx, row, asked.key)


async def change_key(ctx: Context, request: Request) -> dict[str, Any]:
    """Change a key's description, or switch it off and on."""
    asked: KeyChange = request.body
    old = await _find(ctx, request)
    async with ctx.db.transaction() as tx:
        row = await store.change(tx, old["id"], asked.description, asked.is_active)
        if row is None:
            raise NotFound(f"there is no key {old['id']!r}")
        await _record(ctx, tx, request, "webhook_secret.changed", row)
    await load(ctx, _intake(ctx))
    return {"success": True, "data": show(row), "timestamp": ctx.now()}


async def delete_key(ctx: Context, request: Request) -> None:
    """Throw a key away; nothing signed with it is accepted any more."""
    row = await _find(ctx, request)
    async with ctx.db.transaction() as tx:
        await store.delete(tx, row["id"])
        await _record(ctx, tx, request, "webhook_secret.deleted", row)
    await load(ctx, _intake(ctx))


def show(row: Record) -> dict[str, Any]:
    """Return a key's row as callers see it."""
    return {
        "id": row["id"],
        "endpoint": row["source"],
        "source": row["source"],
        "name": row["name"],
        "description": row["description"],
        "keyEncoding": row["key_encoding"],
        "fingerprint": row["fingerprint"],
        "keyVersion": row["version"],
        "isActive": row["active"],
        "validFrom": row["valid_from"],
        "validUntil": row["valid_until"],
        "companyId": row["owner"],
        "createdAt": row["created_at"],
        "updatedAt": row["updated_at"],
        "createdBy": row["created_by"],
        "lastUsedAt": row["last_used_at"],
        "usageCount": row["use_count"],
    }


async def _add(
    ctx: Context,
    tx: Transaction,
    request: Request,
    source_name: str,
    asked: NewKey,
    validity: Validity,
    version: int = 1,
) -> Record:
    source = ctx.settings.sources[source_name]
    chosen = asked.key_encoding or source.key_encoding or find_preset(source.scheme).key_encoding
    key_id = new_id("whs")
    try:
        key = make_key(source.scheme, asked.key, chosen, id=key_id)
    except ValueError as error:
        raise Invalid(FieldError("key", str(error))) from None
    try:
        return await store.add(
            tx,
            id=key_id,
            source=source_name,
            owner=source.owner,
            name=asked.name,
            description=asked.description,
            key_encoding=chosen,
            sealed=await ctx.secrets.seal(TABLE, COLUMN, key_id, asked.key.strip().encode()),
            fingerprint=fingerprint(key.secret),
            version=version,
            valid_from=validity.start,
            valid_until=validity.end,
            created_by=request.identity.subject,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict(f"source {source_name} has a key {asked.name!r} already; rotate it") from None


def _validity(ctx: Context, asked: NewKey) -> Validity:
    start = read_time(asked.valid_from, "validFrom", "body")
    end = read_time(asked.valid_until, "validUntil", "body")
    if end is not None and end <= ctx.now():
        raise Invalid(FieldError("validUntil", "is over already"))
    if start is not None and end is not None and end <= start:
        raise Invalid(FieldError("validUntil", "must be later than validFrom"))
    return Validity(start, end)


async def _find(ctx: Context, request: Request) -> Record:
    row = await store.find(ctx.db, request.path["id"], request.owner)
    if row is None:
        raise NotFound(f"there is no key {request.path['id']!r}")
    return row


def _check_owner(ctx: Context, request: Request, name: str) -> None:
    source = ctx.settings.sources.get(name)
    if source is None or (request.owner is not None and source.owner != request.owner):
        known = [n for n, s in ctx.settings.sources.items() if request.owner in (None, s.owner)]
        raise Invalid(FieldError("source", f"{name!r} is none of {', '.join(sorted(known)) or 'yours'}"))
    if not source.stored_keys:
        raise Conflict(f"source {name} takes its keys from the file alone; set stored_keys = true for it")


async def _record(ctx: Context, tx: Transaction, request: Request, action: str, row: Record) -> None:
    await ctx.audit.record(
        tx,
        actor=request.identity.subject,
        action=action,
        subject=row["id"],
        owner=row["owner"],
        detail={"source": row["source"], "name": row["name"], "version": row["version"]},
    )


def _told(ctx: Context, row: Record, text: str) -> dict[str, Any]:
    remarks = [] if row["key_encoding"] is None else key_remarks(text, row["key_encoding"])
    return {"success": True, "data": show(row) | {"remarks": remarks}, "timestamp": ctx.now()}


def _intake(ctx: Context) -> Intake:
    intake: Intake = ctx.state["intake"]
    return intake
