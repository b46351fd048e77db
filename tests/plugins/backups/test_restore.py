"""Backups of a real server, restored: what comes back, and what is refused."""

import argparse
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from wharfd import Output, Packing, PlaceSettings, Secret, WharfdError, make_identity
from wharfd_backups import unaided
from wharfd_backups.commands import commands
from wharfd_backups.config import Settings
from wharfd_backups.engine.taking import BackupFailed, Order, take
from wharfd_backups.model.catalogue import Changes
from wharfd_backups.model.targets import BEFORE_GAP, LATEST, to_lsn, to_time
from wharfd_backups.model.wal import lsn_of, segment_at
from wharfd_backups.restoring.checks import QUICK, check_all, page_checksums
from wharfd_backups.restoring.counts import as_counted, compared, nothing_changed
from wharfd_backups.restoring.logfiles import LogMissing
from wharfd_backups.restoring.outcome import Failed
from wharfd_backups.restoring.scratch import ScratchFailed
from wharfd_backups.restoring.unpacking import Damaged

from .conftest import SEGMENT

DROPPED = """SELECT 'retention.deleted' AS action, '{{"part": "shop.notes"}}'::jsonb AS detail,
    now() {}::interval AS recorded_at"""
COUNT = "SELECT count(*) FROM shop.orders"


def flip(path, at):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0x10
    path.write_bytes(raw)


async def insert(world, rows):
    await world.sql(f"INSERT INTO shop.orders (paid_at) SELECT now() FROM generate_series(1, {rows})")
    return await world.now()


async def test_it_goes_to_the_moment_asked_for_and_never_over_a_gap(world):
    async with world.receiving() as receiver:
        entry = await world.back_up(csv_tables=("shop.items",))
        first = await insert(world, 100)
        await insert(world, 10)
        middle = await world.lsn()
        await world.archived(receiver, middle)
        last = await insert(world, 1)
        end = await world.lsn()
        await world.archived(receiver, end)

    # to a time: everything committed until then, nothing after it, promoted to a timeline of its own
    async with world.restored(to_time(first), into="a") as done:
        assert await done.scratch.ask(COUNT, "wharfd") == [["2100"]]
        assert await done.scratch.ask("SELECT pg_is_in_recovery()") == [["f"]]
        assert done.timeline == 2
        assert done.reached_at <= first
        assert done.reached_at > first - timedelta(seconds=5)
        await done.scratch.ask("INSERT INTO shop.orders DEFAULT VALUES", "wharfd")
    # with no target given: the last archived record, as a target
    async with world.restored(LATEST, into="b") as done:
        assert await done.scratch.ask(COUNT, "wharfd") == [["2111"]]
        assert lsn_of(done.reached_lsn) >= lsn_of(end)
    # a target nobody has reached yet
    with pytest.raises(ScratchFailed, match="the last commit in it was at 20"):
        async with world.restored(to_time(last + timedelta(hours=1)), into="c"):
            pass
    # before the end of the backup nothing is consistent
    with pytest.raises(WharfdError, match="no backup was finished before"):
        async with world.restored(to_time(entry.started_at), into="d"):
            pass
    with pytest.raises(WharfdError, match="not empty"):
        async with world.restored(LATEST, into="a"):
            pass

    # the trap: without its target PostgreSQL would open over a missing file with the rows behind it lost
    missing = segment_at(lsn_of(middle), 1, SEGMENT).name
    (there,) = [x.key for x in world.second.list("wal/") if missing in x.key]
    world.second.path(there).rename(world.folder / "hidden")
    for target in (LATEST, to_lsn(end)):
        with pytest.raises(LogMissing, match=f"gap before .*{missing} missing"):
            async with world.restored(target, into="e"):
                pass
        shutil.rmtree(world.folder / "e")
    with pytest.raises(ScratchFailed, match="restore to that time"):
        async with world.restored(to_time(last), into="f"):
            pass
    async with world.restored(BEFORE_GAP, into="g") as done:
        assert int((await done.scratch.ask(COUNT, "wharfd"))[0][0]) < 2111
    # the first place still has it
    async with world.restored(to_lsn(end), place=world.first, into="h", pause=True) as done:
        assert await done.scratch.ask(COUNT, "wharfd") == [["2111"]]
        with pytest.raises(WharfdError, match="read-only"):
            await done.scratch.ask("DELETE FROM shop.orders", "wharfd")
    # a damaged file of the log is found before the server starts
    (world.folder / "hidden").rename(world.second.path(there))
    flip(world.second.path(there), 500)
    with pytest.raises(Damaged, match=missing):
        async with world.restored(LATEST, into="i"):
            pass


