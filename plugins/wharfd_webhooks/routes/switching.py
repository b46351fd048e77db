"""Switching endpoints on, off and into a pause; what waits meanwhile is parked and comes back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from wharfd import NotFound, PluginContext, Request, Route
from wharfd.contracts.webhooks import EndpointDisabled

from ..config import Settings
from ..model.endpoint import origin_of
from ..store import endpoints as store
from .endpoints import CHANGES, WRITE, both, shown_endpoint
from .shapes import EndpointOut


class SwitchIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why, for the record and for whoever asks later."""

    reason: Annotated[str, Meta(max_length=200)] = ""


class EnabledOut(msgspec.Struct, kw_only=True, rename="camel"):
    """The endpoint, and since when it missed events: what to give to `recover`."""

    success: bool
    message: str
    webhook: EndpointOut
    recover_since: datetime | None


def routes(settings: Settings) -> list[Route]:
    """Return the routes that switch."""
    return [
        Route(
            method="POST", **both("/{id}/enable"), handler=enable, scope=WRITE, returns=EnabledOut,
            rate=CHANGES, summary="switch on, also out of a pause; what is parked is released slowly",
        ),
        Route(
            method="POST", **both("/{id}/resume"), handler=enable, scope=WRITE, returns=EnabledOut,
            rate=CHANGES, summary="the same as enable",
        ),
        Route(
            method="POST", **both("/{id}/disable"), handler=disable, scope=WRITE, body=SwitchIn | None,
            returns=EndpointOut, rate=CHANGES,
            summary="switch off: new events are not delivered, what waits is parked",
        ),
        Route(
            method="POST", **both("/{id}/pause"), handler=pause, scope=WRITE, body=SwitchIn | None,
            returns=EndpointOut, rate=CHANGES, summary="stop sending and park everything, new events too",
        ),
    ]  # fmt: skip


async def enable(ctx: PluginContext[Settings], request: Request) -> EnabledOut:
    """Switch an endpoint on; its failures are forgotten."""
    before, after = await _switch(ctx, request, "active", "")
    released = await ctx.state["sender"].release_ramped(after.id)
    missed = before.status_at if before.status == "disabled" else None
    message = f"the webhook is active; {released} parked deliveries are on their way"
    if missed is not None:
        message += "; events of the time it was disabled can be sent with recover"
    return EnabledOut(success=True, message=message, webhook=after, recover_since=missed)


async def disable(ctx: PluginContext[Settings], request: Request) -> EndpointOut:
    """Switch an endpoint off."""
    return (await _switch(ctx, request, "disabled", _reason(request) or "switched off"))[1]


async def pause(ctx: PluginContext[Settings], request: Request) -> EndpointOut:
    """Park everything for an endpoint until it is enabled."""
    return (await _switch(ctx, request, "paused", _reason(request) or "paused"))[1]


def _reason(request: Request) -> str:
    return request.body.reason if isinstance(request.body, SwitchIn) else ""


async def _switch(
    ctx: PluginContext[Settings],
    request: Request,
    status: Literal["active", "disabled", "paused"],
    reason: str,
) -> tuple[EndpointOut, EndpointOut]:
    async with ctx.db.transaction() as tx:
        row = await store.lock(tx, request.path["id"], request.owner)
        if row is None:
            raise NotFound(f"there is no webhook {request.path['id'][:80]!r}")
        await store.set_status(tx, row["id"], status, reason)
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action=f"webhook.{'enabled' if status == 'active' else status}",
            subject=row["id"],
            detail={"reason": reason, "before": row["status"]},
            owner=row["owner"],
        )
        if status == "disabled" and row["status"] != "disabled":
            await ctx.events.publish(
                tx,
                EndpointDisabled(
                    owner=row["owner"],
                    subject=row["id"],
                    endpoint_id=row["id"],
                    origin=origin_of(row["url"]),
                    failures=row["failure_count"],
                    failing_since=row["first_failed_at"],
                    reason=reason,
                ),
            )
        after = await store.get(tx, row["id"], request.owner)
        assert after is not None
    ctx.state["sender"].directory.forget(row["id"])
    return shown_endpoint(ctx, row), shown_endpoint(ctx, after)
