"""Asking the provider: payments that stay open for too long are looked up by their merchantRefNum.

Paysafe gives up after a few tries and raises no alert, so a missed webhook is noticed here. What is found
goes the way of every event: one row with the identity the webhook would have had, so whichever comes second
is a duplicate. Off until an address and credentials are given.
"""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from wharfd import OutboundError, PluginContext, Record, Schedule, WharfdError, sql

from .acceptance.admission import Admission, Gate, admit_found
from .acceptance.gates import Intake
from .acceptance.store import store_group
from .config import Reconcile, Settings
from .model.vocabulary import read_status
from .processing.waking import QUEUE

Context = PluginContext[Settings]

DEADLINE_SECONDS = 15.0
MAX_ANSWER_BYTES = 1 << 20
# Of this reference alone: one that the provider cannot read must not keep the others from being asked about.
_NOTHING_THERE = frozenset({400, 404, 410, 414, 422})
OPEN = sql(
    "find_open_payments",
    """SELECT id, merchant_ref, status FROM netbanx.transactions
WHERE status IN ('RECEIVED', 'PENDING', 'PROCESSING', 'HELD') AND source = $1 AND type = 'PAYMENT'
  AND created_at BETWEEN now() - $3::interval AND now() - $2::interval
  AND merchant_ref IS NOT NULL AND (reconciled_at IS NULL OR reconciled_at < now() - $2::interval)
ORDER BY created_at LIMIT $4""",
)
ASKED = sql(
    "mark_reconciled", "UPDATE netbanx.transactions SET reconciled_at = now() WHERE id = ANY ($1::text[])"
)


@dataclass
class Reconciled:
    """What a round found."""

    asked: int = 0
    changed: int = 0
    failed: int = 0


class ProviderAway(WharfdError):
    """The provider's API cannot be asked at the moment."""


def schedules(settings: Settings) -> list[Schedule]:
    """Return one schedule, if any source can be reconciled."""
    every = [source.reconcile.every for source in settings.sources.values() if source.reconcile]
    return [Schedule(name="reconcile", every=min(every), handler=reconcile_all)] if every else []


async def reconcile_all(ctx: Context) -> None:
    """Reconcile every source that can be."""
    for name, source in ctx.settings.sources.items():
        if source.reconcile is not None:
            found = await reconcile(ctx, name, source.reconcile)
            if found.asked or found.failed:
                ctx.log.info("reconciled", source=name, **vars(found))


async def reconcile(ctx: Context, name: str, settings: Reconcile) -> Reconciled:
    """Ask about the open payments of a source and store what has changed."""
    intake: Intake = ctx.state["intake"]
    gate, result = intake.gates[name], Reconciled()
    rows = await ctx.db.fetch(OPEN, name, settings.older_than, settings.younger_than, settings.at_most)
    found: list[Admission] = []
    asked: list[str] = []
    for row in rows:
        try:
            payments = await look_up(ctx, settings, row["merchant_ref"])
        except (ProviderAway, OutboundError) as error:
            result.failed += 1
            ctx.log.warning("provider_not_asked", source=name, error=str(error))
            break  # the next round asks again; a provider that is away is not asked fifty times
        asked.append(row["id"])
        found += [admission for payment in payments if (admission := _news(ctx, gate, row, payment))]
    async with ctx.db.transaction() as tx:
        if found:
            stored = await store_group(tx, found, quiet=True)
            result.changed = stored.new
            if stored.new:
                ctx.work.wake(tx, QUEUE, rows=stored.new)
        if asked:
            await tx.execute(ASKED, asked)
    result.asked = len(asked)
    outcomes = Counter(asked=result.asked, changed=result.changed, failed=result.failed)
    for outcome, count in outcomes.items():
        ctx.metrics["reconciled_total"].labels(name, outcome).inc(count)
    return result


async def look_up(ctx: Context, settings: Reconcile, merchant_ref: str) -> list[dict[str, Any]]:
    """Return the payments the provider has under a reference."""
    credentials = f"{settings.username.reveal()}:{settings.password.reveal()}".encode()
    answer = await ctx.http.request(
        "GET",
        f"{settings.url.rstrip('/')}/paymenthub/v1/payments?merchantRefNum={quote(merchant_ref, safe='')}",
        headers=[
            ("Accept", "application/json"),
            ("Authorization", f"Basic {base64.b64encode(credentials).decode()}"),
        ],
        deadline=DEADLINE_SECONDS,
        max_response_bytes=MAX_ANSWER_BYTES,
        policy=settings.network(),
    )
    if answer.status in _NOTHING_THERE:
        return []
    if answer.status != 200 or answer.truncated:
        raise ProviderAway(f"the provider answered {answer.status} to a look-up by merchantRefNum")
    try:
        document = msgspec.json.decode(answer.body)
    except msgspec.DecodeError as error:
        raise ProviderAway("the provider's answer is not JSON") from error
    payments = document.get("payments") if isinstance(document, dict) else None
    if payments is None and isinstance(document, dict) and "id" in document:
        payments = [document]
    return [payment for payment in payments or [] if isinstance(payment, dict)][:50]


def _news(ctx: Context, gate: Gate, row: Record, payment: dict[str, Any]) -> Admission | None:
    """Return what a payment says as an event, if that is news."""
    status = read_status(payment.get("status") if isinstance(payment.get("status"), str) else None)
    if status is None or status == row["status"] or payment.get("merchantRefNum") != row["merchant_ref"]:
        return None
    body = msgspec.json.encode(as_event(payment))
    return admit_found(gate, body, ctx.now())


def as_event(payment: dict[str, Any]) -> dict[str, Any]:
    """Return a payment in the envelope its webhook would have come in."""
    name = f"PAYMENT_{payment['status']}"
    return {
        "payload": payment,
        "eventType": name,
        "eventName": name,
        "resourceId": payment.get("id"),
        "eventDate": payment.get("statusTime") or payment.get("txnTime"),
        "mode": "live",
    }
