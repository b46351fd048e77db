"""The embedded PostgreSQL, whole: every test runs the real server on a data folder of its own."""

import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
import trio

from wharfd.db.embedded import EmbeddedPostgres
from wharfd.db.embedded.confinement import environment
from wharfd.db.embedded.processes import working_in
from wharfd.errors import (
    ConfigError,
    EmbeddedPostgresError,
    EmbeddedPostgresRefused,
    StateFolderInUse,
)

AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(
    not AS_ROOT, reason="only root can act as another user; run the suite as root"
)

# A daemon of its own: `kill -9` must hit a whole process. Says when it answers, then waits to be killed.
DAEMON = """
import os, sys
from pathlib import Path
import structlog, trio
from wharfd.db.embedded import EmbeddedPostgres
log = structlog.wrap_logger(None, processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])
async def main(once):
    async with trio.open_nursery() as nursery:
        async with EmbeddedPostgres(Path(sys.argv[1]), bin_dir=None, log=log).running(nursery) as server:
            print(os.geteuid(), server.pid, server.dsn("app"), flush=True)
            if not once:
                await trio.sleep_forever()
trio.run(main, sys.argv[2:] == ["once"])
"""


class Logged(structlog.testing.LogCapture):
    """The events that were logged."""

    def __init__(self):
        super().__init__()
        self.log = structlog.wrap_logger(None, processors=[self], wrapper_class=structlog.stdlib.BoundLogger)

    def named(self, event):
        return [entry for entry in self.entries if entry["event"] == event]


@pytest.fixture
def logged():
    return Logged()


@asynccontextmanager
async def running(state, logged, **options):
    embedded = EmbeddedPostgres(state, **({"bin_dir": None, "log": logged.log} | options))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery, embedded.running(nursery) as server:
            yield server


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A state folder that has been started once and stopped."""
    state = tmp_path_factory.mktemp("made")

    async def once():
        async with running(state, Logged()) as server:
            await query(server, "owner", "CREATE TABLE kept (id int); GRANT ALL ON kept TO wharfd_app")

    trio.run(once)
    return state


def copy_of(made, folder):
    subprocess.run(["cp", "-a", "--reflink=auto", f"{made}/.", str(folder)], check=True)
    return folder


@pytest.fixture
def state(made, tmp_path):
    """A copy of that folder, so that not every test waits for initdb."""
    return copy_of(made, tmp_path / "state")


@pytest.fixture
def outside():
    """A folder other users can be let into: pytest's own keeps them out."""
    folder = Path(tempfile.mkdtemp(prefix="w-"))
    yield folder
    shutil.rmtree(folder)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


