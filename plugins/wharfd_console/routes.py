"""`/console` and what lies under it: the pages, signing in, the live stream, and the files."""

from __future__ import annotations

from urllib.parse import unquote

from wharfd import ConsolePage, HttpProblem, Reply, Request, Route, ServiceUnavailable
from wharfd.contracts.access import ANONYMOUS
from wharfd.contracts.html import Html, card, code, empty, facts, join, link

from . import assets, layout, live
from .parts import Context

LOGIN = "/console/login"
READ = "system:read"
_PAGE_SECONDS = 60.0
_FRONT = "overview"


async def show_login(ctx: Context, request: Request) -> Reply:
    """Show where to sign in; whoever is signed in goes on to the console."""
    if request.identity is not ANONYMOUS:
        return Reply(303, None, {"Location": "/console"})
    return layout.login_page(ctx.settings.label)


async def show(ctx: Context, request: Request) -> Reply:
    """Show one page in the frame; what it cannot tell is told as a page too."""
    pages = sorted(ctx.plugins.declared(ConsolePage), key=lambda entry: entry[1].order)
    frame = layout.Frame(pages, request.identity, ctx.settings.label)
    path = request.path.get("page", _FRONT)
    plugin, page = next(((p, one) for p, one in pages if one.path == path), (None, None))
    if plugin is None or page is None:
        body = empty(f"The console has no page {unquote(path)!r}", link("To the overview", "/console"))
        return layout.framed(frame, "Not found", body, status=404)
    try:
        made = await ctx.plugins.call(plugin, page.render, request)
    except HttpProblem as problem:
        return _refused(frame, page, problem.status, str(problem), request)
    except ServiceUnavailable as error:
        return _refused(frame, page, 503, str(error), request)
    except Exception:
        ctx.log.exception("console_page_failed", page=page.path, plugin=plugin)
        return _refused(
            frame, page, 500, f"the plugin {plugin} could not make this page; the log says why", request
        )
    return layout.framed(frame, page.title, Html(made), current=page.path, live=page.path == _FRONT)


def _refused(frame: layout.Frame, page: ConsolePage, status: int, reason: str, request: Request) -> Reply:
    words = reason[:1].upper() + reason[1:]
    known = facts([("Status", status), ("Request", code(request.id))])
    body = card("This page cannot be shown", join((empty(words), known)))
    return layout.framed(frame, page.title, body, current=page.path, status=status)


def _page(path: str) -> Route:
    return Route(
        method="GET",
        path=path,
        handler=show,
        scope=READ,
        page=True,
        sign_in=LOGIN,
        timeout_seconds=_PAGE_SECONDS,
    )


ROUTES = [
    _page("/console"),
    _page("/console/{page:path}"),
    Route(method="GET", path="/console/live", handler=live.follow, scope=READ, page=True),
    Route(method="GET", path=LOGIN, handler=show_login, scope=None, page=True),
    Route(method="GET", path="/console/static/{name}", handler=assets.serve, scope=None, page=True),
]
