"""The plugin in a whole daemon: the rules every plugin keeps, and the way from a payment to a token."""

from __future__ import annotations

import argparse

import msgspec
import trio

import wharfd_mint
from wharfd.cli.client import Client
from wharfd.contracts.payments import PaymentReceived
from wharfd.supervisor import State
from wharfd.testing import answers
from wharfd.testing.contract import PluginContract
from wharfd_mint.commands import COMMAND

from .conftest import WALLET

HASH = "0x" + "ab" * 32
TABLE = """
minter = "http"
tiers.founder = { cap = 2, price = 5000 }
http = { url = "URL", allow_networks = ["127.0.0.0/8"], poll = "20ms" }
"""


class TestMint(PluginContract):
    plugin = wharfd_mint
    config = TABLE.replace("URL", "http://127.0.0.1:9/")


async def test_from_a_wire_to_the_token_and_the_command_line(daemon, receiver, capsys, tmp_path):
    minted = msgspec.json.encode({"status": "minted", "tx_hash": HASH, "token_id": 7})
    receiver.answer = answers.status(200, minted)
    async with daemon(config="[plugins.mint]" + TABLE.replace("URL", receiver.url)) as d:
        await d.wait_for_state("mint", State.RUNNING)
        body = {"wallet": WALLET, "tier": "founder", "licenseId": "NODE-AAAAA"}
        assert (await d.post("/api/wire-transfer", body)).status == 201
        assert (await d.post("/api/activate-wire", {"licenseId": "NODE-AAAAA"})).status == 200
        await d.drain("mint.intents")
        buyer = (await d.get("/api/buyers/license/NODE-AAAAA")).json()
        assert (buyer["txHash"], buyer["tokenId"], buyer["status"]) == (HASH, "7", "active")
        assert "minting" in str((await d.get("/health/ready")).json())

        parser = argparse.ArgumentParser()
        parser.add_argument("--json", action="store_true")
        COMMAND.configure(parser)
        client = Client(d.api, d.token)

        async def cli(*words):
            code = await trio.to_thread.run_sync(COMMAND.run, parser.parse_args(words), client)
            return code, capsys.readouterr().out

        assert "NODE-AAAAA" in (await cli("list", "--state", "done"))[1]
        assert HASH in (await cli("--json", "show", "NODE-AAAAA"))[1]
        assert "nothing was signed" in (await cli("show", "NODE-AAAAA"))[1]
        assert (await cli("doctor"))[0] == 0
        assert "founder" in (await cli("tiers"))[1]
        assert "no payment waits" in (await cli("payments"))[1]
        file = tmp_path / "buyers.csv"
        assert (await cli("export", str(file)))[0] == 0
        assert "NODE-AAAAA" in file.read_text()
        assert "0 added, 1 there already" in (await cli("import", str(file), "--dry-run"))[1]


def test_a_payment_event_has_the_fields_the_rule_reads():
    fields = {field.name for field in msgspec.structs.fields(PaymentReceived)}
    assert {"merchant_ref", "external_id", "source", "amount", "currency", "transaction_id"} <= fields
