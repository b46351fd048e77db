"""What every change of an integration shares: hold the row, write it, tell every daemon, write it down."""

from __future__ import annotations

from typing import Any

from wharfd import FieldError, Forbidden, Invalid, NotFound, OutboundError, Record, Request, Transaction

from ..parts import Context, parts_of
from ..store.integration_rows import lock_integration, update_integration
from .keys import forget


async def held(tx: Transaction, request: Request) -> Record:
    """The integration of the path, held until the transaction ends; another owner's is not there."""
    row = await lock_integration(tx, request.path["id"], request.owner)
    if row is None:
        raise no_integration(request)
    return row


async def save(
    ctx: Context, tx: Transaction, request: Request, before: Record, values: dict[str, Any]
) -> Record:
    """Write what changed, tell every daemon when the keys start or stop working, and write it down."""
    changed = await update_integration(tx, before["id"], values)
    if changed["status"] != before["status"]:
        await forget(ctx, tx, before["id"])
    names = [name for name in ("name", "status", "config", "webhook_url") if changed[name] != before[name]]
    if changed["config_secrets"] != before["config_secrets"] and "config" not in names:
        names.append("config")
    detail = {"changed": names, "old_status": before["status"], "status": changed["status"]}
    await note(ctx, tx, request, "integration.updated", changed, detail)
    return changed


async def note(
    ctx: Context, tx: Transaction, request: Request, action: str, row: Record, detail: dict[str, Any]
) -> None:
    """Write a change into the audit log."""
    await ctx.audit.record(
        tx,
        actor=request.identity.subject,
        action=action,
        subject=row["id"],
        detail=detail,
        owner=row["owner"],
        ip=str(request.client) if request.client else None,
    )


def set_status(request: Request, values: dict[str, Any], status: str) -> None:
    """Change the status; what the house suspended, the house alone lets go on."""
    if values["suspended_by_house"] and request.owner is not None and status != values["status"]:
        raise Forbidden("this integration was suspended by the operators of this wharfd; ask them")
    values["status"] = status
    values["suspended_by_house"] = status == "suspended" and (
        request.owner is None or values["suspended_by_house"]
    )


def vet_url(ctx: Context, url: str | None) -> None:
    """Refuse (422) a webhook URL that could never be called."""
    if url is None:
        return
    try:
        ctx.http.vet_url(url, policy=parts_of(ctx).policy)
    except OutboundError as error:
        raise Invalid(FieldError("webhookUrl", str(error))) from None


def no_integration(request: Request) -> NotFound:
    """The answer for an integration that is not there, or another owner's."""
    return NotFound(f"there is no integration {request.path['id'][:60]!r}")
