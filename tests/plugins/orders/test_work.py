"""Carrying orders out: exactly once, in order where asked, fairly, at a rate, and honest about the unknown."""

from __future__ import annotations

import hashlib
import hmac
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

import wharfd_orders
from wharfd.contracts.orders import Executed, NotDone, Refused, Unknown
from wharfd.db import sql
from wharfd.hookspecs import hookimpl
from wharfd.testing import answers

STATES = sql("test.states", "SELECT idx, state, attempts, sent_at FROM orders.items ORDER BY batch, idx")
LEDGER = sql("test.ledger", "SELECT batch, idx, external_id FROM orders.orders ORDER BY batch, idx")
EVENTS = sql("test.events", "SELECT type, count(*) AS n FROM wharfd.events GROUP BY type ORDER BY type")
REASONS = sql(
    "test.reasons", "SELECT DISTINCT data->>'code' AS code FROM wharfd.events WHERE type = 'order.failed'"
)
SOON = sql("test.soon", "UPDATE orders.items SET due_at = now() WHERE state = 'ready'")
CRASH = sql(
    "test.crash",
    """UPDATE orders.items SET state = 'running', attempts = $1, claim = 1, sent_at = now(),
    lease_until = now() - interval '1 s' WHERE state = 'waiting'""",
)
UNSURE = sql(
    "test.unsure",
    """WITH moved AS (UPDATE orders.batches SET lane = 'call')
    UPDATE orders.items SET lane = 'call', state = 'buried', sent_at = now(), finished_at = now()""",
)
NUMBER = sql("test.number", "SELECT max(number) FROM orders.batches")
TIMES = sql("test.times", "SELECT created_at FROM orders.orders ORDER BY created_at")


class Recorder:
    """An executor of another plugin: does what it is told and remembers what it was asked."""

    def __init__(self, name, answer=None, found=None, **facts):
        self.name = name
        self.idempotent = False
        self.max_per_second = None
        self.__dict__.update(facts)
        self.answer = answer or (lambda order: Executed(f"X-{order.index}"))
        self.found = found or (lambda order: Unknown("cannot be asked", final=True))
        self.executed = []
        self.asked = []

    async def execute(self, order):
        self.executed.append(order)
        return self.answer(order)

    async def find(self, order):
        self.asked.append(order)
        return self.found(order)


def other_plugin(*executors):
    class Other:
        __name__ = "other"

        @hookimpl(optionalhook=True)
        def register_order_executors(self, ctx):
            return executors

    return Other()


@pytest.fixture
def house(daemon, kit):
    """A daemon with the plugin and another one that brings executors; a factory."""

    @asynccontextmanager
    async def start(*executors, config=""):
        plugins = {"orders": wharfd_orders, "other": other_plugin(*executors)}
        async with daemon(plugins=plugins, config=f"[plugins.orders]\n{config}\n") as d:
            yield kit.Orders(d)

    return start


async def states(orders):
    return {row["idx"]: row["state"] for row in await orders.d.db.fetch(STATES)}


async def hurry(orders):
    """Make what waits for its next try due now."""
    await orders.d.db.execute(SOON)
    orders.d.context("orders").work.wake(None, "call")


# -- executors ---------------------------------------------------------------------------------------------


async def test_an_executor_of_another_plugin(house, kit):
    def answer(order):
        return (
            Refused("no_funds", "the account is empty") if order.index == 2 else Executed(f"X-{order.index}")
        )

    mine = Recorder("mine", answer)
    async with house(mine) as orders:
        assert (await orders.get("/limits"))["executors"] == ["ledger", "mine"]
        view = await orders.send(kit.lines(5), "?executor=mine")
        done = await orders.finished(view["batchId"])
        assert (done["status"], done["succeeded"], done["failed"]) == ("partial", 4, 1)
        assert [r["modelOrderId"] for r in done["results"]] == ["X-0", "X-1", None, "X-3", "X-4"]
        failed = done["results"][2]
        assert (failed["success"], failed["code"], failed["error"]) == (
            False,
            "no_funds",
            "the account is empty",
        )
        order = sorted(mine.executed, key=lambda o: o.index)[0]
        assert (order.client_ref, order.amount, order.currency) == ("R-0", 100, "EUR")
        assert order.payload["cartItems"][0]["productId"] == "F0"
        events = {row["type"]: row["n"] for row in await orders.d.db.fetch(EVENTS)}
        assert events == {"batch.created": 1, "batch.partial": 1, "order.completed": 4, "order.failed": 1}