async def test_the_command_points_to_the_other_place_leaves_nothing_half_and_says_what_it_checked(
    world, capsys
):
    entry = await world.back_up()
    parser = argparse.ArgumentParser()
    actions = parser.add_subparsers()
    (command,) = commands(Settings())
    command.configure(actions.add_parser("backup"))
    settings = Settings(
        folder=world.folder / "first",
        second=PlaceSettings(folder=world.folder / "second"),
        identity=world.identity,
    )

    async def restore(*words):
        arguments = parser.parse_args(["backup", "restore", "--into", str(world.folder / "new"), *words])
        arguments.state_dir = world.folder / "none"
        return await unaided.carry_out(settings, arguments, Output(as_json=True))

    flip(world.first.path(entry.part("base").key), 900)
    with pytest.raises(WharfdError, match=f"damaged.*; --second reads {world.second.name}"):
        await restore()
    with pytest.raises(WharfdError, match="'soon' is no time such as"):
        await restore("--to-time", "soon")
    assert not (world.folder / "new").exists()
    capsys.readouterr()
    assert await restore("--second", "--to-lsn", entry.end_lsn) == 0
    told = msgspec.json.decode(capsys.readouterr().out)
    assert {check["name"] for check in told["checks"]} == QUICK
    assert (told["backup"], Path(told["data"]).is_dir()) == (entry.id, True)


