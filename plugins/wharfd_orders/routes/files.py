"""Downloads: results, their checksum, and templates."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from wharfd import Gone, Record, Reply, Request, Stream

from .. import exporting
from ..parts import Context
from .reading import batch_of

_TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8", "json": "application/json"}


class FileQuery(msgspec.Struct, kw_only=True):
    """Which results, as which kind of file."""

    which: Literal["all", "succeeded", "failed", "unprocessed", "duplicates"] = "all"
    format: Literal["jsonl", "csv"] = "jsonl"


class TemplateQuery(msgspec.Struct, kw_only=True):
    """Which kind of template."""

    format: Literal["jsonl", "csv", "json"] = "csv"


async def download(ctx: Context, request: Request) -> Stream:
    """Download results; `failed` and `unprocessed` can be corrected and sent again as they are."""
    query: FileQuery = request.query
    batch = await batch_of(ctx, request)
    _check_kept(ctx, batch)
    return Stream(
        exporting.file_chunks(ctx.db, batch["number"], query.which, query.format),
        content_type=_TYPES[query.format],
        filename=f"{batch['id']}-{query.which}.{query.format}",
    )


async def show_checksum(ctx: Context, request: Request) -> dict[str, Any]:
    """Tell SHA-256 and size of a download, to compare with what arrived."""
    query: FileQuery = request.query
    batch = await batch_of(ctx, request)
    _check_kept(ctx, batch)
    return {
        "batchId": batch["id"],
        "final": batch["finished_at"] is not None,
        **await exporting.checksum(ctx.db, batch["number"], query.which, query.format),
    }


async def download_template(ctx: Context, request: Request) -> Reply:
    """Download an example to begin with."""
    query: TemplateQuery = request.query
    name = f"orders-template.{query.format}"
    return Reply(
        200,
        exporting.template(query.format),
        {"Content-Disposition": f'attachment; filename="{name}"'},
        content_type=_TYPES[query.format],
    )


def _check_kept(ctx: Context, batch: Record) -> None:
    finished = batch["finished_at"]
    if finished is not None and ctx.now() > finished + ctx.settings.keep_results:
        raise Gone("the results of this batch are not kept any more; its counts are")
