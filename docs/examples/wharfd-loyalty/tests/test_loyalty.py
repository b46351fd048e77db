"""The plugin keeps wharfd's contract, and does what it is for: in a whole daemon, with a real PostgreSQL."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import ModuleType

import pytest

import wharfd_loyalty
from wharfd import EventType, Request, hookimpl, sql
from wharfd.contracts.access import Identity
from wharfd.contracts.payments import PaymentReceived
from wharfd.testing import PluginContract
from wharfd_loyalty import routes, work
from wharfd_loyalty.config import Settings
from wharfd_loyalty.model import is_promotion, level_of, points_for

MEMBERS = "/api/v1/loyalty/members"
YEARS_AGO = sql("test.years_ago", "UPDATE loyalty.members SET earned_at = now() - interval '2 years'")
WAIT = sql("test.wait", "UPDATE loyalty.awards SET due_at = now() - interval '1 hour'")
PROMOTED = sql("test.promoted", "SELECT data->>'level' FROM wharfd.events WHERE type = 'member.promoted'")


class TestContract(PluginContract):
    """Hooks, docstring, README, example, imports, migrations, start and stop: the rules of every plugin."""

    plugin = wharfd_loyalty


# -- what is true without a database -----------------------------------------------------------------


@pytest.mark.parametrize(("amount", "points"), [(None, 0), (-500, 0), (99, 0), (100, 1), (12_345, 123)])
def test_payments_earn_points(amount, points):
    assert points_for(amount, Settings()) == points


@pytest.mark.parametrize(
    ("points", "level"), [(0, "bronze"), (999, "bronze"), (1000, "silver"), (5000, "gold")]
)
def test_points_make_levels(points, level):
    assert level_of(points, Settings()) == level


def test_only_upwards_is_a_promotion():
    assert is_promotion("bronze", "gold")
    assert not is_promotion("gold", "silver")


@pytest.mark.parametrize("wrong", [{"gold": 10}, {"silver": 0}, {"minor_per_point": 0}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=": must be"):
        Settings(**wrong)


# -- in a daemon -------------------------------------------------------------------------------------


def bank():
    """A plugin that publishes payments, as netbanx does, without a provider."""
    module = ModuleType("wharfd_bank")

    @hookimpl
    def register_subscriptions(settings):
        return [EventType(PaymentReceived)]

    module.register_subscriptions = register_subscriptions
    return module


@pytest.fixture
def shop(daemon):
    """A factory: `async with shop() as (d, pay)`; `await pay(150_000, "anna")` pays, is heard and booked."""

    @asynccontextmanager
    async def start(config=""):
        plugins = {"loyalty": wharfd_loyalty, "bank": bank()}
        async with daemon(plugins=plugins, config=f"[plugins.console]\n[plugins.loyalty]\n{config}") as d:
            context = d.context("bank")

            async def pay(amount, who, transaction_id="txn_1", owner=None):
                payment = PaymentReceived(
                    owner=owner, transaction_id=transaction_id, external_id="e1", merchant_ref=who,
                    amount=amount, currency="EUR", status="completed", method="card", source="bank",
                    source_event_id="evt_1", happened_at=datetime.now(UTC),
                )  # fmt: skip
                async with context.db.transaction() as tx:
                    await context.events.publish(tx, payment)
                await d.drain("loyalty.on_payment")
                await d.drain("loyalty.awards")

            yield d, pay

    return start


async def listed(d):
    return [(one["reference"], one["points"], one["level"]) for one in (await d.get(MEMBERS)).json()["items"]]


async def test_a_payment_earns_points_and_a_level_once(shop):
    async with shop() as (d, pay):
        await pay(150_000, "anna")
        await pay(150_000, "anna")  # the same payment, told again
        await pay(20_000, "ben", "txn_2")
        assert await listed(d) == [("anna", 1500, "silver"), ("ben", 200, "bronze")]
        assert await d.db.fetchval(PROMOTED) == "silver"
        assert b'wharfd_loyalty_awards_total{reason="payment"} 2.0' in (await d.get("/metrics")).body
        page = (await d.get("/console/loyalty/members")).body.decode()
        assert "anna" in page
        assert "Give 100" in page


async def test_a_gift_is_booked_and_audited(shop):
    async with shop() as (d, pay):
        await pay(100, "anna")
        member = (await d.get(MEMBERS)).json()["items"][0]["id"]
        given = await d.post(f"{MEMBERS}/{member}/gifts", {"points": 7, "note": "birthday"})
        assert given.status == 201, given.body
        await d.drain("loyalty.awards")
        assert (await d.get(f"{MEMBERS}/{member}")).json()["points"] == 8
        entries = (await d.get("/api/v1/audit")).json()["items"]
        assert ("loyalty.gift", member) in [(entry["action"], entry["subject"]) for entry in entries]
        assert (await d.post(f"{MEMBERS}/{member}/gifts", {"points": 0, "note": ""})).status == 422
        assert (await d.post(f"{MEMBERS}/mem_unknown/gifts", {"points": 7, "note": "?"})).status == 404


async def test_a_caller_sees_its_own_members_alone(shop):
    async with shop() as (d, pay):
        await pay(100, "anna", owner="ann")
        await pay(200, "anna", "txn_2", owner="bea")
        ctx = d.context("loyalty")
        for owner, seen in [("ann", [1]), ("bea", [2]), ("cat", []), (None, [2, 1])]:
            caller = Identity("key", owner or "admin", owner=owner)
            found = await routes.list_members(ctx, Request(identity=caller, query=routes.Members()))
            assert [member.points for member in found.items] == seen


async def test_points_expire_once_and_awards_that_wait_are_an_alert(shop):
    async with shop() as (d, pay):
        await pay(500_000, "anna")
        ctx = d.context("loyalty")
        await ctx.db.execute(YEARS_AGO)
        await ctx.work.pause("awards", actor="test")
        await work.expire(ctx)
        await work.expire(ctx)
        await ctx.db.execute(WAIT)
        (finding,) = await work.find_waiting(ctx)
        assert finding.message == "1 awards wait for more than five minutes"
        await ctx.work.resume("awards", actor="test")
        await d.drain("loyalty.awards")
        assert await listed(d) == [("anna", 0, "bronze")]
        assert await work.find_waiting(ctx) == []
