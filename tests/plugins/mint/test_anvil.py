"""Mints on a real chain: the plain way, and everything anvil can do to a transaction."""

from itertools import pairwise

import pytest
import structlog
import trio

from wharfd_mint import alerts, upkeep
from wharfd_mint.evm.signer import Draft
from wharfd_mint.model.fees import Fees
from wharfd_mint.model.licenses import license_hash
from wharfd_mint.store import intents, ledger

from .conftest import ANVIL_CHAIN, WALLET, WALLET_2, make_evm, make_settings, quick


async def test_a_paid_buyer_gets_one_token(anvil, opened):
    async with opened(anvil.settings()) as house:
        await house.add()
        await house.reached("done")
        buyer, mint = await house.buyer(), await house.mint()
        receipt = anvil.receipt(buyer["tx_hash"])
        assert receipt["status"] == "0x1"
        assert buyer["token_id"] == "1"
        assert mint["stage"] == "delivered"
        assert anvil.supply() == 1
        token = anvil.call("tokenOfLicense(bytes32)", ["bytes32"], [license_hash("NODE-AAAAA")])
        assert int(token, 16) == 1
        events = await house.delivered()
        assert [one["data"]["tx_hash"] for one in events] == [buyer["tx_hash"]]
        nonce = await house.one("SELECT * FROM mint.nonces")
        assert not nonce["open"]
        assert nonce["outcome"] == "mined"
        assert int(nonce["spent"]) > 0


async def test_what_the_chain_has_is_adopted_and_not_minted_again(anvil, opened):
    async with opened(anvil.settings(), work=False) as house:
        await house.add()
    digest = license_hash("NODE-AAAAA")
    anvil.admin("setMinter(address)", ["address"], [anvil.owner])
    made = anvil.admin("mint(address,bytes32)", ["address", "bytes32"], [WALLET, digest])
    async with opened(anvil.settings()) as house:
        await house.reached("done")
        assert (await house.buyer())["tx_hash"] == made["transactionHash"]
        assert await house.attempts() == []
        assert len(await house.delivered()) == 1
        assert anvil.supply() == 1


async def test_a_token_in_another_wallet_is_for_a_person(anvil, opened):
    anvil.admin("setMinter(address)", ["address"], [anvil.owner])
    other = [WALLET_2, license_hash("NODE-AAAAA")]
    anvil.admin("mint(address,bytes32)", ["address", "bytes32"], other)
    async with opened(anvil.settings()) as house:
        await house.add()
        mint = await house.reached("held")
        assert WALLET_2 in mint["trouble"]
        assert (await house.buyer())["tx_hash"] is None


async def test_a_contract_that_refuses_needs_a_person_and_then_goes_on(anvil, opened):
    anvil.admin("setPaused(bool)", ["bool"], [True])
    async with opened(anvil.settings()) as house:
        await house.add()
        mint = await house.reached("held")
        assert mint["trouble"] == "the contract refuses the mint: Paused()"
        assert await house.attempts() == []
        anvil.admin("setPaused(bool)", ["bool"], [False])
        async with house.db.transaction() as tx:
            assert await intents.retry(tx, "NODE-AAAAA")
        await house.now()
        await house.reached("done")
        assert anvil.supply() == 1


async def test_a_stuck_transaction_is_replaced_on_its_own_nonce(anvil, opened):
    anvil.automine(False)
    async with opened(anvil.settings(bump_after=quick(0.05), poll=quick(0.02))) as house:
        await house.add()

        async def replaced():
            return len(await house.attempts()) >= 3

        await house.until(replaced)
        anvil.automine(True)
        anvil.mine()
        await house.reached("done")
        attempts = await house.attempts()
        assert {one["nonce"] for one in attempts} == {0}
        fees = [(int(one["max_fee"]), int(one["priority_fee"])) for one in attempts]
        for before, after in pairwise(fees):
            assert all(new * 10 >= old * 11 for old, new in zip(before, after, strict=True))
        assert anvil.supply() == 1
        assert (await house.buyer())["tx_hash"] in {one["hash"] for one in attempts}


