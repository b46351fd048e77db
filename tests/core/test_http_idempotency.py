"""Idempotency-Key on a real PostgreSQL: done once, answered as often as asked."""

from __future__ import annotations

import msgspec
import pytest
import structlog
import trio

from wharfd.contracts.access import Identity
from wharfd.db import sql
from wharfd.declare import Route
from wharfd.http import BadRequest, Conflict, Reply, Stream
from wharfd.http.idempotency import IdempotencyKeys, parse_key
from wharfd.http.signing import Signer
from wharfd.testing.api import OneKeySealer, serve_routes

ROWS = sql("test.rows", "SELECT * FROM wharfd.idempotency_keys")
EXPIRE = sql("test.expire", "UPDATE wharfd.idempotency_keys SET expires_at = now() - interval '1 s'")
LAPSE = sql("test.lapse", "UPDATE wharfd.idempotency_keys SET lease_until = now() - interval '1 s'")


class Order(msgspec.Struct):
    amount: int


class Counting:
    def __init__(self, answer=None, gate=None):
        self.runs = 0
        self._answer = answer
        self._gate = gate

    async def handler(self, ctx, request):
        self.runs += 1
        if self._gate is not None:
            await self._gate.wait()
        if isinstance(self._answer, Exception):
            raise self._answer
        if self._answer is not None:
            return self._answer
        return Reply(201, {"run": self.runs, "secret": "hunter2"}, {"Location": "/orders/1", "X-Other": "y"})


def routes(counting, **more):
    return [
        Route(
            method="POST", path=path, handler=counting.handler, scope="orders:write", body=Order,
            idempotent=True, **more,
        )
        for path in ("/orders", "/others", "/orders/{id}/retry")
    ]  # fmt: skip


def keyed(key="k-1"):
    return {"headers": {"Idempotency-Key": key}}


async def test_the_same_request_is_done_once_and_answered_again(db):
    counting = Counting()
    async with serve_routes(routes(counting), db=db) as api:
        first = await api.post("/orders", {"amount": 1}, **keyed())
        again = await api.post("/orders", {"amount": 1}, **keyed('"k-1"'))
    assert counting.runs == 1
    assert (first.status, again.status) == (201, 201)
    assert first.body == again.body
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == "/orders/1"
    assert again.headers["content-type"] == "application/json"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


async def test_what_is_stored_shows_neither_key_nor_body(db):
    async with serve_routes(routes(Counting()), db=db) as api:
        await api.post("/orders", {"amount": 1}, **keyed("order-4711"))
    [row] = await db.fetch(ROWS)
    assert row["state"] == "done"
    stored = repr(dict(row))
    assert "hunter2" not in stored
    assert "4711" not in stored


async def test_another_request_under_the_key_is_422(db):
    counting = Counting()
    async with serve_routes(routes(counting), db=db) as api:
        await api.post("/orders/1/retry", {"amount": 1}, **keyed())
        body = await api.post("/orders/1/retry", {"amount": 2}, **keyed())
        path = await api.post("/orders/2/retry", {"amount": 1}, **keyed())
    assert (body.status, path.status) == (422, 422)
    assert counting.runs == 1


async def test_keys_are_apart_by_route_and_by_owner(db):
    class Keys:
        async def authenticate(self, credentials):
            owner = credentials.bearer
            return Identity(f"key_{owner}", "key", owner=owner, scopes=frozenset({"*"}))

        async def observe(self, identity, **facts):
            return

    counting = Counting()
    async with serve_routes(routes(counting), db=db, authenticator=Keys) as api:
        for path in ("/orders", "/others"):
            for token in ("ann", "bob"):
                await api.post(path, {"amount": 1}, token=token, **keyed())
    assert counting.runs == 4


async def test_a_hundred_at_once_run_the_handler_once(db):
    gate = trio.Event()
    counting = Counting(gate=gate)
    statuses = []
    async with serve_routes(routes(counting), db=db) as api:

        async def one():
            answer = await api.post("/orders", {"amount": 1}, **keyed())
            statuses.append(answer.status)
            if len(statuses) == 99:
                gate.set()

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(one)
        late = await api.post("/orders", {"amount": 1}, **keyed())
    assert counting.runs == 1
    assert sorted(statuses) == [201] + [409] * 99
    assert (late.status, late.headers["idempotency-replayed"]) == (201, "true")


async def test_a_request_under_way_is_409_with_retry_after(db):
    gate, begun = trio.Event(), trio.Event()

    async def handler(ctx, request):
        begun.set()
        await gate.wait()

    route = Route(method="POST", path="/orders", handler=handler, scope="orders:write", idempotent=True)
    async with serve_routes([route], db=db) as api, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: api.post("/orders", **keyed()))
        await begun.wait()
        answer = await api.post("/orders", **keyed())
        assert answer.status == 409
        assert 1 <= int(answer.headers["retry-after"]) <= 5
        gate.set()


