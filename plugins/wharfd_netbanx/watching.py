"""What an operator is told: a backlog, failures, conflicts, silence of a provider, checks that are off."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from wharfd import AlertRule, Finding, Health, HealthCheck, PluginContext, span_words, sql

from .acceptance.gates import Closed, Intake
from .api.queue import OPEN_CONFLICTS
from .api.sources import last_seen
from .config import Settings

Context = PluginContext[Settings]

BACKLOG = 100
FAILURE_SHARE = 0.10
_REFUSED_PER_HOUR = 100
_SPOOLED_LATELY = timedelta(minutes=10)
_OLD_KEY_LATELY = timedelta(hours=1)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LOOK_BACK = timedelta(days=14)

REFUSED_LATELY = sql(
    "count_refusals_lately",
    """SELECT source, sum(count)::bigint AS count FROM netbanx.refusals
WHERE minute > now() - interval '1 hour' GROUP BY source HAVING sum(count) > $1 ORDER BY source""",
)


def alert_rules(settings: Settings) -> list[AlertRule]:
    """Return what is watched."""
    runbook = "docs/operate.md"
    return [
        AlertRule(
            name="backlog",
            summary="Webhook events wait to be processed",
            check=find_backlog,
            for_seconds=60,
            every_seconds=30,
            runbook=f"{runbook}#webhooks-wait",
        ),
        AlertRule(
            name="failures",
            summary="Webhook events fail",
            check=find_failures,
            severity="critical",
            runbook=f"{runbook}#webhooks-fail",
        ),
        AlertRule(
            name="conflicts",
            summary="One event came with two contents",
            check=find_conflicts,
            runbook=f"{runbook}#one-event-two-contents",
        ),
        AlertRule(
            name="refusals",
            summary="Many deliveries are refused",
            check=find_refusals,
            every_seconds=300,
            runbook=f"{runbook}#deliveries-are-refused",
        ),
        AlertRule(
            name="silence",
            summary="A provider has fallen silent",
            check=find_silence,
            every_seconds=300,
            runbook=f"{runbook}#a-provider-is-silent",
        ),
        AlertRule(
            name="spool",
            summary="Deliveries went to the spool",
            check=find_spooled,
            every_seconds=30,
            runbook=f"{runbook}#deliveries-are-in-the-spool",
        ),
        AlertRule(
            name="old_key",
            summary="A provider still signs with an old key",
            check=find_old_keys,
            severity="info",
            every_seconds=300,
            runbook=f"{runbook}#a-provider-signs-with-an-old-key",
        ),
        AlertRule(
            name="validation_off",
            summary="Signatures are not checked",
            check=find_validation_off,
            severity="critical",
            every_seconds=3600,
            runbook=f"{runbook}#signatures-are-not-checked",
        ),
    ]


def health_checks(settings: Settings) -> list[HealthCheck]:
    """Return the check of the gates."""
    return [HealthCheck(name="sources", check=check_sources)]


async def check_sources(ctx: Context) -> Health:
    """Say whether every source can verify what comes in."""
    intake: Intake = ctx.state["intake"]
    closed = sorted(name for name, gate in intake.gates.items() if isinstance(gate.verifier, Closed))
    if not ctx.settings.signature_validation:
        return Health("degraded", "signatures are not checked (signature_validation = false)")
    if closed:
        return Health("degraded", f"no key for {', '.join(closed)}: their deliveries are answered 503")
    return Health("ok", detail={"sources": len(intake.gates)})


async def find_backlog(ctx: Context) -> list[Finding]:
    """Find more due events than there should be."""
    queue = await ctx.work.statistics("events")
    if queue.due <= BACKLOG:
        return []
    paused = "; the queue is paused" if queue.paused else ""
    return [Finding(f"{queue.due} webhook events wait, more than {BACKLOG}{paused}", value=queue.due)]


async def find_failures(ctx: Context) -> list[Finding]:
    """Find a share of failures above the limit, or any event that was given up."""
    queue = await ctx.work.statistics("events")
    found = []
    ended = queue.done_per_minute + queue.retried_per_minute + queue.buried_per_minute
    failed = queue.retried_per_minute + queue.buried_per_minute
    if ended and failed / ended > FAILURE_SHARE:
        share = failed / ended
        found.append(Finding(f"{share:.0%} of the webhook events of the last minutes failed", "rate", share))
    if queue.buried:
        found.append(Finding(f"{queue.buried} webhook events were given up", "buried", queue.buried))
    return found


async def find_spooled(ctx: Context) -> list[Finding]:
    """Find that PostgreSQL was away a moment ago, so that deliveries were acknowledged from local disk."""
    intake: Intake = ctx.state["intake"]
    at = intake.spooled_at
    if at is None or ctx.now() - at > _SPOOLED_LATELY:
        return []
    text = f"PostgreSQL was away: {intake.spooled} deliveries went to the spool, the last at {at:%H:%M} UTC"
    return [Finding(text, value=intake.spooled)]


async def find_old_keys(ctx: Context) -> list[Finding]:
    """Find keys a provider signed with a moment ago although a newer one is active."""
    intake: Intake = ctx.state["intake"]
    return [
        Finding(f"{source} signed with the old key {key_id} at {at:%H:%M} UTC", f"{source}/{key_id}")
        for (source, key_id), at in sorted(intake.old_keys.items())
        if ctx.now() - at <= _OLD_KEY_LATELY
    ]


async def find_conflicts(ctx: Context) -> list[Finding]:
    """Find conflicts nobody has resolved."""
    count: int = await ctx.db.fetchval(OPEN_CONFLICTS)
    return [Finding(f"{count} events came with two contents; both are kept", value=count)] if count else []


async def find_refusals(ctx: Context) -> list[Finding]:
    """Find sources whose deliveries are refused in numbers."""
    rows = await ctx.db.fetch(REFUSED_LATELY, _REFUSED_PER_HOUR)
    return [
        Finding(
            f"{row['count']} deliveries of {row['source']} were refused within an hour",
            row["source"],
            row["count"],
        )
        for row in rows
    ]


async def find_silence(ctx: Context) -> list[Finding]:
    """Find sources that have been silent for longer than expected within their active hours."""
    found = []
    now = ctx.now()
    for name, source in ctx.settings.sources.items():
        if source.expect_every is None:
            continue
        started: datetime = ctx.state["started_at"]
        last = await last_seen(ctx.db, name) or started
        silent = active_time(last, now, source.active_hours)
        if silent > source.expect_every:
            found.append(
                Finding(
                    f"nothing came from {name} for {span_words(silent)} of active time, expected every "
                    f"{span_words(source.expect_every)}",
                    name,
                    silent.total_seconds(),
                )
            )
    return found


async def find_validation_off(ctx: Context) -> list[Finding]:
    """Find that signatures are not checked."""
    if ctx.settings.signature_validation:
        return []
    return [Finding("every delivery is taken, whoever sent it; set signature_validation = true")]


def active_time(since: datetime, until: datetime, hours: tuple[str, ...]) -> timedelta:
    """Return how much of a span of time lies within active hours (UTC); all of it when none are given.

    At most two weeks are looked back.
    """
    since = max(since, until - _LOOK_BACK)
    if not hours:
        return max(until - since, timedelta(0))
    spans: list[tuple[datetime, datetime]] = []
    day = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    while day < until:
        for text in hours:
            begin, end = _window(text, day)
            if begin is not None and end is not None and begin < until and end > since:
                spans.append((max(begin, since), min(end, until)))
        day += timedelta(days=1)
    total, reached = timedelta(0), since
    for begin, end in sorted(spans):  # windows may overlap; no time counts twice
        if end > reached:
            total += end - max(begin, reached)
            reached = end
    return total


def _window(text: str, day: datetime) -> tuple[datetime | None, datetime | None]:
    """Return the window that opens on that day; one that ends before it begins ends on the next."""
    days, _, clock = text.partition(" ")
    first, _, last = days.partition("-")
    low, high = _DAYS.index(first), _DAYS.index(last or first)
    weekday = day.weekday()
    inside = low <= weekday <= high if low <= high else weekday >= low or weekday <= high
    if not inside:
        return None, None
    opens, _, closes = clock.partition("-")
    begin, end = _at(day, opens), _at(day, closes)
    return begin, end if end > begin else end + timedelta(days=1)


def _at(day: datetime, text: str) -> datetime:
    hour, minute = (int(part) for part in text.split(":"))
    if hour == 24:
        return day + timedelta(days=1)
    return datetime.combine(day.date(), time(hour, minute), UTC)
