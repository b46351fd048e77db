"""What a page of the console is made with, beside `wharfd.contracts.html` and `wharfd.contracts.charts`.

A page is `async def render(ctx, request) -> Html`, declared with `ConsolePage`. It shows what the API tells
the person who looks at it (`ask`), and changes things by buttons that call the API (`html.action`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .daemon import API

if TYPE_CHECKING:
    from ..context import PluginContext
    from ..http import Request


async def ask(ctx: PluginContext[Any], request: Request, path: str, **query: Any) -> Any:
    """Return what the API tells this person at `path`; values of `query` that are None or "" are left out.

    Raises the API's own problems, which the console shows as a page.
    """
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return await ctx.services.get(API).get(request.identity, path, given)


def within(template: str, **parts: str) -> str:
    """Return a path with its parts encoded: `within("/api/v1/work/{queue}/buried", queue=name)`."""
    return template.format_map({name: quote(value, safe="") for name, value in parts.items()})


def wanted(request: Request, name: str) -> str:
    """Return what stands in the address of the page under this name, "" when nothing does."""
    query: Mapping[str, str] = request.query or {}
    return query.get(name, "").strip()
