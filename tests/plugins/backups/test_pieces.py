"""Tar streams, the storehouse, archiving of one log file, extras, scratch folders: files, and no server."""

import io
import os
import pwd
import struct
import tarfile
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd import Confinement, Folder, Packing, StorageError
from wharfd_backups.engine.extras import WillNotKeep, pack_files
from wharfd_backups.engine.pacing import Pace
from wharfd_backups.engine.programs import Programs, without_password
from wharfd_backups.engine.pushing import archive_command
from wharfd_backups.engine.receiving import LogState, Receiver, keep_log_file
from wharfd_backups.engine.storehouse import Storehouse
from wharfd_backups.engine.tarfeed import BrokenStream, TarFeed, Watcher
from wharfd_backups.restoring.logfiles import restore_command
from wharfd_backups.restoring.scratch import (
    MARK,
    NotScratch,
    Scratch,
    ScratchFailed,
    remove_folder,
    stop_left_over,
)
from wharfd_backups.unaided import owner_of

SIZE = 1 << 20


def tar_of(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}(/[a-z0-9]{1,8}){0,2}", fullmatch=True),
        st.binary(max_size=1500),
        max_size=3,
    ),
    st.one_of(st.integers(100, 2000), st.sampled_from([7, 64])),
)
def test_a_tar_stream_is_read_in_pieces_of_any_size(files, step):
    watcher, raw = Watcher(), tar_of(files)
    for at in range(0, len(raw), step):
        watcher.feed(raw[at : at + step])
    watcher.finish()
    assert {path: facts.size for path, facts in watcher.seen.items()} == {p: len(d) for p, d in files.items()}


@pytest.mark.parametrize("cut", [100, 512, 700, 1024])
def test_half_a_tar_stream_is_noticed(cut):
    watcher = Watcher()
    watcher.feed(tar_of({"a": b"x" * 600})[:cut])
    with pytest.raises(BrokenStream, match="too early"):
        watcher.finish()


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/../../b", "/etc/passwd"])
def test_a_member_that_leads_out_is_refused(name):
    with pytest.raises(BrokenStream, match="leads elsewhere"):
        Watcher().feed(tar_of({name: b"x"}))


def test_a_damaged_header_is_noticed():
    raw = bytearray(tar_of({"a": b"x"}))
    raw[3] ^= 1
    with pytest.raises(BrokenStream, match="damaged"):
        TarFeed(lambda member: None).feed(bytes(raw))


def log_file(path, number=5, timeline=1, system=77, fill=b"r"):
    header = struct.pack("<HHIQIIQII", 0xD118, 2, timeline, number * SIZE, 0, 0, system, SIZE, 8192)
    path.write_bytes(header.ljust(SIZE, fill))
    return path


NAME = "000000010000000000000005"


def keep(house, path, there=None):
    return keep_log_file(house, path, Packing(), system="77", size=SIZE, there=there)


def test_a_log_file_is_archived_once_and_never_replaced(tmp_path):
    house = Storehouse(Folder(tmp_path / "store"))
    path = log_file(tmp_path / NAME)
    key = keep(house, path)
    there = house.log_files("77")[NAME]
    assert there.key == key
    assert keep(house, path, there.sha16) == key
    with pytest.raises(StorageError, match="archived already with different bytes"):
        keep(house, log_file(tmp_path / NAME, fill=b"s"), there.sha16)
    assert [one.key for one in house.first.list("wal/")] == [key]


@pytest.mark.parametrize("wrong", [{"number": 6}, {"timeline": 2}, {"system": 78}])
def test_a_log_file_under_another_name_is_not_archived(tmp_path, wrong):
    house = Storehouse(Folder(tmp_path / "store"))
    with pytest.raises(StorageError, match="not the one its name says"):
        keep(house, log_file(tmp_path / NAME, **wrong))
    assert list(house.first.list("")) == []


def test_a_folder_that_cannot_be_written_is_an_error_and_the_file_stays(tmp_path):
    (tmp_path / "store").write_text("a file where the folder should be")
    path = log_file(tmp_path / NAME)
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        keep(Storehouse(Folder(tmp_path / "store")), path)
    assert path.exists()