async def run_psql(server, role, statement, database="wharfd"):
    return await trio.run_process(
        [str(server.bin_dir / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", server.dsn(role, database)]
        + ["-c", statement],
        check=False,
        capture_stdout=True,
        capture_stderr=True,
        env=environment(),
    )


async def query(server, role, statement, database="wharfd"):
    done = await run_psql(server, role, statement, database)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


async def until(condition):
    """Wait until the condition holds: for what happens in other processes and tells nobody."""
    with trio.fail_after(60):
        while not condition():
            await trio.sleep(0.002)


def only(group, kind):
    """Return the one error of the kind that an exception group holds."""
    matching, rest = group.split(kind)
    assert matching is not None
    assert rest is None
    (error,) = matching.exceptions
    return error


async def refusal(state, kind, logged, **options):
    with pytest.raises(ExceptionGroup) as caught:
        async with running(state, logged, **options):
            pass
    return str(only(caught.value, kind))


async def test_the_first_start_makes_roles_with_just_their_rights(tmp_path, logged):
    async with running(tmp_path / "new" / "state", logged) as server:
        assert server.version >= (15, 0)
        assert await query(server, "app", "SELECT current_user") == "wharfd_app"
        assert await query(server, "superuser", "SHOW data_checksums") == "on"
        assert await query(server, "superuser", "SHOW server_encoding") == "UTF8"
        assert await query(server, "superuser", "SELECT upper('é')") == "É"
        assert await query(server, "superuser", "SHOW listen_addresses") == ""
        assert await query(server, "superuser", "SHOW fsync") == "on"
        assert await query(server, "superuser", "SHOW wal_level") == "replica"
        if server.binaries.has("pg_stat_statements"):
            assert int(await query(server, "owner", "SELECT count(*) FROM pg_stat_statements")) > 0

        await query(server, "owner", "CREATE SCHEMA shop; CREATE TABLE shop.orders (id int)")
        for ddl in ("CREATE SCHEMA theirs", "CREATE TABLE public.theirs (id int)", "DROP TABLE shop.orders"):
            refused = await run_psql(server, "app", ddl)
            assert refused.returncode != 0
            assert b"permission denied" in refused.stderr or b"must be owner" in refused.stderr
        owns = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'wharfd'"
        assert await query(server, "app", owns) == "wharfd_owner"
        flags = (
            "SELECT rolname, rolsuper, rolcreaterole, rolreplication FROM pg_roles WHERE rolname ~ '^wharfd'"
        )
        assert (await query(server, "owner", flags + " ORDER BY 1")).splitlines() == [
            "wharfd_app|f|f|f",
            "wharfd_backup|f|f|t",
            "wharfd_owner|f|f|f",
        ]

        assert mode(server.socket_dir) == 0o700
        assert mode(server.socket_dir / ".s.PGSQL.5432") == 0o700
        assert mode(server.data_dir) == 0o700
        assert os.getsid(server.pid) != os.getsid(0)  # ctrl-C does not reach it
    assert not list((tmp_path / "new" / "state" / "postgres").glob("making-*"))


async def test_the_backup_role_may_replicate(state, logged, tmp_path):
    async with running(state, logged) as server:
        copy = [str(server.bin_dir / "pg_basebackup"), "-D", str(tmp_path / "copy"), "-c", "fast"]
        await trio.run_process([*copy, "-d", server.dsn("backup", "postgres")], capture_stderr=True)
    assert (tmp_path / "copy" / "backup_manifest").is_file()


async def test_data_outlives_a_stop_and_no_process_does(state, logged):
    async with running(state, logged) as server:
        await query(server, "app", "INSERT INTO kept VALUES (1)")
        data = server.data_dir
    with working_in(data) as left:
        assert left == []
    assert await server.wait_died() == "it was stopped"
    async with running(state, logged) as server:
        assert await query(server, "app", "SELECT id FROM kept") == "1"
    assert len(logged.named("embedded_postgres_stopped")) == 2
    assert not logged.named("embedded_postgres_died")


async def test_a_cancelled_daemon_stops_its_server_in_order(state, logged):
    with trio.CancelScope() as scope:
        async with running(state, logged) as server:
            await query(server, "app", "INSERT INTO kept VALUES (1)")
            scope.cancel()
            await trio.sleep_forever()
    with working_in(server.data_dir) as left:
        assert left == []
    log = "\n".join(path.read_text() for path in server.log_dir.glob("*.log"))
    assert "received fast shutdown request" in log


async def test_a_killed_server_is_restarted_with_every_committed_row(state, logged):
    async with running(state, logged) as server:
        await query(server, "app", "INSERT INTO kept SELECT generate_series(1, 1000)")
        await query(server, "superuser", "ALTER SYSTEM SET synchronous_standby_names = 'wharfd_receiver'")
        first = server.pid
        os.kill(first, signal.SIGKILL)
        assert await server.wait_died() == "killed by SIGKILL"
        assert not server.ready
        await server.wait_ready()
        assert server.pid not in (None, first)
        assert await query(server, "app", "SELECT count(*) FROM kept") == "1000"
        await query(server, "app", "DELETE FROM kept")  # which waits for no receiver that is not there
    (died,) = logged.named("embedded_postgres_died")
    assert died["how"] == "killed by SIGKILL"


async def test_a_server_that_cannot_come_back_is_tried_again(state, logged):
    async with running(state, logged) as server:
        control = server.data_dir / "global" / "pg_control"
        control.rename(control.with_name("hidden"))
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: logged.named("embedded_postgres_restart_failed"))
        failed = logged.named("embedded_postgres_restart_failed")[0]
        assert "PostgreSQL did not start" in failed["error"]
        assert "pg_control" in failed["error"]
        assert await server.wait_died()
        control.with_name("hidden").rename(control)
        await server.wait_ready()
        assert await query(server, "app", "SELECT count(*) FROM kept") == "0"


@asynccontextmanager
async def other_daemon(state):
    """Run a daemon of its own on the folder; yields the process and its server's pid."""
    with trio.fail_after(60):
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", DAEMON, str(state)], stdout=subprocess.PIPE
        )
        try:
            said = b""
            while not said.endswith(b"\n"):
                more = await process.stdout.receive_some()
                assert more, "the daemon ended before it was ready"
                said += more
            yield process, int(said.split()[1])
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def test_a_server_that_outlived_its_daemon_is_stopped_first(state, logged):
    async with other_daemon(state) as (process, left_pid):
        process.kill()
        await process.wait()
    async with running(state, logged) as server:
        assert server.pid != left_pid
        assert await query(server, "app", "SELECT count(*) FROM kept") == "0"
    (left,) = logged.named("embedded_postgres_left_over")
    assert left["server"]
    assert left_pid in left["pids"]


