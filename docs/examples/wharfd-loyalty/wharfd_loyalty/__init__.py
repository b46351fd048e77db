"""Points for every payment, levels for points, and an event for whoever reaches one."""

from __future__ import annotations

from wharfd import (
    AlertRule,
    ConsolePage,
    EventType,
    Metric,
    Migrations,
    RetentionRule,
    Route,
    Schedule,
    Subscription,
    WorkQueue,
    hookimpl,
)
from wharfd.contracts.payments import PaymentReceived

from . import console, routes, work
from .config import Settings
from .model import MemberPromoted


@hookimpl
def register_settings() -> type[Settings]:
    return Settings


@hookimpl
def register_migrations() -> Migrations:
    return Migrations(__name__)


@hookimpl
def register_routes() -> list[Route]:
    return routes.ROUTES


@hookimpl
def register_subscriptions() -> list[Subscription | EventType]:
    return [
        Subscription(PaymentReceived, work.on_payment, transactional=True),
        EventType(MemberPromoted, "A member has reached a higher level."),
    ]


@hookimpl
def register_work() -> list[WorkQueue]:
    return [WorkQueue(name="awards", table="loyalty.awards", row=work.AwardRow, handler=work.book)]


@hookimpl
def register_schedules() -> list[Schedule]:
    return [Schedule(name="expire", handler=work.expire, cron="0 3 * * *")]


@hookimpl
def register_metrics() -> list[Metric]:
    return [Metric("counter", "awards_total", "Awards that were booked.", ("reason",))]


@hookimpl
def register_alerts() -> list[AlertRule]:
    return [AlertRule(name="awards_waiting", summary="Points are booked late", check=work.find_waiting)]


@hookimpl
def register_retention(settings: Settings) -> list[RetentionRule]:
    return [
        RetentionRule(
            name="awards",
            table="loyalty.awards",
            column="finished_at",
            keep=settings.keep,
            where="t.state = 'done'",
        )
    ]


@hookimpl
def register_console() -> list[ConsolePage]:
    return console.PAGES
