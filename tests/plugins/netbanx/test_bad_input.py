"""Whatever a sender does wrong has a stated answer, through the listener of one whole daemon."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import trio

import wharfd_netbanx
from wharfd import Secret, sql
from wharfd_netbanx import watching
from wharfd_netbanx.config import KeySettings, Source
from wharfd_netbanx.samples import make_sample

KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
OLD = "UUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
OTHER = "QlFDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
CONFIG = f"""
[plugins.netbanx.sources.netbanx]
keys = ["{KEY}", {{ value = "{OLD}", until = 2020-01-01T00:00:00Z }}]
[plugins.netbanx.sources.late]
paths = ["/late"]
keys = [{{ value = "{OLD}", until = 2020-01-01T00:00:00Z }}]
"""
PATHS = (
    *("/api/webhooks/netbanx", "/webhooks/netbanx", "/netbanx", "/webhook"),
    *("/api/webhooks/account-status", "/api/webhooks/direct-debit", "/api/webhooks/alternate-payments"),
)
PATH = PATHS[0]
SIGNATURES = [
    ("no signature", [], 401),
    ("an empty one", ["Signature: "], 401),
    ("a garbled one", ["Signature: %%%"], 401),
    ("one in hexadecimal", ["Signature: " + "ab" * 32], 401),
    ("one of nothing", ["Signature: " + "A" * 43 + "="], 401),
    ("one of 5,000 characters", ["Signature: " + "A" * 5000], 401),
    ("two different ones", ["Signature: " + "A" * 43 + "=", "Signature: " + "B" * 43 + "="], 401),
]
BODIES = {
    "empty": b"",
    "not JSON": b"hello",
    "no object": b"[1,2]",
    "NUL bytes": b"\0\0\0",
    "1,000 deep": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "doubled keys": b'{"eventName":"A","eventName":"PAYMENT_COMPLETED","payload":{"id":"1"}}',
    "a lone surrogate": b'{"eventName":"\\ud800","payload":{"id":"\\udfff"}}',
}
COUNT = sql("test.count", "SELECT count(*) FROM netbanx.events")


def verifier_of(key):
    source = Source(keys=(Secret(key),))
    return source.verifier(source.typed_keys())


def sample_of(key, name, number=1):
    return make_sample(verifier_of(key), name, number=number, at=datetime.now(UTC))


def signed(body, key=KEY):
    _, headers = verifier_of(key).sign(body, datetime.now(UTC), "evt_1")
    return [f"{name}: {value}" for name, value in headers.items()]


def request(body, headers, *, method="POST", path=PATH, length=True):
    lines = [f"{method} {path} HTTP/1.1", "Host: a", *headers]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode() + body


class Wire:
    """Bytes to the listener and back."""

    def __init__(self, daemon):
        self.port = urlsplit(daemon.ingest).port

    async def send(self, data):
        """Send it all on a new connection; return the status and the body of the answer."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        answer = b""
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError):  # it was told enough: the answer is there
                await stream.send_all(data)
            with trio.fail_after(60):
                while b"\r\n\r\n" not in answer or len(answer) < length_of(answer):
                    part = await stream.receive_some()
                    assert part, answer
                    answer += part
        return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]

    async def leave(self, data):
        """Send it all and be gone before the answer."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            await stream.send_all(data)


def length_of(answer):
    head, _, _ = answer.partition(b"\r\n\r\n")
    lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(head) + 4 + int(lines[0].split(b":")[1]) if lines else 0


async def test_each_has_its_stated_answer(daemon):
    good = sample_of(KEY, "connectivity-test").body
    async with daemon(plugins={"netbanx": wharfd_netbanx}, config=CONFIG) as d:
        wire = Wire(d)

        for what, headers, status in SIGNATURES:
            assert (await wire.send(request(good, headers)))[0] == status, what
        assert (await wire.send(request(good, signed(good, OTHER))))[0] == 401
        assert (await wire.send(request(good, signed(good, OLD))))[0] == 401  # its time is over
        assert (await wire.send(request(good, signed(good, OLD), path="/late")))[0] == 503  # no other key
        assert (await wire.send(request(good, signed(good), method="PUT")))[0] == 405
        assert (await wire.send(request(good, signed(good), path="/nothing")))[0] == 404
        flood = [f"X-{number}: {'x' * 90}" for number in range(400)]
        assert (await wire.send(request(good, flood)))[0] == 431
        large = b" " * 10_000_000
        assert (await wire.send(request(large, signed(large))))[0] == 413
        assert (await wire.send(request(b"x", ["Content-Length: 2"])))[0] == 400
        assert await d.db.fetchval(COUNT) == 0  # nothing unsigned is ever an event

        for number, (what, body) in enumerate(BODIES.items(), 1):
            status, answer = await wire.send(request(body, signed(body)))
            assert (status, json.loads(answer)["duplicate"]) == (200, False), what
            assert await d.db.fetchval(COUNT) == number, what
        stored = await d.db.fetch(sql("test.bodies", "SELECT body FROM netbanx.events ORDER BY id"))
        assert [row["body"] for row in stored] == list(BODIES.values())

        chunks = (
            b"5\r\n" + good[:5] + b"\r\n%x\r\n" % len(good[5:]) + good[5:] + b"\r\n0\r\nX-Trailer: 1\r\n\r\n"
        )
        trailing = request(b"", [*signed(good), "Transfer-Encoding: chunked"], length=False) + chunks
        answers = [await wire.send(trailing)]
        answers += [await wire.send(request(good, signed(good), path=path)) for path in PATHS]
        told = [json.loads(answer) for _, answer in answers]
        assert [status for status, _ in answers] == [200] * (1 + len(PATHS))
        assert [one["duplicate"] for one in told] == [False] + [True] * len(PATHS)
        assert len({one["webhookId"] for one in told}) == 1
        assert all(set(one) == {"success", "webhookId", "duplicate"} for one in told)

        before = await d.db.fetchval(COUNT)
        await wire.leave(request(b'{"eventName":"GONE"}', signed(b'{"eventName":"GONE"}')))
        with trio.fail_after(60):
            while await d.db.fetchval(COUNT) == before:
                await trio.sleep(0.01)
        await d.drain("netbanx.events")
        states = await d.db.fetch(sql("test.states", "SELECT DISTINCT state FROM netbanx.events"))
        assert [row["state"] for row in states] == ["done"]


async def test_what_was_503_is_taken_when_the_same_bytes_come_again(with_settings):
    managed = Source(stored_keys=True, paths=("/managed",))
    async with with_settings(sources={"managed": managed}) as plugin:
        body, headers = verifier_of(KEY).sign(b'{"eventName":"PAYMENT_COMPLETED"}', plugin.ctx.now(), "evt_1")
        assert (await plugin.post(body, headers, "managed")).status == 503
        assert plugin.intake.key_missed.is_set()  # a key may have been added elsewhere: it is looked for
        plugin.intake.take_keys("managed", Source(keys=(Secret(KEY),)).typed_keys())
        reply = await plugin.post(body, headers, "managed")
        assert (reply.status, json.loads(reply.body)["duplicate"]) == (200, False)


async def test_a_delivery_signed_with_an_old_key_is_taken_and_told(with_settings):
    now = datetime.now(UTC)
    fresh = KeySettings(value=Secret(KEY), id="new", from_=now - timedelta(days=1))
    former = KeySettings(value=Secret(OLD), id="old", until=now + timedelta(days=1))
    source = Source(keys=(fresh, former))
    async with with_settings(sources={"netbanx": source}) as plugin:
        for key, found in ((KEY, 0), (OLD, 1)):
            sample = sample_of(key, "payment-completed", found)
            delivered = plugin.delivery(sample.body, sample.headers, at=now)
            reply = await plugin.answerer.answer(plugin.routes["netbanx"], plugin.ctx, delivered)
            assert reply.status == 200
            assert len(await watching.find_old_keys(plugin.ctx)) == found
        [receipt] = await plugin.fetch(
            "SELECT receipt FROM netbanx.events WHERE receipt->>'old_key' = 'true'"
        )
        assert receipt["receipt"]["key_id"] == "old"
