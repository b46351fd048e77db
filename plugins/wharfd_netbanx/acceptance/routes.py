"""What the ingest listener calls: one `IngestRoute` per source, all sharing one store, and their answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from wharfd import Database, Delivery, IngestRoute, PluginContext
from wharfd import IngestReply as Reply

from ..config import Settings, Success
from ..schemes import Answer, Reason
from .admission import Admission, Gate, examine
from .gates import Intake, certificate_of
from .store import Stored, store_group

_RETRY = (("Retry-After", "30"),)
_ACTIVE = b'{"success":true,"status":"active"}'
_OUR_FAULT = frozenset({Reason.NO_ACTIVE_KEY, Reason.CERTIFICATE_MISSING})

Context = PluginContext[Settings]


def ingest_routes(settings: Settings) -> list[IngestRoute]:
    """Return one route per source. They share `store`, so one commit takes rows of all of them."""
    return [
        IngestRoute(
            source=name,
            paths=source.paths,
            admit=admit,
            store=store,
            admission=Admission,
            answer=answer,
            spooled=spooled,
            max_body_bytes=source.max_body_bytes,
            spool=settings.spool,
            single=True,
        )
        for name, source in settings.sources.items()
    ]


def intake_of(ctx: Context) -> Intake:
    """Return what acceptance holds for this plugin context."""
    intake: Intake = ctx.state["intake"]
    return intake


def admit(ctx: Context, delivery: Delivery) -> Admission | Reply:
    """Verify and read a delivery. What carries no valid signature leaves a count and nothing else."""
    intake = intake_of(ctx)
    gate = intake.gates[delivery.source]
    found = examine(gate, delivery, certificate_of(intake, gate, delivery.headers))
    if isinstance(found, Admission):
        if found.key_id is not None:
            intake.used(gate.name, found.key_id, delivery.received_at, old=found.old_key)
        return found
    intake.refusals.note(gate.name, found.reason.value, delivery)
    intake.missed(gate, found.reason)
    ctx.metrics["refused_total"].labels(gate.name, found.reason.value).inc()
    refusal = found.reply or Answer(401, b'{"success":false}')
    headers = _RETRY if found.reason in _OUR_FAULT else ()
    return Reply(refusal.status, refusal.body, refusal.content_type, headers)


async def store(ctx: Context, db: Database, admissions: Sequence[Admission]) -> list[Reply]:
    """Write a group and return each sender's answer, by the fate of its own rows."""
    stored = await store_group(db, admissions)
    _committed(ctx, admissions, stored)
    gates = intake_of(ctx).gates
    replies = []
    for admission, fates in zip(admissions, stored.fates, strict=True):
        fate = next((fate for fate in fates if not fate.duplicate), fates[0])
        told = b"true" if fate.duplicate else b"false"
        replies.append(_accepted(gates.get(admission.source), admission, fate.event_id, told))
    return replies


def spooled(ctx: Context, admission: Admission) -> Reply:
    """Answer a delivery that is on disk but not in the database: whether it is a duplicate is not known."""
    intake = intake_of(ctx)
    intake.spooled += 1
    intake.spooled_at = ctx.now()
    return _accepted(intake.gates.get(admission.source), admission, admission.entries[0].id, b"null")


def answer(ctx: Context, delivery: Delivery) -> Reply:
    """Answer the connectivity test of a provider's portal; tells nothing else to the public."""
    return Reply(200, _ACTIVE)


def _accepted(gate: Gate | None, admission: Admission, event_id: str, duplicate: bytes) -> Reply:
    success = gate.source.success if gate is not None else Success()
    if success.body is not None:
        return Reply(success.status, success.body.encode(), success.content_type)
    if admission.answer is not None:
        return Reply(admission.answer.status, admission.answer.body, admission.answer.content_type)
    body = b'{"success":true,"webhookId":"%b","duplicate":%b}' % (event_id.encode(), duplicate)
    return Reply(success.status, body)


def _committed(ctx: Context, admissions: Sequence[Admission], stored: Stored) -> None:
    if stored.new or stored.redriven:
        intake_of(ctx).news.add(stored.new + stored.redriven)
    metrics: Any = ctx.metrics
    counts = Counter(admission.source for admission in admissions for _ in admission.entries)
    again = Counter(stored.duplicates)
    for source, count in counts.items():
        metrics["accepted_total"].labels(source).inc(count - again[source])
    for source, count in again.items():
        metrics["duplicates_total"].labels(source).inc(count)
    for source, count in Counter(stored.conflicts).items():
        metrics["conflicts_total"].labels(source).inc(count)
        ctx.log.warning("identity_conflict", source=source, count=count)
