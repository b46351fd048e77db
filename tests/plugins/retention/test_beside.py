"""Rows that come back: an archive beside its table, until a date; a month into its table, while its grace lasts."""

from datetime import UTC, datetime, timedelta

from wharfd import Request, sql
from wharfd.contracts.access import Identity
from wharfd_retention import store
from wharfd_retention.console import _back

AT_ONCE = "dry_run_first = false\n"
OUT = """SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'rehydrated' AND c.relkind = 'r'"""
EXPIRE = "UPDATE retention.rehydrated SET ends_at = now() - interval '1 minute' WHERE id = '{}'"


async def archives(s, table="shop.events"):
    found = (await s.d.get(f"/api/v1/archive?table={table}")).json()["archives"]
    return [unit for unit in found if unit["rows"]]


async def audited(s, action):
    rows = await s.sql(f"SELECT detail FROM wharfd.audit WHERE action = '{action}' ORDER BY recorded_at")
    return [row[0] for row in rows]


async def old(s):
    return await s.count("shop.events", "at < now() - interval '150 days'")


async def test_an_archive_lies_beside_until_its_date(shop):
    async with shop(AT_ONCE) as s:
        await s.run()
        (unit,) = await archives(s, "shop.notes")
        at = f"/api/v1/archive/{unit['id']}/restore"
        assert (await s.d.post(at, {"until": "2020-01-01T00:00:00Z"})).status == 400
        assert (await s.d.post(at, {"until": "2090-01-01T00:00:00"})).status in (400, 422)
        back = (await s.d.post(at)).json()
        assert (back["table"], back["rows"]) == (f"rehydrated.{unit['id']}", 370)
        days = datetime.fromisoformat(back["until"]) - datetime.now(UTC)
        assert timedelta(days=13) < days < timedelta(days=15)
        assert (await s.d.post(at, {"until": "2090-01-01T00:00:00Z"})).status == 200  # again, and for longer
        (listed,) = (await s.d.get("/api/v1/archive/rehydrated")).json()["rehydrated"]
        assert (listed["relation"], listed["made_by"], listed["ends_at"][:4]) == (
            back["table"],
            "admin",
            "2090",
        )
        await s.run()
        assert await s.count(back["table"]) == 370
        # dropped by a command, or by itself when its date has come; the archive stays
        gone = f"/api/v1/archive/rehydrated/{unit['id']}"
        assert (await s.d.request("DELETE", gone)).json() == {"dropped": back["table"]}
        assert (await s.d.request("DELETE", gone)).status == 404
        assert (await s.d.post(at)).status == 200
        await s.sql(EXPIRE.format(unit["id"]))
        await s.run(dry_run=True)
        assert await s.d.db.owner.fetchval(sql("out", OUT)) == 1
        await s.run()
        assert await s.d.db.owner.fetchval(sql("out", OUT)) == 0
        assert (await s.d.get("/api/v1/archive/rehydrated")).json() == {"rehydrated": []}
        assert await audited(s, "retention.rehydrated_dropped") == [{"part": back["table"]}] * 2
        assert len(await audited(s, "retention.restored")) == 3
        assert (await archives(s, "shop.notes"))[0]["manifest"] is not None


async def test_a_month_in_its_grace_is_put_back_and_stays(shop):
    async with shop(AT_ONCE, grace="7d") as s:
        await s.run()
        assert await old(s) == 0
        unit, *others = await archives(s)
        assert unit["state"] == "detached"
        at = f"/api/v1/archive/{unit['id']}/put-back"
        request = Request(identity=Identity("admin", "admin", scopes=frozenset({"*"})))
        assert at in str(_back(request, unit))
        assert f"{unit['id']}/restore" in str(_back(request, {**unit, "state": "dropped"}))
        assert _back(request, {**unit, "state": "uploaded"}) == ""
        assert (await s.d.post(at, {"reason": "x"})).status in (400, 422)
        assert (await s.d.post("/api/v1/archive/arc_none/put-back", {"reason": "case"})).status == 404
        async with s.d.db.session() as other:
            assert await other.fetchval(
                sql("lock", "SELECT pg_try_advisory_lock(hashtextextended('wharfd.retention', 0))")
            )
            assert (await s.d.post(at, {"reason": "case 17"})).status == 409
        done = await s.d.post(at, {"reason": "case 17"})
        assert done.status == 200, done.body
        assert done.json()["month"] == unit["part"]
        assert await old(s) == unit["rows"]
        # runs leave it alone, it is cold no more, and doing it again changes nothing
        said = (await s.run())["rules"]["shop.events"]["said"]
        assert any("put back and stays until" in words for words in said), said
        assert (await s.d.post(at, {"reason": "case 17"})).status == 200
        assert await old(s) == unit["rows"]
        since, until = "2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"
        asked = {"table": "shop.events", "first": since, "last": until, "limit": 1000}
        cold = (await s.d.post("/api/v1/archive/query", asked)).json()["count"]
        assert cold == sum(other["rows"] for other in others)
        put = await audited(s, "retention.put_back")
        assert [(one["month"], one["reason"]) for one in put] == [(unit["part"], "case 17")] * 2
        # a date that has come: the month is archived anew and goes again
        await s.sql(
            "UPDATE retention.units SET stays_until = now() - interval '1 day' WHERE stays_until > now()"
        )
        await s.run()
        assert await old(s) == 0
        assert {one["state"] for one in await archives(s)} == {"detached"}


async def test_a_month_that_was_half_put_back_or_attached_by_hand_is_not_dropped(shop):
    async with shop(AT_ONCE, grace="1d") as s:
        await s.run()
        first, *_ = await archives(s)
        await s.d.db.owner.execute(
            store.STAY, first["id"], datetime.now(UTC) + timedelta(days=9)
        )  # and killed
        await s.run()
        assert await old(s) == first["rows"]
        assert (await s.d.post(f"/api/v1/archive/{first['id']}/put-back", {"reason": "case"})).status == 200
        # one that a person attached: said, and kept until somebody says for how long
        await s.sql(
            f"UPDATE retention.units SET state = 'detached', stays_until = NULL, detached_at = now() - interval '2 days' WHERE id = '{first['id']}'"
        )
        said = (await s.run())["rules"]["shop.events"]["said"]
        assert any("attached again by hand" in words for words in said), said
        assert await old(s) == first["rows"]
        # one that is dropped cannot be put back, and it is said what can be done
        await s.sql(f"ALTER TABLE shop.events DETACH PARTITION {first['part']}")
        await s.run()
        (gone,) = (unit for unit in await archives(s) if unit["id"] == first["id"])
        assert gone["state"] == "dropped"
        refused = await s.d.post(f"/api/v1/archive/{gone['id']}/put-back", {"reason": "case"})
        assert (refused.status, "wharfd archive restore" in refused.body.decode()) == (409, True)
