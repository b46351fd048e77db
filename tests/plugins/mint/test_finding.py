"""A contract without a look-up: what it made is read from its logs, and what they leave open a person says."""

from __future__ import annotations

from datetime import timedelta

from wharfd_mint.evm.signer import Draft
from wharfd_mint.model.calls import Interface
from wharfd_mint.model.fees import Fees
from wharfd_mint.store import claims, intents

from .conftest import WALLET
from .scripted import CONTRACT, GWEI, Chain, Node, PlainSigner
from .test_minters import driven, finish

SOMEBODY = PlainSigner("0x" + "22" * 20)
BARE = {"mint": "mint(address)", "mint_arguments": ("wallet",)}


async def made_elsewhere(driver, license_id, wallet=WALLET, *, signer=SOMEBODY):
    """Have another program mint through the same contract."""
    chain = driver.chain
    values = Interface.values(license_id, wallet, "open")
    data = driver.evm.interface().mint.call(values)
    draft = Draft(
        chain.chain_id, chain.count(signer.address), CONTRACT, data, 10**6, Fees(900 * GWEI, 500 * GWEI)
    )
    raw, tx_hash = await signer.sign(draft)
    chain.eth_sendRawTransaction("0x" + raw.hex())
    chain.mine()
    return tx_hash


def by_logs(db, **more):
    chain = Chain(careless=True)
    return driven(db, [Node(chain)], chain, lookup_answer="logs", **more)


async def say(house, tx_hash, license_id):
    async with house.db.transaction() as tx:
        await claims.say(tx, tx_hash, license_id, "ann")
        assert await intents.retry(tx, "NODE-AAAAA")


async def test_a_token_whose_call_names_the_license_is_adopted(db):
    async with by_logs(db) as (house, driver):
        made = await made_elsewhere(driver, "NODE-AAAAA")
        mint = await finish(house, driver)
        assert (mint["state"], mint["tx_hash"]) == ("done", made)
        assert await house.attempts() == []
        assert len(driver.chain.tokens()[0]) == 1


async def test_tokens_of_other_licenses_in_the_wallet_are_no_reason_to_stop(db):
    async with by_logs(db, log_range=2) as (house, driver):
        for name in ("NODE-BBBBB", "NODE-CCCCC"):
            await made_elsewhere(driver, name)
        driver.chain.mine(5)
        mint = await finish(house, driver)
        assert mint["state"] == "done"
        assert len(await house.attempts()) == 1
        assert len(driver.chain.tokens()[0]) == 3


async def test_two_licenses_of_one_wallet_know_their_tokens_by_the_ledger(db):
    async with by_logs(db, **BARE) as (house, driver):
        assert (await finish(house, driver))["state"] == "done"
        await house.add("NODE-BBBBB")
        driver.id = (await house.mint("NODE-BBBBB"))["id"]
        for _ in range(30):
            await driver.step(driver.id)
            driver.chain.mine()
        assert (await house.mint("NODE-BBBBB"))["state"] == "done"
        assert len(driver.chain.tokens()[0]) == 2


async def test_a_token_that_could_be_ours_waits_for_a_persons_word(db):
    async with by_logs(db, **BARE) as (house, driver):
        made = await made_elsewhere(driver, "")
        mint = await finish(house, driver)
        assert mint["state"] == "held"
        assert made in mint["trouble"]
        assert "wharfd mint adopt" in mint["trouble"]
        await say(house, made, "NODE-AAAAA")
        mint = await finish(house, driver)
        assert (mint["state"], mint["tx_hash"]) == ("done", made)
        assert await house.attempts() == []


async def test_a_token_of_nobody_here_is_passed_over(db):
    async with by_logs(db, **BARE) as (house, driver):
        made = await made_elsewhere(driver, "")
        assert (await finish(house, driver))["state"] == "held"
        await say(house, made, None)
        mint = await finish(house, driver)
        assert mint["state"] == "done"
        assert mint["tx_hash"] != made


async def test_a_word_that_the_logs_do_not_bear_out_mints_nothing(db):
    async with by_logs(db, **BARE) as (house, driver):
        await made_elsewhere(driver, "")
        assert (await finish(house, driver))["state"] == "held"
        await say(house, "0x" + "77" * 32, "NODE-AAAAA")
        mint = await finish(house, driver)
        assert mint["state"] == "held"
        assert "show no token by it" in mint["trouble"]
        assert await house.attempts() == []


async def test_a_stolen_nonce_needs_nobody_where_the_logs_tell(db):
    async with by_logs(db) as (house, driver):
        await driver.step(driver.id)
        driver.chain.forget()
        await made_elsewhere(driver, "NODE-BBBBB", signer=driver.signer)
        for _ in range(6):
            await driver.step(driver.id)
            driver.clock.advance(timedelta(seconds=5))
        assert (await finish(house, driver))["state"] == "done"
        assert [one["nonce"] for one in await house.attempts()] == [0, 1]
        named = [
            tx for _, tx in driver.chain.mined() if tx.hash in {a["hash"] for a in await house.attempts()}
        ]
        assert len(named) == 1


async def test_final_blocks_are_read_once(db):
    async with by_logs(db, log_range=3) as (house, driver):
        driver.chain.mine(30)
        asked = driver.nodes[0].calls
        await driver.step(driver.id)
        first = asked.count("eth_getLogs")
        assert first >= 10
        assert (await finish(house, driver))["state"] == "done"
        assert asked.count("eth_getLogs") < first + 10
