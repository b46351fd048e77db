"""Alerts, health, silence within active hours, and asking the provider."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from wharfd import OutboundClient, Secret
from wharfd.testing import answers
from wharfd_netbanx import watching
from wharfd_netbanx.config import Reconcile, Settings, Source
from wharfd_netbanx.reconciling import as_event, reconcile

KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
OFFICE = ("mon-fri 08:00-20:00",)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "until", "hours", "expected"),
    [
        ("2026-08-03T10:00", "2026-08-03T13:00", (), 3),
        ("2026-08-03T10:00", "2026-08-03T13:00", OFFICE, 3),
        ("2026-08-03T18:00", "2026-08-04T09:00", OFFICE, 3),  # over a night
        ("2026-08-07T19:00", "2026-08-10T09:00", OFFICE, 2),  # over a weekend
        ("2026-08-08T00:00", "2026-08-09T23:00", OFFICE, 0),
        ("2026-08-03T21:00", "2026-08-04T03:00", ("mon-sun 22:00-02:00",), 4),  # over midnight
        ("2026-08-03T00:00", "2026-08-04T00:00", ("mon 00:00-24:00",), 24),
        ("2026-08-01T00:00", "2026-08-04T00:00", ("sat-mon 10:00-12:00",), 6),  # over the week's end
        ("2026-08-03T08:00", "2026-08-03T12:00", ("mon 08:00-10:00", "mon 09:00-11:00"), 3),  # counted once
        ("2026-08-03T13:00", "2026-08-03T10:00", (), 0),
    ],
)
def test_active_time_counts_what_lies_in_active_hours(since, until, hours, expected):
    assert watching.active_time(at(since), at(until), hours) == timedelta(hours=expected)


def test_only_two_weeks_are_looked_back():
    assert watching.active_time(at("2020-01-01"), at("2026-08-03"), ()) == timedelta(days=14)


async def test_silence_is_found_per_source(with_settings):
    source = Source(keys=(Secret(KEY),), expect_every=timedelta(hours=3))
    async with with_settings(sources={"netbanx": source}) as plugin:
        assert await watching.find_silence(plugin.ctx) == []  # it has only just started
        plugin.ctx.state["started_at"] -= timedelta(hours=4)
        [finding] = await watching.find_silence(plugin.ctx)
        assert finding.key == "netbanx"
        assert "for 4 hours of active time, expected every" in str(finding)
        await plugin.send("payment-completed")
        assert await watching.find_silence(plugin.ctx) == []


async def test_a_backlog_failures_and_conflicts_are_found(plugin):
    for check in (
        watching.find_backlog,
        watching.find_failures,
        watching.find_conflicts,
        watching.find_refusals,
    ):
        assert await check(plugin.ctx) == []
    for number in range(101):
        await plugin.send("payment-completed", number=number)
    assert (await watching.find_backlog(plugin.ctx))[0].value == 101
    await plugin.fetch("UPDATE netbanx.events SET state = 'buried', finished_at = now()")
    assert [f.key for f in await watching.find_failures(plugin.ctx)] == ["buried"]
    document = msgspec.json.decode(plugin.sample("payment-completed", number=1).body)
    document["payload"]["amount"] += 1
    await plugin.post(msgspec.json.encode(document))
    assert (await watching.find_conflicts(plugin.ctx))[0].value == 1
    for number in range(101):
        await plugin.post(b"%d" % number, {})
    await plugin.intake.refusals.write(plugin.ctx.db)
    assert (await watching.find_refusals(plugin.ctx))[0].key == "netbanx"


async def test_health_says_when_nothing_can_be_verified(with_settings):
    managed = Source(stored_keys=True, paths=("/m",))
    async with with_settings(sources={"managed": managed}) as plugin:
        health = await watching.check_sources(plugin.ctx)
        assert (health.state, "managed" in health.reason) == ("degraded", True)
    async with with_settings() as plugin:
        assert (await watching.check_sources(plugin.ctx)).state == "ok"
    async with with_settings(signature_validation=False) as plugin:
        assert (await watching.check_sources(plugin.ctx)).state == "degraded"
        assert len(await watching.find_validation_off(plugin.ctx)) == 1


def test_every_alert_names_its_runbook():
    rules = watching.alert_rules(Settings())
    assert {rule.name for rule in rules} >= {"backlog", "failures", "conflicts", "silence"}
    assert all(rule.runbook.startswith("docs/operate.md#") for rule in rules)


# -- asking the provider --------------------------------------------------------------------------------


@pytest.fixture
async def asking(with_settings, receiver):
    """A plugin that asks the receiver, which plays the provider's documented look-up."""
    found = Reconcile(
        url=receiver.url,
        username=Secret("user"),
        password=Secret("pass"),
        older_than=timedelta(seconds=0),
        younger_than=timedelta(days=4000),
        allow_networks=("127.0.0.0/8",),
    )
    source = Source(keys=(Secret(KEY),), reconcile=found)
    async with (
        with_settings(sources={"netbanx": source}) as plugin,
        OutboundClient() as client,
    ):
        plugin.ctx = dataclasses.replace(plugin.ctx, http=client)
        yield plugin, found, receiver


