"""Migrations: found, checked, applied once, refused by name; and the rights they leave."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import asyncpg
import pytest
import trio

from wharfd.db import open_database, sql
from wharfd.db.discovery import discover
from wharfd.db.migrations import apply, history, plan
from wharfd.declare import Migrations
from wharfd.errors import MigrationError

FIRST = "CREATE TABLE shop.orders (id int PRIMARY KEY); INSERT INTO shop.orders VALUES (1);"
SECOND = "ALTER TABLE shop.orders ADD COLUMN note text;"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a package `shop_fixture` with the given migration files; call it again to change them."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(files, name="shop_fixture"):
        folder = tmp_path / name / "migrations"
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "__init__.py").write_text("")
        for old in folder.iterdir():
            old.unlink()
        for file, text in files.items():
            (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
        importlib.invalidate_caches()
        sys.modules.pop(name, None)
        return [(name.removesuffix("_fixture"), Migrations(name))]

    return write


# -- finding -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no file"),
        ({"0001_init.sql": "SELECT 1", "notes.txt": ""}, r"notes\.txt is not named NNNN_words\.sql"),
        ({"1_init.sql": "SELECT 1"}, "not named NNNN_words"),
        ({"0001_Init.sql": "SELECT 1"}, "not named NNNN_words"),
        (
            {"0001_a.sql": "SELECT 1", "0001_b.sql": "SELECT 1"},
            r"0001_a\.sql and 0001_b\.sql have the same number",
        ),
        (
            {"0001_a.sql": "SELECT 1", "0003_c.sql": "SELECT 1"},
            r"migration 0002 is missing before 0003_c\.sql",
        ),
        ({"0002_a.sql": "SELECT 1"}, "migration 0001 is missing"),
        ({"0000_a.sql": "SELECT 1"}, "migration 0001 is missing"),
        ({"0001_a.sql": "-- nothing\n/* at all */ ;\n"}, r"0001_a\.sql is empty"),
        ({"0001_a.sql": b"SELECT '\xff'"}, "not UTF-8"),
        ({"0001_a.sql": "CREATE TABLE x ();\nCOMMIT;"}, "holds 'COMMIT;'"),
        ({"0001_a.sql": "begin transaction;\nSELECT 1"}, "holds 'begin transaction;'"),
    ],
)
def test_wrong_files_are_refused_by_name(package, files, message):
    with pytest.raises(MigrationError, match=message):
        discover("shop", package(files)[0][1].package)


def test_a_missing_package_is_refused():
    with pytest.raises(MigrationError, match="'no_such_package' of its migrations cannot be found"):
        discover("shop", "no_such_package")


def test_files_are_found_in_order_and_line_endings_do_not_count(package):
    package({"0002_b.sql": "SELECT 2", "0001_a.sql": "SELECT\n1", "README.md": "about"})
    unix = discover("shop", "shop_fixture")
    assert [m.name for m in unix] == ["0001_a", "0002_b"]
    package({"0001_a.sql": "SELECT\r\n1"})
    assert discover("shop", "shop_fixture")[0].checksum == unix[0].checksum


def test_a_function_body_is_not_mistaken_for_a_transaction(package):
    body = "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETURN 1;\nEND;\n$$;"
    assert len(discover("shop", package({"0001_a.sql": body})[0][1].package)) == 1


# -- applying ------------------------------------------------------------------------------------------


async def test_applies_in_order_once_and_records(db, package):
    declared = package({"0001_init.sql": FIRST, "0002_note.sql": SECOND})
    assert [str(m) for m in (await plan(db, declared)).pending] == ["shop 0001_init", "shop 0002_note"]
    done = await apply(db, declared)
    assert [str(m) for m in done.applied] == ["shop 0001_init", "shop 0002_note"]
    assert not done.failed
    assert (await apply(db, declared)).applied == ()
    assert (await plan(db, declared)).pending == ()
    recorded = [row for row in await history(db) if row.plugin == "shop"]
    assert [(row.number, row.name) for row in recorded] == [(1, "0001_init"), (2, "0002_note")]
    assert all(row.duration_seconds > 0 and len(row.checksum) == 64 for row in recorded)
    assert await db.fetchval(sql("read", "SELECT count(note) + count(id) FROM shop.orders")) == 1


async def test_unqualified_names_land_in_the_plugins_schema(db, package):
    await apply(db, package({"0001_init.sql": "CREATE TABLE things (id int)"}))
    assert await db.fetchval(sql("where", "SELECT to_regclass('shop.things') IS NOT NULL"))


async def test_an_edited_migration_is_refused_by_name(db, package):
    await apply(db, package({"0001_init.sql": FIRST}))
    done = await apply(db, package({"0001_init.sql": FIRST + " -- edited", "0002_note.sql": SECOND}))
    assert done.applied == ()
    assert "0001_init.sql was changed after it was applied" in str(done.failed["shop"])


async def test_a_newer_database_is_refused_by_name(db, package):
    await apply(db, package({"0001_init.sql": FIRST, "0002_note.sql": SECOND}))
    refused = (await plan(db, package({"0001_init.sql": FIRST}))).refused
    assert "shop: the database is newer than this wharfd: it has 0002_note" in str(refused["shop"])


async def test_a_newer_core_stops_everything(db, package):
    await db.owner.execute(
        sql(
            "future",
            "INSERT INTO wharfd.migrations VALUES ('wharfd', 9999, '9999_future', '', now(), 0, '99')",
        )
    )
    with pytest.raises(
        MigrationError, match=r"wharfd: the database is newer.*9999_future.*run wharfd 99 or newer"
    ):
        await apply(db, package({"0001_init.sql": FIRST}), allow_holes=True)


async def test_a_vanished_or_late_file_is_refused(db, package):
    await apply(db, package({"0001_init.sql": FIRST, "0002_note.sql": SECOND}))
    gone = await plan(db, package({"0002_note.sql": SECOND}), allow_holes=True)
    assert "0001_init was applied but its file is gone" in str(gone.refused["shop"])
    await apply(db, package({"0002_b.sql": "SELECT 1"}, "late_fixture"), allow_holes=True)
    late = await plan(db, package({"0001_a.sql": "SELECT 1", "0002_b.sql": "SELECT 1"}, "late_fixture"))
    assert "0001_a.sql comes too late" in str(late.refused["late"])


async def test_a_failing_plugin_is_rolled_back_named_and_leaves_the_others_alone(db, package):
    bad = package({"0001_init.sql": FIRST, "0002_bad.sql": "CREATE TABLE half ();\nSELECT nonsense;"})
    good = package({"0001_init.sql": "CREATE TABLE fine.t (id int)"}, "fine_fixture")
    done = await apply(db, bad + good)
    assert [str(m) for m in done.applied] == ["shop 0001_init", "fine 0001_init"]
    assert str(done.failed["shop"]).startswith('shop 0002_bad failed: line 2: column "nonsense"')
    assert await db.owner.fetchval(sql("half", "SELECT to_regclass('shop.half') IS NULL"))
    fixed = package({"0001_init.sql": FIRST, "0002_good.sql": SECOND})
    assert [str(m) for m in (await apply(db, fixed + good)).applied] == ["shop 0002_good"]


async def test_a_migration_that_ends_its_own_transaction_is_noticed(db, package):
    sneaky = "CREATE TABLE a (); /* x */ COMMIT; CREATE TABLE b ();"
    done = await apply(db, package({"0001_init.sql": sneaky}))
    assert "shop 0001_init failed" in str(done.failed["shop"])
    assert not [row for row in await history(db) if row.plugin == "shop"]


async def test_before_runs_only_when_there_is_something_to_do_and_can_stop_it(db, package):
    plans = []

    async def backup(todo):
        plans.append([str(m) for m in todo.pending])
        if len(plans) == 1:
            raise OSError("no space left for the backup")

    declared = package({"0001_init.sql": FIRST})
    with pytest.raises(OSError, match="no space"):
        await apply(db, declared, before=backup)
    assert await db.fetchval(sql("none", "SELECT to_regclass('shop.orders') IS NULL"))
    await apply(db, declared, before=backup)
    await apply(db, declared, before=backup)
    assert plans == [["shop 0001_init"]] * 2


async def test_two_daemons_apply_once(bridge, database_settings, package):
    declared = package({"0001_init.sql": FIRST + " SELECT pg_sleep(0.2)", "0002_note.sql": SECOND})
    results = []

    async def daemon():
        async with open_database(bridge, database_settings) as own:
            results.append(await apply(own, declared))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(daemon)
    assert sorted(len(result.applied) for result in results) == [0, 0, 2]
    assert not any(result.failed for result in results)


async def test_a_plugin_cannot_take_the_cores_name(db, package):
    declared = package({"0001_init.sql": FIRST})
    with pytest.raises(MigrationError, match="cannot be called wharfd"):
        await apply(db, [("wharfd", declared[0][1])])


# -- rights --------------------------------------------------------------------------------------------


async def test_the_app_role_can_work_but_not_change_tables(db, package):
    declared = package(
        {
            "0001_init.sql": "CREATE TABLE shop.orders (id int GENERATED ALWAYS AS IDENTITY, b text);"
            "CREATE TABLE shop.old (id bigserial);"
            "CREATE TABLE shop.ledger (id int); CREATE TABLE shop.buyers (id int)"
        }
    )
    declared = [("shop", replace(declared[0][1], keep_forever=("shop.ledger", "shop.buyers")))]
    await apply(db, declared)
    await db.execute(sql("insert", "INSERT INTO shop.orders (b) VALUES ($1)"), "x")
    await db.execute(sql("update", "UPDATE shop.orders SET b = $1"), "y")
    assert await db.execute(sql("delete", "DELETE FROM shop.orders")) == 1
    assert await db.execute(sql("sequence", "INSERT INTO shop.old DEFAULT VALUES")) == 1
    await db.execute(sql("keep", "INSERT INTO shop.ledger VALUES (1)"))
    for name, text in {
        "create": "CREATE TABLE shop.more (id int)",
        "create_public": "CREATE TABLE public.more (id int)",
        "create_schema": "CREATE SCHEMA other",
        "alter": "ALTER TABLE shop.orders ADD COLUMN c text",
        "drop": "DROP TABLE shop.orders",
        "truncate": "TRUNCATE shop.orders",
        "delete_ledger": "DELETE FROM shop.ledger",
        "delete_buyers": "DELETE FROM shop.buyers",
        "truncate_ledger": "TRUNCATE shop.ledger",
        "forge": "INSERT INTO wharfd.migrations VALUES ('x', 1, 'x', 'x', now(), 0, '')",
        "forget": "DELETE FROM wharfd.migrations",
        "partitions": "SELECT wharfd.ensure_month_partitions('shop.orders', now(), 1)",
    }.items():
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute(sql(name, text))
    assert await db.owner.execute(sql("owner_may", "DELETE FROM shop.ledger")) == 1


async def test_tables_made_later_are_usable_too(db, package):
    await apply(db, package({"0001_init.sql": FIRST}))
    await db.owner.execute(sql("later", "CREATE TABLE shop.later (id bigserial)"))
    await db.execute(sql("insert", "INSERT INTO shop.later DEFAULT VALUES"))
    assert await db.fetchval(sql("count", "SELECT count(*) FROM shop.later")) == 1
