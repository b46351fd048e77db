"""The wall clock jumps an hour forth and back: due times and leases are the database's."""

from __future__ import annotations

from pathlib import Path

import trio

from ..stage import Scenario, Stage

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
_TICKS = "SELECT count(*), round(extract(epoch FROM max(at) - min(at))) FROM proof.ticks"


async def run(stage: Stage) -> None:
    """Two daemons, the clock of one jumps; schedules fire once, leases hold, deliveries go on."""
    offset = stage.folder / "offset"
    offset.write_text("+0\n")
    environ = {
        "LD_PRELOAD": str(_LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    jumper = await stage.started(environ=environ)
    await stage.started()
    async with stage.load(rate=60) as load:
        for jump in ("+3600", "-3600", "+0") * int(stage.scale(1, 4)):
            await load.more(60)
            offset.write_text(f"{jump}\n")
            jumped = trio.current_time()
            await stage.recovered(load, jumped)
            await trio.sleep(stage.scale(1, 3))
        await load.more(60)
    (ticks, seconds), *_ = await stage.server.query(stage.database, _TICKS)
    stage.expect(jumper.running, "the daemon did not live through it")
    stage.expect(int(ticks) <= float(seconds) + 2, f"the schedule fired {ticks} times in {seconds} s")
    stage.expect(load.worst < 10, f"a delivery waited {load.worst:.1f} s")
    stage.note(f"the schedule (every second, two daemons) fired {ticks} times in {seconds} s")


def needs() -> str:
    """Say what is missing."""
    return "" if _LIBRARIES else "libfaketime is missing; apt install libfaketime"


SCENARIO = Scenario(
    "clock-jumps", "The wall clock of one of two daemons jumps by an hour, forth and back.", run, needs=needs
)
