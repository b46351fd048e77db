"""`/api/v1/secrets/rotate`: wrap every data key with the current master key."""

from __future__ import annotations

from typing import Any

import msgspec

from ..declare import Route
from ..http import Request, Unavailable
from .sources import CoreSources


class Rotate(msgspec.Struct, forbid_unknown_fields=True):
    """With `dry_run` nothing is changed."""

    dry_run: bool = False


async def rotate(ctx: CoreSources, request: Request) -> dict[str, Any]:
    """Wrap all data keys anew; afterwards the old master keys are not needed any more."""
    if ctx.rotate is None:
        raise Unavailable("this daemon has no vault to rotate")
    done = await ctx.rotate(request.body.dry_run)
    found = {"current": done.kek_id, "data_keys": done.total, "changed": done.changed}
    if not request.body.dry_run:
        await ctx.note(request, "secrets.rotated", done.kek_id, found)
    return found


ROUTES = [
    Route(method="POST", path="/api/v1/secrets/rotate", handler=rotate, scope="system:write", body=Rotate)
]
