"""The console's own files: one stylesheet, one script, one picture. Nothing else is ever loaded."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from wharfd import NotFound, Reply, Request

_KINDS = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
FILES = {name: (files(__package__) / "static" / name).read_bytes() for name in _KINDS}
_VERSIONS = {name: hashlib.sha256(data).hexdigest()[:12] for name, data in FILES.items()}


def asset(name: str) -> str:
    """Return the address of a file; it changes when the file does."""
    return f"/console/static/{name}?v={_VERSIONS[name]}"


async def serve(_ctx: object, request: Request) -> Reply:
    """Give one of the console's files."""
    name = request.path["name"]
    if name not in FILES:
        raise NotFound(f"the console has no file {name!r}")
    current = request.query.get("v") == _VERSIONS[name]
    kept = "public, max-age=31536000, immutable" if current else "no-cache"
    return Reply(200, FILES[name], {"Cache-Control": kept}, _KINDS[name])
