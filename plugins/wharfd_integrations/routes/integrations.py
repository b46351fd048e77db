"""`/api/integrations`, also `/api/v1/integrations`: make, list, show, change, suspend, delete."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from msgspec import UNSET

from wharfd import (
    Conflict,
    Page,
    Rate,
    Reply,
    Request,
    Route,
    decode_cursor,
    new_id,
    page_of,
)

from ..minting import Draft, mint
from ..model.scopes import parse_networks, parse_scopes
from ..parts import Context
from ..sealing import make_webhook_secret, seal_config, seal_webhook_secret
from ..store.integration_rows import (
    NewIntegrationRow,
    count_integrations,
    delete_integration,
    get_integration,
    insert_integration,
    list_integrations,
)
from ..store.key_rows import count_keys_of, current_key, current_keys_of, get_key, keys_of_integration
from .asking import checked, given, in_utc, owner_of
from .integration_changes import held, no_integration, note, save, set_status, vet_url
from .integration_shapes import (
    Changes,
    Integration,
    IntegrationQuery,
    NewIntegration,
    OldChanges,
    OldNewIntegration,
    shown,
)
from .keys import forget, record_key, revoke


async def create_integration(ctx: Context, request: Request) -> Integration:
    """Make an integration with a pair of key and secret, pending until it is activated."""
    wanted: NewIntegration = request.body
    scopes = checked(
        "scopes", parse_scopes, ctx.settings.default_scopes if wanted.scopes is None else wanted.scopes
    )
    owner = owner_of(request.identity, wanted.owner, field="owner", needed=bool(scopes))
    vet_url(ctx, wanted.webhook_url)
    integration_id = new_id("int")
    config, config_secrets = await seal_config(ctx, integration_id, wanted.config or {})
    webhook_secret = make_webhook_secret() if wanted.webhook_url else None
    async with ctx.db.transaction() as tx:
        most = ctx.settings.max_integrations_per_owner
        if await count_integrations(tx, owner) >= most:
            raise Conflict(
                f"there are {most} integrations already; delete some, "
                "or raise [plugins.integrations] max_integrations_per_owner"
            )
        row = await insert_integration(
            tx,
            NewIntegrationRow(
                id=integration_id,
                owner=owner,
                name=wanted.name,
                type=wanted.type,
                config=config,
                config_secrets=config_secrets,
                webhook_url=wanted.webhook_url,
                webhook_secret=None
                if webhook_secret is None
                else await seal_webhook_secret(ctx, integration_id, webhook_secret),
                created_by=request.identity.subject,
            ),
        )
        draft = Draft(
            name=wanted.name,
            owner=owner,
            scopes=scopes,
            allow_list=checked("allowList", parse_networks, wanted.allow_list),
            rate_per_minute=wanted.rate_per_minute,
            expires_at=in_utc("expiresAt", wanted.expires_at),
            signed_only=wanted.signed_only,
            integration_id=integration_id,
            with_secret=True,
            pair=True,
        )
        minted = await mint(ctx, tx, request.identity, draft)
        await note(ctx, tx, request, "integration.created", row, {"name": wanted.name, "type": wanted.type})
        await record_key(ctx, tx, request, "key.created", minted)
        return shown(
            row,
            await get_key(tx, minted.id, None),
            api_key=minted.key,
            api_secret=minted.secret or UNSET,
            webhook_secret=webhook_secret or UNSET,
        )


async def list_old(ctx: Context, request: Request) -> Reply:
    """List integrations as a plain array; a Link header leads to the rest."""
    page = await list_page(ctx, request)
    headers = {}
    if page.next_cursor is not None:
        query: IntegrationQuery = request.query
        more = {"type": query.type, "status": query.status, "limit": query.limit, "cursor": page.next_cursor}
        link = urlencode({name: value for name, value in more.items() if value is not None})
        headers["link"] = f'</api/integrations?{link}>; rel="next"'
    return Reply(200, page.items, headers)


async def list_page(ctx: Context, request: Request) -> Page[Integration]:
    """List integrations, newest first."""
    query: IntegrationQuery = request.query
    after = decode_cursor(request, query.cursor, str)
    rows = await list_integrations(
        ctx.db.read,
        owner=request.owner,
        type=query.type,
        status=query.status,
        limit=query.limit + 1,
        after=after[0] if after else None,
    )
    ids = [row["id"] for row in rows]
    keys, counts = await current_keys_of(ctx.db.read, ids), await count_keys_of(ctx.db.read, ids)
    return page_of(
        request,
        rows,
        query.limit,
        item=lambda row: shown(row, keys.get(row["id"]), key_count=counts.get(row["id"], 0)),
        key=lambda row: (row["id"],),
    )


async def show_integration(ctx: Context, request: Request) -> Integration:
    """Show one integration; its secrets were shown when they were made."""
    row = await get_integration(ctx.db, request.path["id"], request.owner)
    if row is None:
        raise no_integration(request)
    counts = await count_keys_of(ctx.db, [row["id"]])
    return shown(row, await current_key(ctx.db, row["id"]), key_count=counts.get(row["id"], 0))


async def change_integration(ctx: Context, request: Request) -> Integration:
    """Change name, status, configuration or webhook URL; what is left out stays."""
    changes: Changes = request.body
    async with ctx.db.transaction() as tx:
        row = await held(tx, request)
        values: dict[str, Any] = dict(row)
        values["name"] = given(changes, "name", row["name"])
        if changes.status is not UNSET:
            set_status(request, values, changes.status)
        if changes.config is not UNSET:
            values["config"], values["config_secrets"] = await seal_config(
                ctx, row["id"], changes.config or {}, before=row
            )
        fresh = None
        if changes.webhook_url is not UNSET:
            vet_url(ctx, changes.webhook_url)
            values["webhook_url"] = changes.webhook_url
            if changes.webhook_url is not None and row["webhook_secret"] is None:
                fresh = make_webhook_secret()
                values["webhook_secret"] = await seal_webhook_secret(ctx, row["id"], fresh)
        changed = await save(ctx, tx, request, row, values)
        return shown(changed, await current_key(tx, row["id"]), webhook_secret=fresh or UNSET)


async def suspend(ctx: Context, request: Request) -> Integration:
    """Stop an integration's keys at once; they work again when it is activated."""
    return await _to(ctx, request, "suspended")