async def test_failed_orders_are_tried_again_and_only_those(house, kit):
    broken = {1, 3}
    mine = Recorder("mine", lambda o: Refused("later", "closed") if o.index in broken else Executed())
    async with house(mine) as orders:
        batch = (await orders.send(kit.lines(5), "?executor=mine"))["batchId"]
        await orders.finished(batch)
        broken.discard(1)
        await orders.act(batch, "retry", {"code": "other"}, expect=409)
        answer = await orders.act(batch, "retry", {"code": "later"})
        assert answer["retried"] == 2
        done = await orders.finished(batch)
        assert (done["succeeded"], done["failed"], done["status"]) == (4, 1, "partial")
        assert sorted(o.index for o in mine.executed) == [0, 1, 1, 2, 3, 3, 4]
        broken.clear()
        await orders.act(batch, "retry", {"indexes": [3]})
        assert (await orders.finished(batch))["status"] == "completed"
        one = await orders.get(f"/{batch}/orders/3")
        assert [entry["state"] for entry in one["history"]] == ["buried", "requeued", "buried", "requeued"]
        assert len({o.idempotency_key for o in mine.executed}) == 5


async def test_one_poisonous_order_fails_alone(house, kit):
    class Poison:
        name = "poison"

        async def execute_many(self, tx, orders):
            if any(order.index == 13 for order in orders):
                raise RuntimeError("cannot digest this")
            return [Executed(f"P-{order.index}") for order in orders]

    async with house(Poison(), config="attempts = 1") as orders:
        done = await orders.finished((await orders.send(kit.lines(40), "?executor=poison"))["batchId"])
        assert (done["succeeded"], done["failed"]) == (39, 1)
        assert done["results"][13]["code"] == "gave_up"
        assert "cannot digest this" in done["results"][13]["error"]
        assert [row["code"] for row in await orders.d.db.fetch(REASONS)] == ["gave_up"]


async def test_stop_on_error(house, kit):
    mine = Recorder("mine", lambda order: Refused("no", "no") if order.index == 1 else Executed())
    async with house(mine) as orders:
        options = {"stopOnError": True, "executor": "mine", "fifo": True}
        body = {"options": options, "orders": [kit.order(n, account="one") for n in range(30)]}
        done = await orders.finished((await orders.send(body, headers={}))["batchId"])
        assert (done["succeeded"], done["failed"], done["cancelled"]) == (1, 1, 28)
        assert done["status"] == "cancelled"
        assert done["error"] == "an order failed and stopOnError is set"


async def test_orders_of_an_account_keep_their_order(house, kit):
    running, seen = set(), []

    class Slow(Recorder):
        async def execute(self, order):
            assert order.account not in running
            running.add(order.account)
            await trio.lowlevel.checkpoint()
            seen.append((order.account, order.index))
            running.discard(order.account)
            if order.index % 5 == 0 and order.attempt == 1:
                return NotDone("not yet", 0.01)
            return Executed()

    async with house(Slow("slow")) as orders:
        done = await orders.finished(
            (await orders.send(kit.lines(40), "?executor=slow&fifo=true"))["batchId"]
        )
        assert done["status"] == "completed"
        for account in {account for account, _ in seen}:
            indexes = [index for a, index in seen if a == account]
            assert indexes == sorted(indexes)


async def test_a_small_batch_does_not_wait_for_a_giant_of_another_owner(house, kit):
    seen, gate = [], trio.Event()

    class Slow(Recorder):
        async def execute(self, order):
            await gate.wait()
            seen.append(order.owner)
            return Executed()

    async with house(Slow("slow")) as orders:
        giant = (await orders.send(kit.lines(400), "?executor=slow&owner=giant"))["batchId"]
        small = (await orders.send(kit.lines(20), "?executor=slow&owner=small"))["batchId"]
        gate.set()
        await orders.finished(small)
        assert seen[: seen.index("small")].count("giant") < 400
        position = [n for n, owner in enumerate(seen) if owner == "small"][-1]
        assert position < 120, position
        assert (await orders.finished(giant))["status"] == "completed"


async def test_a_rate_is_kept(orders, kit):
    done = await orders.finished((await orders.send(kit.lines(45), "?maxPerSecond=20"))["batchId"])
    assert done["status"] == "completed"
    times = [row["created_at"] for row in await orders.d.db.fetch(TIMES)]
    for first in range(len(times)):
        last = next(
            (n for n in range(first, len(times)) if (times[n] - times[first]).total_seconds() >= 1),
            len(times),
        )
        assert last - first <= 2 * 20 + 1
    assert (times[-1] - times[0]).total_seconds() > 0.9  # it counts by seconds: three of them at least


