"""Making the body of a page by its plugin; what it cannot tell becomes a body that says so."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from wharfd import ConsolePage, HttpProblem, Request, ServiceUnavailable
from wharfd.contracts.html import Html, card, code, empty, facts, join, link

from .parts import Context


@dataclass(frozen=True)
class Made:
    """A page as it goes into the frame; `page` is None when there is none of that path."""

    body: Html
    status: int = 200
    page: ConsolePage | None = None


def all_pages(ctx: Context) -> list[tuple[str, ConsolePage]]:
    """Return every plugin's pages in their order."""
    return sorted(ctx.plugins.declared(ConsolePage), key=lambda entry: entry[1].order)


def find(ctx: Context, path: str) -> tuple[str, ConsolePage] | None:
    """Return the page of that path and whose it is."""
    return next((entry for entry in all_pages(ctx) if entry[1].path == path), None)


async def render(ctx: Context, request: Request, path: str) -> Made:
    """Make the page of that path for the person who asks."""
    found = find(ctx, path)
    if found is None:
        return Made(
            empty(f"The console has no page {unquote(path)!r}", link("To the overview", "/console")), 404
        )
    plugin, page = found
    try:
        return Made(Html(await ctx.plugins.call(plugin, page.render, request)), page=page)
    except HttpProblem as problem:
        return _refused(page, problem.status, str(problem), request)
    except ServiceUnavailable as error:
        return _refused(page, 503, str(error), request)
    except Exception:
        ctx.log.exception("console_page_failed", page=page.path, plugin=plugin)
        reason = f"the plugin {plugin} could not make this page; the log says why"
        return _refused(page, 500, reason, request)


def _refused(page: ConsolePage, status: int, reason: str, request: Request) -> Made:
    words = reason[:1].upper() + reason[1:]
    known = facts([("Status", status), ("Request", code(request.id))])
    return Made(card("This page cannot be shown", join((empty(words), known))), status, page)
