"""`/console` and what lies under it: the pages, signing in, the live stream, and the files."""

from __future__ import annotations

from wharfd import ConsolePage, Reply, Request, Route
from wharfd.contracts.access import ANONYMOUS
from wharfd.contracts.html import address

from . import assets, layout, live
from .parts import Context
from .rendering import all_pages, render

LOGIN = "/console/login"
READ = "system:read"
_PAGE_SECONDS = 60.0
_FRONT = "overview"
_LIVE = "/console/live"


async def show_login(ctx: Context, request: Request) -> Reply:
    """Show where to sign in; whoever is signed in goes on to the console."""
    if request.identity is not ANONYMOUS:
        return Reply(303, None, {"Location": "/console"})
    return layout.login_page(ctx.settings.label)


async def show(ctx: Context, request: Request) -> Reply:
    """Show one page in the frame; what it cannot tell is told as a page too."""
    path = request.path.get("page", _FRONT)
    frame = layout.Frame(all_pages(ctx), request.identity, ctx.settings.label)
    made = await render(ctx, request, path)
    if made.page is None:
        return layout.framed(frame, "Not found", made.body, status=made.status)
    return layout.framed(
        frame, made.page.title, made.body, current=path, status=made.status, live=_stream(made.page, request)
    )


def _stream(page: ConsolePage, request: Request) -> str | None:
    if page.path == _FRONT:
        return _LIVE
    return address(_LIVE, **{**(request.query or {}), "page": page.path}) if page.live_seconds else None


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
    Route(method="GET", path=_LIVE, handler=live.follow, scope=READ, page=True),
    Route(method="GET", path=LOGIN, handler=show_login, scope=None, page=True),
    Route(method="GET", path="/console/static/{name}", handler=assets.serve, scope=None, page=True),
]