def provider(*payments):
    """Answer as the provider's look-up does."""
    body = msgspec.json.encode({"meta": {"numberOfRecords": len(payments)}, "payments": payments})
    return answers.status(200, body)


async def pending(plugin):
    """A payment that stays open; returns what the provider knows of it by now."""
    await plugin.send("payment-processing")
    await plugin.worked()
    payload = msgspec.json.decode(plugin.sample("payment-completed").body)["payload"]
    return payload


async def test_a_payment_whose_webhook_never_came_is_completed_by_asking(asking):
    plugin, found, receiver = asking
    payload = await pending(plugin)
    receiver.script(provider(payload))
    result = await reconcile(plugin.ctx, "netbanx", found)
    assert (result.asked, result.changed, result.failed) == (1, 1, 0)
    [request] = receiver.requests
    assert request.target == f"/paymenthub/v1/payments?merchantRefNum={payload['merchantRefNum']}"
    assert request.header("authorization") == "Basic dXNlcjpwYXNz"
    await plugin.worked()
    assert await plugin.value("SELECT status FROM netbanx.transactions") == "COMPLETED"
    # The webhook that comes after all is a duplicate and no conflict.
    await plugin.send("payment-completed")
    assert await plugin.value("SELECT count(*) FROM netbanx.events") == 2
    assert await plugin.value("SELECT count(*) FROM wharfd.events WHERE type = 'payment.received'") == 1


async def test_no_news_is_no_event_and_is_not_asked_again_at_once(asking):
    plugin, found, receiver = asking
    payload = await pending(plugin)
    found = dataclasses.replace(found, older_than=timedelta(seconds=1))
    receiver.script(provider({**payload, "status": "PROCESSING"}))
    assert (await reconcile(plugin.ctx, "netbanx", found)).changed == 0
    assert (await reconcile(plugin.ctx, "netbanx", found)).asked == 0
    assert await plugin.value("SELECT count(*) FROM netbanx.events") == 1


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_a_provider_that_refuses_changes_nothing(asking, status):
    plugin, found, receiver = asking
    await pending(plugin)
    receiver.script(answers.status(status))
    result = await reconcile(plugin.ctx, "netbanx", found)
    assert (result.asked, result.changed, result.failed) == (0, 0, 1)
    assert await plugin.value("SELECT reconciled_at FROM netbanx.transactions") is None


async def test_a_reference_the_provider_cannot_read_does_not_hold_up_the_others(asking):
    plugin, found, receiver = asking
    await pending(plugin)
    receiver.script(answers.status(400))
    assert (await reconcile(plugin.ctx, "netbanx", found)).asked == 1
    assert await plugin.value("SELECT reconciled_at IS NOT NULL FROM netbanx.transactions")


async def test_the_provider_is_looked_for_on_the_public_internet_alone(asking):
    plugin, found, receiver = asking
    await pending(plugin)
    found = dataclasses.replace(found, allow_networks=())
    assert (await reconcile(plugin.ctx, "netbanx", found)).failed == 1
    assert receiver.requests == []
    with pytest.raises(ValueError, match="allow_networks"):
        dataclasses.replace(found, allow_networks=("nonsense",))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nonsense", b'{"payments":[1,null,{"status":3}]}', b'{"payments":{}}']
)
async def test_an_odd_answer_of_the_provider_changes_nothing(asking, body):
    plugin, found, receiver = asking
    await pending(plugin)
    receiver.script(answers.status(200, body))
    assert (await reconcile(plugin.ctx, "netbanx", found)).changed == 0
    assert await plugin.value("SELECT count(*) FROM netbanx.events") == 1


async def test_another_payments_answer_is_not_taken(asking):
    plugin, found, receiver = asking
    payload = await pending(plugin)
    receiver.script(provider({**payload, "merchantRefNum": "somebody else's"}))
    assert (await reconcile(plugin.ctx, "netbanx", found)).changed == 0


def test_what_is_found_is_worded_like_its_webhook():
    event = as_event({"id": "p1", "status": "COMPLETED", "txnTime": "2026-08-03T12:00:00Z"})
    assert (event["eventName"], event["resourceId"]) == ("PAYMENT_COMPLETED", "p1")


async def test_deliveries_in_the_spool_are_told_for_a_while(plugin):
    assert await watching.find_spooled(plugin.ctx) == []
    sample, route = plugin.sample("payment-completed"), plugin.routes["netbanx"]
    admission = route.admit(plugin.ctx, plugin.delivery(sample.body, sample.headers))
    assert b'"duplicate":null' in route.spooled(plugin.ctx, admission).body
    [finding] = await watching.find_spooled(plugin.ctx)
    assert (finding.value, "1 deliveries went to the spool" in finding.message) == (1, True)
    plugin.intake.spooled_at -= timedelta(minutes=11)
    assert await watching.find_spooled(plugin.ctx) == []
