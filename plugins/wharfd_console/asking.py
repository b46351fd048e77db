"""What a page asks the API for, as the person who looks at it, and how it reads what it is told to show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from wharfd import PluginContext, Request
from wharfd.contracts.daemon import API

from .config import Settings

Context = PluginContext[Settings]


async def ask(ctx: Context, request: Request, path: str, **query: Any) -> Any:
    """Return what the API tells this person at `path`; values of `query` that are None or "" are left out."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return await ctx.services.get(API).get(request.identity, path, given)


def within(template: str, **parts: str) -> str:
    """Return a path with its parts encoded: `within("/api/v1/work/{queue}/buried", queue=name)`."""
    return template.format_map({name: quote(value, safe="") for name, value in parts.items()})


def wanted(request: Request, name: str) -> str:
    """Return what stands in the address of the page under this name, "" when nothing does."""
    query: Mapping[str, str] = request.query or {}
    return query.get(name, "").strip()