async def test_an_executor_is_not_called_more_often_than_it_takes(house, kit):
    times = []

    class Timed(Recorder):
        async def execute(self, order):
            times.append(trio.current_time())
            return Executed()

    async with house(Timed("timed", max_per_second=20)) as orders:
        done = await orders.finished((await orders.send(kit.lines(45), "?executor=timed"))["batchId"])
        assert (done["status"], len(times)) == ("completed", 45)
        # The shared limiter counts in seconds: 20 in the first, 20 in the second, the rest in the third.
        assert times[-1] - times[0] > 0.9


# -- what nobody knows -------------------------------------------------------------------------------------


async def test_an_unknown_outcome_is_asked_for_and_never_sent_again(house, kit):
    mine = Recorder(
        "mine", lambda order: Unknown("the line went dead"), lambda order: Executed(f"found-{order.index}")
    )
    async with house(mine) as orders:
        batch = (await orders.send(kit.lines(3), "?executor=mine"))["batchId"]

        async def reached():
            await hurry(orders)
            return len(mine.executed) >= 3 and len(mine.asked) >= 3

        await kit.until(reached, 10)
        done = await orders.finished(batch)
        assert (done["status"], [r["modelOrderId"] for r in done["results"]]) == (
            "completed", ["found-0", "found-1", "found-2"],
        )  # fmt: skip
        assert len(mine.executed) == 3


async def test_who_cannot_be_asked_now_says_nothing_about_an_order(house, kit):
    """Only "I do not have it" makes an order safe to send again, not "I am away"."""
    away = [NotDone("it is away", 0.01, all_wait=True)] * 3
    mine = Recorder(
        "mine",
        lambda order: Unknown("the line went dead"),
        lambda order: away.pop() if away else Executed("theirs"),
    )
    async with house(mine) as orders:
        batch = (await orders.send(kit.lines(1), "?executor=mine"))["batchId"]

        async def reached():
            await hurry(orders)
            return (await orders.get(f"/{batch}"))["completedAt"]

        await kit.until(reached, 60)
        (row,) = (await orders.get(f"/{batch}"))["results"]
        assert (row["modelOrderId"], len(mine.executed), len(mine.asked)) == ("theirs", 1, 4)
        assert mine.asked[0].sent_at is not None


async def test_when_nobody_can_be_asked_a_person_decides(house, kit):
    mine = Recorder("mine", lambda order: Unknown("the line went dead"))
    async with house(mine) as orders:
        batch = (await orders.send(kit.lines(3), "?executor=mine"))["batchId"]

        async def reached():
            await hurry(orders)
            return set((await states(orders)).values()) == {"held"}

        await kit.until(reached, 10)
        view = await orders.get(f"/{batch}")
        assert (view["status"], view["phase"], view["unknown"], view["completedAt"]) == (
            "processing", "needs_attention", 3, None,
        )  # fmt: skip
        assert len(mine.executed) == 3
        findings = await wharfd_orders.watching.find_unknown(orders.d.context("orders"))
        assert [finding.value for finding in findings] == [3]
        await orders.act(batch, "orders/0/resolve", {"outcome": "succeeded", "reason": "x"}, expect=422)
        found = {"outcome": "succeeded", "reason": "seen in their books", "modelOrderId": "B-7"}
        await orders.act(batch, "orders/0/resolve", found)
        await orders.act(batch, "orders/0/resolve", found, expect=409)
        await orders.act(batch, "orders/1/resolve", {"outcome": "failed", "reason": "they never got it"})
        mine.answer = lambda order: Executed("second")
        await orders.act(batch, "orders/2/resolve", {"outcome": "retry", "reason": "they never got it"})
        done = await orders.finished(batch)
        assert [(r["status"], r["modelOrderId"]) for r in done["results"]] == [
            ("succeeded", "B-7"), ("failed", None), ("succeeded", "second"),
        ]  # fmt: skip
        assert done["status"] == "partial"


