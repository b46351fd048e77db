"""The database: its health, the pools, what is slow, what is large, and its migrations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wharfd import Request
from wharfd.contracts.console import ask
from wharfd.contracts.html import (
    Column,
    Html,
    action,
    badge,
    card,
    code,
    duration,
    figure,
    grid,
    join,
    meter,
    moment,
    notice,
    number,
    percent,
    size,
    stack,
    table,
    tag,
)

from ..parts import Context

_WRITE = "system:write"
_SHOWN = 20
_UPKEEP = (
    ("analyze", "Analyze", "Refresh the planner’s statistics of every table?"),
    ("cleanup", "Vacuum", "Drop dead rows of every table now?"),
    ("reindex", "Reindex", "Rebuild bloated and invalid indexes, without blocking anybody?"),
)


async def render(ctx: Context, request: Request) -> Html:
    """Show the database from the outside in."""
    health = (await ask(ctx, request, "/api/database/health"))["data"]
    found = (await ask(ctx, request, "/api/database/performance"))["data"]
    state = (await ask(ctx, request, "/api/database/migrate"))["data"]
    return stack(
        *(notice(reason, "warn") for reason in health["reasons"]),
        _figures(health, found),
        _pools(found["pools"]),
        _statements(found["queries"]),
        _slow(found["slowQueries"]),
        _tables(found["tables"]),
        _indexes(found["indexes"]),
        _migrations(request, state),
        _upkeep(request, state["maintenance"]),
    )


def _figures(health: dict[str, Any], found: dict[str, Any]) -> Html:
    server, rates = health["server"], found["hitRates"]
    return grid(
        figure(
            "State",
            badge(health["status"]),
            f"{server['database']}, {size(server['bytes'])}, PostgreSQL {server['server_version']}",
        ),
        figure(
            "Connections",
            number(server["connections"]),
            f"of {number(server['max_connections'])} that the server takes",
        ),
        figure("Cache hits, PostgreSQL", percent(rates["postgresql"]), "blocks read from memory"),
        figure("Cache hits, daemon", percent(rates["cache"]), "answers served without a query"),
    )


def _pools(pools: Sequence[dict[str, Any]]) -> Html:
    rows = [
        (
            tag("strong", one["purpose"]),
            join(meter(one["usage"], f"{percent(one['usage'])} in use")),
            f"{one['used']} of {one['limit']}",
            number(one["open"]),
            number(one["waiting"]),
            duration(one["longestWaitMs"] / 1000),
        )
        for one in pools
    ]
    right = [Column(title, right=True) for title in ("In use", "Open", "Waiting", "Longest wait")]
    return card("Pools", table("Connection pools", ["Pool", Column("", wide=True), *right], rows))


def _statements(queries: Sequence[dict[str, Any]]) -> Html:
    rows = [
        (
            code(one["name"]),
            number(one["count"]),
            number(one["errors"]) if one["errors"] else tag("span", "0", class_="soft"),
            *(duration(one[part] / 1000) for part in ("meanMs", "p50Ms", "p95Ms", "p99Ms", "maxMs")),
        )
        for one in queries[:_SHOWN]
    ]
    titles = ("Calls", "Errors", "Mean", "p50", "p95", "p99", "Longest")
    return card(
        "Statements",
        table("Statements", [Column("Name", wide=True), *(Column(t, right=True) for t in titles)], rows),
        note="Those that cost most since the start.",
    )


def _slow(slow: Sequence[dict[str, Any]]) -> Html:
    rows = [
        (
            moment(one["at"]),
            code(one["name"]),
            duration(one["ms"] / 1000),
            badge("failed" if one["failed"] else "done"),
        )
        for one in slow[:_SHOWN]
    ]
    columns = ["At", Column("Statement", wide=True), Column("Took", right=True), "Ended"]
    return card("Slow executions", table("Slow executions", columns, rows, nothing="No statement was slow"))


def _tables(tables: Sequence[dict[str, Any]]) -> Html:
    largest = max((one["total_bytes"] for one in tables), default=0) or 1
    rows = [
        (
            code(one["name"]),
            meter(one["total_bytes"] / largest, size(one["total_bytes"]), "info"),
            size(one["total_bytes"]),
            number(one["live_rows"]),
            number(one["dead_rows"]),
            moment(one["analyzed_at"], "never"),
        )
        for one in tables[:_SHOWN]
    ]
    right = [Column(title, right=True) for title in ("Size", "Rows", "Dead rows")]
    columns = ["Table", Column("", wide=True), *right, "Analyzed"]
    return card("Largest tables", table("Tables", columns, rows))


def _indexes(indexes: Sequence[dict[str, Any]]) -> Html:
    odd = [one for one in indexes if one["bloated"] or not one["valid"]]
    rows = [
        (
            code(one["name"]),
            code(one["table"]),
            size(one["bytes"]),
            badge("invalid") if not one["valid"] else badge("bloated", "warn"),
        )
        for one in odd[:_SHOWN]
    ]
    columns = [Column("Index", wide=True), "Table", Column("Size", right=True), "What is wrong"]
    return card(
        "Indexes",
        table("Indexes", columns, rows, nothing=f"All {len(indexes)} indexes are valid and in shape"),
    )


def _migrations(request: Request, state: dict[str, Any]) -> Html:
    rows = [(one["plugin"], code(one["name"]), badge("pending"), "", "") for one in state["pending"]] + [
        (
            one["plugin"],
            code(one["name"]),
            badge("done"),
            moment(one["appliedAt"]),
            duration(one["milliseconds"] / 1000),
        )
        for one in state["history"]
    ]
    refused = [notice(f"{plugin}: {reason}", "bad") for plugin, reason in state["refused"].items()]
    apply = action(
        request.identity,
        _WRITE,
        "Apply pending",
        "/api/database/migrate",
        body={"action": "migrate"},
        confirm=f"Apply {len(state['pending'])} pending migrations now?",
    )
    columns = ["Plugin", Column("Migration", wide=True), "State", "Applied", Column("Took", right=True)]
    return card(
        "Migrations", *refused, table("Migrations", columns, rows), actions=apply if state["pending"] else ""
    )


def _upkeep(request: Request, entries: Sequence[dict[str, Any]]) -> Html:
    buttons = join(
        action(
            request.identity, _WRITE, label, "/api/database/performance", body={"action": name}, confirm=asked
        )
        for name, label, asked in _UPKEEP
    )
    rows = [
        (
            moment(one["started_at"]),
            one["action"],
            code(one["target"]),
            badge(one["outcome"]),
            duration(one["duration_seconds"]),
            one["actor"],
        )
        for one in entries[:_SHOWN]
    ]
    columns = ["At", "What", Column("On", wide=True), "Outcome", Column("Took", right=True), "By"]
    return card("Upkeep", table("Upkeep", columns, rows, nothing="No upkeep was done yet"), actions=buttons)
