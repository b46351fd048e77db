"""Metrics and retention rules of the plugin, as values."""

from __future__ import annotations

from datetime import timedelta

from wharfd import Metric, RetentionRule

METRICS = [
    Metric("counter", "accepted_total", "Events accepted and committed, duplicates apart.", ("source",)),
    Metric("counter", "duplicates_total", "Deliveries of events that were there already.", ("source",)),
    Metric("counter", "conflicts_total", "Deliveries with a known identity and other content.", ("source",)),
    Metric("counter", "refused_total", "Deliveries refused, by reason.", ("source", "reason")),
    Metric("counter", "processed_total", "Events processed."),
    Metric("counter", "reconciled_total", "States found by asking the provider.", ("source", "outcome")),
]

# The identities outlive the events, and both outlive every provider's retries: otherwise a late repeat would
# be taken for something new.
RETENTION = [
    RetentionRule(
        name="events",
        table="netbanx.events",
        column="received_at",
        keep=timedelta(days=90),
        key=("id", "received_at"),
        where="state IN ('done', 'cancelled')",
        partitioned=True,
    ),
    RetentionRule(
        name="identities",
        table="netbanx.dedup",
        column="received_at",
        keep=timedelta(days=400),
        key=("identity",),
        archive=False,
    ),
    RetentionRule(name="conflicts", table="netbanx.conflicts", column="noticed_at", keep=timedelta(days=400)),
    RetentionRule(
        name="refusals",
        table="netbanx.refusals",
        column="minute",
        keep=timedelta(days=30),
        key=("minute", "source", "reason"),
        archive=False,
    ),
    RetentionRule(
        name="minutes",
        table="netbanx.rollups",
        column="bucket",
        keep=timedelta(days=3),
        key=("grain", "bucket", "owner", "type", "status", "currency", "method", "shard"),
        where="grain = 'minute'",
        archive=False,
    ),
]
