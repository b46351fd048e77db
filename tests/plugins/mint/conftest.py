"""The plugin on a real database with a real work engine, against anvil or against a scripted chain."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
import trio

import wharfd_mint as plugin
from wharfd.audit import Audit
from wharfd.clock import Clock
from wharfd.context import PluginContext
from wharfd.contracts.payments import PaymentFailed, PaymentReceived, PaymentRefunded
from wharfd.db import sql
from wharfd.declare import EventType, JobKind, WorkQueue
from wharfd.events import EventBus
from wharfd.http.outbound import OutboundClient
from wharfd.metrics import Metrics
from wharfd.secrets import Secret
from wharfd.work import WorkEngine
from wharfd.work.jobs import Jobs, queue_of
from wharfd_mint import desk
from wharfd_mint.config import Evm, Settings, Tier
from wharfd_mint.ethereum import load_account
from wharfd_mint.minters import open_minters
from wharfd_mint.model.calls import encoded
from wharfd_mint.store import buyers

NAME = "mint"
CONTRACT = json.loads((Path(plugin.__file__).parent / "contracts" / "LicenseNft.json").read_text())
ANVIL_CHAIN = 31337
WALLET = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # from EIP-55
WALLET_2 = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"


# -- anvil -------------------------------------------------------------------------------------------


def npm_cache() -> Path:
    return Path(os.environ.get("WHARFD_TEST_CACHE", Path.home() / ".cache" / "wharfd-tests")) / "anvil-1.7.1"


def anvil_binary() -> Path:
    """Return the anvil binary, installed from npm once per machine; skip loudly where npm is missing."""
    folder = npm_cache()
    binary = folder / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
    if binary.exists():
        return binary
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail("npm is missing: in CI the mint tests must run against anvil")
        pytest.skip(
            "NOT TESTED AGAINST A CHAIN: npm is missing, so anvil (@foundry-rs/anvil) cannot be installed"
        )
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".lock"
    with lock.open("w") as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        if not binary.exists():
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
            done = subprocess.run(
                [*command, "@foundry-rs/anvil@1.7.1"], capture_output=True, text=True, timeout=180
            )
            assert binary.exists(), f"npm did not install anvil: {done.stdout} {done.stderr}"
    return binary


class Anvil:
    """A chain of its own. Plain blocking calls: they are for the test, not for what is tested."""

    def __init__(self, binary):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [binary, "--host", "127.0.0.1", "--port", str(self.port), "--silent", "--slots-in-an-epoch", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                self.rpc("eth_chainId")
                return
            except OSError:
                assert time.monotonic() < deadline, "anvil does not start"

    def rpc(self, method, *params):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            document = json.load(answer)
        if "error" in document:
            raise RuntimeError(document["error"])
        return document["result"]

    def mine(self, blocks=1):
        self.rpc("anvil_mine", hex(blocks))

    def automine(self, on):
        self.rpc("evm_setAutomine", on)

    def deploy(self, owner):
        data = (
            CONTRACT["bytecode"]
            + encoded("x(string,string,string)", ["string"] * 3, ["L", "L", "x"])[4:].hex()
        )
        tx = self.rpc("eth_sendTransaction", {"from": owner, "data": data, "gas": hex(3_000_000)})
        return self.mined(tx)["contractAddress"]

    def mined(self, tx):
        """Wait for a receipt: anvil answers before it has mined."""
        deadline = time.monotonic() + 10
        while (receipt := self.rpc("eth_getTransactionReceipt", tx)) is None:
            assert time.monotonic() < deadline, "not mined"
        return receipt

    def transact(self, owner, contract, signature, types=(), values=()):
        data = "0x" + encoded(signature, list(types), list(values)).hex()
        call = {"from": owner, "to": contract, "data": data, "gas": hex(500_000)}
        return self.mined(self.rpc("eth_sendTransaction", call))

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="session")
def anvil_process():
    anvil = Anvil(anvil_binary())
    yield anvil
    anvil.stop()


@dataclass
class Deployed:
    """The contract on a chain, with a fresh minter that has money."""

    anvil: Anvil
    owner: str
    contract: str
    key: Secret
    minter: str

    def __getattr__(self, name):
        return getattr(self.anvil, name)

    def call(self, signature, types=(), values=()):
        data = "0x" + encoded(signature, list(types), list(values)).hex()
        return self.rpc("eth_call", {"to": self.contract, "data": data}, "latest")

    def supply(self):
        return int(self.call("totalSupply()"), 16)

    def settings(self, **more):
        return make_settings(evm=make_evm(self.url, self.contract, self.key, **more))

    def receipt(self, tx_hash):
        return self.rpc("eth_getTransactionReceipt", tx_hash)

    def admin(self, signature, types=(), values=()):
        return self.transact(self.owner, self.contract, signature, types, values)


@pytest.fixture
def anvil(anvil_process):
    """A contract of its own on the session's chain; the chain is put back as it was afterwards."""
    account = load_account().create()
    anvil_process.automine(True)
    snapshot = anvil_process.rpc("evm_snapshot")
    owner = anvil_process.rpc("eth_accounts")[0]
    contract = anvil_process.deploy(owner)
    anvil_process.rpc("anvil_setBalance", account.address, hex(10**19))
    anvil_process.transact(owner, contract, "setMinter(address)", ["address"], [account.address])
    yield Deployed(anvil_process, owner, contract, Secret("0x" + bytes(account.key).hex()), account.address)
    anvil_process.automine(True)
    anvil_process.rpc("evm_revert", snapshot)


