"""A daemon with the alerts plugin and a neighbour whose rule finds what the test says."""

from contextlib import asynccontextmanager
from types import ModuleType, SimpleNamespace

import pytest

import wharfd_alerts
from wharfd import AlertRule, Finding, Subscription, hookimpl, sql

HURRY = sql("test.hurry", "UPDATE alerts.rules SET due_at = now() WHERE name = $1 AND state = 'ready'")
AGE = sql(
    "test.age",
    """UPDATE alerts.alerts SET started_at = started_at - make_interval(secs => $1),
    clear_since = clear_since - make_interval(secs => $1),
    notified_at = notified_at - make_interval(secs => $1)""",
)


class Neighbour:
    """Finds what is in `found`; `wrong` makes its check raise; `heard` are the alert events it was told."""

    def __init__(self, for_seconds=0.0):
        self.found = []
        self.wrong = None
        self.heard = []
        self.module = ModuleType("neighbour")

        async def check(ctx):
            if self.wrong is not None:
                raise self.wrong
            return list(self.found)

        async def hear(ctx, envelope):
            if envelope.data["plugin"] == "neighbour":  # a busy machine has slow statements, which is true
                self.heard.append(envelope)

        @hookimpl
        def register_alerts(settings):
            return [
                AlertRule(
                    name="trouble",
                    summary="There is trouble",
                    check=check,
                    severity="critical",
                    for_seconds=for_seconds,
                    runbook="docs/operate.md",
                )
            ]

        @hookimpl
        def register_subscriptions(settings):
            return [Subscription("alert.*", hear, name="hear")]

        self.module.register_alerts = register_alerts
        self.module.register_subscriptions = register_subscriptions

    def finds(self, *keys, message="trouble", value=None):
        self.found = [Finding(message, key, value) for key in keys]


async def evaluate(d, rule="neighbour.trouble"):
    """Evaluate a rule now and wait for it and for what it tells."""
    await d.db.execute(HURRY, rule)
    d.context("alerts").work.wake(None, "rules")
    await d.drain("alerts.rules")
    await d.drain("neighbour.on_hear" if "neighbour.on_hear" in names(d) else inbox(d))


def names(d):
    return d.running.machinery.engine.work.names()


def inbox(d):
    return next(name for name in names(d) if name.startswith("neighbour.") and "hear" in name)


async def pass_time(d, seconds):
    """Make everything that happened to alerts so much older."""
    await d.db.execute(AGE, float(seconds))


@pytest.fixture
def world(daemon):
    """`async with world() as w`: w.d the daemon, w.n the neighbour, w.open() what fires."""

    @asynccontextmanager
    async def start(config="", *, for_seconds=0.0, resolve_after="0s"):
        neighbour = Neighbour(for_seconds)
        text = f'[plugins.alerts]\nresolve_after = "{resolve_after}"\n{config}'
        async with daemon(plugins={"alerts": wharfd_alerts, "neighbour": neighbour.module}, config=text) as d:

            async def alerts(**query):
                answer = await d.get("/api/v1/alerts" + ("?pending=true" if query.get("pending") else ""))
                assert answer.status == 200, answer.body
                return [a for a in answer.json()["items"] if a["plugin"] == query.get("plugin", "neighbour")]

            await d.drain("alerts.rules")
            yield SimpleNamespace(
                d=d,
                n=neighbour,
                open=alerts,
                evaluate=lambda rule="neighbour.trouble": evaluate(d, rule),
                pass_time=lambda seconds: pass_time(d, seconds),
            )

    return start
