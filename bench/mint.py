"""Minting through a whole daemon against anvil, which mines at once, beside a plain loop with web3.py.

    python bench/mint.py --anvil PATH [--mints 200] [--plain PYTHON_WITH_WEB3]

PATH after `npm install @foundry-rs/anvil`: node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil.

A throwaway PostgreSQL (without fsync) is started. A license is minted when it is in a block, confirmed and
written down, and its event is published. The plain loop (`bench/peers/web3_loop.py`) asks the contract,
signs, sends and waits for the receipt, one license after the other. It keeps nothing: killed, it does not
know what it did.

Then payments come as signed webhooks, `--rate` a second: from before the request is sent until the token is
written down as delivered, and the customer's event with it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
import trio
from eth_account import Account

from wharfd import sql
from wharfd.app import assemble, run
from wharfd.config import load_configuration
from wharfd.loading import find_plugins
from wharfd.testing.postgres import Cluster
from wharfd_mint import desk
from wharfd_mint.config import Settings
from wharfd_mint.model.calls import encoded

KEY = b"a key for this bench alone, no more"
HERE = Path(__file__).parent
NFT = json.loads((HERE.parent / "plugins/wharfd_mint/contracts/LicenseNft.json").read_text())
WALLET = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
DONE = sql("bench.done", "SELECT count(*) FROM mint.intents WHERE state = 'done'")
DELIVERED = sql(
    "bench.delivered",
    "SELECT license_id, delivered_at FROM mint.intents WHERE license_id LIKE 'PAID-%' AND state = 'done'",
)
TIMES = sql(
    "bench.times",
    "SELECT extract(epoch FROM delivered_at - created_at)::float8 AS s FROM mint.intents ORDER BY 1",
)


def rpc(url: str, method: str, *params: Any) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["result"]


def start_anvil(binary: Path) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([binary, "--port", str(port), "--silent"])
    url = f"http://127.0.0.1:{port}"
    for _ in range(200):
        try:
            rpc(url, "eth_chainId")
            return process, url
        except OSError:
            time.sleep(0.05)
    raise SystemExit("anvil does not start")


def deploy(url: str) -> tuple[str, str]:
    """Return a fresh contract and the key of its minter."""
    owner = rpc(url, "eth_accounts")[0]
    arguments = encoded("x(string,string,string)", ["string"] * 3, ["L", "L", ""])[4:].hex()
    sent = rpc(url, "eth_sendTransaction", {"from": owner, "data": NFT["bytecode"] + arguments})
    while (receipt := rpc(url, "eth_getTransactionReceipt", sent)) is None:
        time.sleep(0.01)
    account = Account.create()
    rpc(url, "anvil_setBalance", account.address, hex(10**20))
    data = "0x" + encoded("setMinter(address)", ["address"], [account.address]).hex()
    rpc(url, "eth_sendTransaction", {"from": owner, "to": receipt["contractAddress"], "data": data})
    time.sleep(0.2)
    return receipt["contractAddress"], "0x" + bytes(account.key).hex()


def plain(python: str, url: str, mints: int) -> None:
    contract, key = deploy(url)
    peer = HERE / "peers" / "web3_loop.py"
    done = subprocess.run(
        [python, str(peer), url, contract, str(mints)], input=key, capture_output=True, text=True, check=True
    )
    sys.stdout.write(done.stdout)


async def wharfd(url: str, mints: int, poll: str, payments: int, rate: float) -> None:
    contract, key = deploy(url)
    with tempfile.TemporaryDirectory() as place:
        cluster = Cluster(Path(place) / "postgres")
        cluster.folder.mkdir()
        cluster.start()
        try:
            await measure(cluster, Path(place), url, contract, key, mints, poll, payments, rate)
        finally:
            cluster.stop()


async def measure(
    cluster: Cluster, folder: Path, url: str, contract: str, key: str, mints: int, poll: str,
    payments: int, rate: float,
) -> None:  # fmt: skip
    cluster.psql("postgres", "CREATE DATABASE bench OWNER wharfd_owner")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = (
        f'[http]\nbind = "127.0.0.1:0"\n[ingest]\nbind = "127.0.0.1:{port}"\n[log]\nlevel = "error"\n'
        f'[database]\nurl = "{cluster.dsn("bench", "wharfd_app")}"\nowner_url = "{cluster.dsn("bench")}"\n'
        "[plugins.mint]\nconcurrency = 16\n[plugins.mint.tiers.open]\n[plugins.mint.evm]\nchain_id = 31337\n"
        f'rpc = ["{url}"]\ncontract = "{contract}"\nkey = "{key}"\nconfirmations = 1\npoll = "{poll}"\n'
        'spend_per_day = 90.0\nallow_networks = ["127.0.0.0/8"]\n'
        '[plugins.netbanx.sources.netbanx]\nscheme = "paysafe"\npaths = ["/hook"]\nkey_encoding = "utf8"\n'
        f'keys = ["{KEY.decode()}"]\n'
    )
    configuration = load_configuration(text, {})
    found, missing = find_plugins({"mint": None, "netbanx": None}, configuration.core.daemon.plugins_dir)
    prepared = assemble(configuration, found, missing, path=None, state_dir=folder / "state")
    async with trio.open_nursery() as nursery:

        async def start(task_status: Any) -> None:
            await run(prepared, environ={}, task_status=task_status)

        running = await nursery.start(start)
        with trio.fail_after(60):
            while "mint" not in running.lives.contexts:  # noqa: ASYNC110
                await trio.sleep(0.05)
        ctx = running.lives.contexts["mint"]
        before = calls(ctx)
        began = time.perf_counter()
        for number in range(mints):
            values = {"wallet": WALLET, "tier": "open", "license_id": f"NODE-{number:06}", "status": "active"}
            async with ctx.db.transaction() as tx:
                await desk.create(ctx, tx, {**values, "payment_method": "card"}, actor="bench")
        with trio.fail_after(600):
            while await ctx.db.fetchval(DONE) < mints:  # noqa: ASYNC110
                await trio.sleep(0.05)
        took = time.perf_counter() - began
        asked = {name: count - before.get(name, 0) for name, count in calls(ctx).items()}
        times = [row["s"] for row in await ctx.db.fetch(TIMES)]
        report("wharfd", mints, took, sum(asked.values()) / mints)
        sys.stdout.write(f"  calls per mint: { {n: round(c / mints, 2) for n, c in asked.items() if c} }\n")
        for share in (0.5, 0.95, 1.0):
            sys.stdout.write(
                f"  activated to delivered, p{share * 100:.0f}: {times[int(share * (mints - 1))]:.2f} s\n"
            )
        await signing(ctx)
        if payments:
            await paid(ctx, f"http://127.0.0.1:{port}/hook", payments, rate)
        running.stop.set()


async def paid(ctx: Any, url: str, payments: int, rate: float) -> None:
    """Send payments at a steady rate and say how long each took to its token."""
    sent: dict[str, datetime] = {}
    for number in range(payments):
        values = {
            "wallet": WALLET,
            "tier": "open",
            "license_id": f"PAID-{number:06}",
            "status": "pending_wire",
        }
        async with ctx.db.transaction() as tx:
            await desk.create(ctx, tx, {**values, "payment_method": "wire"}, actor="bench")

    def pay(license_id: str) -> None:
        body = payment(license_id)
        signature = base64.b64encode(hmac.digest(KEY, body, hashlib.sha256)).decode()
        request = urllib.request.Request(
            url, body, {"Signature": signature, "Content-Type": "application/json"}
        )
        sent[license_id] = datetime.now(UTC)
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(payments):
            await trio.sleep_until(began + number / rate)
            nursery.start_soon(trio.to_thread.run_sync, pay, f"PAID-{number:06}")
    with trio.fail_after(120):
        while len(rows := await ctx.db.fetch(DELIVERED)) < payments:  # noqa: ASYNC110
            await trio.sleep(0.05)
    times = sorted((row["delivered_at"] - sent[row["license_id"]]).total_seconds() for row in rows)
    shares = ", ".join(
        f"p{share} {times[share * (payments - 1) // 100]:.3f} s" for share in (50, 95, 99, 100)
    )
    sys.stdout.write(f"  payment's webhook to delivered, {payments} at {rate:g}/s: {shares}\n")


def payment(license_id: str) -> bytes:
    """Return a paid license as the provider tells it."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    paid = {
        "id": f"pay-{license_id}", "merchantRefNum": license_id, "amount": 1000, "currencyCode": "USD",
        "status": "COMPLETED", "txnTime": now, "paymentType": "CARD",
    }  # fmt: skip
    event = {
        "id": f"event-{license_id}", "resourceId": f"pay-{license_id}", "eventType": "PAYMENT",
        "type": "PAYMENT", "eventName": "PAYMENT_COMPLETED", "eventDate": now, "mode": "live",
        "payload": paid,
    }  # fmt: skip
    return json.dumps(event).encode()


