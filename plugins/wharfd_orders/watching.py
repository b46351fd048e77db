"""Metrics, alerts, health, retention: what operators see of the plugin."""

from __future__ import annotations

from wharfd import AlertRule, Finding, Health, HealthCheck, Metric, RetentionRule, sql

from .config import Settings
from .executing.calling import HttpExecutor
from .parts import Context, parts_of
from .store import items

CALL_LANES = ("call", "call_fifo")
STUCK_MINUTES = 15

METRICS = [
    Metric("counter", "orders_total", "Orders by executor and outcome.", ("executor", "outcome")),
    Metric("counter", "batches_total", "Batches that are over, by status.", ("status",)),
    Metric("counter", "upload_rows_total", "Rows read from uploads, by format.", ("format",)),
    Metric(
        "histogram",
        "call_seconds",
        "How long calls to order systems take.",
        ("executor",),
        (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
    ),
]

STUCK = sql(
    "stuck_batches",
    f"""SELECT b.id, b.owner FROM orders.batches b
    WHERE b.finished_at IS NULL AND b.paused_at IS NULL
      AND (b.approved_at IS NOT NULL OR NOT b.needs_approval)
      AND coalesce(b.start_at, b.created_at) < now() - interval '{STUCK_MINUTES} minutes'
      AND (SELECT sum(rows) FROM orders.tally t WHERE t.batch = b.number AND t.state = 'ready') > 0
      AND NOT EXISTS (SELECT FROM orders.items i WHERE i.batch = b.number AND i.state = 'running')
      AND NOT EXISTS (SELECT FROM orders.orders o WHERE o.batch = b.number
        AND o.created_at > now() - interval '{STUCK_MINUTES} minutes')
    ORDER BY b.number LIMIT 20""",
)
UNAPPROVED = sql(
    "unapproved_batches",
    """SELECT id, owner FROM orders.batches
    WHERE finished_at IS NULL AND needs_approval AND approved_at IS NULL AND cancelled_at IS NULL
      AND created_at < now() - interval '1 day' ORDER BY number LIMIT 20""",
)
DRIFTED = sql(
    "drifted_batches",
    """WITH recent AS (SELECT number, id FROM orders.batches WHERE finished_at > now() - interval '1 hour'
      ORDER BY finished_at DESC LIMIT 5),
    shown AS (SELECT batch, state, sum(rows) AS rows FROM orders.tally
      WHERE batch IN (SELECT number FROM recent) GROUP BY batch, state HAVING sum(rows) <> 0),
    counted AS (SELECT batch, state, count(*) AS rows FROM orders.items
      WHERE batch IN (SELECT number FROM recent) GROUP BY batch, state)
    SELECT DISTINCT recent.id FROM shown FULL JOIN counted USING (batch, state)
    JOIN recent ON recent.number = batch
    WHERE shown.rows IS DISTINCT FROM counted.rows""",
)


async def find_unknown(ctx: Context) -> list[Finding]:
    """Orders of which nobody knows whether they were carried out."""
    count = await items.held(ctx.db, CALL_LANES)
    if not count:
        return []
    return [Finding(f"{count} orders have an unknown outcome and wait to be resolved", value=count)]


async def find_stuck(ctx: Context) -> list[Finding]:
    """Batches that should be worked and are not."""
    return [
        Finding(f"batch {row['id']} has not moved for {STUCK_MINUTES} minutes", key=row["id"])
        for row in await ctx.db.fetch(STUCK)
    ]


async def find_unapproved(ctx: Context) -> list[Finding]:
    """Batches that wait for a second person for more than a day."""
    return [
        Finding(f"batch {row['id']} waits for approval for more than a day", key=row["id"])
        for row in await ctx.db.fetch(UNAPPROVED)
    ]


async def find_drifted(ctx: Context) -> list[Finding]:
    """Batches whose counts are not those of their rows. There can be none; this watches that."""
    return [
        Finding(f"the counts of batch {row['id']} are not those of its rows", key=row["id"])
        for row in await ctx.db.fetch(DRIFTED)
    ]


async def find_open_breaker(ctx: Context) -> list[Finding]:
    """The order system does not answer, or refuses us."""
    executor = await parts_of(ctx).executors.find("http")
    if isinstance(executor, HttpExecutor) and executor.breaker.open:
        return [Finding("the order system failed several times in a row; orders wait")]
    return []


ALERTS = [
    AlertRule(
        name="orders_unknown", summary="Orders have an unknown outcome", check=find_unknown,
        severity="critical", runbook="docs/bulk-orders.md#an-outcome-is-unknown",
    ),
    AlertRule(name="batches_stuck", summary="Batches do not move", check=find_stuck, every_seconds=300),
    AlertRule(
        name="batches_unapproved", summary="Batches wait for approval", check=find_unapproved,
        severity="info", every_seconds=3600,
    ),
    AlertRule(
        name="counts_drifted", summary="Counts of a batch are wrong", check=find_drifted,
        severity="critical", every_seconds=900,
    ),
    AlertRule(
        name="order_system_away", summary="The order system does not answer", check=find_open_breaker,
        for_seconds=60,
    ),
]  # fmt: skip


async def check_order_system(ctx: Context) -> Health:
    """Degraded while orders wait for the order system."""
    executor = await parts_of(ctx).executors.find("http")
    if isinstance(executor, HttpExecutor) and executor.breaker.open:
        return Health("degraded", "the order system failed several times in a row")
    return Health("ok", detail={"uploads_free": parts_of(ctx).uploads.available_tokens})


HEALTH = [HealthCheck(name="order_system", check=check_order_system)]


def retention(settings: Settings) -> list[RetentionRule]:
    """Return how long rows, batches, references and keys are kept; the ledger is kept for good."""
    over = "EXISTS (SELECT FROM orders.batches b WHERE b.number = t.batch AND b.finished_at IS NOT NULL)"
    return [
        RetentionRule(
            name="items", table="orders.items", column="finished_at", keep=settings.keep_results,
            key=("batch", "idx"), where=over,
        ),
        RetentionRule(
            name="batches", table="orders.batches", column="finished_at", keep=settings.keep_batches,
            key=("number",),
            where="NOT EXISTS (SELECT FROM orders.items i WHERE i.batch = t.number)",
        ),
        RetentionRule(
            name="refs", table="orders.refs", column="created_at", keep=settings.keep_batches,
            key=("owner", "client_ref"),
            where="NOT EXISTS (SELECT FROM orders.items i WHERE i.batch = t.batch AND i.idx = t.idx)",
            archive=False,
        ),
        RetentionRule(
            name="keys", table="orders.keys", column="created_at", keep=settings.keep_batches,
            key=("owner", "key"), archive=False,
        ),
    ]  # fmt: skip
