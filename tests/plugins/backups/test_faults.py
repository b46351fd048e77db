"""Kills and cuts: nothing half-made counts, nothing acknowledged is lost."""

import os
import signal
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from wharfd import Folder, Packing
from wharfd_backups.engine.awaiting import Awaiting
from wharfd_backups.engine.pushing import Pushed, switch_on
from wharfd_backups.engine.receiving import Receiver
from wharfd_backups.engine.storehouse import Storehouse
from wharfd_backups.model.manifest import FileFacts, differences, read_manifest
from wharfd_backups.model.targets import LATEST
from wharfd_backups.mounting import sweep
from wharfd_backups.restoring.drilling import verify_place

from .conftest import IDENTITY, QUIET, open_world, until
from .test_pieces import NAME, SIZE, log_file

TAKER = Path(__file__).with_name("taker.py")
DRILL_STEPS = ["fetching", "verified", "gathered", "started", "reached", "checking", "removed"]
STEPS = ["asked", "streaming", "writing", "based", "streamed", "copied", "entered_second", "entered"]


async def run(what, folder, step, *more):
    """Do it in a process of its own that kills itself at a step; return how that ended."""
    command = [sys.executable, str(TAKER), what, str(folder), step, *map(str, more)]
    done = await trio.run_process(command, check=False, capture_stderr=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


async def taken(world, name, step):
    return await run("backup", world.folder, step, world.dsn, name, world.recipient)


@pytest.mark.faults
async def test_a_backup_that_is_killed_at_any_step_counts_wholly_or_not_at_all(world):
    for step in STEPS:
        name = f"bkp_{step}"
        assert await taken(world, name, step) == -signal.SIGKILL, step
        for place in world.house.places:
            entries, wrong = world.house.entries(place)
            assert not wrong
            for entry in entries:
                await verify_place(world.source(place), entry)
        here = {e.id for e in world.house.entries(world.first)[0]}
        there = {e.id for e in world.house.entries(world.second)[0]}
        assert (name in here) == (step == "entered"), step
        assert (name in there) == (step in ("entered_second", "entered")), step
    assert await taken(world, "bkp_last", "never") == 0
    kept = {e.id for e in world.house.entries(world.first)[0]}
    assert kept == {"bkp_entered", "bkp_last"}
    named = {part.key for e in world.house.entries(world.first)[0] for part in e.parts}
    assert {one.key for one in world.first.list("backups/")} == named
    assert not list(world.first.root.rglob("*.tmp"))


@pytest.mark.faults
async def test_a_drill_that_is_killed_at_any_step_is_swept_away(world):
    """Its server is stopped, its folder removed, by the next start; the backup is as it was."""
    entry = await world.back_up()
    root = world.folder / "drills"
    for step in DRILL_STEPS:
        killed = await run("drill", world.folder, step, world.folder, f"dri_{step}", IDENTITY)
        assert killed == -signal.SIGKILL, step
        left = {path.name for path in root.iterdir()}
        assert left == (set() if step == "removed" else {f"dri_{step}"})
        assert set(sweep(SimpleNamespace(scratch=root))) == left
        assert not working_in(root), step
        assert list(root.iterdir()) == []
    for place in world.house.places:
        await verify_place(world.source(place), entry)
    assert await run("drill", world.folder, "never", world.folder, "dri_last", IDENTITY) == 0


def working_in(root):
    """The processes that work in a folder, zombies aside."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(root) in os.readlink(process / "cwd"):
                found.append((process / "cmdline").read_bytes())
        except OSError:
            continue
    return [words for words in found if words]


@pytest.mark.faults
async def test_archiving_that_is_killed_at_any_step_is_done_by_the_next(tmp_path):
    path, house = (
        log_file(tmp_path / NAME),
        Storehouse(Folder(tmp_path / "first"), Folder(tmp_path / "second")),
    )
    for step in ("archiving", "archived"):
        assert await run("log", tmp_path, step, path, "77", SIZE) == -signal.SIGKILL
        assert path.exists()  # it is removed when both places have it
        assert set(house.log_files("77")) == ({NAME} if step == "archived" else set())
        assert house.log_files("77", house.second) == {}
        house.first.sweep("wal")
    receiver = Receiver(
        house, None, "", tmp_path / "in", Packing(), system="77", segment_bytes=SIZE, log=None
    )
    receiver.incoming.mkdir()
    path.rename(receiver.incoming / NAME)
    assert await receiver.archive() == 1
    assert set(house.log_files("77")) == set(house.log_files("77", house.second)) == {NAME}
    assert list(receiver.incoming.iterdir()) == []
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.faults
async def test_no_acknowledged_commit_is_lost_when_the_server_is_killed(world):
    """kill -9 of the server under load; its data folder is gone, the received log is not."""
    acknowledged = 0
    awaiting = Awaiting(world.programs, world.server.dsn("superuser"), QUIET)
    async with world.receiving(every=1.0, awaiting=awaiting) as receiver:
        await world.back_up()
        while not receiver.state.archived:
            await receiver.archive()
        await until(lambda: awaiting.now)
        with trio.move_on_after(5):
            while True:
                await world.sql("INSERT INTO shop.orders (paid_at) SELECT now() FROM generate_series(1, 10)")
                acknowledged += 10
        killed = int((world.server.data_dir / "postmaster.pid").read_text().split("\n")[0])
        os.kill(killed, signal.SIGKILL)
    async with world.restored(LATEST, place=world.first, incoming=world.incoming) as done:
        count = int((await done.scratch.ask("SELECT count(*) FROM shop.orders", "wharfd"))[0][0])
        assert acknowledged > 50
        assert count - 2000 in (acknowledged, acknowledged + 10)  # one more may have been on its way


@pytest.mark.faults
async def test_with_archive_command_alone_less_than_a_minute_is_lost_with_the_machine(short, seed):
    """kill -9 under load; neither the data folder nor what waits beside it is there for the restore."""
    every, acknowledged, run_on = 5.0, [], 25
    async with open_world(short, seed) as world:
        assert await switch_on(world.programs, world.server.dsn("superuser"), world.incoming)
    async with open_world(short) as world, world.receiving(every=every, kind=Pushed) as receiver:
        await world.back_up()
        began = trio.current_time()
        while trio.current_time() < began + run_on:
            await world.sql("INSERT INTO shop.orders (paid_at) VALUES (now())")
            acknowledged.append(trio.current_time())
        killed = int((world.server.data_dir / "postmaster.pid").read_text().split("\n")[0])
        os.kill(killed, signal.SIGKILL)
        at = trio.current_time()
        assert receiver.state.receiving
        async with world.restored(LATEST) as done:
            count = int((await done.scratch.ask("SELECT count(*) FROM shop.orders", "wharfd"))[0][0]) - 2000
    lost = acknowledged[count:]
    seconds = at - lost[0] if lost else 0.0
    print(
        f"archive_command, a file every {every} s: {len(lost)} of {len(acknowledged)} lost, {seconds:.1f} s"
    )
    assert count > 0
    assert seconds < 60


async def test_combining_launders_a_flipped_byte_and_our_verifier_sees_it_before(world):
    """Why incremental backups are not made: pg_verifybackup passes what pg_combinebackup made of damage."""
    await world.sql("ALTER SYSTEM SET summarize_wal = on", "superuser")
    await world.sql("SELECT pg_reload_conf()", "superuser")
    full, incremental, both = (world.folder / name for name in ("full", "incremental", "both"))
    options = ["-c", "fast", "--manifest-checksums=SHA256", "-w", "-d", world.dsn]
    await world.programs.call("pg_basebackup", "-D", str(full), *options)
    await world.sql("INSERT INTO shop.orders DEFAULT VALUES")
    await world.programs.call(
        "pg_basebackup", "-D", str(incremental), f"--incremental={full}/backup_manifest", *options
    )
    path = (await world.sql("SELECT pg_relation_filepath('shop.items')"))[0][0]
    raw = bytearray((full / path).read_bytes())
    raw[5000] ^= 0x10
    (full / path).write_bytes(raw)
    await world.programs.call("pg_combinebackup", str(full), str(incremental), "-o", str(both))
    await world.programs.call("pg_verifybackup", "-n", str(both))  # it says that all is well
    manifest = read_manifest((full / "backup_manifest").read_bytes())
    seen = {
        name: FileFacts((full / name).stat().st_size, sha256((full / name).read_bytes()).hexdigest())
        for name in manifest.files
    }
    assert differences(manifest, seen) == [f"{path} has other bytes than it had: its checksum does not fit"]


@pytest.mark.faults
async def test_a_receiver_that_is_killed_goes_on_without_a_gap(world):
    async with world.receiving(every=1.0) as receiver:
        await world.back_up()
        for _ in range(3):
            lsn = await world.lsn()
            await world.archived(receiver, lsn)
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    command = (process / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"pg_receivewal" in command and str(world.incoming).encode() in command:
                    os.kill(int(process.name), signal.SIGKILL)
        lsn = await world.lsn()
        await world.archived(receiver, lsn)
        assert await receiver.look_for_gaps() == []
    async with world.restored(LATEST):
        pass


async def test_a_slot_that_was_given_up_is_made_anew_and_said(world):
    async with world.receiving() as receiver:
        await world.archived(receiver, await world.lsn())
    await world.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "superuser")
    await world.sql("SELECT pg_reload_conf()", "superuser")
    state = "SELECT wal_status FROM pg_replication_slots"
    while await world.sql(state, "backup") != [["lost"]]:
        await world.sql("INSERT INTO shop.orders DEFAULT VALUES")
        await world.sql("SELECT pg_switch_wal()", "backup")
        await world.sql("CHECKPOINT", "superuser")
    await world.sql("ALTER SYSTEM RESET max_slot_wal_keep_size", "superuser")
    await world.sql("SELECT pg_reload_conf()", "superuser")
    async with world.receiving() as receiver:
        while not receiver.state.lost_slot:
            await receiver.archive()
        await world.archived(receiver, await world.lsn())
        assert receiver.state.lost_slot
        assert await receiver.look_for_gaps()
