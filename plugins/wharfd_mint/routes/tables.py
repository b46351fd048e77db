"""Buyers as CSV, out and in."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from wharfd import BadRequest, HttpProblem, PluginContext, Request, Route, Stream, struct_of_text

from .. import desk
from ..config import Settings
from ..store import lists
from ..store.buyers import Buyer
from .shapes import NewBuyer, camel, values_of

Ctx = PluginContext[Settings]
COLUMNS = [
    "license_id",
    "wallet",
    "tier",
    "status",
    "tx_hash",
    "token_id",
    "price",
    "currency",
    "payment_method",
    "payment_ref",
    "email",
    "name",
    "created_at",
]
_TAKEN = (
    "wallet", "tier", "license_id", "price", "currency", "payment_method", "payment_ref", "email", "name",
)  # fmt: skip
_HASH = re.compile("0x[0-9a-fA-F]{64}")
_GROUP = 500
_MOST_BYTES = 8 << 20
_MOST_ERRORS = 100
# A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class How(msgspec.Struct, kw_only=True):
    """How to read the file."""

    dry_run: bool = False


async def export(ctx: Ctx, request: Request) -> Stream:
    """Write all buyers the caller may see, newest first."""
    return Stream(_lines(ctx, request.owner), "text/csv; charset=utf-8", filename="buyers.csv")


async def _lines(ctx: Ctx, owner: str | None) -> AsyncIterator[bytes]:
    after = None
    yield _encoded([COLUMNS])
    while rows := await lists.buyers(ctx.db.read, {"owner": owner}, after, _GROUP):
        yield _encoded([_cells(row) for row in rows])
        after = (rows[-1].created_at, rows[-1].id)


def _cells(buyer: Buyer) -> list[str]:
    shown = msgspec.to_builtins(buyer)
    texts = ("" if shown[name] is None else str(shown[name]) for name in COLUMNS)
    return ["'" + text if text.startswith(_FORMULA) else text for text in texts]


def _encoded(rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


async def take_in(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Add buyers from a file with a header line; a license that exists is left as it is.

    A row with a tx_hash counts as minted, and the daily validation looks whether the chain has it. Each row
    stands alone: the answer lists what was wrong with the others.
    """
    try:
        reader = csv.DictReader(io.StringIO(request.raw.decode("utf-8-sig")))
        rows = [(reader.line_num, row) for row in map(_filled, reader) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"the file is no CSV in UTF-8: {error}") from None
    missing = {"wallet", "tier"} - set(reader.fieldnames or ())
    if missing:
        raise BadRequest(f"the header line lacks {', '.join(sorted(missing))}")
    added, skipped, errors = 0, 0, []
    for number, row in rows:
        try:
            done = await _take_row(ctx, request, row)
            added, skipped = added + done, skipped + (not done)
        except (HttpProblem, desk.NotPossible, ValueError) as error:
            details = "; ".join(f"{one.field} {one.message}" for one in getattr(error, "errors", ()))
            errors.append({"line": number, "message": details or str(error)})
    return {
        "success": not errors, "added": added, "skipped": skipped, "failed": len(errors),
        "errors": errors[:_MOST_ERRORS], "dryRun": request.query.dry_run,
    }  # fmt: skip


def _filled(row: dict[str, str]) -> dict[str, str]:
    """Return the cells that have something in them."""
    return {
        name: text.strip().removeprefix("'") for name, text in row.items() if name and text and text.strip()
    }


class _DryRun(Exception):
    """Raised to undo a row that was only tried."""


async def _take_row(ctx: Ctx, request: Request, row: dict[str, str]) -> bool:
    """Add one row; False when the license is there already."""
    status, tx_hash = row.get("status", "active"), row.get("tx_hash")
    if status not in ("active", "pending_wire"):
        raise ValueError(f"status {status!r} cannot be imported; only active and pending_wire")
    if tx_hash is not None and (status != "active" or not _HASH.fullmatch(tx_hash)):
        raise ValueError("tx_hash must be 0x and 64 hexadecimal digits, of an active buyer")
    new = struct_of_text({camel(name): row[name] for name in _TAKEN if name in row}, NewBuyer)
    values = values_of(new, status=status, owner=request.owner)
    try:
        async with ctx.db.transaction() as tx:
            await desk.create(ctx, tx, values, actor=request.identity.subject, minted=tx_hash)
            if request.query.dry_run:
                raise _DryRun
    except _DryRun:
        return True
    except desk.NotPossible as error:
        if error.why == "taken":
            return False
        raise
    return True


ROUTES = [
    Route(
        method="GET", path="/api/v1/mint/buyers.csv", handler=export, scope="mint:read",
        summary="All buyers as CSV", timeout_seconds=600,
    ),
    Route(
        method="POST", path="/api/v1/mint/buyers.csv", handler=take_in, scope="mint:write", body=bytes,
        query=How, max_body_bytes=_MOST_BYTES, summary="Add buyers from CSV", timeout_seconds=600,
    ),
]  # fmt: skip
