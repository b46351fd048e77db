"""The frame around every page: head, navigation, title, and the policy the browser must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wharfd import ConsolePage, Reply
from wharfd.contracts.access import Identity
from wharfd.contracts.html import Html, join, link, notice, tag

from .assets import asset
from .icons import icon, mark

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
}
_HOUSE = "console"
_KEYS = (
    ("g then o", "overview"),
    ("g then w", "work queues"),
    ("g then s", "schedules"),
    ("g then p", "plugins"),
    ("g then d", "database"),
    ("g then a", "audit"),
    ("/", "to the search field"),
    ("t", "light, dark, or as the system says"),
    ("?", "this list"),
)


@dataclass(frozen=True)
class Frame:
    """What the frame shows beside the page: the pages there are, who looks, which installation this is."""

    pages: Sequence[tuple[str, ConsolePage]]
    identity: Identity
    label: str = ""


def address_of(page: ConsolePage) -> str:
    """Return where a page is found; the overview is the console's front door."""
    return "/console" if page.path == "overview" else f"/console/{page.path}"


def framed(
    frame: Frame, title: str, body: Html, *, current: str = "", status: int = 200, live: str | None = None
) -> Reply:
    """Return a whole page; `live` is the stream its browser follows."""
    lamp = tag("span", "live", class_="live", id="live", data_state="waiting", role="status") if live else ""
    main = tag(
        "main",
        tag("div", tag("h1", title), lamp, class_="title"),
        tag("div", body, id="page-body"),
        id="main",
        tabindex="-1",
        data_live=live,
    )
    shell = tag("div", _side(frame, current), main, class_="shell")
    skip = link("Skip to the content", "#main", class_="skip")
    toasts = tag("div", id="toasts", role="status", aria_live="polite")
    return _document(
        title, frame.label, join((skip, shell, toasts, _shortcuts(), _question(), _once())), status
    )


def login_page(label: str, *, status: int = 200) -> Reply:
    """Return the page on which a person signs in."""
    token = tag(
        "input",
        type="password",
        name="token",
        id="token",
        required=True,
        autofocus=True,
        autocomplete="current-password",
        spellcheck="false",
    )
    form = tag(
        "form",
        tag("label", "Admin or operator token", for_="token"),
        token,
        tag("p", id="refused", class_="refused", role="alert"),
        tag("button", "Sign in", class_="button primary", type="submit"),
        tag(
            "p",
            "The admin token is in the file ",
            tag("code", "admin.token"),
            " of the state folder. An operator’s session can look at everything and change nothing.",
            class_="soft",
        ),
        id="login",
        method="post",
        action="/console/login",
    )
    noscript = tag(
        "noscript", notice("Signing in needs JavaScript; it is one file, from this server.", "warn")
    )
    box = tag("main", tag("h1", mark(), "wharfd", _label(label)), form, noscript, class_="login", id="main")
    return _document("Sign in", label, box, status)


def _document(title: str, label: str, body: Html, status: int) -> Reply:
    name = f"{title} · wharfd" + (f" {label}" if label else "")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", name),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href=asset("icon.svg"), type="image/svg+xml"),
        tag("link", rel="stylesheet", href=asset("console.css")),
        Html(f'<script src="{asset("console.js")}"></script>'),
    )
    page = Html("<!doctype html>") + tag("html", head, tag("body", body), lang="en")
    return Reply(status, page, _HEADERS, "text/html; charset=utf-8")


def _side(frame: Frame, current: str) -> Html:
    brand = link(join((mark(), tag("strong", "wharfd"), _label(frame.label))), "/console", class_="brand")
    opener = tag("button", "Menu", class_="button menu", type="button", id="menu", aria_expanded="false")
    first, groups = [_entry(page, current) for page in _house(frame)[:1]], []
    for plugin in dict.fromkeys(plugin for plugin, _ in frame.pages if plugin != _HOUSE):
        pages, name = [page for owner, page in frame.pages if owner == plugin], plugin.replace("_", " ")
        if len(pages) > 1:
            groups.append(_group(name, pages, current))
        else:
            first.append(_alone(name, pages[0], current))
    groups.insert(0, tag("ul", *first))
    groups.append(_group("daemon", _house(frame)[1:], current))
    who = tag(
        "div",
        tag("span", tag("b", frame.identity.subject), class_="who"),
        tag("span", "read only", class_="badge plain") if frame.identity.kind == "operator" else "",
        tag(
            "button", "Theme", class_="button quiet", type="button", id="theme", aria_label="Change the theme"
        ),
        tag("button", "Sign out", class_="button quiet", type="button", id="leave"),
        class_="foot",
    )
    nav = tag("nav", tag("div", *groups, class_="pages"), who, id="nav", aria_label="Pages")
    return tag("header", tag("div", brand, opener, class_="top"), nav, class_="side")


def _house(frame: Frame) -> list[ConsolePage]:
    return [page for plugin, page in frame.pages if plugin == _HOUSE]


def _group(name: str, pages: Sequence[ConsolePage], current: str) -> Html:
    return join((tag("h2", name), tag("ul", *(_entry(page, current) for page in pages))))


def _alone(name: str, page: ConsolePage, current: str) -> Html:
    """Return the only page of a plugin, which stands without a heading: Alerts, Orders: batches."""
    title = page.title if page.title.lower() == name else f"{name.capitalize()}: {page.title.lower()}"
    return _entry(page, current, title)


def _entry(page: ConsolePage, current: str, title: str = "") -> Html:
    here = "page" if page.path == current else None
    words = join((icon(page.icon), title or page.title))
    return tag("li", link(words, address_of(page), aria_current=here))


def _label(label: str) -> Html:
    return tag("span", label, class_="badge info") if label else Html("")


def _shortcuts() -> Html:
    rows = [tag("li", tag("kbd", keys), f" {what}") for keys, what in _KEYS]
    close = tag("form", tag("button", "Close", class_="button"), method="dialog")
    return tag(
        "dialog", tag("h2", "Keys"), tag("ul", *rows, class_="keys"), close, id="keys", aria_label="Keys"
    )


def _question() -> Html:
    buttons = tag(
        "div",
        tag("button", "Cancel", class_="button", value="no"),
        tag("button", "Do it", class_="button primary", value="yes", id="answer"),
        class_="actions",
    )
    form = tag("form", tag("p", id="asked"), buttons, method="dialog")
    return tag("dialog", form, id="question", aria_labelledby="asked")


def _once() -> Html:
    taken = tag("form", tag("button", "I have it", class_="button primary"), method="dialog")
    return tag(
        "dialog",
        tag("h2", "Shown this once"),
        tag("p", "Keep it in a safe place now; nobody can show it again.", class_="soft"),
        tag("dl", class_="facts", id="secrets"),
        taken,
        id="once",
        aria_label="Shown this once",
    )
