"""Endpoints over HTTP that fail in every way, the mint service, mail, and what is done by the clock."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from email import message_from_bytes

import msgspec
import pytest
import trio

from wharfd import sql
from wharfd.clock import FixedClock
from wharfd.contracts.mints import Minted, Verified
from wharfd.http.outbound import NetworkPolicy, OutboundClient
from wharfd.secrets import Secret
from wharfd.testing import answers
from wharfd.testing.receiver import open_receiver
from wharfd_mint import upkeep
from wharfd_mint.config import Evm, Http, Mail, Tier
from wharfd_mint.evm.endpoints import Endpoints, HttpTransport, RpcAway, WrongChain
from wharfd_mint.model.failures import RpcError
from wharfd_mint.model.licenses import license_hash
from wharfd_mint.store import buyers, intents

from .conftest import WALLET, Hooks, make_settings, open_house, quick
from .driving import Driver
from .scripted import CONTRACT, GWEI, Chain, Node, PlainSigner
from .test_faults import KEY, evm_for

# -- a chain behind HTTP -------------------------------------------------------------------------------


class Served:
    """A scripted chain on a receiver; `instead(method)` may give another answer, before or after it acted."""

    def __init__(self, receiver, chain):
        self.receiver, self.chain = receiver, chain
        self.before = self.after = lambda method: None
        receiver.answer = self.answer

    async def answer(self, conversation):
        call = msgspec.json.decode(conversation.request.body)
        early = self.before(call["method"])
        if early is not None:
            await early(conversation)
            return
        try:
            document = {"result": self.chain.answer(call["method"], call["params"])}
        except RpcError as error:
            document = {"error": {"code": error.code, "message": error.message, "data": error.data}}
        late = self.after(call["method"])
        if late is not None:
            await late(conversation)
            return
        await answers.status(200, msgspec.json.encode({"id": call["id"], "jsonrpc": "2.0", **document}))(
            conversation
        )

    def methods(self):
        return [msgspec.json.decode(one.body)["method"] for one in self.receiver.requests]


def only(method, answer):
    return lambda asked: answer if asked == method else None


@asynccontextmanager
async def two_endpoints(timeout=0.3, second=None):
    chain = Chain()
    policy = NetworkPolicy(("127.0.0.0/8",))
    async with open_receiver() as one, open_receiver() as two, OutboundClient() as http:
        served = [Served(one, chain), Served(two, second or chain)]
        transports = [
            HttpTransport(http, Secret(f"{r.url}/v2/api-key"), policy, timeout, number)
            for number, r in enumerate((one, two), 1)
        ]
        yield chain, served, transports


FAILURES = [
    answers.status(429, b'{"error":{"code":-32005,"message":"rate limit exceeded"}}'),
    answers.status(503, b"<html>busy</html>"),
    answers.status(200, b"not json"),
    answers.status(200, b"[]"),
    answers.status(200, b'{"jsonrpc":"2.0","id":1}'),
    answers.status(200, b'{"error":{"code":-32005,"message":"limit exceeded"}}'),
    answers.status(200, b'{"error":{"code":-32603,"message":"Internal error"}}'),
    answers.reset(),
    answers.hang(),
]


@pytest.mark.parametrize("failure", FAILURES, ids=range(len(FAILURES)))
async def test_an_endpoint_that_fails_is_left_alone_for_a_while(failure):
    async with two_endpoints() as (chain, served, transports):
        endpoints = Endpoints(transports, chain.chain_id)
        assert await endpoints.call("eth_blockNumber") == "0x0"
        served[0].before = lambda method: failure
        assert await endpoints.call("eth_blockNumber") == "0x0"
        assert [one.up for one in endpoints.health()] == [False, True]
        asked = len(served[0].receiver.requests)
        assert await endpoints.call("eth_blockNumber") == "0x0"
        assert len(served[0].receiver.requests) == asked
        served[1].before = lambda method: answers.status(503)
        with pytest.raises(RpcAway) as told:
            await endpoints.call("eth_blockNumber")
        assert "api-key" not in str(told.value) + repr(endpoints.health())


async def test_a_node_that_comes_back_with_another_chain_stops_everything():
    async with two_endpoints() as (chain, served, transports):
        endpoints = Endpoints(transports[:1], chain.chain_id)
        await endpoints.call("eth_blockNumber")
        served[0].before = lambda method: answers.status(502)
        with pytest.raises(RpcAway):
            await endpoints.call("eth_blockNumber")
        served[0].before = lambda method: None
        chain.chain_id = 99
        with pytest.raises(WrongChain, match="serves chain 99, not 7"):
            await endpoints.call("eth_blockNumber")
        assert endpoints.wrong
        chain.chain_id = 7
        assert await endpoints.call("eth_blockNumber") == "0x0"
        assert endpoints.wrong is None


@asynccontextmanager
async def driven(db, nodes, chain, **more):
    settings = make_settings(evm=evm_for(chain.chain_id))
    async with open_house(db, settings, work=False) as house:
        driver = await Driver(house, chain, evm_for(chain.chain_id, **more), PlainSigner(), nodes).open()
        await house.add()
        driver.id = (await house.mint())["id"]
        yield house, driver


async def finish(house, driver, steps=30):
    for _ in range(steps):
        if (await house.mint())["state"] not in ("ready", "running"):
            return await house.mint()
        await driver.step(driver.id)
        driver.chain.mine()
    raise AssertionError(await house.mint())


async def test_a_timeout_after_accepting_is_no_second_transaction(db):
    async with (
        two_endpoints() as (chain, served, transports),
        driven(db, transports, chain) as (house, driver),
    ):
        served[0].after = only("eth_sendRawTransaction", answers.hang())
        await finish(house, driver)
        assert len(chain.tokens()[0]) == 1
        assert len(await house.attempts()) == 1
        # The other endpoint was given the same bytes and knew them already.
        assert served[1].methods().count("eth_sendRawTransaction") == 1


ANSWERS_THAT_LIE = [
    "nonce too low",
    "transaction underpriced",
    "insufficient funds for gas * price + value",
    "execution reverted",
    "exceeds block gas limit",
    "intrinsic gas too low",
    "who knows",
]


@pytest.mark.parametrize("words", ANSWERS_THAT_LIE)
async def test_an_error_although_it_is_mined_is_no_second_mint(db, words):
    chain = Chain(automine=True)
    told = []

    def after(method, params):
        if method == "eth_sendRawTransaction" and not told:
            told.append(words)
            raise RpcError(-32000, words)

    async with driven(db, [Node(chain, after=after)], chain) as (house, driver):
        mint = await finish(house, driver)
        assert told
        assert mint["state"] == "done"
        assert len([tx for _, tx in chain.mined() if tx.to == CONTRACT]) == 1
        assert (await house.buyer())["tx_hash"] == chain.tokens()[0][license_hash("NODE-AAAAA").hex()][2]


async def test_a_refused_small_bump_never_happens(db):
    chain = Chain(base_fee=5 * GWEI)
    refused = []

    def interfere(method, params):
        if method == "eth_sendRawTransaction":
            try:
                return chain.answer(method, params)
            except RpcError as error:
                refused.append(error.message)
                raise
        return None

    async with driven(db, [Node(chain, interfere=interfere)], chain, bump_after=quick(1)) as (house, driver):
        for _ in range(8):
            await driver.step(driver.id)
            driver.clock.advance(timedelta(seconds=2))
        assert len(await house.attempts()) >= 5
        assert "replacement transaction underpriced" not in refused
        await finish(house, driver)
        assert len({one["nonce"] for one in await house.attempts()}) == 1


async def test_a_capped_fee_is_told_and_goes_on_when_the_chain_is_cheap_again(db):
    chain = Chain()
    async with driven(db, [Node(chain)], chain, bump_after=quick(1), max_fee_gwei=10.0, max_tip_gwei=5.0) as (
        house,
        driver,
    ):
        await driver.step(driver.id)
        chain.base_fee = 500 * GWEI
        for _ in range(40):
            await driver.step(driver.id)
            driver.clock.advance(timedelta(seconds=2))
        mint = await house.mint()
        assert mint["stage"] == "capped"
        assert "max_fee_gwei" in mint["trouble"]
        assert max(int(one["max_fee"]) for one in await house.attempts()) <= 10 * GWEI
        chain.base_fee = GWEI
        assert (await finish(house, driver))["state"] == "done"


async def test_a_nonce_somebody_else_used_is_given_up_only_when_that_is_final(db):
    chain = Chain()
    async with driven(db, [Node(chain)], chain, confirmations=5) as (house, driver):
        await driver.step(driver.id)
        chain.forget()
        raw, _ = await driver.signer.sign(draft(chain, 0))
        chain.eth_sendRawTransaction("0x" + raw.hex())
        chain.mine()
        for _ in range(6):
            await driver.step(driver.id)
            driver.clock.advance(timedelta(seconds=5))
        assert (await house.mint())["stage"] == "nonce_used"
        assert {one["nonce"] for one in await house.attempts()} == {0}
        await finish(house, driver)
        assert [one["nonce"] for one in await house.attempts()] == [0, 1]
        assert len(chain.tokens()[0]) == 1


async def test_without_a_lookup_a_stolen_nonce_needs_a_person(db):
    chain = Chain()
    async with driven(db, [Node(chain)], chain, lookup_answer="none") as (house, driver):
        await driver.step(driver.id)
        chain.forget()
        raw, _ = await driver.signer.sign(draft(chain, 0))
        chain.eth_sendRawTransaction("0x" + raw.hex())
        chain.mine(6)
        for _ in range(12):
            await driver.step(driver.id)
            driver.clock.advance(timedelta(seconds=5))
        mint = await house.mint()
        assert mint["state"] == "held"
        assert "look at the wallet's tokens" in mint["trouble"]
        assert chain.tokens()[0] == {}


async def test_a_frozen_worker_that_wakes_up_signs_nothing(db):
    chain = Chain()
    node = Node(chain)
    async with driven(db, [node], chain) as (house, driver):
        frozen = await driver.claim(driver.id)
        asleep = True

        async def interfere():
            nonlocal asleep
            asleep = False
            other = await driver.claim(driver.id)
            await driver.work(other, driver.daemon())

        def wait(method, params):
            return interfere() if method == "eth_estimateGas" and asleep else None

        node.interfere = wait
        assert await driver.work(frozen) is False
        assert len(await house.attempts()) == 1
        await finish(house, driver)
        assert len([tx for _, tx in chain.mined()]) == 1


def draft(chain, nonce):
    from wharfd_mint.evm.signer import Draft
    from wharfd_mint.model.fees import Fees

    return Draft(chain.chain_id, nonce, WALLET, b"", 21000, Fees(900 * GWEI, 500 * GWEI), 1)


# -- settings ------------------------------------------------------------------------------------------

WRONG = [
    ({"key": Secret("0x12")}, "key"),
    ({"key": Secret("0x" + "00" * 32)}, "key"),
    ({"key": Secret("0x" + "ff" * 32)}, "key"),
    ({"contract": "0x12"}, "contract"),
    ({"rpc": ()}, "rpc"),
    ({"rpc": (Secret("ftp://x/"),)}, "rpc"),
    ({"chain_id": 0}, "chain_id"),
    ({"mint": "mint"}, "mint"),
    ({"mint_arguments": ("wallet",)}, "mint"),
    ({"bump": 1.05}, "max_fee_gwei"),
    ({"max_fee_gwei": 1.0}, "max_fee_gwei"),
    ({"confirmations": 0}, "confirmations"),
]


@pytest.mark.parametrize(("wrong", "name"), WRONG)
def test_wrong_settings_name_themselves_and_never_the_key(wrong, name):
    values = {"chain_id": 1, "rpc": (Secret("https://rpc.example/secret"),), "contract": CONTRACT, "key": KEY}
    with pytest.raises(ValueError, match=f"^{name}: ") as told:
        Evm(**{**values, **wrong})
    assert "11" * 32 not in str(told.value)
    assert "secret" not in str(told.value)


# -- the mint service ----------------------------------------------------------------------------------


def service(receiver, **more):
    plain = Http(url=f"{receiver.url}/mints", allow_networks=("127.0.0.0/8",), poll=quick(0.02), **more)
    return make_settings(minter="http", http=plain, tiers={"open": Tier()})


def says(code=200, **body):
    return answers.status(code, msgspec.json.encode(body))


async def test_a_service_is_told_once_with_a_key_and_asked_until_it_is_done(opened, receiver):
    receiver.script(
        says(202, status="pending"),
        says(status="pending"),
        says(status="minted", tx_hash="0xabc", token_id=7),
    )
    async with opened(service(receiver, token=Secret("t0ken"))) as house:
        await house.add()
        mint = await house.reached("done")
        assert ((await house.buyer())["tx_hash"], mint["token_id"]) == ("0xabc", "7")
    told, *asked = receiver.requests
    assert told.method == "POST"
    assert told.header("idempotency-key") == mint["id"]
    assert told.header("authorization") == "Bearer t0ken"
    assert {(one.method, one.path) for one in asked} == {("GET", f"/mints/{mint['id']}")}


async def test_a_service_that_broke_off_is_asked_before_it_is_told_again(opened, receiver):
    receiver.script(answers.reset(), answers.status(404), says(status="minted", tx_hash="0xabc"))
    async with opened(service(receiver)) as house:
        await house.add()
        await house.at_stage("service_away")
        await house.now()
        await house.reached("done")
    assert [one.method for one in receiver.requests] == ["POST", "GET", "POST"]
    keys = {one.header("idempotency-key") for one in receiver.requests if one.method == "POST"}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("answer", "state", "word"),
    [
        (says(status="failed", error="bad wallet"), "held", "bad wallet"),
        (answers.status(422, b"nope"), "held", "status 422"),
        (says(401, status="failed", error="who are you"), "ready", "look at url and token"),
        (answers.status(404), "ready", "look at url and token"),
        (says(403, status="failed", error="blocked"), "held", "blocked"),
        (answers.status(503), "ready", "answers 503"),
        (answers.status(429), "ready", "answers 429"),
        (answers.status(200, b"nope"), "ready", "no answer"),
    ],
)
async def test_what_a_service_may_say(opened, receiver, answer, state, word):
    receiver.answer = answer
    async with opened(service(receiver)) as house:
        await house.add()

        async def said():
            mint = await house.mint()
            return mint["state"] == state and word in (mint["trouble"] or "")

        await house.until(said)


async def test_another_plugin_can_mint(opened):
    class Theirs:
        async def advance(self, request):
            return Minted("0xfeed", "1") if not request.delivered else None

        async def verify(self, request, tx_hash):
            return Verified(True, final=True)

        async def examine(self):
            return []

    async with opened(make_settings(tiers={"open": Tier()})) as house:
        await house.add()
        mint = await house.at_stage("waiting")
        assert mint["minter"] == "none"
    settings = make_settings(minter="solana", tiers={"open": Tier()})
    async with opened(settings, hooks=Hooks({"solana": Theirs()})) as house:
        await house.now()
        await house.reached("done")
        assert (await house.buyer())["tx_hash"] == "0xfeed"
        await upkeep.validate(house.ctx)
        assert (await house.mint())["final"]


# -- mail and the clock --------------------------------------------------------------------------------


async def smtp(stream, got):
    """Just enough of a mail server."""
    await stream.send_all(b"220 test\r\n")
    data, body = False, b""
    async for chunk in stream:
        for line in chunk.splitlines(keepends=True):
            if data:
                if line == b".\r\n":
                    data = False
                    got.append(body)
                    await stream.send_all(b"250 ok\r\n")
                else:
                    body += line
            elif line.upper().startswith(b"DATA"):
                data = True
                await stream.send_all(b"354 go\r\n")
            elif line.upper().startswith(b"QUIT"):
                await stream.send_all(b"221 bye\r\n")
                return
            else:
                await stream.send_all(b"250 ok\r\n")


async def test_the_buyer_gets_one_mail(opened, receiver, nursery):
    got = []
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, lambda stream: smtp(stream, got), [listener])
    mail = Mail(
        host="127.0.0.1", sender="shop@shop.example", port=listener.socket.getsockname()[1], security="none"
    )
    receiver.answer = says(status="minted", tx_hash="0xabc")
    settings = make_settings(minter="http", http=service(receiver).http, mail=mail, tiers={"open": Tier()})
    async with opened(settings) as house:
        await house.add(email="ada@mail.example", name="Ada")

        async def sent():
            return (await house.buyer())["receipt_sent"]

        await house.until(sent)
    assert len(got) == 1
    message = message_from_bytes(got[0])
    assert message["To"] == "ada@mail.example"
    assert "0xabc" in message.get_payload()
    nursery.cancel_scope.cancel()


ALL_MINTS = "SELECT state FROM mint.intents ORDER BY license_id"


async def test_wires_expire_and_old_buyers_move_to_the_archive(db, receiver):
    from datetime import UTC, datetime

    clock = FixedClock(datetime.now(UTC))
    plain = service(receiver).http
    settings = make_settings(minter="http", http=plain, archive_above=1)
    async with open_house(db, settings, work=False, clock=clock) as house:
        for number, status in enumerate(("pending_wire", "pending_wire", "active")):
            await house.add(f"NODE-{number:05}", status=status, tier="founder")
        await upkeep.review_wires(house.ctx)
        assert (await house.buyer("NODE-00000"))["status"] == "pending_wire"
        clock.advance(timedelta(days=31))
        await upkeep.review_wires(house.ctx)
        assert (await house.buyer("NODE-00000"))["status"] == "expired"
        taken = await house.one("SELECT taken FROM mint.tiers WHERE tier = 'founder'")
        assert taken["taken"] == 1
        await upkeep.archive(house.ctx)
        assert len(await house.fetch("SELECT * FROM mint.buyers")) == 3
        await house.db.owner.execute(
            sql("age_buyers", "UPDATE mint.buyers SET status_at = status_at - interval '740 days'")
        )
        hold = sql(
            "hold_a_buyer",
            """INSERT INTO wharfd.holds (id, source, key, reason, made_by)
            SELECT 'hold_1', 'mint.buyers', id, 'case 17', 'test' FROM mint.buyers WHERE license_id = $1""",
        )
        await house.db.execute(hold, "NODE-00001")
        await upkeep.archive(house.ctx)
        assert len(await house.fetch("SELECT * FROM mint.buyers")) == 2
        assert (await house.buyer("NODE-00001"))["status"] == "expired"
        await house.db.execute(sql("release", "UPDATE wharfd.holds SET released_at = now()"))
        await upkeep.archive(house.ctx)
        assert [one["status"] for one in await house.fetch("SELECT * FROM mint.buyers")] == ["active"]
        assert len(await house.fetch("SELECT * FROM mint.buyers_archive")) == 2
        async with house.db.transaction() as tx:
            assert await buyers.archived(tx, "NODE-00000") == "expired"
            assert await buyers.archived(tx, "NODE-00002") is None


async def test_the_validation_holds_what_it_cannot_bear_out_and_comes_to_an_end(db, receiver, monkeypatch):
    monkeypatch.setattr(upkeep, "_GROUP", 1)  # as many as that, and the same ones would come for ever
    receiver.answer = answers.status(404)
    async with open_house(db, service(receiver), work=False) as house:
        for number, archived in enumerate((True, False, False)):
            license_id = f"NODE-{number:05}"
            await house.add(license_id, minted=f"0x{number:064x}")
            if archived:
                await house.db.owner.execute(sql("gone", "DELETE FROM mint.buyers"))
        with trio.fail_after(30):
            await upkeep.validate(house.ctx)
        assert [one["state"] for one in await house.fetch(ALL_MINTS)] == ["done", "held", "held"]
        assert "does not know" in (await house.mint("NODE-00001"))["trouble"]
        assert (await house.buyer("NODE-00001"))["tx_hash"] is not None
        async with house.db.transaction() as tx:
            assert await intents.retry(tx, "NODE-00001")
        assert (await house.buyer("NODE-00001"))["tx_hash"] is None
