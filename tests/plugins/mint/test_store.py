"""The tables: rights, caps, one writer, plans."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations

import asyncpg
import pytest
import trio

from wharfd.db import sql
from wharfd.errors import LeaseLost
from wharfd_mint import desk
from wharfd_mint.config import Http, Tier
from wharfd_mint.store import buyers, intents, ledger, lists, watching

from .conftest import WALLET, WALLET_2, make_settings

PLAIN = Http(url="http://127.0.0.1:9/")


@pytest.fixture
async def house(opened):
    tiers = {"founder": Tier(cap=3, price=250000), "open": Tier()}
    async with opened(make_settings(minter="http", http=PLAIN, tiers=tiers), work=False) as one:
        yield one


FOREVER = ("buyers", "buyers_archive", "buyer_history", "claims", "intents", "nonces", "attempts", "notices")


async def test_the_daemons_role_cannot_delete(house):
    for table in FOREVER:
        for statement in (f"DELETE FROM mint.{table}", f"TRUNCATE mint.{table}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await house.set(statement)


async def test_buyers_have_the_seven_indexes(house):
    rows = await house.fetch("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'buyers'")
    found = {row["indexname"]: row["indexdef"] for row in rows}
    for name, columns in {
        "buyers_pkey": "(id)",
        "buyers_license_id_idx": "(license_id)",
        "buyers_wallet_idx": "(wallet)",
        "buyers_tier_idx": "(tier)",
        "buyers_status_idx": "(status)",
        "buyers_created_at_idx": "(created_at)",
        "buyers_wallet_status_idx": "(wallet, status)",
    }.items():
        assert found[name].endswith(columns)
    assert "UNIQUE" in found["buyers_license_id_idx"]


async def test_a_cap_holds_against_many_at_once(house):
    outcomes = []

    async def come(number):
        try:
            await house.add(f"NODE-{number:05}", tier="founder")
            outcomes.append("in")
        except desk.NotPossible as error:
            outcomes.append(error.why)

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(come, number)
    assert sorted(outcomes) == ["full"] * 9 + ["in"] * 3
    assert (await house.one("SELECT * FROM mint.tiers WHERE tier = 'founder'"))["taken"] == 3
    assert (await house.one("SELECT count(*) AS n FROM mint.buyers"))["n"] == 3


async def test_places_are_given_back_and_taken_again(house):
    for number in range(3):
        await house.add(f"NODE-{number:05}", tier="founder", status="pending_wire")
    with pytest.raises(desk.NotPossible, match="sold out"):
        await house.add("NODE-FULL1", tier="founder")

    async def leave(license_id, status):
        async with house.db.transaction() as tx:
            return await desk.leave(
                house.ctx, tx, await buyers.locked(tx, license_id), status, actor="t", reason="t"
            )

    await leave("NODE-00000", "expired")
    await house.add("NODE-NEW01", tier="founder")
    with pytest.raises(desk.NotPossible, match="sold out"):
        await leave("NODE-00000", "pending_wire")
    async with house.db.transaction() as tx:
        with pytest.raises(desk.NotPossible, match="sold out"):
            await desk.activate(house.ctx, tx, await buyers.locked(tx, "NODE-00000"), actor="t", reason="t")
    await house.refund("NODE-NEW01")
    await leave("NODE-00000", "pending_wire")
    taken = await house.one("SELECT taken FROM mint.tiers WHERE tier = 'founder'")
    held = await house.one("SELECT count(*) AS n FROM mint.buyers WHERE holds_place AND tier = 'founder'")
    assert taken["taken"] == held["n"] == 3


MOVES = [(a, b) for a in desk.MOVES for b in ("active", "pending_wire", "refunded", "expired") if a != b]


WAYS = {
    "pending_wire": [],
    "active": ["active"],
    "expired": ["expired"],
    "refunded": ["active", "refunded"],
}


async def test_statuses_move_by_the_rules(house):
    for number, (before, after) in enumerate(MOVES):
        license_id = f"NODE-{number:05}"
        await house.add(license_id, status="pending_wire")
        for step in WAYS[before]:
            await _move(house, step, license_id)
        if after in desk.MOVES[before]:
            await _move(house, after, license_id)
            buyer = await house.buyer(license_id)
            assert buyer["status"] == after
            assert (await buyers.history(house.db, buyer["id"]))[-1]["status"] == after
        else:
            with pytest.raises(desk.NotPossible, match="cannot become"):
                await _move(house, after, license_id)


async def _move(house, status, license_id="NODE-AAAAA"):
    async with house.db.transaction() as tx:
        buyer = await buyers.locked(tx, license_id)
        if status == "active":
            await desk.activate(house.ctx, tx, buyer, actor="t", reason="t")
        else:
            await desk.leave(house.ctx, tx, buyer, status, actor="t", reason="t")


async def test_a_license_is_sold_once_in_the_archive_too(house):
    await house.add(status="pending_wire")
    with pytest.raises(desk.NotPossible, match="has a buyer"):
        await house.add(wallet=WALLET_2)
    await _move(house, "expired")
    assert await watching.archive(house.db.owner, timedelta(days=-1), 10) == 1
    assert await house.fetch("SELECT * FROM mint.buyers") == []
    with pytest.raises(desk.NotPossible, match="has a buyer"):
        await house.add(wallet=WALLET_2)


async def test_one_mint_per_license_whoever_activates(house):
    await house.add(status="pending_wire")
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(_move, house, "active")
    assert (await house.one("SELECT count(*) AS n FROM mint.intents"))["n"] == 1
    assert (await house.one("SELECT count(*) AS n FROM mint.buyer_history"))["n"] == 2


async def test_a_lost_claim_writes_nothing(house):
    await house.add()
    mint = await house.mint()
    await house.set("UPDATE mint.intents SET state = 'running', claim = 2")
    for claim, wallet in ((1, WALLET), (2, WALLET_2)):
        async with house.db.transaction() as tx:
            with pytest.raises(LeaseLost):
                await intents.fence(tx, mint["id"], claim, wallet)
    async with house.db.transaction() as tx:
        await intents.fence(tx, mint["id"], 2, WALLET)


async def test_one_writer_at_a_time_and_every_nonce_once(house):
    account = ledger.Account(7, "0xsigner")
    await ledger.ensure(house.db, account)
    taken, fences = [], []

    async def take(number):
        async with house.db.transaction() as tx:
            fence, _ = await ledger.become_writer(tx, account, f"daemon {number}")
            nonce = await ledger.free_nonce(tx, account, 2)
            await ledger.open_nonce(tx, account, nonce, f"mnt_{number}", fence, datetime.now(UTC).date(), 5)
            taken.append(nonce)
            fences.append(fence)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(take, number)
    assert sorted(taken) == list(range(2, 12))
    assert len(set(fences)) == 10
    with pytest.raises(asyncpg.UniqueViolationError):
        async with house.db.transaction() as tx:
            await ledger.open_nonce(tx, account, 99, "mnt_1", 11, datetime.now(UTC).date(), 5)


async def test_a_gap_is_found_only_below_an_open_nonce(house):
    account = ledger.Account(7, "0xsigner")
    await ledger.ensure(house.db, account)
    assert await ledger.gaps(house.db, account, 0) == []
    async with house.db.transaction() as tx:
        for nonce in (3, 5):
            await ledger.open_nonce(tx, account, nonce, f"mnt_{nonce}", 1, datetime.now(UTC).date(), 5)
    assert await ledger.gaps(house.db, account, 1) == [1, 2, 4]
    assert await ledger.gaps(house.db, account, 6) == []


# -- plans ---------------------------------------------------------------------------------------------

MANY = """INSERT INTO mint.buyers (id, license_id, wallet, tier, status, owner, created_at, status_at, tx_hash)
SELECT 'buy_' || n, 'NODE-' || lpad(n::text, 7, '0'), '0x' || lpad(to_hex(n), 40, 'a'),
  CASE WHEN n % 400 = 0 THEN 'founder' ELSE 'open' END,
  (ARRAY['active', 'active', 'pending_wire', 'refunded'])[1 + n % 4], 'own' || n % 500,
  now() - n * interval '1 minute', now() - n * interval '1 minute', CASE WHEN n % 300 <> 0 THEN '0x' || n END