async def test_a_kill_of_daemon_and_server_leaves_nothing_in_the_way(state, logged):
    async with other_daemon(state) as (process, left_pid):
        process.kill()
        os.kill(left_pid, signal.SIGKILL)
        await process.wait()
    assert (state / "postgres" / "data" / "postmaster.pid").is_file()
    async with running(state, logged) as server:
        assert await query(server, "app", "SELECT count(*) FROM kept") == "0"


async def test_a_pid_that_belongs_to_somebody_else_now_is_not_believed(state, logged):
    home = state / "postgres"
    mine = f"{os.getpid()}\n{home / 'data'}\n1\n5432\n{home / 'run'}\n\n     1234   5678\nready   \n"
    (home / "data" / "postmaster.pid").write_text(mine)
    (home / "run" / ".s.PGSQL.5432.lock").write_text(mine)
    async with running(state, logged) as server:
        assert await query(server, "app", "SELECT 1") == "1"
    assert logged.named("embedded_postgres_stale_pid_removed")


async def test_a_second_daemon_is_refused_and_the_first_named(state, logged):
    async with running(state, logged) as server:
        said = await refusal(state, StateFolderInUse, logged)
        assert f"in use by the wharfd with pid {os.getpid()}; stop that one" in said
        assert await query(server, "app", "SELECT 1") == "1"


async def test_a_deep_state_folder_gets_its_socket_elsewhere(made, tmp_path, outside, logged, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(outside))
    async with running(copy_of(made, tmp_path / ("d" * 100)), logged) as server:
        assert server.socket_dir.parent == outside
        assert mode(server.socket_dir) == 0o700
        assert await query(server, "app", "SELECT 1") == "1"
    assert logged.named("embedded_postgres_socket_elsewhere")


async def test_a_setting_of_the_operator_is_taken_and_a_law_is_not_broken(state, logged):
    odd = r"it's C:\new 'and' \\ more"
    async with running(state, logged, settings={"Work_Mem": "9MB", "cluster_name": odd}) as server:
        assert await query(server, "app", "SHOW work_mem") == "9MB"
        assert await query(server, "app", "SHOW cluster_name") == odd
        await query(server, "superuser", "ALTER SYSTEM SET fsync = off", "postgres")
    async with running(state, logged) as server:
        assert await query(server, "app", "SHOW fsync") == "on"
        assert await query(server, "app", "SHOW work_mem") == "4MB"


async def test_a_setting_the_server_refuses_is_a_sentence_and_its_words(state, logged):
    said = await refusal(state, EmbeddedPostgresError, logged, settings={"work_mem": "a lot"})
    assert "it does not accept a setting; correct [database] settings" in said
    assert 'invalid value for parameter "work_mem": "a lot"' in said
    async with running(state, logged) as server:
        assert await query(server, "app", "SELECT 1") == "1"


async def test_a_law_cannot_be_set(state, logged):
    wrong = {"fsync": "off", "Listen_Addresses": "*", "port": "1", "x y": "1", "work_mem": "1\nfsync = off"}
    with pytest.raises(ExceptionGroup) as caught:
        async with running(state, logged, settings=wrong):
            pass
    assert [problem.where for problem in only(caught.value, ConfigError).problems] == [
        f"database.settings.{name}" for name in wrong
    ]


async def test_data_of_another_major_version_is_refused_with_both(state, logged):
    (state / "postgres" / "data" / "PG_VERSION").write_text("13\n")
    said = await refusal(state, EmbeddedPostgresRefused, logged)
    assert "belongs to PostgreSQL 13, and the programs in" in said
    assert "install PostgreSQL 13 and set [database] bin_dir" in said
    assert "docs/embedded-postgres.md" in said


async def test_a_folder_with_something_else_in_it_is_not_touched(tmp_path, logged):
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "letters.txt").write_text("dear")
    said = await refusal(tmp_path, EmbeddedPostgresRefused, logged)
    assert "is not a PostgreSQL data folder" in said
    assert [path.name for path in data.iterdir()] == ["letters.txt"]


async def test_a_state_folder_that_is_a_file_is_a_sentence(tmp_path, logged):
    (tmp_path / "state").write_text("")
    assert "cannot be used by user id" in await refusal(tmp_path / "state", EmbeddedPostgresError, logged)


