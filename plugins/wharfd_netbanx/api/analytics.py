"""`GET /api/v1/analytics`: sums of the roll-ups, kept ready. No transaction is ever looked at here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from wharfd import PluginContext, Record, Request, sql

from ..config import Settings
from ..model.vocabulary import OLD_STATUS, Status
from .listing import answer

Context = PluginContext[Settings]
Range = Literal["hour", "day", "week", "month"]

SUMS = sql(
    "sum_rollups",
    """SELECT bucket, type, status, currency, method, sum(count)::bigint AS count,
  sum(amount)::bigint AS amount
FROM netbanx.rollups
WHERE grain = $1 AND bucket >= $2 AND type <> 'EVENT' AND ($3::text IS NULL OR owner = $3)
GROUP BY 1, 2, 3, 4, 5 HAVING sum(count) <> 0 ORDER BY 1""",
)
ACCOUNTS = sql(
    "count_accounts_by_status",
    """SELECT status, count(*) AS count FROM netbanx.accounts
WHERE ($1::text IS NULL OR owner = $1) GROUP BY status""",
)


class Span(msgspec.Struct, frozen=True):
    """How far a range looks back, in what steps, how long its answer is kept and how often renewed."""

    back: timedelta
    grain: str
    keep_seconds: float
    renew_seconds: float


SPANS: dict[str, Span] = {
    "hour": Span(timedelta(hours=1), "minute", 300, 60),
    "day": Span(timedelta(days=1), "hour", 600, 300),
    "week": Span(timedelta(days=7), "hour", 1800, 900),
    "month": Span(timedelta(days=30), "day", 3600, 1800),
}
# Whoever asked within this time finds the answer renewed in the background.
_REMEMBERED_SECONDS = 3600.0
_MAX_REMEMBERED = 200


class AnalyticsQuery(msgspec.Struct, kw_only=True, rename="camel"):
    """The span of time, back from now."""

    time_range: Range = "day"


async def get_analytics(ctx: Context, request: Request) -> dict[str, Any]:
    """Return counts and sums of a span of time: the caller's own, or everybody's."""
    time_range: str = request.query.time_range
    asked: dict[tuple[str, str | None], float] = ctx.state.setdefault("asked", {})
    if len(asked) >= _MAX_REMEMBERED:
        del asked[next(iter(asked))]
    asked[time_range, request.owner] = ctx.now().timestamp()
    return answer(await kept(ctx, time_range, request.owner), ctx.now())


async def kept(ctx: Context, time_range: str, owner: str | None) -> Any:
    """Return the sums as they are kept, or make them."""
    return await ctx.cache.get(
        "analytics",
        (time_range, owner),
        lambda: compute(ctx, time_range, owner),
        ttl=SPANS[time_range].keep_seconds,
        tags=("analytics", f"analytics {time_range}"),
    )


async def renew(ctx: Context) -> None:
    """Renew what was asked for lately, each range at its own pace, and the whole house's always."""
    now = ctx.now().timestamp()
    asked: dict[tuple[str, str | None], float] = ctx.state.setdefault("asked", {})
    renewed: dict[str, float] = ctx.state.setdefault("renewed", {})
    for time_range, span in SPANS.items():
        if now - renewed.get(time_range, 0.0) < span.renew_seconds - 1:
            continue
        renewed[time_range] = now
        await ctx.cache.invalidate(f"analytics {time_range}")
        owners = {owner for (name, owner), at in asked.items() if name == time_range}
        for owner in {None, *owners}:
            if now - asked.get((time_range, owner), now) <= _REMEMBERED_SECONDS:
                await kept(ctx, time_range, owner)


async def compute(ctx: Context, time_range: str, owner: str | None) -> dict[str, Any]:
    """Sum up the roll-ups of a span."""
    span = SPANS[time_range]
    now = ctx.now()
    since = _floor(now - span.back, span.grain)
    rows = await ctx.db.read.fetch(SUMS, span.grain, since, owner)
    accounts = await ctx.db.read.fetch(ACCOUNTS, owner)
    return {
        "timeRange": time_range,
        "from": since,
        "to": now,
        "companyId": owner,
        "grain": span.grain,
        **summarise(rows),
        "accounts": {row["status"] or "UNKNOWN": row["count"] for row in accounts},
        "computedAt": now,
    }


def summarise(rows: Sequence[Record]) -> dict[str, Any]:
    """Turn rolled-up rows into totals, breakdowns and a series."""
    totals: Counter[str] = Counter()
    by_state: Counter[str] = Counter()
    by_type: Counter[str] = Counter()
    by_method: Counter[str] = Counter()
    by_currency: dict[str, Counter[str]] = {}
    series: dict[datetime, Counter[str]] = {}
    for row in rows:
        count, state = row["count"], row["status"]
        old = OLD_STATUS[Status(state)] if state else "PENDING"
        totals["transactions"] += count
        totals[old.lower()] += count
        by_state[state or "UNKNOWN"] += count
        by_type[row["type"]] += count
        by_method[row["method"] or "UNKNOWN"] += count
        money = by_currency.setdefault(row["currency"] or "UNKNOWN", Counter())
        money["count"] += count
        if old == "COMPLETED" and row["type"] == "PAYMENT":
            money["received"] += row["amount"]
        if row["type"] == "REFUND" and old == "COMPLETED":
            money["refunded"] += row["amount"]
        point = series.setdefault(row["bucket"], Counter())
        point["count"] += count
        point[old.lower()] += count
    ended = totals["completed"] + totals["failed"] + totals["cancelled"]
    return {
        "totals": {
            name: totals[name] for name in ("transactions", "completed", "pending", "failed", "cancelled")
        }
        | {"successRate": round(totals["completed"] / ended, 4) if ended else None},
        "byState": dict(by_state),
        "byType": dict(by_type),
        "byMethod": dict(by_method),
        "byCurrency": {
            currency: {"count": c["count"], "received": c["received"], "refunded": c["refunded"]}
            for currency, c in sorted(by_currency.items())
        },
        "series": [{"at": at, **point} for at, point in sorted(series.items())],
    }


def _floor(at: datetime, grain: str) -> datetime:
    minute = at.replace(second=0, microsecond=0)
    if grain == "minute":
        return minute
    hour = minute.replace(minute=0)
    return hour if grain == "hour" else hour.replace(hour=0)
