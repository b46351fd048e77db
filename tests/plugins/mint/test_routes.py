"""The API over real HTTP: old paths and shapes, bad input, whose rows are whose, money that arrives."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

import wharfd_mint as plugin
from wharfd import Secret, sql
from wharfd.contracts.access import Identity
from wharfd.contracts.payments import PaymentReceived, PaymentRefunded
from wharfd.testing.api import serve_routes
from wharfd_mint.config import Http, Tier
from wharfd_mint.store import watching

from .conftest import WALLET, WALLET_2, make_evm, make_settings

PLAIN = Http(url="http://127.0.0.1:9/", allow_networks=("127.0.0.0/8",))
TIERS = {"founder": Tier(cap=2, price=250000), "open": Tier()}
OLD = [
    "id",
    "licenseId",
    "wallet",
    "tier",
    "priceUsd",
    "paymentMethod",
    "status",
    "txHash",
    "email",
    "name",
    "nextStep",
    "receiptSent",
    "createdAt",
]


class Keys:
    """Two owners with their keys."""

    async def authenticate(self, credentials):
        owner = credentials.bearer
        if owner not in ("acme", "zenith", "reader"):
            return None
        scopes = {"mint:read"} if owner == "reader" else {"mint:*"}
        return Identity(f"key_{owner}", "key", owner, frozenset(scopes))

    async def observe(self, identity, **facts):
        pass


@pytest.fixture
def api(db, opened):
    @asynccontextmanager
    async def start(**more):
        settings = make_settings(**{"minter": "http", "http": PLAIN, "tiers": TIERS, **more})
        async with (
            opened(settings, work=False) as house,
            serve_routes(
                plugin.register_routes(settings), context=house.ctx, db=db, authenticator=lambda: Keys()
            ) as server,
        ):
            yield server, house

    return start


def buyer(**more):
    return {"wallet": WALLET, "tier": "founder", "paymentMethod": "card", **more}


async def test_a_buyer_in_the_old_shapes(api):
    async with api() as (server, house):
        answer = await server.post(
            "/api/buyers", buyer(licenseId="node-ab3de", email="a@b.example", name="Ada")
        )
        assert answer.status == 201, answer.body
        made = answer.json()
        assert set(OLD) <= set(made)
        assert made["licenseId"] == "NODE-AB3DE"
        assert made["priceUsd"] == 2500
        assert made["status"] == "active"
        for path in (
            f"/api/buyers/{made['id']}",
            f"/api/v1/buyers/{made['id']}",
            "/api/buyers/license/NODE-AB3DE",
            "/api/buyers/license/node-ab3de",
        ):
            assert (await server.get(path)).json()["id"] == made["id"]
        listed = (await server.get(f"/api/buyers/wallet/{WALLET.lower()}")).json()
        assert [one["id"] for one in listed] == [made["id"]]
        edited = await server.request(
            "PATCH", f"/api/buyers/{made['id']}", json={"name": "Lovelace", "receiptSent": True}
        )
        assert (edited.json()["name"], edited.json()["receiptSent"]) == ("Lovelace", True)
        history = (await server.get(f"/api/v1/buyers/{made['id']}/history")).json()["items"]
        assert [one["status"] for one in history] == ["active"]
        assert (await house.mint("NODE-AB3DE"))["state"] == "ready"
        actions = await house.fetch("SELECT action FROM wharfd.audit ORDER BY recorded_at")
        assert [one["action"] for one in actions] == ["buyer.created", "buyer.edited"]


BAD = [
    ({"wallet": "0x12"}, "wallet"),
    ({"wallet": "0x" + "0" * 40}, "wallet"),
    ({"wallet": WALLET.replace("A", "a", 1)}, "wallet"),
    ({"tier": "platinum"}, None),
    ({"licenseId": "no license"}, "licenseId"),
    ({"email": "nobody"}, "email"),
    ({"email": "a@b.example\nBcc: x@y.example"}, "email"),
    ({"price": 1, "priceUsd": 1}, "priceUsd"),
]


async def test_bad_data_is_a_400_with_details(api):
    async with api() as (server, house):
        for wrong, field in BAD:
            answer = await server.post("/api/buyers", buyer(**wrong))
            assert answer.status == 400, wrong
            problem = answer.json()
            assert problem["success"] is False
            assert problem["message"]
            if field:
                assert [one["field"] for one in problem["errors"]] == [field]
        assert await house.fetch("SELECT * FROM mint.buyers") == []


WRONG_KIND = [
    {"price": -1},
    {"price": "7"},
    {"wallet": 5},
    {"status": "refunded"},
    {"name": "x" * 300},
    {"name": "a\0b"},
]


async def test_what_is_of_the_wrong_kind_is_a_422(api):
    async with api() as (server, _):
        for body in WRONG_KIND:
            assert (await server.post("/api/buyers", buyer(**body))).status == 422, body


async def test_a_full_tier_is_a_403_for_creation_and_activation(api):
    async with api(wires_hold_places=False) as (server, _):
        wire = (await server.post("/api/wire-transfer", buyer())).json()
        for _ in range(2):
            assert (await server.post("/api/buyers", buyer())).status == 201
        assert (await server.post("/api/buyers", buyer())).status == 403
        full = await server.post("/api/activate-wire", {"licenseId": wire["licenseId"]})
        assert full.status == 403
        assert "sold out" in full.json()["message"]
        tiers = {one["tier"]: one for one in (await server.get("/api/v1/mint/tiers")).json()["items"]}
        assert (tiers["founder"]["taken"], tiers["founder"]["left"]) == (2, 0)


async def test_wires_are_activated_once(api):
    async with api() as (server, house):
        wire = await server.post("/api/wire-transfer", buyer(licenseId="NODE-AAAAA"))
        assert wire.status == 201
        assert wire.json()["buyer"]["status"] == "pending_wire"
        assert wire.json()["instructions"]
        assert (await server.post("/api/activate-wire", {"licenseId": "NODE-ZZZZZ"})).status == 404
        for path, body in (
            ("/api/activate-wire", {"licenseId": "NODE-AAAAA"}),
            ("/api/activate-wire", {"licenseId": "NODE-AAAAA"}),
            ("/api/activate-wire-transfer/NODE-AAAAA", None),
        ):
            answer = await server.post(path, body)
            assert answer.status == 200, answer.body
            assert answer.json()["buyer"]["status"] == "active"
        assert (await house.one("SELECT count(*) AS n FROM mint.intents"))["n"] == 1
        await house.refund()
        refused = await server.post("/api/activate-wire", {"licenseId": "NODE-AAAAA"})
        assert refused.status == 400
        assert "refunded" in refused.json()["message"]


async def test_activating_again_digs_up_a_mint_that_waits_for_a_person(api):
    async with api() as (server, house):
        await house.add()
        await house.set("UPDATE mint.intents SET state = 'held', trouble = 'why', doomed = 'why'")
        answer = await server.post("/api/activate-wire", {"licenseId": "NODE-AAAAA"})
        assert "tried again" in answer.json()["message"]
        mint = await house.mint()
        assert (mint["state"], mint["doomed"]) == ("ready", None)
        await house.set("UPDATE mint.buyers SET tx_hash = '0x1'")
        again = (await server.post("/api/activate-wire", {"licenseId": "NODE-AAAAA"})).json()
        assert (again["message"], again["txHash"]) == ("minted already", "0x1")


async def test_the_wallet_is_fixed_once_a_mint_was_signed(api):
    async with api() as (server, house):
        made = await house.add()
        moved = await server.request("PATCH", f"/api/buyers/{made.id}", json={"wallet": WALLET_2})
        assert moved.json()["wallet"] == WALLET_2
        assert (await house.mint())["wallet"] == WALLET_2
        await house.set("UPDATE mint.intents SET sent_on = true")
        fixed = await server.request("PATCH", f"/api/buyers/{made.id}", json={"wallet": WALLET})
        assert fixed.status == 409
        assert (await house.mint())["wallet"] == WALLET_2
        unknown = await server.request("PATCH", f"/api/buyers/{made.id}", json={"txHash": "0x1"})
        assert unknown.status == 422


OWNED = [
    ("GET", "/api/buyers/{id}", None),
    ("GET", "/api/v1/buyers/{id}/history", None),
    ("GET", "/api/buyers/license/NODE-AAAAA", None),
    ("PATCH", "/api/buyers/{id}", {"name": "me"}),
    ("POST", "/api/activate-wire", {"licenseId": "NODE-AAAAA"}),
    ("GET", "/api/v1/mints/NODE-AAAAA", None),
    ("POST", "/api/v1/mints/NODE-AAAAA/hold", {"reason": "wait"}),
    ("POST", "/api/v1/mints/NODE-AAAAA/retry", None),
]
HOUSE = [
    ("POST", "/api/v1/mints/NODE-AAAAA/adopt", {"txHash": "0x" + "ab" * 32}),
    ("POST", "/api/v1/mints/NODE-AAAAA/disown", {"txHash": "0x" + "ab" * 32}),
    ("GET", "/api/v1/mint/doctor", None),
    ("GET", "/api/v1/mint/payments", None),
    ("POST", "/api/v1/mint/payments/pay_1/settle", None),
]


async def test_another_owners_rows_are_not_there(api):
    async with api() as (server, house):
        made = await house.add(owner="acme")
        for method, template, body in OWNED:
            path = template.format(id=made.id)
            expected = {"acme": 200, "zenith": 404, None: 401, "reader": 404 if method == "GET" else 403}
            for token, status in expected.items():
                answer = await server.request(method, path, json=body, token=token)
                assert answer.status == status, (method, path, token)
                if status == 200 and path.endswith(("hold", "retry")):  # and again for the next
                    await house.set("UPDATE mint.intents SET state = 'ready'")
            assert (await server.request(method, path, json=body)).status == 200


async def test_what_is_of_the_house_is_not_there_for_anybodys_key(api):
    async with api() as (server, house):
        await house.add(owner="acme")
        for method, path, body in HOUSE:
            assert (await server.request(method, path, json=body, token="acme")).status == 404, path


async def test_lists_are_filtered_paged_and_owned(api):
    async with api(tiers={"founder": Tier(), "open": Tier()}) as (server, house):
        for number in range(7):
            await house.add(
                f"NODE-{number:05}", owner="acme" if number % 2 else "zenith",
                status="pending_wire" if number < 2 else "active", tier="open" if number < 5 else "founder",
            )  # fmt: skip

        async def licenses(query, token="acme"):
            kwargs = {} if token is None else {"token": token}
            found, cursor = [], ""
            while cursor is not None:
                page = (await server.get(f"/api/v1/buyers?limit=2&{query}{cursor}", **kwargs)).json()
                found += [one["licenseId"][-1] for one in page["items"]]
                cursor = page["next_cursor"] and "&cursor=" + page["next_cursor"]
            return "".join(found)

        assert await licenses("", None) == "6543210"
        assert await licenses("") == "531"
        assert await licenses("status=active", None) == "65432"
        assert await licenses("tier=founder", None) == "65"
        assert await licenses(f"wallet={WALLET}&status=pending_wire", None) == "10"
        assert await licenses(f"wallet={WALLET_2}", None) == ""
        assert (await server.get("/api/v1/buyers?status=nonsense")).status == 422
        mints = (await server.get("/api/v1/mints?state=ready", token="zenith")).json()["items"]
        assert {one["licenseId"] for one in mints} == {"NODE-00002", "NODE-00004", "NODE-00006"}


OPEN_NONCE = """INSERT INTO mint.nonces (chain_id, signer, nonce, intent_id, held_by, fence, day, reserved)
SELECT 1, '0x', 0, id, id, 1, current_date, 1 FROM mint.intents"""


async def test_retry_hold_and_doctor(api):
    async with api() as (server, house):
        await house.add()
        assert (await server.post("/api/v1/mints/NODE-AAAAA/hold", {"reason": "wait"})).status == 200
        assert (await house.mint())["state"] == "held"
        again = await server.post("/api/v1/mints/NODE-AAAAA/hold", {"reason": "wait"})
        assert (again.status, again.json()["message"]) == (409, "the mint is held already")
        assert (await server.post("/api/v1/mints/NODE-AAAAA/retry")).status == 200
        assert (await house.mint())["state"] == "ready"
        assert (await server.post("/api/v1/mints/NODE-NOONE/retry")).status == 404
        checks = (await server.get("/api/v1/mint/doctor")).json()["checks"]
        assert {one["check"]: one["state"] for one in checks} == {"service": "fail", "mints": "ok"}
        shown = (await server.get("/api/v1/mints/NODE-AAAAA")).json()
        assert shown["transactions"] == []
        await house.set(OPEN_NONCE)
        refused = await server.post("/api/v1/mints/NODE-AAAAA/hold", {"reason": "wait"})
        assert (refused.status, "later mints wait" in refused.json()["message"]) == (409, True)


async def test_a_person_says_which_transaction_made_a_token_where_only_the_logs_tell(api):
    mine, other = "0x" + "AB" * 32, "0x" + "cd" * 32
    path = "/api/v1/mints/NODE-AAAAA"
    evm = make_evm("http://127.0.0.1:9/", WALLET_2, Secret("0x" + "11" * 32), lookup_answer="logs")
    async with api(evm=evm) as (server, house):
        await house.add()
        await house.set("UPDATE mint.intents SET state = 'held', trouble = 'which one?'")
        assert (await server.post(f"{path}/adopt", {"txHash": "0x12"})).status == 422
        assert (await server.post("/api/v1/mints/NODE-NOONE/adopt", {"txHash": mine})).status == 404
        assert (await server.post(f"{path}/adopt", {"txHash": mine})).json()["success"] is True
        assert (await house.mint())["state"] == "ready"
        await house.set("UPDATE mint.intents SET state = 'held'")
        assert (await server.post(f"{path}/disown", {"txHash": other})).status == 200
        taken = await house.db.fetch(sql("said", "SELECT tx_hash, license_id FROM mint.claims ORDER BY 1"))
        assert [tuple(row) for row in taken] == [(mine.lower(), "NODE-AAAAA"), (other, None)]
        done = await house.db.fetch(
            sql(
                "audited", "SELECT action FROM wharfd.audit WHERE action IN ('mint.adopted', 'mint.disowned')"
            )
        )
        assert [row[0] for row in done] == ["mint.adopted", "mint.disowned"]
        await house.add("NODE-BBBBB")
        await house.set("UPDATE mint.intents SET state = 'held'")
        twice = await server.post("/api/v1/mints/NODE-BBBBB/adopt", {"txHash": mine})
        assert (twice.status, "made something else" in twice.json()["detail"]) == (409, True)


async def test_where_the_contract_can_be_asked_nobody_needs_to_say(api):
    async with api() as (server, house):
        await house.add()
        refused = await server.post("/api/v1/mints/NODE-AAAAA/adopt", {"txHash": "0x" + "ab" * 32})
        assert (refused.status, "this contract is asked" in refused.json()["detail"]) == (409, True)


async def test_buyers_as_csv_go_out_and_come_in(api):
    async with api(tiers={"open": Tier()}) as (server, house):
        await house.add("NODE-AAAAA", name="=SUM(A1)", owner="acme")
        await house.add("NODE-BBBBB", owner="zenith")
        text = (await server.get("/api/v1/mint/buyers.csv")).body.decode()
        assert len(text.splitlines()) == 3
        assert "'=SUM(A1)" in text
        assert len((await server.get("/api/v1/mint/buyers.csv", token="acme")).body.splitlines()) == 2
        file = (
            "license_id,wallet,tier,status,tx_hash,price\r\n"
            f"NODE-CCCCC,{WALLET},open,active,0x{'ab' * 32},100\r\n"
            f"NODE-AAAAA,{WALLET},open,active,,\r\n"
            f"NODE-DDDDD,0x12,open,active,,\r\n"
            f"NODE-EEEEE,{WALLET},open,refunded,,\r\n"
            "\r\n,,,,,\r\n"
            f"NODE-FFFFF,{WALLET},open,pending_wire,,\r\n"
            f"NODE-GGGGG,{WALLET},open,active,,-5\r\n"
            f"NODE-HHHHH,{WALLET},open,active,,{'9' * 30}\r\n"
        ).encode()
        kwargs = {"body": file, "headers": {"Content-Type": "text/csv"}}
        tried = (await server.post("/api/v1/mint/buyers.csv?dry_run=true", **kwargs)).json()
        assert (tried["added"], tried["skipped"], tried["failed"]) == (2, 1, 4)
        assert len(await house.fetch("SELECT * FROM mint.buyers")) == 2
        done = (await server.post("/api/v1/mint/buyers.csv", **kwargs)).json()
        assert (done["added"], done["skipped"], [one["line"] for one in done["errors"]]) == (
            2,
            1,
            [4, 5, 9, 10],
        )
        assert "price" in done["errors"][2]["message"]
        mint = await house.mint("NODE-CCCCC")
        assert (mint["state"], mint["final"], mint["tx_hash"]) == ("done", False, "0x" + "ab" * 32)
        assert (await server.post("/api/v1/mint/buyers.csv", body=b"a,b\n1,2\n")).status == 400


# -- payments ------------------------------------------------------------------------------------------


def payment(ref="NODE-AAAAA", amount=250000, currency="USD", number=1, kind=PaymentReceived):
    return kind(
        transaction_id=f"txn_{number}", external_id=f"ext_{number}", merchant_ref=ref, amount=amount,
        currency=currency, status="COMPLETED", method="card", source="netbanx", source_event_id="evt",
        happened_at=datetime.now(UTC),
    )  # fmt: skip


CASES = [
    (payment(), "active", "activated", False),
    (payment("node-aaaaa"), "pending_wire", None, None),
    (payment("order 7"), "pending_wire", None, None),
    (payment(None), "pending_wire", None, None),
    (payment(amount=249999), "pending_wire", "paid 2499.99 USD of 2500.00 USD", True),
    (payment(currency="EUR"), "pending_wire", "paid 2500.00 EUR for a price of 2500.00 USD", True),
    (payment(amount=None), "pending_wire", "paid an unknown amount for a price of 2500.00 USD", True),
    (payment("NODE-ZZZZZ"), "pending_wire", "no buyer has this license", True),
]


@pytest.mark.parametrize(("event", "status", "outcome", "needs_person"), CASES)
async def test_a_payment_activates_its_buyer_or_is_kept_for_a_person(
    opened, event, status, outcome, needs_person
):
    async with opened(make_settings(minter="http", http=PLAIN, tiers=TIERS)) as house:
        await house.add(status="pending_wire", tier="founder", price=250000)
        await house.publish(event)

        async def heard():
            return not await house.fetch("SELECT 1 FROM wharfd.inbox WHERE subscriber LIKE 'mint.%'")

        await house.until(heard)
        assert (await house.buyer())["status"] == status
        rows = await house.fetch("SELECT * FROM mint.payments")
        assert [(row["outcome"], row["needs_person"]) for row in rows] == (
            [] if outcome is None else [(outcome, needs_person)]
        )
        assert len(await watching.open_payments(house.db)) == bool(needs_person)


async def test_paying_twice_and_being_refunded(opened):
    async with opened(make_settings(minter="http", http=PLAIN, tiers=TIERS)) as house:
        await house.add(status="pending_wire", tier="founder", price=250000)

        async def noted(count):
            async def check():
                rows = await house.fetch("SELECT outcome FROM mint.payments ORDER BY at")
                return [row["outcome"] for row in rows] if len(rows) == count else None

            return await house.until(check)

        await house.publish(payment())
        assert await noted(1) == ["activated"]
        await house.publish(payment(number=2))
        assert (await noted(2))[-1] == "paid again"
        await house.publish(payment(amount=100, number=3, kind=PaymentRefunded))
        assert (await noted(3))[-1].startswith("a part went back")
        assert (await house.buyer())["status"] == "active"
        await house.publish(payment(number=4, kind=PaymentRefunded))
        assert (await noted(4))[-1] == "refunded"
        assert (await house.buyer())["status"] == "refunded"
