"""What goes, what stays, and what is left of it: a whole daemon, a real database."""

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import trio
import zstandard

import wharfd_retention
import wharfd_retention.machine
from wharfd import sql
from wharfd.contracts.archives import COLD
from wharfd.testing import PluginContract
from wharfd_retention import cold, routes, watching
from wharfd_retention.archiving import ArchiveDamaged
from wharfd_retention.nightly import go


class TestContract(PluginContract):
    plugin = wharfd_retention


async def old_events(shop):
    return await shop.count("shop.events", "at < now() - interval '150 days'")


async def test_a_run_reports_first_and_deletes_then(shop):
    async with shop() as s:
        # the first run of a rule reports and deletes nothing
        first = await s.run()
        assert first["status"] == "success"
        assert first["results"]["shop"] == {"archived": 0, "deleted": 0, "errors": 0}
        assert first["rules"]["shop.events"]["rows"] == 500
        assert "reports tonight" in first["rules"]["shop.events"]["said"][0]
        assert (await old_events(s), await s.count("shop.notes")) == (500, 400)
        # a dry run neither
        dry = await s.run(dry_run=True)
        assert dry["rules"]["shop.notes"]["rows"] == 370
        assert await s.count("shop.notes") == 400

        done = await s.run()
        assert done["results"]["shop"] == {"archived": 885, "deleted": 1135, "errors": 0}, done["rules"]
        assert (await old_events(s), await s.count("shop.events")) == (0, 2000)
        assert await s.count("shop.notes") == 30
        assert await s.count("shop.pings") == 0
        # live work stays, whatever its age
        assert await s.count("shop.jobs") == 5
        # and the whole of it lies in both places, readable with zstdcat and jq
        archived = (await s.d.get("/api/v1/archive?table=shop.notes")).json()["archives"]
        manifest = archived[0]["manifest"]
        for root in (s.folder / "second", s.folder / "state" / "plugins" / "retention" / "archive"):
            raw = (root / manifest["key"]).read_bytes()
            lines = zstandard.ZstdDecompressor().decompressobj().decompress(raw).splitlines()
            rows = [json.loads(line) for line in lines]
            assert len(rows) == manifest["rows"] == 370
            assert rows[0]["words"] == "note 400"  # the oldest first
        # a certificate of each deletion is in the audit log
        certificates = await s.sql(
            "SELECT subject, detail FROM wharfd.audit WHERE action = 'retention.deleted'"
        )
        (notes,) = [row["detail"] for row in certificates if row["detail"]["table"] == "shop.notes"]
        assert (notes["archived"], notes["deleted"], notes["sha256"]) == (370, 370, manifest["sha256"])
        # another run finds nothing to do
        again = await s.run()
        assert again["results"]["shop"] == {"archived": 0, "deleted": 0, "errors": 0}