# -- settings ----------------------------------------------------------------------------------------


def quick(seconds):
    from datetime import timedelta

    return timedelta(seconds=seconds)


def make_evm(url, contract, key, **more):
    urls = (url,) if isinstance(url, str) else tuple(url)
    values = {
        "chain_id": ANVIL_CHAIN,
        "rpc": tuple(Secret(one) for one in urls),
        "contract": contract,
        "key": key,
        "confirmations": 1,
        "poll": quick(0.02),
        "resend_after": quick(0.05),
        "bump_after": quick(60),
        "timeout": quick(5),
        "allow_networks": ("127.0.0.0/8",),
    }
    return Evm(**{**values, **more})


def make_settings(**more):
    tiers = {"founder": Tier(cap=300, price=250000), "open": Tier()}
    return Settings(**{"tiers": tiers, **more})


@pytest.fixture
def settings_of():
    return make_settings


# -- the plugin, running -----------------------------------------------------------------------------


@dataclass
class Hooks:
    """Other plugins' minters."""

    minters: dict = field(default_factory=dict)

    async def call(self, name, **arguments):
        assert name == "register_minters"
        return [self.minters]


class House:
    """The plugin and ways to look at what it does."""

    def __init__(self, db, engine, bus, ctx):
        self.db, self.engine, self.bus, self.ctx = db, engine, bus, ctx
        self.shop = bus.events("shop")

    async def fetch(self, text, *args):
        return [dict(row) for row in await self.db.fetch(sql("test.fetch", text), *args)]

    async def one(self, text, *args):
        return (await self.fetch(text, *args))[0]

    async def set(self, text, *args):
        return await self.db.execute(sql("test.set", text), *args)

    async def add(
        self, license_id="NODE-AAAAA", *, status="active", wallet=WALLET, tier="open", minted=None, **more
    ):
        values = {"wallet": wallet, "tier": tier, "license_id": license_id, "status": status, **more}
        values = {"payment_method": "card", **values}
        async with self.db.transaction() as tx:
            return await desk.create(self.ctx, tx, values, actor="test", minted=minted)

    async def refund(self, license_id="NODE-AAAAA"):
        async with self.db.transaction() as tx:
            buyer = await buyers.locked(tx, license_id)
            return await desk.leave(self.ctx, tx, buyer, "refunded", actor="test", reason="test")

    async def publish(self, event):
        async with self.db.transaction() as tx:
            return await self.shop.publish(tx, event)

    async def buyer(self, license_id="NODE-AAAAA"):
        return await self.one("SELECT * FROM mint.buyers WHERE license_id = $1", license_id)

    async def mint(self, license_id="NODE-AAAAA"):
        return await self.one("SELECT * FROM mint.intents WHERE license_id = $1", license_id)

    async def attempts(self):
        return await self.fetch("SELECT * FROM mint.attempts ORDER BY id")

    async def delivered(self):
        return await self.fetch("SELECT * FROM wharfd.events WHERE type = 'nft.delivered' ORDER BY id")

    async def until(self, check, seconds=60):
        with trio.fail_after(seconds):
            while not (found := await check()):
                await trio.sleep(0.01)
        return found

    async def reached(self, state, license_id="NODE-AAAAA", seconds=60):
        async def check():
            mint = await self.mint(license_id)
            return mint if mint["state"] == state else None

        return await self.until(check, seconds)

    async def at_stage(self, stage, license_id="NODE-AAAAA", seconds=60):
        async def check():
            mint = await self.mint(license_id)
            return mint if mint["stage"] == stage else None

        return await self.until(check, seconds)

    async def all_done(self, count, seconds=60):
        async def check():
            row = await self.one("SELECT count(*) AS n FROM mint.intents WHERE state = 'done'")
            return row["n"] >= count

        await self.until(check, seconds)

    async def now(self):
        """Make every waiting mint due."""
        await self.set("UPDATE mint.intents SET due_at = now() WHERE state = 'ready'")
        self.ctx.work.wake(None, "intents")