async def test_a_dropped_transaction_is_sent_again(anvil, opened):
    anvil.automine(False)
    async with opened(anvil.settings()) as house:
        await house.add()
        await house.at_stage("sent")
        first = (await house.attempts())[0]["hash"]
        anvil.rpc("anvil_dropTransaction", first)
        assert anvil.rpc("eth_getTransactionByHash", first) is None

        async def sent_again():
            return anvil.rpc("eth_getTransactionByHash", first) is not None

        await house.until(sent_again)
        anvil.automine(True)
        anvil.mine()
        await house.reached("done")
        assert [one["hash"] for one in await house.attempts()] == [first]
        assert anvil.supply() == 1


LONG = pytest.mark.faults


@pytest.mark.parametrize("depth", [1, *(pytest.param(depth, marks=LONG) for depth in (2, 3, 4)), 5])
async def test_a_reorganisation_before_the_end_is_ridden_out(anvil, opened, depth):
    async with opened(anvil.settings(confirmations=depth + 2)) as house:
        await house.add()
        mint = await house.at_stage("mined")
        anvil.mine(depth - 1)
        first = (await house.attempts())[0]
        anvil.rpc("anvil_reorg", depth, [])
        assert anvil.receipt(first["hash"]) is None

        async def mined_again():
            return anvil.receipt(first["hash"]) is not None

        await house.until(mined_again)
        anvil.mine(depth + 2)
        await house.reached("done")
        attempts = await house.attempts()
        assert [one["hash"] for one in attempts] == [first["hash"]]
        assert attempts[0]["reorged"] == 1
        assert anvil.supply() == 1
        assert len(await house.delivered()) == 1
        assert mint["tx_hash"] is None, "no hash before the mint is final"


@pytest.mark.parametrize("depth", [1, 5])
async def test_a_reorganisation_after_the_delivery_is_found_and_told_once(anvil, opened, depth):
    async with opened(anvil.settings()) as house:
        await house.add()
        await house.reached("done")
        tx_hash = (await house.buyer())["tx_hash"]
        anvil.mine(depth - 1)
        anvil.rpc("anvil_reorg", depth, [])
        assert anvil.receipt(tx_hash) is None
        await upkeep.validate(house.ctx)

        async def back():
            return (await house.buyer())["tx_hash"] == tx_hash and (await house.mint())["state"] == "done"

        await house.until(back)
        assert anvil.receipt(tx_hash)["status"] == "0x1"
        assert anvil.supply() == 1
        assert len(await house.delivered()) == 1


async def test_a_refund_before_the_broadcast_mints_nothing_and_frees_the_nonce(anvil, opened):
    def crash(step):
        if step == "commit":
            raise RuntimeError("crash")

    async with opened(anvil.settings(), passing=crash) as house:
        await house.add()
        await house.until(house.attempts)
        await house.refund()
    async with opened(anvil.settings()) as house:
        await house.now()
        await house.reached("cancelled")
        kinds = [(one["kind"], one["nonce"]) for one in await house.attempts()]
        assert kinds == [("mint", 0), ("cancel", 0)]
        assert (await house.one("SELECT * FROM mint.nonces"))["outcome"] == "cancelled"
        assert anvil.supply() == 0
        assert int(anvil.rpc("eth_getTransactionCount", anvil.minter, "latest"), 16) == 1


async def test_a_refund_in_flight_is_taken_back_by_its_own_nonce(anvil, opened):
    anvil.automine(False)
    async with opened(anvil.settings()) as house:
        await house.add()
        await house.at_stage("sent")
        await house.refund()
        await house.at_stage("cancelling")
        anvil.automine(True)
        anvil.mine()
        await house.reached("cancelled")
        assert anvil.supply() == 0
        assert await house.delivered() == []