FROM generate_series(1, 12000) n"""
MINTS = """INSERT INTO mint.intents (id, license_id, buyer_id, wallet, tier, owner, minter, state, tx_hash, created_at,
  delivered_at, final, checked_at)
SELECT 'mnt_' || n, license_id, id, wallet, tier, owner, 'evm', CASE WHEN n % 500 = 0 THEN 'held' ELSE 'done' END,
  tx_hash, created_at, created_at, n % 600 <> 0, now() - n * interval '1 second'
FROM (SELECT *, row_number() OVER () AS n FROM mint.buyers) b"""
PLANS = [
    (lists.statement("buyers", buyers.COLUMNS, (), False), [50], "buyers_created_at_idx"),
    (
        lists.statement("buyers", buyers.COLUMNS, (), True),
        [datetime.now(UTC), "x", 50],
        "buyers_created_at_idx",
    ),
    (lists.statement("buyers", buyers.COLUMNS, ("wallet",), False), ["0xabc", 50], "buyers_wallet"),
    (lists.statement("buyers", buyers.COLUMNS, ("tier",), False), ["founder", 50], "buyers_"),
    (lists.statement("buyers", buyers.COLUMNS, ("status",), False), ["refunded", 50], "buyers_"),
    (
        lists.statement("buyers", buyers.COLUMNS, ("wallet", "status"), False),
        ["0xabc", "active", 50],
        "buyers_wallet",
    ),
    (lists.statement("buyers", buyers.COLUMNS, ("owner",), False), ["own7", 50], "buyers_owner_idx"),
    (buyers._OF_LICENSE, ["NODE-0000007"], "buyers_license_id_idx"),
    (buyers._OF_WALLET, ["0xabc", None], "buyers_wallet"),
    (lists.statement("intents", "id", (), False), [50], "intents_created_idx"),
    (lists.statement("intents", "id", ("owner",), False), ["own7", 50], "intents_owner_idx"),
    (lists.statement("intents", "id", ("state",), False), ["held", 50], "intents_"),
    (watching._WITHOUT_TOKEN, [datetime.now(UTC), 20], "buyers_without_token_idx"),
    (watching._STUCK, [datetime.now(UTC), 20], "intents_open_idx"),
    (watching._OLD_WIRES, [datetime.now(UTC), 20], "buyers_aging_idx"),
    (intents._UNFINAL, [20], "intents_unfinal_idx"),
    (intents._TO_CHECK, [datetime.now(UTC), 20], "intents_checked_idx"),
    (intents._LOAD, ["mnt_7"], "intents_pkey"),
    (lists._MINT, ["NODE-0000007"], "intents_license_id_key"),
]


async def test_every_list_has_its_index(house):
    await house.set(MANY)
    await house.set(MINTS)
    await house.db.owner.execute(sql("test.analyze", "ANALYZE mint.buyers, mint.intents"))
    for statement, arguments, index in PLANS:
        plan = await house.db.explain(statement, *arguments)
        assert index in plan, (statement.name, plan)
        assert "Seq Scan on buyers" not in plan, (statement.name, plan)
        assert "Seq Scan on intents" not in plan, (statement.name, plan)


BUYER_FILTERS = ("wallet", "tier", "status", "owner")


def test_every_combination_of_filters_is_a_statement_of_its_own():
    names = set()
    for size in range(len(BUYER_FILTERS) + 1):
        for chosen in combinations(BUYER_FILTERS, size):
            for after in (False, True):
                names.add(lists.statement("buyers", "id", chosen, after).name)
    assert len(names) == 32