def make_context(db, engine, bus, http, settings, *, clock=None, hooks=None):
    work = engine.work.bound(NAME)
    kinds = {kind.args: kind for kind in plugin.register_work(settings) if isinstance(kind, JobKind)}
    return PluginContext(
        name=NAME,
        settings=settings,
        log=structlog.get_logger(plugin=NAME),
        db=db.named(NAME),
        cache=None,
        work=work,
        jobs=Jobs(NAME, work, kinds),
        events=bus.events(NAME),
        services=None,
        plugins=None,
        hooks=hooks or Hooks(),
        metrics=Metrics(process=False).for_plugin(NAME, plugin.register_metrics(settings)),
        http=http,
        secrets=None,
        audit=Audit(db),
        limits=None,
        clock=clock or Clock(),
        state_dir=None,
    )


@asynccontextmanager
async def open_house(db, settings, *, work=True, node="one", passing=None, clock=None, hooks=None):
    """The plugin on this database; `work=False` leaves its queues alone."""
    engine = WorkEngine(db, node=node)
    bus = EventBus(db, engine)
    async with OutboundClient() as http, trio.open_nursery() as nursery:
        ctx = make_context(db, engine, bus, http, settings, clock=clock, hooks=hooks)
        queues = []
        for declared in plugin.register_work(settings):
            one = queue_of(NAME, declared) if isinstance(declared, JobKind) else declared
            assert isinstance(one, WorkQueue)
            queues.append(await engine.prepare(NAME, one))
        queues += await bus.declare(NAME, plugin.register_subscriptions(settings))
        await bus.declare(
            "shop", [EventType(one) for one in (PaymentReceived, PaymentRefunded, PaymentFailed)]
        )
        await plugin.provision(ctx)
        if passing is not None:
            ctx.state["passing"] = passing
            await open_minters(ctx, passing=passing)
        await nursery.start(engine.run)
        stop = trio.Event()
        if work:
            await nursery.start(
                lambda task_status: engine.run_queues(
                    queues, ctx, stop=stop, stop_seconds=5, task_status=task_status
                )
            )
        yield House(db, engine, bus, ctx)
        stop.set()
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="session")
def migrations():
    return [(NAME, plugin.register_migrations())]


@pytest.fixture
def opened(db):
    """Open the plugin with settings of the test's own."""
    return lambda settings, **more: open_house(db, settings, **more)