@pytest.mark.parametrize(
    ("there", "target", "code"),
    [(True, "ok", 0), (False, "ok", 1), (True, "no/such/folder/x", 255)],
)
def test_restore_command_says_1_only_for_a_file_that_is_not_there(tmp_path, there, target, code):
    import subprocess

    folder = tmp_path / "it's a wal"
    folder.mkdir()
    if there:
        (folder / NAME).write_text("x")
    command = (
        restore_command(folder).replace("%f", NAME).replace("%p", str(tmp_path / target)).replace("%%", "%")
    )
    assert subprocess.run(["sh", "-c", command], check=False, capture_output=True).returncode == code


def run_archive_command(folder, source, name=NAME):
    import subprocess

    command = archive_command(folder).replace("%f", name).replace("%p", str(source)).replace("%%", "%")
    return subprocess.run(["sh", "-c", command], check=False, capture_output=True).returncode


def test_archive_command_says_0_or_1_and_never_overwrites(tmp_path):
    folder, source = tmp_path / "it's 100% wal", tmp_path / "source"
    source.write_bytes(b"first")
    assert run_archive_command(folder, source) == 1  # no such folder: not above 125, which nobody would count
    folder.mkdir()
    assert run_archive_command(folder, source) == 0
    assert run_archive_command(folder, source) == 0  # again, after a crash
    source.write_bytes(b"other")
    assert run_archive_command(folder, source) == 1
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [(NAME, b"first")]
    assert run_archive_command(folder, tmp_path / "gone", "000000010000000000000006") == 1


def test_a_log_file_that_the_server_keeps_back_counts_as_waiting():
    state = LogState(oldest_waiting_at=time.time() - 10, oldest_ready_at=time.time() - 100)
    assert 99 < state.waiting_seconds() < 160
    state.oldest_ready_at = None
    assert 9 < state.waiting_seconds() < 60
    state.oldest_waiting_at = None
    assert state.waiting_seconds() == 0  # an idle server archives nothing for hours, and all is well


def test_an_incremental_backup_is_never_taken_for_a_whole_one():
    """Those of servers before 18.6 restore wrong row counts, and combining them hides damage."""
    with pytest.raises(BrokenStream, match=r"incremental backup: base/5/INCREMENTAL\.1259"):
        Watcher().feed(tar_of({"base/5/INCREMENTAL.1259": b"x"}))