async def test_a_refund_that_comes_too_late_is_told(anvil, opened):
    async with opened(anvil.settings(confirmations=3)) as house:
        await house.add()
        await house.at_stage("mined")
        await house.refund()
        anvil.mine(3)
        mint = await house.reached("done")
        assert "refunded" in mint["trouble"]
        assert (await house.buyer())["status"] == "refunded"
        assert (await house.buyer())["tx_hash"] is not None
        assert await house.delivered() == []


async def test_without_money_the_signer_pauses_and_goes_on_when_there_is_some(anvil, opened):
    anvil.rpc("anvil_setBalance", anvil.minter, "0x0")
    async with opened(anvil.settings()) as house:
        await house.add()
        mint = await house.at_stage("no_funds")
        assert mint["attempts"] == 0
        await upkeep.tend_signer(house.ctx)
        found = {one.key for one in await alerts.find_signer_trouble(house.ctx)}
        assert found == {"balance", "paused"}
        anvil.rpc("anvil_setBalance", anvil.minter, hex(10**19))
        await upkeep.tend_signer(house.ctx)
        assert await alerts.find_signer_trouble(house.ctx) == []
        await house.now()
        await house.reached("done")


async def test_a_fee_spike_waits_and_a_spending_cap_stops(anvil, opened):
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(400 * 10**9))
    anvil.mine()
    async with opened(anvil.settings()) as house:
        await house.add()

        async def waits():
            return "max_fee_gwei" in ((await house.mint())["trouble"] or "")

        await house.until(waits)
        assert await house.attempts() == []
        for _ in range(40):
            anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
            anvil.mine()
        house.ctx.state["minters"]["evm"].chain.forget()
        await house.now()
        await house.reached("done")
    async with opened(anvil.settings(spend_per_day=0.00001)) as house:
        await house.add("NODE-BBBBB")
        mint = await house.at_stage("capped", "NODE-BBBBB")
        assert "spending cap" in mint["trouble"]
        assert len(await house.attempts()) == 1


async def test_another_chain_stops_everything(anvil, opened):
    async with opened(anvil.settings(chain_id=1)) as house:
        await house.add()
        mint = await house.at_stage("stopped")
        assert "serves chain 31337, not 1" in mint["trouble"]
        assert {one.key for one in await alerts.find_rpc_trouble(house.ctx)} >= {"chain"}
        assert (await alerts.check_minting(house.ctx)).state == "down"
        assert await house.attempts() == []


async def test_a_gap_in_the_nonces_is_found_and_filled(anvil, opened):
    # What a node that lied about the nonce leaves behind: ours is 3, and 0 to 2 are nobody's.
    async with opened(anvil.settings(), work=False) as house:
        pen = house.ctx.state["minters"]["evm"].pen
        async with house.db.transaction() as tx:
            fence, _ = await ledger.become_writer(tx, pen.account, "test")
            draft = Draft(ANVIL_CHAIN, 0, house.ctx.settings.evm.contract, b"", 30000, Fees(10**10, 10**9))
            signed = await pen._sign(draft, 3, "cancel")
            await ledger.open_nonce(tx, pen.account, 3, "gap:3", fence, house.ctx.now().date(), 1)
            await ledger.keep(tx, pen.account, "gap:3", signed)
        await upkeep.tend_signer(house.ctx)

        async def closed():
            await upkeep.tend_signer(house.ctx)
            rows = await house.fetch("SELECT nonce, open FROM mint.nonces ORDER BY nonce")
            return [row["nonce"] for row in rows] == [0, 1, 2, 3] and not any(row["open"] for row in rows)

        await house.until(closed)
        assert int(anvil.rpc("eth_getTransactionCount", anvil.minter, "latest"), 16) == 4


async def test_two_daemons_mint_each_license_once(anvil, opened):
    settings = anvil.settings(poll=quick(0.05))
    async with opened(settings, node="one") as house, opened(settings, node="two"):
        for number in range(24):
            await house.add(f"NODE-{number:05}")
        await house.now()
        await house.all_done(24)
        assert anvil.supply() == 24
        attempts = await house.attempts()
        assert sorted(one["nonce"] for one in attempts) == list(range(24))
        assert len(await house.delivered()) == 24