@pytest.mark.parametrize("grown", ["PG_VERSION", "global/pg_control"])
async def test_a_kill_while_the_data_is_made_leaves_a_clean_start(tmp_path, logged, grown):
    home = tmp_path / "postgres"
    with trio.fail_after(60):
        process = await trio.lowlevel.open_process([sys.executable, "-c", DAEMON, str(tmp_path)])
        await until(lambda: list(home.glob(f"making-*/{grown}")))
        process.kill()  # initdb goes on without its daemon
        await process.wait()
    assert not (home / "data").exists()
    async with running(tmp_path, logged) as server:
        assert await query(server, "app", "SELECT current_database()") == "wharfd"
    assert not list(home.glob("making-*"))


@pytest.fixture
def small_disk(tmp_path):
    """A disk with room for bytes and not for files: initdb is stopped half-way."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=180m,nr_inodes=400,mode=700", "none", str(tmp_path)]
    if not AS_ROOT or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("NOT PROVEN: no disk can be mounted here to be filled; run the suite as root")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


async def test_a_full_disk_is_a_sentence_and_leaves_nothing(small_disk, logged):
    said = await refusal(small_disk, EmbeddedPostgresError, logged)
    assert "a new database could not be made" in said
    assert "the disk is full; free some space" in said
    assert "No space left on device" in said
    assert [
        path.name for path in (small_disk / "postgres").iterdir() if path.name not in ("lock", "logs")
    ] == []

    (small_disk / "filler").write_bytes(b"\0" * (60 << 20))
    said = await refusal(small_disk, EmbeddedPostgresError, logged)
    assert re.search(r"has 1\d\d MiB free, and a new database needs 150 MiB", said)


@needs_root
async def test_another_user_is_rejected_even_with_every_door_open(made, outside, logged):
    async with running(copy_of(made, outside), logged) as server:
        for path in (outside, outside / "postgres", server.socket_dir):
            path.chmod(0o755)
        (server.socket_dir / ".s.PGSQL.5432").chmod(0o777)
        strangers = [12345, *(pwd.getpwnam(name).pw_uid for name in ("nobody", "daemon", "bin"))]
        for uid in strangers:
            for role in ("app", "superuser"):
                refused = await trio.run_process(
                    ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
                    + [str(server.bin_dir / "psql"), "-X", "-d", server.dsn(role), "-c", "SELECT 1"],
                    check=False,
                    capture_stdout=True,
                    capture_stderr=True,
                )
                assert b"Peer authentication failed" in refused.stderr, (uid, refused.stderr)
        assert await query(server, "app", "SELECT 1") == "1"


@needs_root
async def test_root_without_namespaces_runs_the_server_as_another_user(outside, logged):
    said = await refusal(outside, EmbeddedPostgresError, logged, run_as="nobody")
    assert f"may not enter {outside}" in said
    assert mode(outside) == 0o700  # was not loosened to make it work
    outside.chmod(0o711)
    for _ in range(2):
        async with running(outside, logged, run_as="nobody") as server:
            assert server.data_dir.owner() == "nobody"
            assert await query(server, "app", "SELECT 1") == "1"
            os.kill(server.pid, signal.SIGKILL)
            await server.wait_died()
            await server.wait_ready()
            assert await query(server, "app", "SELECT 1") == "1"


def readable_python(become):
    """Return the command of an interpreter like ours that the user can start; None when there is none."""
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{same}", f"/usr/local/bin/{same}"):
        if Path(python).exists():
            command = ["env", "-C", "/", *(f"{name}={value}" for name, value in path.items()), python]
            tried = subprocess.run(
                [*become, *command, "-c", "import trio, structlog, wharfd.db.embedded"],
                check=False,
                capture_output=True,
            )
            if tried.returncode == 0:
                return command
    return None


@needs_root
@pytest.mark.parametrize("who", ["12345", "daemon"])
async def test_an_ordinary_user_runs_it(who, outside):
    """As a user with a name, and as one without (a container's `--user 12345`)."""
    uid = int(who) if who.isdigit() else pwd.getpwnam(who).pw_uid
    become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    python = readable_python(become)
    if python is None:
        pytest.skip(f"NOT PROVEN: user {who} can read no Python with wharfd in it on this machine")
    os.chown(outside, uid, uid)
    done = await trio.run_process(
        [*become, *python, "-c", DAEMON, str(outside), "once"], check=False, capture_stdout=True
    )
    assert done.returncode == 0
    assert done.stdout.split()[0] == str(uid).encode()
    assert (outside / "postgres" / "data" / "PG_VERSION").stat().st_uid == uid
