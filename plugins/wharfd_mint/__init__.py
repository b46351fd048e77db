"""Give every paid buyer exactly one NFT, whatever crashes on the way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from wharfd import (
    AlertRule,
    Command,
    ConsolePage,
    EventType,
    HealthCheck,
    Importer,
    JobKind,
    Metric,
    Migrations,
    PluginContext,
    RetentionRule,
    Retry,
    Route,
    Schedule,
    Subscription,
    WorkQueue,
    hookimpl,
)
from wharfd.contracts.mints import NftDelivered
from wharfd.contracts.payments import PaymentReceived, PaymentRefunded

from . import alerts, console, upkeep
from .commands import COMMAND
from .config import Settings
from .importing import IMPORTERS
from .mailing import SendReceipt, send_receipt
from .minters import Hookspecs, open_minters
from .paying import on_payment, on_refund
from .routes import ROUTES
from .store import buyers
from .store.intents import IntentRow
from .work import work_mint

_SEVEN_YEARS = timedelta(days=7 * 366)


@hookimpl
def register_hookspecs() -> Any:
    return Hookspecs


@hookimpl
def register_settings() -> type[Settings]:
    return Settings


@hookimpl
def register_commands(settings: Settings) -> Sequence[Command]:
    return [COMMAND]


@hookimpl
def register_migrations() -> Migrations:
    return Migrations(
        __package__ or __name__,
        keep_forever=(
            "mint.buyers",
            "mint.buyers_archive",
            "mint.buyer_history",
            "mint.intents",
            "mint.nonces",
            "mint.attempts",
            "mint.notices",
            "mint.claims",
            "mint.payments",
        ),
    )


@hookimpl
def register_routes(settings: Settings) -> Sequence[Route]:
    return ROUTES


@hookimpl
def register_work(settings: Settings) -> Sequence[WorkQueue | JobKind]:
    # Waiting costs no attempt; only what nobody foresaw counts, and it gets a day before a person is asked.
    unforeseen = Retry(attempts=40, delays=(2, 10, 30, 120, 600, 1800, 3600))
    return [
        WorkQueue(
            name="intents",
            table="mint.intents",
            row=IntentRow,
            handler=work_mint,
            concurrency=settings.concurrency,
            timeout_seconds=300,
            retry=unforeseen,
        ),
        JobKind(name="receipt", args=SendReceipt, handler=send_receipt, timeout_seconds=120, concurrency=2),
    ]


@hookimpl
def register_schedules(settings: Settings) -> Sequence[Schedule]:
    return [
        Schedule(name="tend_signer", handler=upkeep.tend_signer, every=timedelta(seconds=30)),
        Schedule(name="watch_blocks", handler=upkeep.watch_blocks, every=timedelta(seconds=60)),
        Schedule(name="validate", handler=upkeep.validate, cron=settings.validate_cron, jitter_seconds=60),
        Schedule(name="review_wires", handler=upkeep.review_wires, cron="30 3 * * *"),
        Schedule(name="archive", handler=upkeep.archive, cron="45 3 * * *"),
    ]


@hookimpl
def register_subscriptions(settings: Settings) -> Sequence[Subscription | EventType]:
    return [
        Subscription(PaymentReceived, on_payment, transactional=True),
        Subscription(PaymentRefunded, on_refund, transactional=True),
        EventType(NftDelivered, "A buyer's NFT is on the chain for good; once per license."),
    ]


@hookimpl
def register_health_checks(settings: Settings) -> Sequence[HealthCheck]:
    return alerts.health_checks(settings)


@hookimpl
def register_metrics(settings: Settings) -> Sequence[Metric]:
    return [
        Metric("counter", "mints_total", "How mints ended.", ("outcome",)),
        Metric("counter", "rpc_calls_total", "Calls of the chain's endpoints.", ("method", "outcome")),
        Metric(
            "histogram", "delivery_seconds", "From a buyer's activation to its token.",
            buckets=(1, 3, 10, 30, 60, 180, 600, 1800, 7200, 86400),
        ),
    ]  # fmt: skip


@hookimpl
def register_alerts(settings: Settings) -> Sequence[AlertRule]:
    return alerts.rules(settings)


@hookimpl
def register_retention(settings: Settings) -> Sequence[RetentionRule]:
    return [
        RetentionRule(
            name="refunded_buyers", table="mint.buyers_archive", column="status_at", keep=_SEVEN_YEARS,
            where="status IN ('refunded', 'expired')",
        ),
    ]  # fmt: skip


@hookimpl
def register_console() -> Sequence[ConsolePage]:
    """Mints and buyers."""
    return console.PAGES


@hookimpl
def register_importers() -> Sequence[Importer]:
    """What the systems before left."""
    return IMPORTERS


@hookimpl
async def provision(ctx: PluginContext[Settings]) -> None:
    async with ctx.db.transaction() as tx:
        for name, tier in sorted(ctx.settings.tiers.items()):
            await buyers.sync_tier(tx, name, tier.cap, tier.price, tier.currency)
    await open_minters(ctx)
