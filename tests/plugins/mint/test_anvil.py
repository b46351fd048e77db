"""Mints on a real chain: the plain way, and everything anvil can do to a transaction."""

import pytest
import trio

from wharfd_mint.model.licenses import license_hash


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