@pytest.mark.parametrize("answer", [RuntimeError("boom"), Conflict("sold out"), Reply(503), Reply(429)])
async def test_what_failed_may_be_tried_again(db, answer):
    counting = Counting(answer)
    async with serve_routes(routes(counting), db=db) as api:
        await api.post("/orders", {"amount": 1}, **keyed())
        await api.post("/orders", {"amount": 1}, **keyed())
    assert counting.runs == 2
    assert await db.fetch(ROWS) == []


async def test_a_handler_that_timed_out_lets_go_of_the_key(db):
    async def handler(ctx, request):
        await trio.sleep_forever()

    route = Route(
        method="POST", path="/orders", handler=handler, scope="orders:write", idempotent=True,
        timeout_seconds=0.05,
    )  # fmt: skip
    async with serve_routes([route], db=db) as api:
        assert (await api.post("/orders", **keyed())).status == 504
    assert await db.fetch(ROWS) == []


async def test_a_lease_that_ran_out_is_taken_over_and_the_late_answer_is_not_stored(db):
    """As after a daemon that died or hung: nobody heard of its answer, so a retry does the work anew."""
    begun, gate = trio.Event(), trio.Event()
    runs = 0

    async def handler(ctx, request):
        nonlocal runs
        runs += 1
        mine = runs
        if mine == 1:
            begun.set()
            await gate.wait()
        return {"run": mine}

    route = Route(
        method="POST", path="/orders", handler=handler, scope="orders:write", body=Order, idempotent=True
    )
    async with serve_routes([route], db=db) as api, trio.open_nursery() as nursery:

        async def hang():
            assert (await api.post("/orders", {"amount": 1}, **keyed())).json() == {"run": 1}
            late.set()

        late = trio.Event()
        nursery.start_soon(hang)
        await begun.wait()
        assert (await api.post("/orders", {"amount": 1}, **keyed())).status == 409
        await db.execute(LAPSE)
        assert (await api.post("/orders", {"amount": 2}, **keyed())).status == 422
        assert (await api.post("/orders", {"amount": 1}, **keyed())).json() == {"run": 2}
        gate.set()
        await late.wait()
        assert (await api.post("/orders", {"amount": 1}, **keyed())).json() == {"run": 2}
    assert runs == 2


async def test_an_expired_key_is_free_again_and_forgotten_in_time(db):
    counting = Counting()
    async with serve_routes(routes(counting), db=db) as api:
        await api.post("/orders", {"amount": 1}, **keyed())
        await db.execute(EXPIRE)
        assert (await api.post("/orders", {"amount": 2}, **keyed())).status == 201
        assert counting.runs == 2
        assert await api.server.idempotency.forget_expired() == 0
        await db.execute(EXPIRE)
        assert await api.server.idempotency.forget_expired() == 1


async def test_an_answer_too_large_to_keep_is_not_done_twice(db):
    async def pieces():
        yield b"x"

    counting = Counting(Stream(pieces()))
    async with serve_routes(routes(counting), db=db) as api:
        assert (await api.post("/orders", {"amount": 1}, **keyed())).body == b"x"
        again = await api.post("/orders", {"amount": 1}, **keyed())
    assert (again.status, "too large" in again.json()["detail"]) == (409, True)
    assert counting.runs == 1


async def test_without_a_key_nothing_is_stored(db):
    counting = Counting()
    async with serve_routes(routes(counting), db=db) as api:
        await api.post("/orders", {"amount": 1})
        await api.post("/orders", {"amount": 1})
        assert (await api.post("/orders", {"amount": 1}, **keyed("\x7f" * 3))).status == 400
    assert counting.runs == 2
    assert await db.fetch(ROWS) == []


@pytest.mark.parametrize("text", ["", '""', "x" * 256, " a", "a\tb", "ü"])
def test_keys_that_are_not_plain_text_are_refused(text):
    with pytest.raises(BadRequest):
        parse_key(text)


@pytest.mark.parametrize(
    ("text", "key"), [('"a\\"b"', 'a"b'), ("a", "a"), ('"a b"', "a b"), ("x" * 255, "x" * 255)]
)
def test_keys_may_be_quoted(text, key):
    assert parse_key(text) == key


async def test_the_query_for_expired_keys_uses_its_index(db):
    from wharfd.http.idempotency import FORGET

    keys = IdempotencyKeys(db, OneKeySealer(), Signer(b"x"), structlog.get_logger())
    assert await keys.forget_expired() == 0
    plan = await db.explain(FORGET, 10)
    assert "idempotency_keys_expires_at" in plan
