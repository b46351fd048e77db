"""The plugin's pages of the console: what is in the catalogue, and every run and drill with its checks."""

from __future__ import annotations

from typing import Any

from wharfd import ConsolePage, Request
from wharfd.contracts.console import ask, wanted, within
from wharfd.contracts.html import (
    Column,
    Html,
    action,
    address,
    badge,
    card,
    choice,
    code,
    duration,
    facts,
    figure,
    grid,
    link,
    moment,
    notice,
    pretty,
    search,
    size,
    stack,
    table,
    tag,
    tone_of,
)

BACKUPS, RUNS = "/console/backups/catalogue", "/console/backups/runs"
_API = "/api/v1/backups"
_WRITE = "backups:write"
_SECOND = {None: "–", True: badge("there", "good"), False: badge("missing", "bad")}
_KINDS = ("", "backup", "verify", "drill", "mount")


async def render_catalogue(ctx: Any, request: Request) -> Html:
    """List the backups, and say how the last one and the last drill went."""
    found = await ask(ctx, request, _API)
    drills = (await ask(ctx, request, f"{_API}/runs", kind="drill", limit=1))["runs"]
    rows = [
        (
            moment(one["finished_at"]),
            code(one["id"]),
            one["method"],
            one["reason"],
            size(one["plain_bytes"]),
            size(one["bytes"]),
            duration(one["seconds"]),
            badge("encrypted" if one["encrypted"] else "plain", "good" if one["encrypted"] else "warn"),
            _SECOND[one["second"]],
            one["note"],
            action(request.identity, _WRITE, "Verify", within(_API + "/entries/{id}/verify", id=one["id"])),
        )
        for one in found["backups"]
    ]  # fmt: skip
    columns = [
        "Finished",
        "Backup",
        "Method",
        "Reason",
        *(Column(t, right=True) for t in ("Data", "Kept", "Took")),
    ]
    columns += ["Encrypted", "Second place", Column("Note", wide=True), ""]
    take = action(request.identity, _WRITE, "Take one now", _API, body={}, look="primary", then=RUNS)
    listed = table("Backups", columns, rows, nothing="No backup yet; the first is taken tonight, or now")
    return stack(
        *(notice(f"Damaged in the catalogue: {one}", "bad") for one in found["damaged"]),
        _summary(found["backups"], drills),
        card("Backups", listed, actions=take),
    )


def _summary(backups: list[dict[str, Any]], drills: list[dict[str, Any]]) -> Html:
    newest = figure("Newest backup", "none", tone="bad")
    if backups:
        newest = figure("Newest backup", size(backups[0]["bytes"]), moment(backups[0]["finished_at"]))
    drill, told = figure("Last drill", "never tried", tone="warn"), {}
    if drills:
        told, word = drills[0]["result"], _outcome(drills[0])
        drill = figure("Last drill", word, moment(drills[0]["finished_at"]), tone_of(word))
    return grid(
        newest,
        drill,
        figure("Restored in", duration(told.get("rto_seconds")), "measured by the last drill"),
        figure("Could lose", duration(told.get("rpo_seconds")), "measured by the last drill"),
    )


async def render_runs(ctx: Any, request: Request) -> Html:
    """List what was done, or show one run with its checks."""
    chosen = wanted(request, "id")
    if chosen:
        return await _run(ctx, request, chosen)
    kind = wanted(request, "kind")
    runs = (await ask(ctx, request, f"{_API}/runs", kind=kind, limit=50))["runs"]
    rows = [
        (
            moment(one["asked_at"]),
            link(one["kind"], address(RUNS, id=one["id"])),
            badge(_outcome(one)),
            one["reason"],
            one["actor"],
            one["step"] if one["state"] == "running" else "",
            size(one["bytes"]) if one["bytes"] else "–",
            moment(one["finished_at"]),
            one["error"] or one["result"].get("error") or "",
        )
        for one in runs
    ]
    columns = ["Asked", "Kind", "State", "Reason", "By", "Step", Column("Bytes", right=True), "Finished"]
    listed = table("Runs", [*columns, Column("Error", wide=True)], rows, nothing="Nothing was done yet")
    form = search(RUNS, choice("Kind", "kind", [(one, one or "any") for one in _KINDS], kind))
    drill = action(
        request.identity, _WRITE, "Drill now", f"{_API}/drills", body={},
        confirm="Restore the newest backup into a scratch folder and check it? The daemon goes on meanwhile.",
    )  # fmt: skip
    return card("Runs", form, listed, actions=drill)


async def _run(ctx: Any, request: Request, run: str) -> Html:
    one = await ask(ctx, request, within(_API + "/runs/{id}", id=run))
    told = one["result"]
    known = facts(
        [
            ("State", badge(_outcome(one))),
            ("Step", one["step"] if one["state"] == "running" else "–"),
            ("Reason", one["reason"]),
            ("By", one["actor"]),
            ("Asked", moment(one["asked_at"])),
            ("Started", moment(one["started_at"], "not yet")),
            ("Finished", moment(one["finished_at"], "not yet")),
        ]
    )
    return stack(
        link("← All runs", RUNS),
        notice(one["error"], "bad") if one["error"] else "",
        card(f"{one['kind']} {run}", known),
        _checks(told) if "checks" in told else "",
        card("Result", pretty(told)) if told else "",
    )


def _checks(told: dict[str, Any]) -> Html:
    rows = [(badge(one["outcome"]), one["name"].replace("_", " "), one["said"]) for one in told["checks"]]
    phases = ", ".join(f"{name} {duration(took)}" for name, took in told.get("phases", {}).items())
    note = tag("span", f"Phases: {phases}") if phases else ""
    return card("Checks", table("Checks", ["Outcome", "Check", Column("Said", wide=True)], rows), note=note)


def _outcome(one: dict[str, Any]) -> str:
    verdict: bool | None = one["result"].get("passed")
    return str(one["state"]) if verdict is None else "passed" if verdict else "failed"


PAGES = [
    ConsolePage(path="backups/catalogue", title="Backups", render=render_catalogue, icon="backup", order=700),
    ConsolePage(
        path="backups/runs", title="Runs", render=render_runs, icon="work", order=710, live_seconds=3
    ),
]