async def test_damage_is_found_before_anything_starts(world):
    entry = await world.back_up()
    path = world.second.path(entry.part("base").key)
    whole = path.read_bytes()
    size = len(whole)
    for number, at in enumerate((0, 30, size // 3, size // 2, size - 20, size - 1)):
        flip(path, at)
        with pytest.raises(Damaged):
            async with world.restored(LATEST, into=f"x{number}"):
                pass
        assert not (world.folder / f"x{number}" / "pid").exists()
        path.write_bytes(whole)
    sums = world.second.path(entry.part("sums").key)
    flip(sums, sums.stat().st_size // 2)
    with pytest.raises(Damaged, match=r"sums\.json"):
        async with world.restored(LATEST, into="sums"):
            pass
    flip(sums, sums.stat().st_size // 2)
    path.write_bytes(whole[:-1])
    with pytest.raises(Damaged, match=f"has {size - 1} bytes instead of {size}"):
        async with world.restored(LATEST, into="y"):
            pass
    path.unlink()
    with pytest.raises(Damaged, match="is missing"):
        async with world.restored(LATEST, into="z"):
            pass
    other = Secret(make_identity()[0])
    with pytest.raises(Damaged, match="made for another"):
        async with world.restored(LATEST, place=world.first, into="k", identity=other):
            pass
    # programs that are older than the server
    old = replace(world.programs, binaries=replace(world.programs.binaries, version=(15, 4)))
    order = Order(id="bkp_old", method="logical", reason="manual", packing=Packing())
    with pytest.raises(BackupFailed, match="the programs here 15; install programs of that version"):
        await take(order, world.house, old, world.dsn)
    # a tablespace cannot be streamed; it is said and not left out
    outside = world.folder / "tablespace"
    outside.mkdir()
    await world.sql(f"CREATE TABLESPACE far LOCATION '{outside}'", "superuser")
    with pytest.raises(BackupFailed, match="tablespaces"):
        await world.back_up()


async def test_a_visibility_map_of_another_time_is_found(world):
    """What incremental backups of servers before 18.6 restore: no checksum, no amcheck sees it."""
    await world.sql("CREATE TABLE shop.seen AS SELECT n AS id FROM generate_series(1, 5000) n")
    await world.sql("CREATE INDEX ON shop.seen (id)")
    await world.back_up()
    async with world.restored(LATEST) as done:
        scratch, programs = done.scratch, world.programs
        await scratch.ask("VACUUM shop.seen", "wharfd")
        await scratch.ask("CHECKPOINT")
        path = scratch.data / (await scratch.ask("SELECT pg_relation_filepath('shop.seen')", "wharfd"))[0][0]
        seen = path.with_name(f"{path.name}_vm")
        before = seen.read_bytes()
        await scratch.ask("DELETE FROM shop.seen WHERE id % 7 = 0", "wharfd")
        await scratch.stop()
        seen.write_bytes(before)
        await scratch.start({}, recover=False)
        await scratch.wait_until("SELECT pg_is_in_recovery()", "f")
        checks = await check_all(scratch, programs, done.entry, at_marker=None)
        found = {check.name: check.said for check in checks if check.outcome == "failed"}
        assert "has 4286 rows, and 5000 when counted by its index" in found["counts_agree"]
        assert "wrongly marked as visible to all" in found["visibility_map"]
        assert set(found) == {"counts_agree", "visibility_map"}
        await scratch.stop()
        assert "Blocks scanned" in await page_checksums(scratch, programs)


async def test_a_dump_is_restored_and_what_is_not_as_it_was_counted_is_noticed(world):
    entry = await world.back_up("logical")
    await insert(world, 5)
    assert entry.marker.tables["shop.orders"].rows == 2000
    async with world.restored(LATEST, pause=True) as done:  # as a mount is
        with pytest.raises(WharfdError, match="read-only"):
            await done.scratch.ask("DROP TABLE shop.items", "wharfd")
        await done.scratch.ask("ALTER DATABASE wharfd RESET default_transaction_read_only")
        assert "shop.items" in entry.marker.tables
        assert "hashed" in await as_counted(done.scratch, "wharfd", entry.marker)
        for change, said in (
            ({"rows": 2001}, "has 2000 of the 2001 rows it had"),
            ({"newest": "9999"}, "has '999' as its greatest key, and had '9999'"),
            ({"hash": 1}, "has as many rows as it had, and not the same: their hash differs"),
        ):
            tables = {**entry.marker.tables}
            tables["shop.items"] = msgspec.structs.replace(tables["shop.items"], **change)
            marker = msgspec.structs.replace(entry.marker, tables=tables)
            with pytest.raises(Failed, match=f"shop.items {said}"):
                await as_counted(done.scratch, "wharfd", marker)
        # what somebody deleted since is no loss, and nothing beyond that is let pass
        tally = entry.marker.tables["shop.items"]
        await done.scratch.ask(
            "DELETE FROM shop.items WHERE ctid IN (SELECT ctid FROM shop.items LIMIT 400)", "wharfd"
        )
        for changes in (
            Changes({"shop.items": tally.deleted + 400}),
            Changes({}, since=entry.marker.at + timedelta(seconds=1)),  # the statistics began anew
        ):
            assert "hashed" in await as_counted(done.scratch, "wharfd", entry.marker, changes)
        for changes in (Changes({"shop.items": tally.deleted + 300}), Changes({})):
            with pytest.raises(
                Failed, match=f"shop.items has {tally.rows - 400} of the {tally.rows} rows it had"
            ):
                await as_counted(done.scratch, "wharfd", entry.marker, changes)
        told = iter([Changes({}), Changes({"shop.items": tally.deleted + 400})])

        async def told_late():
            return next(told)

        assert "hashed" in await compared(done.scratch, "wharfd", entry.marker, told_late, told_seconds=0)
        with pytest.raises(Failed):  # and where nobody tells at all
            await compared(done.scratch, "wharfd", entry.marker, nothing_changed)
        await done.scratch.ask("DROP TABLE shop.items", "wharfd")
        tables = {**entry.marker.tables}
        del tables["shop.items"]
        entry = msgspec.structs.replace(entry, marker=msgspec.structs.replace(entry.marker, tables=tables))
        # a table may be gone when the audit log says that retention dropped it since it was counted
        await done.scratch.ask("DROP TABLE shop.notes", "wharfd")
        for told in ("", "CREATE SCHEMA wharfd; CREATE TABLE wharfd.audit AS " + DROPPED.format("- '1d'")):
            if told:
                await done.scratch.ask(told, "wharfd")
            with pytest.raises(Failed, match=r"shop\.notes had 0 rows and is not there"):
                await as_counted(done.scratch, "wharfd", entry.marker)
        await done.scratch.ask("INSERT INTO wharfd.audit " + DROPPED.format("+ '1d'"), "wharfd")
        assert "hashed" in await as_counted(done.scratch, "wharfd", entry.marker)
