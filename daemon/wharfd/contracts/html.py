"""HTML for console pages: elements that escape by default, and the pieces every page is made of.

Text becomes safe when it is put in: `tag("p", name)` escapes `name`. Only what these functions return
(`Html`) goes in as it is. Styles come from the console's stylesheet, by the classes used here.
"""

from __future__ import annotations

import html as _html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlencode

from .access import Identity

Tone = Literal["plain", "good", "warn", "bad", "info"]

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
_NAME = re.compile(r"^[a-zA-Z][a-zA-Z0-9-]*$")
_SAFE_LINK = re.compile(r"^(/(?![/\\])|[?#]|https?://)")

# What the words of states mean, everywhere alike.
_TONES: dict[str, Tone] = {
    word: tone  # type: ignore[misc]
    for tone, words in {
        "good": "ok running healthy active working delivered completed succeeded done success pass processed "
        "closed passed verified valid resolved",
        "warn": "degraded restarting pending retrying warning paused parked held provisioning partial "
        "waiting starting suspended warn open validating unknown skipped reviewed",
        "bad": "down failed quarantined buried broken critical error rejected invalid lost fail "
        "disabled alert firing",
        "info": "ready queued received snoozed processing info",
    }.items()
    for word in words.split()
}


class Html(str):
    """Text that is HTML already and goes into a page as it is."""

    __slots__ = ()


def escape(value: object) -> Html:
    """Return the value as text that is safe inside an element and inside an attribute."""
    if isinstance(value, Html):
        return value
    return Html(_html.escape("" if value is None else str(value), quote=True))


def join(children: Iterable[object], separator: str = "") -> Html:
    """Return the children one after the other; whatever is not `Html` is escaped."""
    if isinstance(children, str):
        return escape(children)
    return Html(escape(separator).join(escape(child) for child in children))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element. `class_` is class, `data_id` is data-id; None and False leave an attribute out.

    Raises `ValueError` for `style` and `on…` attributes: the console's policy would refuse them.
    """
    if not _NAME.match(name) or name.lower() in ("script", "style"):
        raise ValueError(f"<{name}> is no element for a page")
    written = []
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if not _NAME.match(attribute) or attribute == "style" or attribute.startswith("on"):
            raise ValueError(f"{attribute} is no attribute for a page")
        if value is None or value is False:
            continue
        written.append(f" {attribute}" if value is True else f' {attribute}="{_attribute(value)}"')
    start = f"<{name}{''.join(written)}>"
    return Html(start if name in _VOID else f"{start}{join(children)}</{name}>")


def _attribute(value: object) -> str:
    return _html.escape(str(value), quote=True)


# -- small things ------------------------------------------------------------------------------------


def link(text: object, target: str, **attributes: object) -> Html:
    """Return a link; a target that is neither a path of ours nor http(s) is shown as plain text."""
    if not _SAFE_LINK.match(target):
        return escape(text)
    return tag("a", text, href=target, **attributes)


def address(path: str, **query: object) -> str:
    """Return a path with a query string; values that are None or empty are left out."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def code(value: object) -> Html:
    """Return an id, a path or the like, in the typeface of code."""
    return tag("code", value)


def tone_of(state: str) -> Tone:
    """What a state's name means."""
    return _TONES.get(state.lower(), "plain")


def badge(text: str, tone: Tone | None = None) -> Html:
    """Return a state as a small label; its colour follows from the word unless `tone` is given."""
    return tag("span", text, class_=f"badge {tone or tone_of(text)}")


def moment(at: datetime | str | None, absent: str = "–") -> Html:
    """Return a time in UTC; the browser adds how long ago that is."""
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            return escape(at)
    if at is None:
        return tag("span", absent, class_="soft")
    utc = at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return tag("time", f"{utc:%Y-%m-%d %H:%M:%S}", datetime=f"{utc:%Y-%m-%dT%H:%M:%SZ}")


