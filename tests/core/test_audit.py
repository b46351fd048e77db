"""The audit log on a real PostgreSQL: append-only, sealed by one daemon at a time, tamper-evident."""

from datetime import UTC, datetime, timedelta

import pytest
import trio

from wharfd.audit import Audit, AuditFilter, Seal
from wharfd.audit.search import Cursor, statement_for
from wharfd.db import Database, open_database, sql
from wharfd.secrets import Secret

COUNTS = sql(
    "count_audit",
    """SELECT (SELECT count(*) FROM wharfd.audit) AS entries,
              (SELECT count(*) FROM wharfd.audit_seals) AS seals,
              (SELECT count(*) FROM wharfd.audit_pending) AS pending""",
)


@pytest.fixture
async def audit(db):
    return Audit(db)


async def add(db, audit, count=1, **fields):
    values = {"actor": "admin", "action": "webhook.created", "subject": "wh_1", **fields}
    ids = []
    for _ in range(count):
        async with db.transaction() as tx:
            ids.append(await audit.record(tx, **values))
    return ids


async def counts(db):
    return tuple(await db.fetchrow(COUNTS))


async def as_intruder(db, *statements):
    """Do what somebody with the rights of the owner could do."""
    for text in statements:
        await db.owner.execute(sql("intrude", text))


# -- adding -------------------------------------------------------------------------------------------