async def test_a_worker_that_died_between_call_and_commit(house, kit, monkeypatch):
    """The row says that it was sent: it is asked for, not sent; also when it was the last try."""
    monkeypatch.setattr(wharfd_orders.steering, "_UNSURE_SECONDS", 0.2)
    mine = Recorder("mine", found=lambda order: Executed("theirs"))
    async with house(mine, config="attempts = 3") as orders:
        last = (await orders.send(kit.lines(2, 50), "?executor=mine&paused=true"))["batchId"]
        await orders.d.db.owner.execute(CRASH, 10)  # a death buries no sooner, whatever `attempts` says
        batch = (await orders.send(kit.lines(2), "?executor=mine&paused=true"))["batchId"]
        await orders.d.db.owner.execute(CRASH, 1)
        await orders.act(batch, "resume")
        await orders.d.running.machinery.engine._lookout.look()  # sooner than it would by itself
        done = await orders.finished(batch)
        assert ([r["modelOrderId"] for r in done["results"]], mine.executed) == (["theirs", "theirs"], [])
        await orders.wait(last, lambda view: view["unknown"] == 2)
        assert mine.executed == []


async def test_an_idempotent_system_is_sent_the_same_key_again(house, kit):
    tries = []

    def answer(order):
        tries.append(order.idempotency_key)
        return Unknown("lost") if tries.count(order.idempotency_key) == 1 else Executed()

    mine = Recorder("mine", answer, idempotent=True)
    async with house(mine) as orders:
        batch = (await orders.send(kit.lines(2), "?executor=mine"))["batchId"]

        async def reached():
            await hurry(orders)
            return len(tries) >= 4

        await kit.until(reached, 10)
        assert (await orders.finished(batch))["status"] == "completed"
        assert sorted(tries) == ["house:R-0", "house:R-0", "house:R-1", "house:R-1"]
        assert mine.asked == []


async def test_a_second_call_that_did_nothing_does_not_undo_the_first(house, kit):
    """An idempotent system that is busy the second time may have carried the order out the first time."""
    mine = Recorder(
        "mine",
        lambda order: NotDone("it is busy", 0.01) if len(mine.executed) > 1 else Unknown("lost"),
        lambda order: Executed("theirs"),
        idempotent=True,
    )
    async with house(mine, config="attempts = 3") as orders:
        batch = (await orders.send(kit.lines(1), "?executor=mine"))["batchId"]

        async def reached():
            await hurry(orders)
            return (await states(orders)) == {0: "held"}

        await kit.until(reached, 60)
        assert ((await orders.get(f"/{batch}"))["unknown"], len(mine.executed)) == (1, 3)


async def test_what_an_executor_raises_leaves_the_outcome_unknown(house, kit):
    def answer(order):
        raise KeyError("a bug")

    mine = Recorder("mine", answer)
    async with house(mine) as orders:
        batch = (await orders.send(kit.lines(1), "?executor=mine"))["batchId"]

        async def reached():
            await hurry(orders)
            return (await states(orders)) == {0: "held"}

        await kit.until(reached, 10)
        assert len(mine.executed) == 1
        assert (await orders.get(f"/{batch}"))["unknown"] == 1


# -- over HTTP ---------------------------------------------------------------------------------------------

HTTP = """attempts = 3
[plugins.orders.http]
url = "{url}/orders"
find_url = "{url}/orders/{{key}}"
secret = "s3cret"
allow_networks = ["127.0.0.0/8"]
timeout = "1s"
concurrency = 1
breaker_failures = 50
missing_after = "0s"
"""


def body(**values):
    return msgspec.json.encode(values)


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ([answers.status(201, body(id="E-1"))], ("succeeded", "E-1", None)),
        ([answers.status(422, body(code="no_funds", message="empty"))], ("failed", None, "no_funds")),
        ([answers.status(409, b"text")], ("failed", None, "status_409")),
        ([answers.status(429, headers=[("Retry-After", "0")]), answers.status(200, body(orderId=7))], ("succeeded", "7", None)),
        ([answers.status(500), answers.status(200, body(id="found", status="completed"))], ("succeeded", "found", None)),
        ([answers.hang(), answers.status(200, body(status="rejected", code="late"))], ("failed", None, "late")),
        ([answers.reset(), answers.status(404), answers.status(200, body(id="second"))], ("succeeded", "second", None)),
        ([answers.status(202), answers.status(200, body(id="done"))], ("succeeded", "done", None)),
    ],
)  # fmt: skip
async def test_answers_of_an_order_system(house, kit, receiver, script, result):
    receiver.script(*script)
    async with house(config=HTTP.format(url=receiver.url)) as orders:
        batch = (await orders.send(kit.lines(1), "?executor=http"))["batchId"]

        async def reached():
            await hurry(orders)
            return (await orders.get(f"/{batch}"))["completedAt"]

        await kit.until(reached, 15)
        (row,) = (await orders.get(f"/{batch}"))["results"]
        assert (row["status"], row["modelOrderId"], row["code"]) == result
        requests = [(r.method, r.path) for r in receiver.requests]
        assert requests[0] == ("POST", "/orders")
        assert requests.count(("POST", "/orders")) == (
            2 if (script[0:1] and len(script) == 3) or result[1] == "7" else 1
        )
        first = receiver.requests[0]
        key, stamp = first.header("idempotency-key"), first.header("wharfd-timestamp")
        mark = hmac.new(b"s3cret", f"{key}.{stamp}.".encode() + first.body, hashlib.sha256).hexdigest()
        assert (key, first.header("wharfd-signature")) == ("house:R-0", f"v1={mark}")