def duration(seconds: float | None) -> str:
    """Return a length of time in the unit a reader wants: 1.2 ms, 3 s, 4 min, 5.0 h, 6.0 d."""
    if seconds is None:
        return "–"
    if seconds == 0:
        return "0 s"
    for limit, unit, factor in ((1e-3, "µs", 1e6), (1.0, "ms", 1e3), (120.0, "s", 1.0)):
        if abs(seconds) < limit:
            return f"{_short(seconds * factor)} {unit}"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"


def number(value: float | None) -> str:
    """Return a count with thousands apart, a fraction with two digits."""
    if value is None:
        return "–"
    if isinstance(value, float) and not value.is_integer():
        return _short(value)
    return f"{int(value):,}".replace(",", "\u202f")


def size(value: float | None) -> str:
    """Return bytes as KiB, MiB, GiB."""
    if value is None:
        return "–"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{_short(value) if unit != 'B' else int(value)} {unit}"
        value /= 1024
    return f"{_short(value)} TiB"


def percent(share: float | None) -> str:
    """Return a share between 0 and 1 in percent."""
    return "–" if share is None else f"{_trimmed(f'{share * 100:.1f}')} %"


def _short(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return _trimmed(f"{value:.{digits}f}")


def _trimmed(figures: str) -> str:
    return figures.rstrip("0").rstrip(".") if "." in figures else figures


# -- the pieces of a page ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of a table. `right` is for numbers; `wide` may break over lines and takes what is left."""

    title: str
    right: bool = False
    wide: bool = False


def table(
    label: str, columns: Sequence[object], rows: Iterable[Sequence[object]], *, nothing: object = ""
) -> Html:
    """Return a table; on a phone each row becomes a card. Without rows `nothing` is shown instead."""
    shape = [one if isinstance(one, Column) else Column(str(one)) for one in columns]
    classes = [" ".join(n for n, on in (("right", c.right), ("wide", c.wide)) if on) or None for c in shape]
    body = [
        tag(
            "tr",
            *(
                tag("td", cell, class_=kind, data_label=column.title or None)
                for cell, kind, column in zip(row, classes, shape, strict=True)
            ),
        )
        for row in rows
    ]
    if not body:
        return nothing if isinstance(nothing, Html) else empty(str(nothing or "Nothing here yet"))
    head = tag(
        "tr", *(tag("th", c.title, scope="col", class_=kind) for c, kind in zip(shape, classes, strict=True))
    )
    inner = tag("table", tag("thead", head), tag("tbody", *body))
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=label)


def card(title: str, *body: object, note: object = "", actions: object = "") -> Html:
    """Return a part of a page under a heading; `note` says more in a line, `actions` stand at its right."""
    words = tag("div", tag("h2", title), tag("p", note, class_="soft") if note else "")
    return tag("section", tag("header", words, tag("div", actions, class_="actions")), *body, class_="card")


def stack(*parts: object) -> Html:
    """Return parts one under the other, evenly apart."""
    return tag("div", *parts, class_="stack")


def grid(*parts: object, wide: bool = False) -> Html:
    """Return parts side by side, as many as the screen has room for."""
    return tag("div", *parts, class_="grid wide" if wide else "grid")


def figure(label: str, value: object, note: object = "", tone: Tone = "plain", drawing: object = "") -> Html:
    """Return one number that matters, with its name, a remark, and a small drawing of its course."""
    return tag(
        "div",
        tag("span", label, class_="label"),
        tag("strong", value),
        tag("span", note, class_="soft"),
        drawing,
        class_=f"figure {tone}",
    )


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    """Return names and values, as the details of one thing are shown."""
    return tag("dl", *(join((tag("dt", name), tag("dd", value))) for name, value in pairs), class_="facts")


def empty(title: str, hint: object = "") -> Html:
    """Return what stands where there is nothing: that it is so, and what would change it."""
    return tag("div", tag("p", title), tag("p", hint, class_="soft") if hint else "", class_="empty")


def notice(text: object, tone: Tone = "info") -> Html:
    """Return a sentence the reader should not miss."""
    return tag("p", text, class_=f"notice {tone}", role="status")