async def test_an_entry_is_there_when_the_change_is_and_not_otherwise(db, audit):
    await add(db, audit, owner="acme", ip="203.0.113.9", detail={"url": "https://e.example"})
    with pytest.raises(RuntimeError):
        async with db.transaction() as tx:
            await audit.record(tx, actor="admin", action="webhook.deleted", subject="wh_1")
            raise RuntimeError("the change failed")
    (entry,) = (await audit.entries()).entries
    assert entry.id.startswith("aud_")
    assert abs(entry.recorded_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert (entry.actor, entry.action, entry.subject) == ("admin", "webhook.created", "wh_1")
    assert (entry.owner, entry.ip, entry.detail) == ("acme", "203.0.113.9", {"url": "https://e.example"})
    assert await counts(db) == (1, 0, 1)


async def test_secrets_in_the_detail_are_hidden(db, audit):
    detail = {
        "secret": "s3cret",
        "headers": {"Authorization": "s3cret"},
        "x": Secret("s3cret"),
        "key_id": "k1",
    }
    detail["url"] = "https://user:s3cret@e.example/"
    await add(db, audit, detail=detail)
    (entry,) = (await audit.entries()).entries
    assert "s3cret" not in repr(entry)
    assert entry.detail["key_id"] == "k1"


@pytest.mark.parametrize(
    "wrong",
    [{"action": "created"}, {"action": "Webhook.created"}, {"action": "a." + "b" * 400}, {"actor": ""}]
    + [{"subject": "x" * 301}, {"owner": ""}],
)
async def test_a_malformed_entry_is_refused_at_the_line_that_wrote_it(db, audit, wrong):
    with pytest.raises(ValueError, match="audit"):
        await add(db, audit, **wrong)


async def test_whatever_is_in_the_detail_is_stored_and_sealed(db, audit):
    detail = {
        "nul": "a\0b",
        "c\0d": ["\ud800", b"\xff", float("nan"), 10**30, datetime.now(UTC), {"deep": {1, 2}}],
    }
    await add(db, audit, detail=detail, subject="a\0b", ip="x" * 100)
    await add(db, audit, detail={f"field_{n}": "x" * 8000 for n in range(40)})
    assert await audit.seal_pending() == 2
    assert (await audit.verify()).holds
    big, odd = (await audit.entries()).entries
    assert big.detail["fields"][0] == "field_0"
    assert "bytes" in big.detail["left_out"]
    assert odd.detail["nul"] == "a\\0b"


# -- rights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["audit", "audit_seals"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET recorded_at = now()"])
async def test_the_app_role_can_only_add(db, audit, table, change):
    await add(db, audit)
    await audit.seal_pending()
    with pytest.raises(Exception, match="permission denied"):
        await db.execute(sql("change", change.format(f"wharfd.{table}")))


@pytest.mark.parametrize("table", ["audit", "audit_seals"])
async def test_not_even_the_owner_role_updates(db, audit, table):
    await add(db, audit)
    await audit.seal_pending()
    with pytest.raises(Exception, match=f"rows of wharfd.{table}[_y0-9m]* are never changed"):
        await db.owner.execute(sql("change", f"UPDATE wharfd.{table} SET recorded_at = now()"))


async def test_the_app_role_has_no_right_on_a_partition(db, audit):
    await add(db, audit)
    partition = (await db.fetchval(sql("where", "SELECT tableoid::regclass::text FROM wharfd.audit"))).split(
        "."
    )[-1]
    with pytest.raises(Exception, match="permission denied"):
        await db.execute(sql("change", f"DELETE FROM wharfd.{partition}"))


# -- sealing ------------------------------------------------------------------------------------------


async def test_everything_added_is_sealed_once_and_the_chain_holds(db, audit):
    assert await audit.head() is None
    assert (await audit.verify()).holds
    await add(db, audit, 7)
    assert await audit.seal_pending() == 7
    assert await audit.seal_pending() == 0
    await add(db, audit, 3)
    assert await audit.seal_pending() == 3
    assert await counts(db) == (10, 10, 0)
    found = await audit.verify()
    assert (found.holds, found.first, found.last, found.checked, found.expired) == (True, 1, 10, 10, 0)
    head = await audit.head()
    assert head.seq == 10
    assert str(head) == f"10:{head.hash.hex()}"
    assert found.head == head
    assert (await audit.verify(last=4)).head.seq == 4


async def test_a_transaction_that_took_long_is_sealed_after_those_that_overtook_it(db, audit):
    async with db.transaction() as slow:
        early = await audit.record(slow, actor="a", action="x.y", subject="slow")
        (late,) = await add(db, audit, subject="fast")
        assert await audit.seal_pending() == 1
    assert await audit.seal_pending() == 1
    rows = await db.fetch(sql("order", "SELECT audit_id FROM wharfd.audit_seals ORDER BY seq"))
    assert [row["audit_id"] for row in rows] == [late, early]
    assert (await audit.verify()).holds


async def test_many_daemons_sealing_at_once_make_one_chain(bridge, database_settings, db, audit):
    async with open_database(bridge, database_settings) as second:
        assert isinstance(second, Database)
        both = [audit, Audit(second)]
        sealed = [0]

        async def write(n):
            await add(db if n % 2 else second, both[n % 2], 25)

        async def seal(one):
            while sealed[0] < 100:
                count = await one.seal_pending()
                sealed[0] += count
                await trio.lowlevel.checkpoint()

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for n in range(4):
                    nursery.start_soon(write, n)
                for one in (*both, *both):
                    nursery.start_soon(seal, one)
    assert await counts(db) == (100, 100, 0)
    assert (await audit.verify()).checked == 100


async def test_only_one_seals_while_another_is_at_it(db, audit):
    await add(db, audit)
    lock = sql("hold", "SELECT pg_advisory_xact_lock(hashtextextended('wharfd.audit sealer', 0))")
    async with db.transaction() as other:
        await other.fetchval(lock)
        assert await audit.seal_pending() == 0
    assert await audit.seal_pending() == 1


async def test_the_sealer_wakes_on_a_commit_and_looks_by_itself(db, audit, nursery):
    await add(db, Audit(db))  # by another daemon
    await nursery.start(lambda task_status: audit.run_sealer(every_seconds=3600, task_status=task_status))
    with trio.fail_after(60):
        while (await counts(db))[1] < 1:
            pass
        await add(db, audit)
        while (await counts(db))[1] < 2:
            pass
    nursery.cancel_scope.cancel()


async def test_the_head_is_also_written_to_the_log(db, audit, capfd):
    from wharfd.log import configure

    control = configure("info", "json")
    try:
        await add(db, audit)
        await Audit(db).seal_pending()
    finally:
        control.close()
    assert f'"head":"{await audit.head()}"' in capfd.readouterr().err


# -- tampering ----------------------------------------------------------------------------------------

UNLOCK = "ALTER TABLE wharfd.audit DISABLE TRIGGER append_only"
UNLOCK_SEALS = "ALTER TABLE wharfd.audit_seals DISABLE TRIGGER append_only"
FIFTH = "(SELECT audit_id FROM wharfd.audit_seals WHERE seq = 5)"


@pytest.mark.parametrize(
    ("statements", "seq", "reason"),
    [
        ([UNLOCK, f"UPDATE wharfd.audit SET actor = 'nobody' WHERE id = {FIFTH}"], 5, "the row was changed"),
        (
            [UNLOCK, f"UPDATE wharfd.audit SET detail = '{{\"a\": 2}}' WHERE id = {FIFTH}"],
            5,
            "the row was changed",
        ),
        ([UNLOCK, f"UPDATE wharfd.audit SET owner = '' WHERE id = {FIFTH}"], 5, "the row was changed"),
        ([f"DELETE FROM wharfd.audit WHERE id = {FIFTH}"], 5, "the row was deleted"),
        (["DELETE FROM wharfd.audit_seals WHERE seq IN (5, 6)"], 5, "seals 5 to 6 are missing"),
        (
            [UNLOCK_SEALS, "UPDATE wharfd.audit_seals SET hash = sha256('x') WHERE seq = 5"],
            5,
            "does not continue",
        ),
        (
            [UNLOCK_SEALS, "UPDATE wharfd.audit_seals SET row_hash = sha256('x') WHERE seq = 5"],
            5,
            "does not continue",
        ),
        (["DELETE FROM wharfd.audit_seals WHERE seq > 7"], 0, "is not in the chain and does not wait"),
        (["DELETE FROM wharfd.audit_seals WHERE seq < 3"], 0, "is not in the chain and does not wait"),
        (
            ["INSERT INTO wharfd.audit (id, actor, action, subject) VALUES ('aud_x', 'a', 'b.c', 's')"],
            0,
            "is not in",
        ),
    ],
)
async def test_each_kind_of_tampering_is_named(db, audit, statements, seq, reason):
    await add(db, audit, 9)
    await audit.seal_pending()
    await as_intruder(db, *statements)
    found = await audit.verify()
    assert not found.holds
    assert found.broken.seq == seq
    assert reason in found.broken.reason


async def test_a_row_deleted_before_it_was_sealed_leaves_its_mark(db, audit):
    await add(db, audit, 2)
    first = (await db.fetchrow(sql("first", "SELECT audit_id FROM wharfd.audit_pending ORDER BY 1 LIMIT 1")))[
        0
    ]
    await as_intruder(db, f"DELETE FROM wharfd.audit WHERE id = '{first}'")
    assert await audit.seal_pending() == 2
    broken = (await audit.verify()).broken
    assert (broken.audit_id, broken.reason) == (first, "the row was deleted")


async def test_a_chain_written_anew_is_caught_by_a_seal_written_down(db, audit):
    await add(db, audit, 5)
    await audit.seal_pending()
    noted = await audit.head()
    assert (await audit.verify(known=noted)).holds
    await as_intruder(
        db,
        UNLOCK,
        "UPDATE wharfd.audit SET actor = 'nobody'",
        "INSERT INTO wharfd.audit_pending (audit_id, recorded_at) SELECT id, recorded_at FROM wharfd.audit",
        "DELETE FROM wharfd.audit_seals",
    )
    assert await audit.seal_pending() == 5
    assert (await audit.verify()).holds  # by itself it looks well
    broken = (await audit.verify(known=noted)).broken
    assert broken.seq == 5
    assert "written down is not in the chain" in broken.reason
    with pytest.raises(ValueError, match="older than the chain that is kept"):
        await audit.verify(known=Seal(0, bytes(32)))


async def test_a_part_of_the_chain_can_be_walked(db, audit):
    await add(db, audit, 9)
    await audit.seal_pending()
    await as_intruder(db, UNLOCK, f"UPDATE wharfd.audit SET actor = 'nobody' WHERE id = {FIFTH}")
    assert (await audit.verify(1, 4)).checked == 4
    assert (await audit.verify(6)).checked == 4
    assert (await audit.verify(3, 7)).broken.seq == 5
    await as_intruder(db, "DELETE FROM wharfd.audit_seals WHERE seq = 4")
    assert (await audit.verify(1, 4)).broken.reason == "seals 4 to 4 are missing"


async def test_months_dropped_by_retention_do_not_break_the_chain(db, audit):
    await as_intruder(
        db,
        "SELECT wharfd.ensure_month_partitions('wharfd.audit', '2024-01-01', 1)",
        """INSERT INTO wharfd.audit (id, recorded_at, actor, action, subject)
           SELECT 'aud_old' || n, '2024-01-15'::timestamptz + n * interval '1 s', 'a', 'b.c', 's'
             FROM generate_series(1, 4) n""",
        "INSERT INTO wharfd.audit_pending (audit_id, recorded_at) SELECT id, recorded_at FROM wharfd.audit",
    )
    await add(db, audit, 3)
    assert await audit.seal_pending() == 7
    await as_intruder(db, "DROP TABLE wharfd.audit_y2024m01")
    found = await audit.verify()
    assert (found.holds, found.checked, found.expired) == (True, 3, 4)
    await as_intruder(db, "DELETE FROM wharfd.audit_seals WHERE recorded_at < '2024-02-01'")
    found = await audit.verify()
    assert (found.holds, found.first, found.checked, found.expired) == (True, 5, 3, 0)


async def test_the_settings_of_the_server_change_no_hash(postgres, bridge, database_settings, db, audit):
    await add(db, audit, 3, detail={"b": 1, "a": [1.50, 1e3]})
    await audit.seal_pending()
    name = await db.fetchval(sql("name", "SELECT current_database()"))
    changes = "; ".join(
        f"ALTER DATABASE {name} SET {change}"
        for change in ("timezone = 'Asia/Kathmandu'", "datestyle = 'German'", "extra_float_digits = -10")
    )
    await trio.to_thread.run_sync(postgres.psql, "postgres", changes)
    async with open_database(bridge, database_settings) as elsewhere:
        assert await elsewhere.fetchval(sql("style", "SHOW datestyle")) == "German, DMY"
        assert (await Audit(elsewhere).verify()).checked == 3
        await add(elsewhere, Audit(elsewhere), detail={"c": 2.5})
        assert await Audit(elsewhere).seal_pending() == 1
    assert (await audit.verify()).checked == 4


# -- searching ----------------------------------------------------------------------------------------


async def test_entries_are_found_by_each_field_newest_first_in_pages(db, audit):
    for n in range(12):
        await add(
            db,
            audit,
            actor=f"actor{n % 2}",
            action=f"a.b{n % 3}",
            subject=f"s{n % 4}",
            owner=f"o{n}" if n % 2 else None,
        )
    newest = (await audit.entries()).entries
    assert [entry.recorded_at for entry in newest] == sorted((e.recorded_at for e in newest), reverse=True)
    for field in ("actor", "action", "subject"):
        value = getattr(newest[0], field)
        found = await audit.entries(AuditFilter(**{field: value}))
        assert found.entries == tuple(entry for entry in newest if getattr(entry, field) == value)
    assert len((await audit.entries(AuditFilter(owner="o3"))).entries) == 1
    middle = newest[6].recorded_at
    assert (await audit.entries(AuditFilter(since=middle))).entries == newest[:7]
    assert (await audit.entries(AuditFilter(until=middle, actor="actor1"))).entries == tuple(
        entry for entry in newest[7:] if entry.actor == "actor1"
    )
    pages, cursor = [], None
    while True:
        page = await audit.entries(limit=5, before=cursor)
        pages.append(page.entries)
        cursor = page.next
        if cursor is None:
            break
    assert [len(page) for page in pages] == [5, 5, 2]
    assert sum(pages, ()) == newest
    with pytest.raises(ValueError, match="limit must be 1 to 500"):
        await audit.entries(limit=501)


async def test_every_search_is_served_by_an_index(db):
    await as_intruder(
        db,
        """INSERT INTO wharfd.audit (id, recorded_at, actor, action, subject, owner)
           SELECT 'aud_' || lpad(n::text, 8, '0'), now() - n * interval '1 s', 'actor' || n % 200,
                  'a.b' || n % 200, 's' || n % 200, 'o' || n % 200 FROM generate_series(1, 30000) n""",
        "ANALYZE wharfd.audit",
    )
    now = datetime.now(UTC)
    filters = {
        "owner": AuditFilter(owner="o7"),
        "actor": AuditFilter(actor="actor7"),
        "action": AuditFilter(action="a.b7"),
        "subject": AuditFilter(subject="s7"),
        "pkey": AuditFilter(),
        "owner_and_time": AuditFilter(owner="o7", since=now - timedelta(hours=2), until=now),
        "time": AuditFilter(since=now - timedelta(hours=1), until=now),
    }
    for name, wanted in filters.items():
        for before in (None, Cursor(now - timedelta(minutes=10), "aud_00000600")):
            statement, values = statement_for(wanted, before)
            plan = await db.explain(statement, 51, *values)
            assert "Seq Scan" not in plan, f"{name}: {plan}"
            assert "Sort" not in plan or wanted.since, f"{name}: {plan}"
            assert f"{name.split('_')[0]}_recorded_at_id_idx" in plan or name in ("pkey", "time"), (
                f"{name}: {plan}"
            )
