"""The plugins: which run, what ended the others, and trying those again."""

from __future__ import annotations

from wharfd import Request
from wharfd.contracts.console import ask, within
from wharfd.contracts.html import Column, Html, action, badge, card, code, duration, more, number, table, tag

from ..parts import Context

_SHORT = 160


async def render(ctx: Context, request: Request) -> Html:
    """List the plugins in start order."""
    found = (await ask(ctx, request, "/api/v1/plugins"))["plugins"]
    rows = [
        (
            tag("strong", one["name"]),
            badge(one["state"]),
            duration(one["since_seconds"]),
            number(one["restarts"]),
            _error(one),
            code(one["origin"]),
            "" if one["state"] == "running" else _resume(request, one["name"]),
        )
        for one in found
    ]
    columns = ["Plugin", "State", Column("For", right=True), Column("Restarts", right=True)]
    listed = table(
        "Plugins",
        [*columns, Column("Last error", wide=True), "Found", ""],
        rows,
        nothing="No plugins are enabled; give one a table [plugins.<name>] in the configuration",
    )
    return card("In start order", listed, note="A plugin that fails is contained; the others go on.")


def _error(one: dict[str, str]) -> object:
    error = one["last_error"]
    if not error:
        return tag("span", "none", class_="soft")
    return error if len(error) <= _SHORT else more(f"{error[:_SHORT]}…", tag("pre", error))


def _resume(request: Request, name: str) -> Html:
    path = within("/api/v1/plugins/{name}/resume", name=name)
    return action(
        request.identity, "system:write", "Try again", path, confirm=f"Start the plugin {name} again?"
    )