async def test_a_socket_path_that_is_too_long_is_said_before_the_server_is(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(ScratchFailed, match="set TMPDIR to a shorter one"):
        await Scratch(tmp_path, None, "postgres").start({}, recover=False)
    assert list(long.iterdir()) == []


def test_a_socket_lies_only_where_the_server_gets_to(tmp_path, monkeypatch):
    """A root daemon has PostgreSQL run as another user, to whom its RuntimeDirectory may be closed."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o750)
    tmp_path.chmod(0o755)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))
    other = Confinement(uid=os.geteuid() + 1, groups=(), peer="root", switch=True)
    ours = Confinement(uid=os.geteuid(), groups=(os.getegid(),), peer="root")

    def where(confinement):
        return Scratch(tmp_path, Programs(None, confinement), "postgres")._within_reach()

    assert (where(ours), where(other)) == (runtime, None)
    runtime.chmod(0o755)
    assert where(other) == runtime
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "gone"))
    assert where(ours) is None


def test_a_place_that_cannot_be_written_is_said_with_the_way_out():
    """Nobody makes a folder in /sys, root included."""
    with pytest.raises(
        StorageError, match=r"/sys/wharfd cannot be written \(.*\); (give it to|a systemd unit)"
    ):
        Folder(Path("/sys/wharfd")).create("catalogue/x.json", b"")


def test_the_socket_of_a_killed_daemon_goes_with_its_scratch_folder(tmp_path):
    folder, socket = tmp_path / "mou_1", tmp_path / "wharfd-x"
    for made in (folder / "data", socket):
        made.mkdir(parents=True)
    for name in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        (socket / name).touch()
    (folder / "socket").write_text(str(socket))
    assert not stop_left_over(folder)
    assert not socket.exists()
    assert not stop_left_over(folder)  # it is gone, and so be it
    (folder / "socket").write_text(str(tmp_path))
    assert not stop_left_over(folder)
    assert folder.exists()  # what lies where something else is is left alone


@pytest.mark.skipif(os.geteuid() != 0, reason="only root restores for somebody else")
def test_what_root_restores_is_for_the_owner_of_the_state_folder(tmp_path):
    assert owner_of(tmp_path) is None
    assert owner_of(tmp_path / "none") is None
    os.chown(tmp_path, pwd.getpwnam("daemon").pw_uid, -1)
    assert owner_of(tmp_path) == "daemon"
    os.chown(tmp_path, 54321, -1)  # of a container's daemon, that nobody gave a name
    assert owner_of(tmp_path) is None


@pytest.mark.parametrize("name", ["master.key", "admin.token", "backup-identity.txt", "tls.key"])
def test_keys_never_go_along(tmp_path, name):
    path = tmp_path / name
    path.write_text("x")
    with pytest.raises(WillNotKeep, match="escrow"):
        pack_files([path], "bkp_1", Storehouse(Folder(tmp_path / "store")), Packing())


def test_a_configuration_with_a_key_in_it_does_not_go_along(tmp_path):
    path = tmp_path / "wharfd.toml"
    path.write_text('identity = "AGE-SECRET-KEY-1XXX"')
    with pytest.raises(WillNotKeep, match="holds a secret key"):
        pack_files([path], "bkp_1", Storehouse(Folder(tmp_path / "store")), Packing())


def test_only_marked_folders_inside_the_root_are_removed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "mine", root / "theirs", outside):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    (root / "mine" / MARK).touch()
    (outside / MARK).touch()
    (root / "link").symlink_to(outside)
    for wrong in (root, root / "theirs", outside, root / "link", root / ".." / "outside"):
        with pytest.raises(NotScratch):
            remove_folder(wrong, root)
    remove_folder(root / "mine", root)
    assert not (root / "mine").exists()
    assert (outside / "file").exists()


def test_it_stands_back_when_it_is_too_fast_and_only_then():
    now, waits = [100.0], []

    def wait(seconds):
        waits.append(seconds)
        now[0] += seconds

    pace = Pace(50e6, clock=lambda: now[0], wait=wait)
    for _ in range(100):
        pace.passed(1_000_000)
    assert 1.9 < now[0] - 100 < 2.0  # 100 MB at 50 MB/s; it does not wait behind the last
    assert pace.waited == pytest.approx(now[0] - 100)
    now[0] += 60  # idle: that is not made up for
    before = len(waits)
    for _ in range(10):
        pace.passed(1_000_000)
        now[0] += 0.5
    assert len(waits) == before
    free = Pace(0, clock=lambda: now[0], wait=wait)
    free.passed(10**12)
    assert (len(waits), free.waited) == (before, 0.0)


def test_a_password_stays_out_of_the_command_line():
    assert without_password("postgresql://u:p%40ss@db/w?sslmode=require") == (
        "postgresql://u@db/w?sslmode=require",
        "p@ss",
    )
    assert without_password("postgresql://u@/w?host=/run") == ("postgresql://u@/w?host=/run", None)


def test_a_log_file_that_arrives_while_others_are_archived_stays(tmp_path):
    class Slow(Storehouse):
        def mirror_log(self, system, done):
            log_file(incoming / "000000010000000000000006", number=6)
            return super().mirror_log(system, done)

    incoming, house = tmp_path / "incoming", Slow(Folder(tmp_path / "store"))
    incoming.mkdir()
    log_file(incoming / NAME)
    receiver = Receiver(house, None, "", incoming, Packing(), system="77", segment_bytes=SIZE, log=None)
    assert receiver._archive() == 1
    assert [path.name for path in incoming.iterdir()] == ["000000010000000000000006"]
    assert (receiver.state.waiting, receiver.state.waiting_seconds() < 60) == (1, True)