async def test_the_archive_is_searched_read_by_other_plugins_and_put_back(shop):
    async with shop() as s:
        before = await s.sql(
            "SELECT row_to_json(e)::text FROM shop.events e WHERE id = 7 AND at < now() - '1d'::interval"
        )
        await s.run()
        await s.run()
        since, until = datetime.now(UTC) - timedelta(days=300), datetime.now(UTC)
        query = {"table": "shop.events", "first": since, "last": until, "where": {"id": 7}}
        found = (await s.d.post("/api/v1/archive/query", query)).json()
        assert found["count"] == 1
        assert found["rows"][0] == json.loads(before[0][0])
        cold_rows = s.ctx.services.get(COLD)
        assert len([row async for row in cold_rows.rows("shop.events", since, until)]) == 500
        oldest = datetime.fromisoformat(found["rows"][0]["at"])
        some = [row async for row in cold_rows.rows("shop.events", since, oldest)]
        assert sorted(row["id"] for row in some) == [1, 2, 3, 4, 5, 6]
        (unit,) = [
            u for u in (await s.d.get("/api/v1/archive?table=shop.events")).json()["archives"] if u["rows"]
            and u["first_at"] <= found["rows"][0]["at"] <= u["last_at"]
        ]  # fmt: skip
        back = (await s.d.post(f"/api/v1/archive/{unit['id']}/restore")).json()
        assert back["rows"] == unit["rows"]
        same = await s.sql(f"SELECT row_to_json(e)::text FROM {back['table']} e WHERE id = 7")
        assert same[0][0] == before[0][0]  # bytea, numeric, jsonb and all
        # nobody is told that there are no such rows when it is the question that is wrong
        for wrong, status in (({"where": {"idd": 7}}, 400), ({"table": "shop.evnts"}, 404)):
            assert (await s.d.post("/api/v1/archive/query", {**query, **wrong})).status == status
        one = (await s.d.post("/api/v1/archive/query", {**query, "where": {}, "limit": 1})).json()
        assert (one["count"], one["more"], found["more"]) == (1, True, False)
        # a flipped bit is found: the other place is read, and where none is whole nothing half is given
        told = (await s.d.post(f"/api/v1/archive/{unit['id']}/verify")).json()
        assert (told["whole"], set(told["places"].values())) == (True, {"whole"})
        for folder, status in (
            (s.folder / "state/plugins/retention/archive", 200),
            (s.folder / "second", 409),
        ):
            path = folder / unit["manifest"]["key"]
            raw = bytearray(path.read_bytes())
            raw[len(raw) // 2] ^= 4
            path.write_bytes(raw)
            again = await s.d.post(f"/api/v1/archive/{unit['id']}/restore")
            assert again.status == status, again.body
            told = (await s.d.post(f"/api/v1/archive/{unit['id']}/verify")).json()
            assert (told["whole"], "damaged" in told["places"][str(folder)]) == (False, True)
        with pytest.raises(ArchiveDamaged, match="no copy of"):
            await cold.search(s.ctx, "shop.events", since, until, {}, 10_000)


async def hold(s, **body):
    answer = await s.d.post("/api/v1/retention/holds", {"reason": "case 17", **body})
    assert answer.status == 201, answer.body
    return answer.json()["id"]


async def test_a_hold_is_the_last_gate_of_every_delete(shop):
    async with shop() as s:
        await s.run(dry_run=True)
        whole = await hold(s, table="shop.pings")
        await hold(s, table="shop.notes", owner="own_1")
        await hold(s, table="shop.notes", key="399")
        over = await hold(s, table="*", owner="own_2")
        await s.sql(f"UPDATE wharfd.holds SET expires_at = now() WHERE id = '{over}'")
        months = await hold(s, table="shop.events", owner="own_0")
        done = await s.run()
        assert await s.count("shop.pings") == 250
        held = await s.count("shop.notes", "owner = 'own_1' AND made_at < now() - interval '30 days'")
        assert held == 124
        assert await s.count("shop.notes", "id = 399") == 1
        assert await s.count("shop.notes") == 30 + held + 1
        # a month with one held row stays whole
        assert await old_events(s) == 500
        assert any("held" in words for words in done["rules"]["shop.events"]["said"])
        assert (await s.d.request("DELETE", f"/api/v1/retention/holds/{months}")).status == 200
        assert (await s.d.request("DELETE", f"/api/v1/retention/holds/{months}")).status == 404
        assert (await s.d.request("DELETE", f"/api/v1/retention/holds/{whole}")).status == 200
        await s.run()
        assert (await old_events(s), await s.count("shop.pings")) == (0, 0)


async def test_a_hold_that_comes_after_the_archive_still_counts(shop):
    async with shop() as s:
        await s.run(dry_run=True)
        held = []

        def hear(step):
            if step == "after_verified" and not held:
                held.append(step)

        # between the upload and the delete somebody holds a row
        original = wharfd_retention.machine._delete

        async def late(machine, unit, policy, shape):
            await hold(s, table="shop.notes", key="400")
            await original(machine, unit, policy, shape)

        wharfd_retention.machine._delete = late
        try:
            await go(s.ctx, dry=False, hear=hear)
        finally:
            wharfd_retention.machine._delete = original
        assert held
        assert await s.count("shop.notes", "id = 400") == 1
        assert await s.count("shop.notes") == 31


async def test_a_row_that_changed_after_it_was_archived_stays(shop):
    async with shop() as s:
        await s.run(dry_run=True)
        original = wharfd_retention.machine._upload

        async def late(machine, unit, policy, shape):
            if unit.source == "shop.notes":
                await s.sql("UPDATE shop.notes SET words = 'changed' WHERE id = 300")
            if unit.source == "shop.events":
                await s.sql("UPDATE shop.events SET price = 5 WHERE id = 9 AND at < now() - interval '1 day'")
            await original(machine, unit, policy, shape)

        wharfd_retention.machine._upload = late
        try:
            first = await s.run()
        finally:
            wharfd_retention.machine._upload = original
        assert any("archived again" in words for words in first["rules"]["shop.events"]["said"]), first[
            "rules"
        ]
        await s.run()
        assert await s.count("shop.notes") == 30
        since = datetime.now(UTC) - timedelta(days=300)
        kept = await cold.search(s.ctx, "shop.notes", since, datetime.now(UTC), {"id": 300}, 5)
        assert sorted(row["words"] for row in kept) == [
            "changed",
            "note 300",
        ]  # gone only with its last words
        (row,) = await cold.search(s.ctx, "shop.events", since, datetime.now(UTC), {"id": 9}, 5)
        assert row["price"] == 5


async def test_the_unusual_is_stopped(shop):
    async with shop("dry_run_first = false\nmax_share = 0.3\n") as s:
        await s.sql(
            "INSERT INTO shop.notes SELECT n, now() - interval '60 days' FROM generate_series(1001, 2000) n"
        )
        stopped = await s.run()
        rule = stopped["rules"]["shop.notes"]
        assert (rule["errors"], rule["deleted"]) == (1, 0)
        assert "more than 30%" in rule["said"][0]
        assert await s.count("shop.notes") == 1400
        forced = await s.run(force=True)
        assert forced["rules"]["shop.notes"]["deleted"] == 1370


async def test_a_run_over_one_rule_lets_the_others_be_and_tells_nothing_of_them(shop):
    async with shop("dry_run_first = false\nmax_share = 0.1\n") as s:
        await s.sql(
            "INSERT INTO shop.notes SELECT n, now() - interval '60 days' FROM generate_series(1001, 2000) n"
        )
        await s.run()
        (stopped,) = await watching.failed(s.ctx)
        await s.run(dry_run=True)  # a report mends nothing
        one = await s.run(rule="shop.pings", force=True)
        assert set(one["rules"]) == {"shop.pings"}
        assert [found.key for found in await watching.failed(s.ctx)] == [stopped.key] == ["shop.notes"]
        forced = await s.run(rule="shop.notes", force=True)
        assert forced["rules"]["shop.notes"]["deleted"] == 1370
        assert await watching.failed(s.ctx) == []
        unknown = await s.d.post("/api/v1/monitoring/retention/run", {"rule": "shop.nots"})
        assert (unknown.status, "shop.notes" in unknown.json()["detail"]) == (400, True)


async def test_a_clock_that_jumped_or_went_back_deletes_nothing(shop):
    async with shop("dry_run_first = false\n") as s:
        await s.sql("INSERT INTO retention.clock (last_seen) VALUES (now() + interval '1 hour')")
        back = await s.run()
        assert (back["status"], await s.count("shop.notes")) == ("error", 400)
        assert "went back" in back["message"]
        await s.sql("DELETE FROM retention.clock")
        began, monotonic = s.ctx.state["clock"]
        s.ctx.state["clock"] = (began - timedelta(days=3), monotonic)
        jumped = await s.run()
        assert "jumped" in jumped["message"]
        assert await s.count("shop.notes") == 400


async def test_a_place_that_is_away_stops_the_delete_and_not_the_rest(shop):
    async with shop("dry_run_first = false\n") as s:
        (s.folder / "second").write_text("a file where the folder should be")
        failed = await s.run()
        assert failed["rules"]["shop.notes"]["errors"] == 1
        assert (await s.count("shop.notes"), await old_events(s)) == (400, 500)
        assert await s.count("shop.pings") == 0  # has no archive
        (s.folder / "second").unlink()
        mended = await s.run()
        assert mended["rules"]["shop.notes"]["errors"] == 0
        assert (await s.count("shop.notes"), await old_events(s)) == (30, 0)


PENDING = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhdetachpending"
# While it waits for readers a detach holds no lock on the table: only its backend tells that it is still at it,
# and tells it to its own role alone.
DETACHING = """SELECT FROM pg_stat_activity WHERE query LIKE '%DETACH PARTITION%' AND state = 'active'
    AND pid <> pg_backend_pid()"""


async def until(s, query, there):
    with trio.fail_after(60):
        while bool(await s.sql(query)) is not there:
            await trio.sleep(0.01)


@asynccontextmanager
async def half_out(s, *, client_gone):
    """A detach that waits for a reader; with the client cancelled, or the server still at it."""
    (part,) = (await s.sql(
        "SELECT tableoid::regclass::text FROM shop.events WHERE id = 1 AND at < now() - interval '1 day'"
    ))[0]  # fmt: skip
    statement = sql("detach", f"ALTER TABLE shop.events DETACH PARTITION {part} CONCURRENTLY")
    async with trio.open_nursery() as nursery, s.d.db.session() as reader:
        await reader.execute(sql("begin", "BEGIN; SELECT 1 FROM shop.events LIMIT 1"))
        nursery.start_soon(s.d.db.owner.execute, statement)
        await until(s, PENDING, there=True)
        if client_gone:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await until(s, DETACHING, there=False)
                await reader.execute(sql("end", "ROLLBACK"))
                yield part
        else:
            nursery.start_soon(reader.execute, sql("end", "ROLLBACK"))
            yield part


@pytest.mark.parametrize("client_gone", [True, False])
async def test_a_detach_that_was_cut_short_is_finished(shop, client_gone):
    """A pending detach hides the month and closes its range: only FINALIZE cures it."""
    async with shop("dry_run_first = false\n") as s:
        async with half_out(s, client_gone=client_gone):
            done = await s.run()
        assert done["rules"]["shop.events"]["errors"] == 0, done["rules"]["shop.events"]
        assert await s.sql(PENDING) == []
        assert (await old_events(s), await s.count("shop.events")) == (0, 2000)


async def test_a_held_month_that_is_half_out_is_put_back(shop):
    async with shop("dry_run_first = false\n") as s:
        before = await old_events(s)
        async with half_out(s, client_gone=True) as part:
            assert await old_events(s) < before
        await hold(s, table="shop.events", owner="own_1")
        done = await s.run()
        assert any("held" in words for words in done["rules"]["shop.events"]["said"])
        assert await s.sql(PENDING) == []
        assert await old_events(s) == before
        assert await s.count(part) > 0


async def test_a_held_month_that_went_out_without_a_note_is_put_back(shop):
    """Killed between the detach and its note, or the server went on alone: the month is out, its unit is not."""
    async with shop("dry_run_first = false\n", grace="7d") as s:
        before = await old_events(s)
        await s.run()
        assert (before, await old_events(s)) == (500, 0)
        await s.sql(
            "UPDATE retention.units SET state = 'uploaded', detached_at = NULL WHERE state = 'detached'"
        )
        await hold(s, table="shop.events", owner="own_1")
        done = await s.run()
        assert any("held" in words for words in done["rules"]["shop.events"]["said"])
        assert await old_events(s) == before
        # the same, and nobody waits for the night
        await s.sql("UPDATE retention.units SET state = 'uploaded', detached_at = NULL")
        unit, part = (await s.sql("SELECT id, part FROM retention.units WHERE rows = 500"))[0]
        await s.sql(f"ALTER TABLE shop.events DETACH PARTITION {part}")
        back = await s.d.post(f"/api/v1/archive/{unit}/put-back", {"reason": "case 17"})
        assert (back.status, await old_events(s)) == (200, before), back.body


async def test_a_month_that_is_out_goes_back_for_its_rows_alone_and_a_failure_hides_no_reason(shop):
    async with shop("dry_run_first = false\n", grace="7d") as s:
        await s.run()
        (part,) = (await s.sql("SELECT part FROM retention.units WHERE source = 'shop.events' AND rows > 0"))[
            0
        ]

        async def again(change):
            await s.sql(change)
            return (await s.run())["rules"]["shop.events"]

        forged = """UPDATE retention.units SET state = 'uploaded', detached_at = NULL,
            manifest = manifest || '{"signature": "00"}' WHERE source = 'shop.events' AND rows > 0"""
        done = await again(forged)
        assert any("signature does not fit" in words for words in done["said"]), done
        assert await old_events(s) == 0
        await hold(s, table="shop.events", owner="own_1")
        done = await again(f"ALTER TABLE {part} ADD odd int")
        said = next(words for words in done["said"] if "cannot be attached" in words)
        assert "held" in said
        assert '"odd"' in said
        assert done["errors"] == 1


async def test_an_archive_has_its_own_end_and_a_hold_keeps_it(shop):
    more = 'dry_run_first = false\n[plugins.retention.policies."shop.notes"]\ncold = "30d"\n'
    async with shop(more) as s:
        kept = await hold(s, table="shop.notes", key="no such row")
        assert (await s.run())["rules"]["shop.notes"]["deleted"] == 370
        (unit,) = (await s.d.get("/api/v1/archive?table=shop.notes")).json()["archives"]
        roots = (s.folder / "second", s.folder / "state/plugins/retention/archive")
        assert all((root / unit["manifest"]["key"]).exists() for root in roots)
        await s.d.request("DELETE", f"/api/v1/retention/holds/{kept}")
        await s.run()
        assert not any(list(root.rglob(f"{unit['id']}*")) for root in roots)
        said = await s.sql(
            "SELECT detail FROM wharfd.audit WHERE action = 'retention.archive_removed' ORDER BY recorded_at"
        )
        assert [row["detail"]["rows"] for row in said] == [370]
        assert (await s.run())["rules"]["shop.notes"]["errors"] == 0  # and it is asked for no more


NONSENSE = [
    ("/api/v1/retention/holds", {"table": "drop table", "reason": "because"}),
    ("/api/v1/retention/holds", {"table": "a.b", "reason": ""}),
    ("/api/v1/retention/holds", {"table": "a.b", "reason": "case", "expires_at": "2030-01-01T00:00:00"}),
    ("/api/v1/archive/query", {"table": "a.b", "first": "2030-01-01T00:00:00Z", "last": "soon"}),
    ("/api/v1/archive/query", {"table": "a.b", "first": "2030-01-01T00:00:00Z",
                               "last": "2031-01-01T00:00:00Z", "limit": 0}),
    ("/api/v1/archive/query", {"table": "a.b", "first": "2030-01-01T00:00:00Z",
                               "last": "2029-01-01T00:00:00Z"}),
    ("/api/v1/monitoring/retention/run", {"dry_run": "yes"}),
    ("/api/v1/monitoring/retention/run", {"delete_everything": True}),
    ("/api/v1/retention/holds", {"table": "shop.nots", "reason": "nothing there to hold"}),
    ("/api/v1/retention/holds", {"table": "shop.events_y2099m01", "reason": "a month alone"}),
    ("/api/v1/retention/holds", {"table": "shop.notes", "reason": "over", "expires_at": "2020-01-01T00:00:00Z"}),
]  # fmt: skip


async def test_what_makes_no_sense_is_refused(shop):
    async with shop(fill=False) as s:
        for path, body in NONSENSE:
            assert (await s.d.post(path, body)).status in (400, 422), (path, body)


def test_a_callers_own_rows_open_nothing_here():
    assert all(route.house for route in routes.routes())
