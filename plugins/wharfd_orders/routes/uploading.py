"""POST /api/bulk-orders: take an upload in, once per Idempotency-Key."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from wharfd import (
    BadRequest,
    Conflict,
    DatabaseUnavailable,
    FieldError,
    Invalid,
    Reply,
    Request,
    StatementTimeout,
    Unavailable,
)

from ..executing.executors import is_transactional
from ..intake import Upload, read_upload, rejected
from ..loading import Key, check_load, load, owner_of, plan_load
from ..model.state import Counts
from ..parts import Context, parts_of
from ..spool import Spool
from ..store import batches, keys, results, tally
from .views import amounts_view, batch_view, result_view

_EXTEND_SECONDS = keys.LEASE_SECONDS / 6
_SHOWN_RESULTS = 100
_LOOKED_AT = 20_000  # references of a file that is refused anyway are looked at up to here


async def submit(ctx: Context, request: Request) -> Reply:
    """Take a batch of orders; answered when all of it is stored, or with what is wrong and nothing stored."""
    parts, token = parts_of(ctx), object()
    try:
        parts.uploads.acquire_on_behalf_of_nowait(token)
    except trio.WouldBlock:
        raise Unavailable("too many uploads are being read at the moment", retry_after=5) from None
    try:
        key_text = request.headers.get("idempotency-key")
        if key_text is None:
            return await _receive(ctx, request, None)
        async with _held_key(ctx, request, _checked(key_text)) as key:
            return await _receive(ctx, request, key)
    finally:
        parts.uploads.release_on_behalf_of(token)


async def _receive(ctx: Context, request: Request, key: Key | None) -> Reply:
    spool = Spool(ctx.state_dir / "uploads")
    try:
        upload = await read_upload(
            ctx.settings,
            spool,
            request.stream(),
            content_type=request.headers.get("content-type"),
            query=request.query,
        )
        if key is not None and key.claim == 0:
            return await _replay(ctx, key, upload)
        return await _store(ctx, request, upload, key)
    finally:
        spool.close()


async def _store(ctx: Context, request: Request, upload: Upload, key: Key | None) -> Reply:
    ctx.metrics["upload_rows_total"].labels(str(upload.detected["format"])).inc(upload.rows)
    options = upload.options
    refused = upload.invalid > 0 and (options.on_invalid == "reject_batch" or not upload.accepted)
    if refused and not 0 < upload.with_refs <= _LOOKED_AT:
        raise rejected(upload)
    owner = owner_of(request, upload)
    name = options.executor or ctx.settings.executor
    executor = await parts_of(ctx).executors.find(name)
    if executor is None:
        known = ", ".join(await parts_of(ctx).executors.names())
        raise Invalid(FieldError("executor", f"{name[:60]!r} is not known; there are {known}", "query"))
    plan = plan_load(ctx, request, upload, owner, is_transactional(executor))
    if refused:
        await check_load(ctx, request, upload, plan)  # so that references that are wrong are told of too
        raise rejected(upload)
    if options.validate_only:
        counts = Counts(await check_load(ctx, request, upload, plan))
        return Reply(200, _checked_view(upload, counts, plan.needs_approval))
    loaded = await load(ctx, request, upload, plan, key)
    parts_of(ctx).touch(loaded.number)
    return Reply(
        201, await _view(ctx, loaded.batch_id, upload), {"Location": f"{request.url_path}/{loaded.batch_id}"}
    )


def _checked_view(upload: Upload, counts: Counts, needs_approval: bool) -> dict[str, Any]:
    return {
        "success": not upload.invalid,
        "validateOnly": True,
        "status": "valid" if not upload.invalid else "invalid",
        "total": upload.rows,
        "valid": upload.rows - counts.of("skipped"),
        "invalid": counts.of("skipped"),
        "duplicates": counts.duplicates,
        "amounts": amounts_view(upload.amounts),
        "needsApproval": needs_approval,
        "source": upload.detected,
        "rowErrors": upload.reported,
        "rowErrorCount": sum(upload.codes.values()),
    }


async def _view(ctx: Context, batch_id: str, upload: Upload | None) -> dict[str, Any]:
    batch = await batches.find(ctx.db, batch_id, None)
    assert batch is not None
    view = batch_view(ctx, batch, await tally.count(ctx.db, batch["number"]))
    if batch["total"] <= _SHOWN_RESULTS:
        rows = await results.page(ctx.db, batch["number"], "all", -1, _SHOWN_RESULTS)
        view["results"] = [result_view(row) for row in rows]
    if upload is not None and upload.reported:
        view["rowErrors"] = upload.reported
        view["rowErrorCount"] = sum(upload.codes.values())
    return view


# -- Idempotency-Key ---------------------------------------------------------------------------------------


def _checked(text: str) -> str:
    key = text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise BadRequest("Idempotency-Key must be 1 to 255 visible ASCII characters, quoted or not")
    return key


@asynccontextmanager
async def _held_key(ctx: Context, request: Request, text: str) -> AsyncIterator[Key]:
    """Hold a key while its upload is received; a key that stands for a batch comes with claim 0."""
    owner = request.owner if request.owner is not None else f"@{request.identity.subject}"
    claim = secrets.randbits(62) + 1
    if not await keys.claim(ctx.db, owner, text, claim):
        found = await keys.find(ctx.db, owner, text)
        if found is None or found["batch"] is None:
            raise Conflict(
                "a request with this Idempotency-Key is still under way", headers={"Retry-After": "5"}
            )
        yield Key(owner, text, 0)
        return
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_extend, ctx, owner, text, claim)
            yield Key(owner, text, claim)
            nursery.cancel_scope.cancel()
    finally:
        # A key that was tied to a batch stays; one that came to nothing is free again.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            try:
                await keys.release(ctx.db, owner, text, claim)
            except (DatabaseUnavailable, StatementTimeout) as error:
                ctx.log.warning("upload_key_not_released", reason=str(error))


async def _extend(ctx: Context, owner: str, text: str, claim: int) -> None:
    while True:
        await trio.sleep(_EXTEND_SECONDS)
        try:
            await keys.extend(ctx.db, owner, text, claim)
        except (DatabaseUnavailable, StatementTimeout) as error:
            ctx.log.warning("upload_key_not_extended", reason=str(error))


async def _replay(ctx: Context, key: Key, upload: Upload) -> Reply:
    """Answer a key that was used: with its batch for the same content, else 422."""
    found = await keys.find(ctx.db, key.owner, key.text)
    if found is None or found["batch_id"] is None:
        raise Conflict("the batch of this Idempotency-Key is not known any more; take a new key")
    if bytes(found["fingerprint"]) != upload.fingerprint:
        raise Invalid(message="this Idempotency-Key was used for another upload; take a new one")
    view = await _view(ctx, found["batch_id"], None)
    return Reply(201, view, {"Idempotency-Replayed": "true"})
