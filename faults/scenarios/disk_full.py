"""The disk under the spool is full while PostgreSQL is away: 503 instead of a promise."""

from __future__ import annotations

import os
import subprocess

import trio

from ..stage import Scenario, Stage

_SIZE_MIB = 300  # the spool leaves 256 MiB of a disk free


async def run(stage: Stage) -> None:
    """Fill the disk to the spool's limit, stop PostgreSQL, and see deliveries refused once it is full."""
    disk = stage.folder / "disk"
    disk.mkdir()
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


def needs() -> str:
    """Say what is missing."""
    return "" if os.geteuid() == 0 else "only root can mount a small disk"


SCENARIO = Scenario(
    "disk-full-spool", "The disk of the spool is full while PostgreSQL is away.", run, needs=needs
)