def block(text: str | bytes) -> Html:
    """Return a body, a trace or the like as it is, in a box that scrolls."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return tag("pre", words, tabindex="0")


def pretty(value: Any) -> Html:
    """Return a JSON value laid out for reading."""
    return block(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def more(summary: object, *body: object) -> Html:
    """Return something that opens when it is asked for."""
    return tag("details", tag("summary", summary), *body)


def meter(share: float, label: str, tone: Tone | None = None) -> Html:
    """Return a bar that is filled to a share between 0 and 1."""
    filled = min(max(share, 0.0), 1.0)
    colour: Tone = tone or ("bad" if filled > 0.9 else "warn" if filled > 0.8 else "good")
    bar = tag("rect", width=f"{filled * 100:.2f}", height="6", rx="1", class_="fill")
    return tag(
        "svg",
        tag("rect", width="100", height="6", rx="1", class_="rail"),
        bar,
        class_=f"meter {colour}",
        viewBox="0 0 100 6",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


# -- asking and acting -------------------------------------------------------------------------------


def action(
    identity: Identity,
    scope: str,
    label: str,
    path: str,
    *,
    method: str = "POST",
    body: Mapping[str, Any] | None = None,
    confirm: str = "",
    look: Literal["plain", "primary", "bad"] = "plain",
    then: str = "",
    shows: Sequence[str] = (),
) -> Html:
    """Return a button that calls one of the API's own endpoints; nothing for a caller without the scope.

    `confirm` is asked before; `then` is the path shown afterwards, else the page is read again. `shows` names
    what of the answer the API tells this once, such as a new secret: the person sees it before going on.
    """
    if not identity.may(scope):
        return Html("")
    return tag(
        "button",
        label,
        type="button",
        class_=f"button {look}",
        data_method=method,
        data_path=path,
        data_body=None if body is None else json.dumps(dict(body)),
        data_confirm=confirm or None,
        data_then=then or None,
        data_shows=" ".join(shows) or None,
    )


def form(
    identity: Identity,
    scope: str,
    label: str,
    path: str,
    *fields: object,
    body: Mapping[str, Any] | None = None,
    confirm: str = "",
    then: str = "",
    shows: Sequence[str] = (),
) -> Html:
    """Return fields under a button that POSTs them to one of the API's own endpoints, as `action` would.

    What is filled in joins `body` under the fields' names, a number as a number, the words of a `words` field
    as a list; an empty field is left out. It is never part of an address, also where the script does not run.
    """
    if not identity.may(scope):
        return Html("")
    return tag(
        "form",
        *fields,
        tag("button", label, class_="button primary", type="submit"),
        class_="ask",
        method="post",
        action=path,
        autocomplete="off",
        data_method="POST",
        data_path=path,
        data_body=None if body is None else json.dumps(dict(body)),
        data_confirm=confirm or None,
        data_then=then or None,
        data_shows=" ".join(shows) or None,
    )


def field(
    label: str, name: str, value: object = "", *, kind: str = "search", hint: str = "", required: bool = False
) -> Html:
    """Return a labelled input for `search` and `form`; `kind` is text, search, number, password or words."""
    box = tag(
        "input",
        type="text" if kind == "words" else kind,
        data_kind="words" if kind == "words" else None,
        name=name,
        value=value or None,
        placeholder=hint or None,
        autocomplete="new-password" if kind == "password" else "off",
        required=required,
    )
    return tag("label", tag("span", label), box)


def choice(label: str, name: str, options: Iterable[tuple[str, str]], chosen: str = "") -> Html:
    """Return a labelled list of (value, words) for `search` and `form`."""
    made = [tag("option", words, value=value, selected=value == chosen) for value, words in options]
    return tag("label", tag("span", label), tag("select", *made, name=name))


def search(path: str, *fields: object) -> Html:
    """Return a form that reads `path` again with what was filled in."""
    button = tag("button", "Search", class_="button", type="submit")
    return tag("form", *fields, button, class_="search", method="get", action=path, role="search")


def pager(path: str, cursor: str | None, **query: object) -> Html:
    """Return the way to the next page of a list, nothing at its end."""
    if not cursor:
        return Html("")
    target = address(path, **query, cursor=cursor)
    return tag(
        "nav", link("Older →", target, class_="button", rel="next"), class_="pager", aria_label="Pages"
    )
