"""A wrong configuration on SIGHUP: the old one goes on; a right one afterwards is taken."""

from __future__ import annotations

import signal

import trio

from ..stage import Scenario, Stage

BAD = (
    "this is not TOML [",
    '[log]\nlevel = "deafening"',
    "[plugins.nobody]",
    '[plugins.proof]\ncrash_att = "x"',
    "\0\0\0",
)


async def run(stage: Stage) -> None:
    """Each wrong file in turn, then the right one with another log level."""
    daemon = await stage.started()
    good = daemon.config.read_text()
    async with stage.load() as load:
        for number, bad in enumerate(BAD, 1):
            daemon.config.write_text(bad)
            daemon.signal(signal.SIGHUP)
            await _logged(stage, daemon, "reload_refused", number)
            await load.more(20)
        daemon.config.write_text(good + '\n[log]\nlevel = "debug"\n')
        daemon.signal(signal.SIGHUP)
        await _logged(stage, daemon, '"reloaded"', 1)
        await load.more(20)
    stage.expect(set(load.outcomes) == {"200"}, f"answers other than 200: {dict(load.outcomes)}")
    stage.note(f"{len(BAD)} wrong files were refused by name, the right one was taken")


async def _logged(stage: Stage, daemon, event: str, count: int) -> None:
    with trio.move_on_after(10):
        while daemon.log.read_text().count(event) < count:
            await trio.sleep(0.05)
        return
    stage.broken.append(f"{event} was not logged {count} times within 10 s")


SCENARIO = Scenario("bad-reload", "Wrong configuration files on SIGHUP under load.", run, short=True)