async def test_finalized_blocks_can_decide(anvil, opened):
    async with opened(anvil.settings(finality="finalized")) as house:
        await house.add()
        await house.at_stage("mined")
        anvil.mine(4)
        house.ctx.state["minters"]["evm"].chain.forget()
        await house.reached("done")


async def test_doctor_says_what_minting_depends_on(anvil, opened):
    async with opened(anvil.settings(), work=False) as house:
        checks = await house.ctx.state["minters"]["evm"].examine()
        states = {one["check"]: one["state"] for one in checks}
        assert set(states.values()) == {"ok"}, checks
        anvil.admin("setMinter(address)", ["address"], [anvil.owner])
        checks = await house.ctx.state["minters"]["evm"].examine()
        rehearsal = next(one for one in checks if one["check"] == "rehearsal")
        assert (rehearsal["state"], rehearsal["detail"]) == ("fail", "the contract would refuse: NotMinter()")
    evm = make_evm((anvil.url, "http://127.0.0.1:9/"), anvil.contract, anvil.key)
    async with opened(make_settings(evm=evm), work=False) as house:
        checks = await house.ctx.state["minters"]["evm"].examine()
        assert [one["state"] for one in checks if one["check"] == "endpoint"] == ["ok", "fail"]


async def test_a_hash_that_another_system_gave_is_held_against_the_chain(anvil, opened):
    async with opened(anvil.settings()) as house:
        await house.add()
        await house.reached("done")
        ours = (await house.mint())["tx_hash"]
        await house.add("NODE-BBBBB", minted=ours)  # it made a token, and not this license's
        await house.add("NODE-CCCCC", minted="0x" + "ab" * 32)  # it never was
        await house.set("UPDATE mint.intents SET token_id = NULL")  # as if that one had been imported, too
        await upkeep.validate(house.ctx)
        assert (await house.mint())["token_id"] == "1"
        held = await house.mint("NODE-BBBBB")
        assert (held["state"], "made no token for this license" in held["trouble"]) == ("held", True)
        await house.reached("done", "NODE-CCCCC")
        async with house.db.transaction() as tx:
            assert await intents.retry(tx, "NODE-BBBBB")
        await house.now()
        await house.reached("done", "NODE-BBBBB")
        assert (await house.mint("NODE-BBBBB"))["tx_hash"] != ours
        assert anvil.supply() == 3


TABLES = """SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
WHERE schemaname IN ('mint', 'wharfd') AND has_table_privilege(format('%I.%I', schemaname, tablename), 'SELECT')"""


async def test_the_key_is_nowhere_to_be_read(anvil, opened, capfd):
    secret = anvil.key.reveal()[2:]
    with structlog.testing.capture_logs() as logs:
        async with opened(anvil.settings()) as house:
            await house.add()
            await house.reached("done")
            for row in await house.fetch(TABLES):
                for line in await house.fetch(f"SELECT t::text AS line FROM {row['name']} t"):
                    assert secret not in line["line"]
            minter = house.ctx.state["minters"]["evm"]
            assert secret not in repr(vars(minter)) + repr(house.ctx.settings) + repr(vars(minter.pen))
    assert secret not in repr(logs) + "".join(capfd.readouterr())


CRASHES = ["sign", "persist", "commit", "broadcast", "receipt", "notify"]


@pytest.mark.parametrize("step", CRASHES)
async def test_a_crash_at_any_step_leaves_one_token(anvil, opened, step):
    crashed = trio.Event()

    def crash(passed):
        if passed == step and not crashed.is_set():
            crashed.set()
            raise RuntimeError(f"crash after {step}")

    async with opened(anvil.settings(), passing=crash) as house:
        await house.add()
        with trio.fail_after(60):
            await crashed.wait()
    async with opened(anvil.settings()) as house:
        await house.now()

        async def done():
            await house.now()
            return (await house.mint())["state"] == "done"

        await house.until(done)
        assert anvil.supply() == 1
        assert len({one["hash"] for one in await house.attempts()}) == 1
        assert len(await house.delivered()) == 1
