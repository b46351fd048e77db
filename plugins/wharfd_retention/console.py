"""The plugin's pages of the console: what would go tonight and why, the runs, the holds, the archive."""

from __future__ import annotations

from typing import Any

from wharfd import ConsolePage, Request
from wharfd.contracts.console import ask, wanted
from wharfd.contracts.html import (
    Column,
    Html,
    action,
    badge,
    card,
    choice,
    code,
    join,
    moment,
    notice,
    number,
    pager,
    search,
    size,
    stack,
    table,
    tag,
)

PLAN, ARCHIVE = "/console/retention/plan", "/console/retention/archive"
_API = "/api/v1/retention"
_WRITE = "retention:write"
_PAGE = 100
_SUMS = ("archived", "deleted", "errors")


async def render_plan(ctx: Any, request: Request) -> Html:
    """Show every rule with what the newest run found, the holds and the runs."""
    told = await ask(ctx, request, f"{_API}/policies")
    runs = (await ask(ctx, request, f"{_API}/runs"))["runs"]
    holds = (await ask(ctx, request, f"{_API}/holds"))["holds"]
    newest: dict[str, dict[str, Any]] = {}
    for one in reversed(runs):  # a run over one rule tells nothing of the others
        newest.update(one["result"])
    unknown = told.get("overrides_of_no_rule") or []
    buttons = join(
        (
            action(request.identity, _WRITE, "Report only", f"{_API}/runs", body={"dry_run": True}),
            action(
                request.identity, _WRITE, "Run now", f"{_API}/runs", body={"dry_run": False}, look="bad",
                confirm="Archive and delete now what the rules let go? Legal holds are kept.",
            ),
        ),
        " ",
    )  # fmt: skip
    return stack(
        notice(f"The configuration overrides rules that no plugin has: {', '.join(unknown)}", "warn")
        if unknown
        else "",
        card(
            "Rules",
            _rules(told["policies"], newest),
            note="What the newest run found; a dry run reports without deleting.",
            actions=buttons,
        ),
        card("Legal holds", _holds(request, holds), note="Nothing that is held is ever deleted."),
        card("Runs", _runs(runs)),
    )


def _rules(policies: list[dict[str, Any]], newest: dict[str, dict[str, Any]]) -> Html:
    rows = []
    for one in policies:
        found = newest.get(one["name"], {})
        rows.append(
            (
                one["name"],
                code(one["table"]),
                f"{one['keep_days']:g} d",
                badge("archived", "good") if one["archive"] else badge("deleted", "plain"),
                number(found.get("rows")),
                size(found.get("bytes")),
                moment(found.get("oldest")),
                moment(found.get("newest")),
                badge(number(found["errors"]), "bad") if found.get("errors") else "",
                tag("span", *(tag("div", said) for said in found.get("said", ()))),
            )
        )
    columns = ["Rule", "Table", Column("Keep", right=True), "Then", Column("Rows to go", right=True)]
    columns += [Column("Bytes", right=True), "Oldest", "Newest", "Errors", Column("Said", wide=True)]
    return table("Rules", columns, rows, nothing="No plugin declares a rule")


def _holds(request: Request, holds: list[dict[str, Any]]) -> Html:
    rows = [
        (
            code(one["source"]),
            one["owner"] or "all",
            code(one["key"] or "all"),
            one["reason"],
            one["made_by"],
            moment(one["expires_at"], "never"),
            action(
                request.identity, _WRITE, "End", f"{_API}/holds/{one['id']}", method="DELETE", look="bad",
                confirm=f"End the hold on {one['source']}? From then on the rules may let these rows go.",
            ),
        )
        for one in holds
        if one["released_at"] is None
    ]  # fmt: skip
    columns = ["Table", "Owner", "Row", Column("Reason", wide=True), "By", "Ends", ""]
    return table("Holds", columns, rows, nothing="Nothing is held")


def _runs(runs: list[dict[str, Any]]) -> Html:
    rows = [
        (
            moment(one["asked_at"]),
            badge(one["state"]),
            "reports only" if one["dry"] else "deletes",
            one["actor"],
            *(number(sum(rule[name] for rule in one["result"].values())) for name in _SUMS),
            moment(one["finished_at"]),
            one["error"] or "",
        )
        for one in runs
    ]  # fmt: skip
    columns = [
        "Asked",
        "State",
        "Kind",
        "By",
        *(Column(t, right=True) for t in ("Archived", "Deleted", "Errors")),
    ]
    return table(
        "Runs", [*columns, "Finished", Column("Error", wide=True)], rows, nothing="It has not run yet"
    )


async def render_archive(ctx: Any, request: Request) -> Html:
    """List what was archived."""
    chosen = wanted(request, "table")
    policies = (await ask(ctx, request, f"{_API}/policies"))["policies"]
    page = await ask(
        ctx, request, "/api/v1/archive", table=chosen, before=wanted(request, "cursor"), limit=_PAGE
    )
    names = sorted({one["table"] for one in policies if one["archive"]})
    form = search(ARCHIVE, choice("Table", "table", [("", "any"), *((name, name) for name in names)], chosen))
    units = page["archives"]
    rows = [
        (
            moment(one["planned_at"]),
            code(one["part"] or one["source"]),
            badge(one["state"]),
            badge("archived", "good") if one["archive"] else "deleted only",
            number(one["rows"]),
            moment(one["first_at"]),
            moment(one["last_at"]),
            code(one["id"]),
            _back(request, one),
            one["error"] or "",
        )
        for one in units
    ]
    columns = ["Planned", "Table", "State", "Kept", Column("Rows", right=True), "First row", "Last row", "Id"]
    columns.append("")
    listed = table(
        "Archive", [*columns, Column("Error", wide=True)], rows, nothing="Nothing was archived yet"
    )
    older = units[-1]["planned_at"] if len(units) == _PAGE else None
    return card("Archive", form, listed, pager(ARCHIVE, older, table=chosen))


def _back(request: Request, unit: dict[str, Any]) -> Html | str:
    """Offer to put a month back while it can be, and an archive beside its table."""
    at, why = f"/api/v1/archive/{unit['id']}", {"reason": "asked for in the console"}
    if unit["state"] == "detached":
        return action(
            request.identity, _WRITE, "Put back", f"{at}/put-back", body=why,
            confirm=f"Put {unit['part']} back into its table? No run takes it for 30 days.",
        )  # fmt: skip
    if unit["state"] == "dropped" and unit["archive"]:
        return action(request.identity, _WRITE, "Restore beside", f"{at}/restore", body={})
    return ""


PAGES = [
    ConsolePage(path="retention/plan", title="Plan", render=render_plan, icon="retention", order=720),
    ConsolePage(path="retention/archive", title="Archive", render=render_archive, icon="archive", order=730),
]