async def activate(ctx: Context, request: Request) -> Integration:
    """Let an integration's keys work."""
    return await _to(ctx, request, "active")


async def remove_integration(ctx: Context, request: Request) -> None:
    """Delete an integration and revoke its keys; its usage log stays until its time is over."""
    async with ctx.db.transaction() as tx:
        row = await held(tx, request)
        ids = await keys_of_integration(tx, row["id"])
        await revoke(ctx, tx, request, ids, "its integration was deleted")
        await delete_integration(tx, row["id"])
        await forget(ctx, tx, row["id"])
        await note(ctx, tx, request, "integration.deleted", row, {"name": row["name"]})


async def _to(ctx: Context, request: Request, status: str) -> Integration:
    async with ctx.db.transaction() as tx:
        row = await held(tx, request)
        values: dict[str, Any] = dict(row)
        set_status(request, values, status)
        changed = await save(ctx, tx, request, row, values)
        return shown(changed, await current_key(tx, row["id"]))


_OLD, _NEW = "/api/integrations", "/api/v1/integrations"
_READ, _WRITE = "integrations:read", "integrations:write"

ROUTES = (
    *(
        Route(
            method="POST", path=path, handler=create_integration, scope=_WRITE, body=body,
            returns=Integration, status=201, rate=Rate(60, 60),
            summary="Make an integration; its key and secrets are shown once",
        )
        for path, body in ((_NEW, NewIntegration), (_OLD, OldNewIntegration))
    ),
    Route(
        method="GET", path=_NEW, handler=list_page, scope=_READ, query=IntegrationQuery,
        returns=Page[Integration], summary="List integrations",
    ),
    Route(
        method="GET", path=_OLD, kept=(_OLD,), handler=list_old, scope=_READ, query=IntegrationQuery,
        returns=list[Integration], summary="List integrations, as an array",
    ),
    Route(
        method="GET", path=f"{_NEW}/{{id}}", aliases=(f"{_OLD}/{{id}}",), handler=show_integration,
        scope=_READ, returns=Integration, summary="Show an integration",
    ),
    *(
        Route(
            method="PUT", path=f"{path}/{{id}}", handler=change_integration, scope=_WRITE, body=body,
            returns=Integration, summary="Change an integration",
        )
        for path, body in ((_NEW, Changes), (_OLD, OldChanges))
    ),
    Route(
        method="DELETE", path=f"{_NEW}/{{id}}", aliases=(f"{_OLD}/{{id}}",), handler=remove_integration,
        scope=_WRITE, status=204, summary="Delete an integration and revoke its keys",
    ),
    Route(
        method="POST", path=f"{_NEW}/{{id}}/suspend", aliases=(f"{_OLD}/{{id}}/suspend",), handler=suspend,
        scope=_WRITE, returns=Integration, summary="Stop an integration's keys at once",
    ),
    Route(
        method="POST", path=f"{_NEW}/{{id}}/activate", aliases=(f"{_OLD}/{{id}}/activate",),
        handler=activate, scope=_WRITE, returns=Integration, summary="Let an integration's keys work",
    ),
)  # fmt: skip
