"""The data folder: made so that a crash leaves none half-made, checked, and told its settings.

Running a server on it is `postmaster`.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
import trio

from ...errors import EmbeddedPostgresError, EmbeddedPostgresRefused
from . import settings
from .binaries import Binaries, other_binaries
from .confinement import Confinement
from .failure import failure
from .layout import Layout, sync_folder, write_durably
from .processes import Found, alive, wait_all_gone, working_in

_BYTES_FOR_NEW = 150 * 1024 * 1024  # what initdb writes (40 MiB) and the first write-ahead log files
_INCLUDE = "include 'wharfd.conf'"
_PATIENCE_SECONDS = 20.0  # a fast shutdown writes a checkpoint first
_KILL_SECONDS = 5.0
_BUILTIN_LOCALE_SINCE = 17


def initdb_arguments(data: Path, major: int) -> list[str]:
    """Return initdb's arguments for a new data folder: UTF-8, a collation no library update can change."""
    if major >= _BUILTIN_LOCALE_SINCE:
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    else:
        locale = ["--locale=C", "--lc-ctype=C.UTF-8"]
    return [
        *("-D", str(data), "-U", settings.SUPERUSER, "-E", "UTF8", *locale),
        *("--data-checksums", "--no-instructions", "--auth-local=peer", "--auth-host=reject"),
    ]


def made_by(data: Path) -> int | None:
    """Return the major version that made a data folder; None when there is none yet."""
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        if data.is_symlink() or (data.exists() and (not data.is_dir() or any(data.iterdir()))):
            raise EmbeddedPostgresRefused(
                f"{data} is not a PostgreSQL data folder: its PG_VERSION is missing; move it away to begin "
                "with an empty database, or restore a backup"
            ) from None
        return None
    except ValueError:
        raise EmbeddedPostgresRefused(f"{data}/PG_VERSION is damaged; restore a backup") from None
    except OSError as error:
        raise EmbeddedPostgresError(
            f"the data folder {data} cannot be read: {error.strerror}; run wharfd as the user who owns it"
        ) from error


async def check_version(data: Path, binaries: Binaries, confinement: Confinement) -> bool:
    """Return whether there is a data folder, and raise when these binaries cannot work on it."""
    major = made_by(data)
    if major is None:
        return False
    if major == binaries.major:
        return True
    fitting = await other_binaries(major, confinement)
    as_before = (
        f'set [database] bin_dir = "{fitting.folder}"'
        if fitting is not None
        else f"install PostgreSQL {major} and set [database] bin_dir to its programs"
    )
    moving = (
        f"to move the data to {binaries.major}, follow «Upgrade» in docs/embedded-postgres.md"
        if major < binaries.major
        else "an older PostgreSQL cannot take over the data of a newer one"
    )
    raise EmbeddedPostgresRefused(
        f"the data in {data} belongs to PostgreSQL {major}, and the programs in {binaries.folder} are "
        f"PostgreSQL {binaries.major}; to go on as before, {as_before}; {moving}"
    )


async def make(layout: Layout, binaries: Binaries, confinement: Confinement) -> None:
    """Make the data folder, under another name first: it appears whole and on disk, or not at all."""
    free = shutil.disk_usage(layout.home).free
    if free < _BYTES_FOR_NEW:
        raise EmbeddedPostgresError(
            f"the disk of {layout.home} has {free // 2**20} MiB free, and a new database needs "
            f"{_BYTES_FOR_NEW // 2**20} MiB; free some space, or choose another --state-dir"
        )
    making = layout.new_unfinished(confinement)
    try:
        # The working directory marks the process as one of this folder's, also when we are gone.
        done = await trio.run_process(
            confinement.command(binaries.program("initdb"), *initdb_arguments(making, binaries.major)),
            check=False,
            capture_stdout=True,
            capture_stderr=True,
            cwd=making,
            **confinement.options(),
        )
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").splitlines()
            raise failure("a new database could not be made", layout.home, words[-12:])
        making.rename(layout.data)
        sync_folder(layout.home)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def configure(
    layout: Layout, binaries: Binaries, confinement: Confinement, overrides: Mapping[str, str]
) -> None:
    """Write the settings and the access rules that hold from the next start on."""
    ours = settings.defaults(
        settings.machine_memory(), statements=binaries.has("pg_stat_statements"), logs=layout.logs
    )
    text = settings.render(ours | {name.lower(): value for name, value in overrides.items()})
    write_durably(layout.data / "wharfd.conf", text, confinement)
    write_durably(layout.data / "pg_hba.conf", settings.access_rules(), confinement)
    write_durably(layout.data / "pg_ident.conf", settings.names(confinement.peer), confinement)
    main = layout.data / "postgresql.conf"
    text = main.read_text(errors="replace")
    if _INCLUDE not in text.splitlines():
        write_durably(main, f"{text}\n{_INCLUDE}\n", confinement)


async def clear_unfinished(layout: Layout, log: structlog.stdlib.BoundLogger) -> None:
    """Remove data folders whose making was cut short, and what may still be writing to them."""
    for folder in layout.unfinished():
        while await _kill_working_in(folder):
            pass  # initdb may have started another program just before it was killed
        await trio.to_thread.run_sync(shutil.rmtree, folder)
        log.info("embedded_postgres_unfinished_data_removed", folder=str(folder))


async def _kill_working_in(folder: Path) -> bool:
    """End every process that works in the folder, and tell whether there was one."""
    with working_in(folder) as processes:
        for process in processes:
            process.send(signal.SIGKILL)
        _refuse_left(await wait_all_gone(processes, _KILL_SECONDS), folder)
        return bool(processes)


def _refuse_left(processes: Sequence[Found], folder: Path) -> None:
    if processes:
        pids = ", ".join(str(process.pid) for process in processes)
        raise EmbeddedPostgresError(
            f"PostgreSQL processes of an earlier run do not end on {folder}: {pids}; the disk may hang"
        )


async def clear_the_way(layout: Layout, log: structlog.stdlib.BoundLogger) -> None:
    """Stop what a killed daemon or server has left running on the data folder, and forget its pid.

    A server that outlived its daemon is stopped in order and not taken over: nobody could say with which
    settings and programs it was started, and its end would go unnoticed as it is not our child.
    """
    with working_in(layout.data) as processes:
        if processes:
            first = _noted_pid(layout.data)
            server = [process for process in processes if process.pid == first]
            log.warning(
                "embedded_postgres_left_over",
                pids=[process.pid for process in processes],
                server=bool(server),
            )
            for process in server:
                process.send(signal.SIGINT)
            for process in [] if server else processes:
                process.send(signal.SIGQUIT)  # without a server they end by themselves; this is faster
            left = await wait_all_gone(processes, _PATIENCE_SECONDS if server else _KILL_SECONDS)
            for process in left:
                process.send(signal.SIGKILL)
            _refuse_left(await wait_all_gone(left, _KILL_SECONDS), layout.data)
    pid = _noted_pid(layout.data)
    if pid is not None and alive(pid):
        # The number went to another process since. PostgreSQL could not tell and would not start; every
        # other stale file is left to its own checks.
        log.info("embedded_postgres_stale_pid_removed", pid=pid)
        (layout.data / "postmaster.pid").unlink()


def _noted_pid(data: Path) -> int | None:
    try:
        return abs(int((data / "postmaster.pid").read_text().splitlines()[0]))
    except (OSError, ValueError, IndexError):
        return None