def calls(ctx: Any) -> dict[str, float]:
    metric = ctx.metrics["rpc_calls_total"]
    return {labels[0]: child._value.get() for labels, child in metric._metrics.items() if labels[1] == "ok"}


async def signing(ctx: Any) -> None:
    from wharfd_mint.evm.signer import Draft
    from wharfd_mint.model.fees import Fees

    settings: Settings = ctx.settings
    assert settings.evm is not None
    signer = ctx.state["minters"]["evm"].pen._signer
    draft = Draft(31337, 0, settings.evm.contract, b"x" * 68, 10**5, Fees(10**9, 10**9))
    began = time.perf_counter()
    for _ in range(100):
        await signer.sign(draft)
    sys.stdout.write(f"  signing, in its thread: {(time.perf_counter() - began) * 10:.2f} ms\n")


def report(name: str, mints: int, seconds: float, per_mint: float) -> None:
    rate = mints / seconds
    sys.stdout.write(
        f"{name}: {mints} mints in {seconds:.2f} s: {rate:.1f}/s, {per_mint:.1f} RPC calls each\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--anvil", type=Path, required=True)
    parser.add_argument("--mints", type=int, default=200)
    parser.add_argument("--poll", default="100ms")
    parser.add_argument("--payments", type=int, default=200)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--plain", help="a python that has web3")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    process, url = start_anvil(arguments.anvil)
    try:
        if arguments.plain:
            plain(arguments.plain, url, arguments.mints)
        trio.run(wharfd, url, arguments.mints, arguments.poll, arguments.payments, arguments.rate)
    finally:
        process.kill()


if __name__ == "__main__":
    main()
