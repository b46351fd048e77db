"""A full disk: under the spool while PostgreSQL is away, the state folder, or PostgreSQL itself."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import trio

from ..daemon import Daemon
from ..http import call
from ..postgres import Server
from ..stage import Scenario, Stage

_DATA_MIB = 220
_SIZE_MIB = 300  # the spool leaves 256 MiB of a disk free


async def spool(stage: Stage) -> None:
    """Fill the disk to the spool's limit, stop PostgreSQL, and see deliveries refused once it is full."""
    disk = stage.folder / "disk"
    disk.mkdir(mode=0o700)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MIB}m", "wharfd-faults", str(disk)], check=True
    )
    try:
        daemon = await stage.started(folder=disk / "daemon")
        room = os.statvfs(disk)
        free = room.f_bavail * room.f_frsize
        ballast = disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - (256 << 20) - (256 << 10))
        async with stage.load(rate=300) as load:
            await load.more(50)
            await stage.server.stop()
            with trio.fail_after(90):
                while load.outcomes["503"] < 20:
                    await trio.sleep(0.05)
            full, before = stage.ledger.acknowledged, load.outcomes["503"]
            await trio.sleep(stage.scale(1, 5))
            stage.note(
                f"while full {stage.ledger.acknowledged - full} deliveries were acknowledged,"
                f" {load.outcomes['503'] - before} told 503"
            )
            ballast.unlink()
            roomy = trio.current_time()
            await stage.recovered(load, roomy)  # by the spool, PostgreSQL is still away
            await stage.server.start()
            await load.more(50)
        stage.expect(daemon.running, "the daemon did not live through it")
        stage.expect(
            set(load.outcomes) <= {"200", "503"}, f"answers other than 200 and 503: {dict(load.outcomes)}"
        )
        stage.expect(await stage.settled(), "work was still open")  # the disk goes with this block
        stage.expect(await daemon.stop() == 0, "the daemon did not end in good order")
        stage.expect(stage.quarantined() == 0, "records lie in quarantine")
    finally:
        for one in stage.daemons:
            one.close()
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _fill(ballast: Path) -> None:
    """Write until nothing more fits."""
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while file.write(bytes(65536)) == 65536:
            pass


async def state(stage: Stage) -> None:
    """Fill the disk of the state folder to the last byte: PostgreSQL takes what comes, a start says why."""
    disk = stage.folder / "disk"
    disk.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "wharfd-faults", str(disk)], check=True)
    try:
        daemon = await stage.started(folder=disk / "daemon")
        daemon.log = stage.folder / "log"  # a journal elsewhere, as under systemd
        await daemon.stop()
        await daemon.start()
        ballast = disk / "ballast"
        async with stage.load() as load:
            for _ in stage.times(1, 4):
                await load.more(100)
                _fill(ballast)
                full = trio.current_time()
                await stage.recovered(load, full)
                await load.more(200)
                stage.expect(daemon.running, "the daemon did not live through it")
                await daemon.stop()
                daemon.launch()
                await _up_or_told(stage, daemon)
                ballast.unlink()
                roomy = trio.current_time()
                if not daemon.running:
                    daemon.launch()
                await daemon.wait_ready()
                await stage.recovered(load, roomy)
            _fill(ballast)
            await stage.server.stop()
            with trio.fail_after(60):
                while load.outcomes["503"] < 20:
                    await trio.sleep(0.05)
            before = stage.ledger.acknowledged
            await trio.sleep(stage.scale(1, 3))
            stage.expect(stage.ledger.acknowledged == before, "acknowledged what could be kept nowhere")
            ballast.unlink()
            await stage.server.start()
            back = trio.current_time()
            await stage.recovered(load, back)
            await load.more(50)
        stage.expect(
            set(load.outcomes) <= {"200", "503", "refused", "cut while kept"},
            f"other answers: {dict(load.outcomes)}",
        )
        stage.expect(await stage.settled(), "work was still open")  # the disk goes with this block
        stage.expect(await daemon.stop() == 0, "the daemon did not end in good order")
    finally:
        for one in stage.daemons:
            one.close()
        subprocess.run(["umount", "-l", str(disk)], check=True)


async def _up_or_told(stage: Stage, daemon: Daemon) -> None:
    """Either it starts on the full disk, or it ends with a sentence that names the disk."""
    with trio.move_on_after(60):
        while daemon.running:
            with suppress(OSError, EOFError, trio.BrokenResourceError):
                if (await call(daemon.api, "GET", "/health/ready")).status == 200:
                    stage.note("it started on the full disk")
                    return
            await trio.sleep(0.05)
        last = daemon.tail(1)
        stage.expect("Traceback" not in daemon.tail(5), f"a start on the full disk ended in: {last}")
        stage.note(f"a start on the full disk: {last}")
        return
    stage.broken.append("a start on the full disk neither served nor ended within 60 s")


async def data(stage: Stage) -> None:
    """Fill the disk under PostgreSQL's data and log; what it cannot write the spool takes, then make room."""
    disk = stage.folder / "disk"
    disk.mkdir(mode=0o700)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DATA_MIB}m,mode=0700", "wharfd-faults", str(disk)], check=True
    )
    server = Server(disk / "postgres")
    try:
        await server.create()
        await server.make_database(stage.database)
        stage.server = server
        daemon = await stage.started()
        ballast = disk / "ballast"
        async with stage.load(rate=150) as load:
            await load.more(100)
            for _ in stage.times(1, 4):
                _fill(ballast)
                full = trio.current_time()
                await load.more(int(stage.scale(100, 500)))  # by the spool, once a table or the log must grow
                await stage.recovered(load, full)
                died = not server.running
                ballast.unlink()
                if died:
                    await server.start()
                stage.note(f"PostgreSQL {'gave up and was started again' if died else 'lived on'} when full")
                await load.more(100)
        stage.expect(daemon.running, "the daemon did not live through it")
        stage.expect(await stage.settled(), "work was still open")  # the disk goes with this block
        stage.expect(await daemon.stop() == 0, "the daemon did not end in good order")
        await stage.judge()
    finally:
        for one in stage.daemons:
            one.close()
        await server.stop("immediate")
        subprocess.run(["umount", "-l", str(disk)], check=True)


def needs() -> str:
    """Say what is missing."""
    return "" if os.geteuid() == 0 else "only root can mount a small disk"


SPOOL = Scenario(
    "disk-full-spool", "The disk of the spool is full while PostgreSQL is away.", spool, needs=needs
)
STATE = Scenario(
    "disk-full-state", "The disk of the state folder is full to the last byte.", state, needs=needs
)
DATA = Scenario("disk-full-postgres", "The disk of PostgreSQL's data and log is full.", data, needs=needs)