async def test_an_order_that_may_still_be_under_way_is_not_sent_again(house, kit, receiver):
    receiver.script(answers.reset(), *[answers.status(404)] * 40)
    config = HTTP.format(url=receiver.url).replace('missing_after = "0s"', 'missing_after = "1h"')
    async with house(config=config) as orders:
        await orders.send(kit.lines(1), "?executor=http")

        async def asked_again():
            await hurry(orders)
            return [r.method for r in receiver.requests].count("GET") >= 4

        await kit.until(asked_again, 60)
        assert [r.method for r in receiver.requests].count("POST") == 1
        (row,) = await orders.d.db.fetch(STATES)
        assert (row["state"] in ("ready", "running"), row["sent_at"] is not None) == (True, True)


async def test_an_order_system_that_is_away_costs_no_attempt(house, kit, receiver):
    config = HTTP.format(url="http://127.0.0.1:9").replace(
        "breaker_failures = 50", 'breaker_failures = 2\nbreaker_pause = "60s"'
    )
    async with house(config=config) as orders:
        batch = (await orders.send(kit.lines(3), "?executor=http"))["batchId"]
        context = orders.d.context("orders")

        async def reached():
            await hurry(orders)
            return await wharfd_orders.watching.find_open_breaker(context)

        await kit.until(reached, 10)
        assert (await wharfd_orders.watching.check_order_system(context)).state == "degraded"
        for path in ("", "/progress"):
            view = await orders.get(f"/{batch}{path}")
            assert (view["phase"], "lose no attempt" in view["waitsFor"]) == ("running", True)

        async def told():  # whoever was not among those that opened the breaker
            await hurry(orders)
            said = [(await orders.get(f"/{batch}/orders/{n}"))["lastError"] for n in range(3)]
            return any("order system" in (one or "") for one in said)

        await kit.until(told, 30)

        async def at_rest():  # one look: a moment later a worker may have taken a row to see the breaker open
            rows = await orders.d.db.fetch(STATES)
            return rows if {row["state"] for row in rows} == {"ready"} else None

        rows = await kit.until(at_rest, 10)
        assert [(row["sent_at"], row["attempts"]) for row in rows] == [(None, 0)] * 3
        await orders.act(batch, "cancel")
        assert (await orders.finished(batch))["succeeded"] == 0


async def test_cancelling_does_not_hide_what_nobody_knows(house, kit):
    """An order that may have been carried out is not reported as cancelled; it is asked for first."""
    known = []
    mine = Recorder(
        "mine",
        lambda order: Unknown("the line went dead"),
        lambda order: Executed("theirs") if known else Unknown("they do not know yet"),
        idempotent=True,
    )
    async with house(mine) as orders:
        batch = (await orders.send(kit.lines(2), "?executor=mine"))["batchId"]

        async def sent():
            return len(mine.executed) == 2 and set((await states(orders)).values()) == {"ready"}

        await kit.until(sent)
        view = await orders.act(batch, "cancel")
        assert (view["cancelled"], view["completedAt"]) == (0, None)
        known.append(True)

        async def over():
            await hurry(orders)
            return (await orders.get(f"/{batch}"))["completedAt"]

        await kit.until(over)
        done = await orders.get(f"/{batch}")
        assert ([r["modelOrderId"] for r in done["results"]], len(mine.executed)) == (["theirs", "theirs"], 2)


async def test_a_batch_is_not_over_while_a_failure_is_not_known_for_one(orders, kit):
    """The engine buries the last try of a dead worker; for a call that was begun that is no result."""
    batch = (await orders.send(kit.lines(2), "?paused=true"))["batchId"]
    await orders.d.db.owner.execute(UNSURE)
    context = orders.d.context("orders")
    async with orders.d.db.transaction() as tx:
        number = await tx.fetchval(NUMBER)
        assert await wharfd_orders.steering.batches.finish(tx, number) is False
    await wharfd_orders.steering.items.hold_unsure(context.db, ("call",))
    assert (await orders.get(f"/{batch}"))["unknown"] == 2
