"""The secrets of an endpoint: look at what signs, and rotate with an overlap."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from wharfd import FieldError, Invalid, NotFound, PluginContext, Record, Request, Route

from ..config import Settings
from ..store import endpoints as store
from .checking import key_given_or_made
from .endpoints import CHANGES, READ, WRITE, both, endpoint_of

_MOST_AT_A_TIME = 5


class RotateIn(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A new secret, made unless given. The old ones go on signing for `overlapSeconds`; 0 ends them at
    once."""

    secret: str | None = None
    signing: Literal["v1", "v1a"] = "v1"
    overlap_seconds: float | None = None
    beside: bool = False


class SecretOut(msgspec.Struct, kw_only=True, rename="camel"):
    """What may be shown of a secret: never the secret."""

    id: str
    kind: str
    hint: str
    public_key: str | None
    created_at: datetime
    expires_at: datetime | None


class RotatedOut(msgspec.Struct, kw_only=True, rename="camel"):
    """The new secret, shown this once, and all that sign from now on."""

    success: bool
    secret: str
    public_key: str | None
    secrets: list[SecretOut]


def routes(settings: Settings) -> list[Route]:
    """Return the routes of secrets."""
    return [
        Route(
            method="GET", **both("/{id}/secrets"), handler=show, scope=READ, returns=list[SecretOut],
            summary="which secrets sign, without showing them",
        ),
        Route(
            method="POST", **both("/{id}/rotate-secret"), handler=rotate, scope=WRITE, body=RotateIn | None,
            returns=RotatedOut, rate=CHANGES, idempotent=True,
            summary="make a new secret; the old one signs too until the overlap is over",
        ),
    ]  # fmt: skip


async def show(ctx: PluginContext[Settings], request: Request) -> list[SecretOut]:
    """List what signs."""
    row = await endpoint_of(ctx, request)
    return [_out(secret) for secret in await store.secrets_of(ctx.db, row["id"])]


async def rotate(ctx: PluginContext[Settings], request: Request) -> RotatedOut:
    """Rotate; with `beside` the new secret is added and the old ones stay."""
    given: RotateIn = request.body or RotateIn()
    longest = ctx.settings.secret_overlap_max.total_seconds()
    overlap = (
        ctx.settings.secret_overlap.total_seconds()
        if given.overlap_seconds is None
        else given.overlap_seconds
    )
    if not 0 <= overlap <= longest:
        raise Invalid(FieldError("overlapSeconds", f"must be between 0 and {longest:g}"))
    key = key_given_or_made(given.secret, given.signing)
    async with ctx.db.transaction() as tx:
        row = await store.lock(tx, request.path["id"], request.owner)
        if row is None:
            raise NotFound(f"there is no webhook {request.path['id'][:80]!r}")
        if not given.beside:
            await store.expire_secrets(tx, row["id"], ["v1", "v1a"], overlap)
        await store.add_secret(tx, ctx.secrets, row["id"], key)
        secrets = await store.secrets_of(tx, row["id"])
        if len(secrets) > _MOST_AT_A_TIME:
            raise Invalid(
                FieldError(
                    "overlapSeconds",
                    f"{len(secrets)} secrets would sign; at most {_MOST_AT_A_TIME} may overlap",
                )
            )
        await store.bump(tx, row["id"])
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="webhook.secret_rotated",
            subject=row["id"],
            detail={"overlap_seconds": overlap, "kind": key.kind, "beside": given.beside},
            owner=row["owner"],
        )
    return RotatedOut(
        success=True, secret=key.text, public_key=key.public, secrets=[_out(secret) for secret in secrets]
    )


def _out(row: Record) -> SecretOut:
    return SecretOut(
        id=row["id"],
        kind=row["kind"],
        hint=row["hint"],
        public_key=row["public_key"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
