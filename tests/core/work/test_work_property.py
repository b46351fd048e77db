"""Whatever handlers do and however leases are lost: every row ends once, and committed effects are exact.

Each row follows a random script, one step per try. Two engines work the table while leases are taken away at
random moments, as if their holder had been frozen or cut off.
"""

from __future__ import annotations

import random

import pytest
import trio

from wharfd.declare import Retry
from wharfd.errors import LeaseLost
from wharfd.work import Bury, Done, RetryAfter, Snooze

ROWS = 120
STEPS = ["done", "commit", "commit slowly", "fail", "retry", "snooze", "bury in commit", "fail in commit"]
WEIGHTS = [3, 4, 3, 2, 2, 2, 1, 2]


class Chaos:
    """The scripts of all rows, and what was seen."""

    def __init__(self, kit, seed):
        self.kit = kit
        self.random = random.Random(seed)
        self.scripts = {}
        self.tries = {}
        self.stolen = 0

    def step(self, key):
        script = self.scripts.setdefault(
            key, [*self.random.choices(STEPS, WEIGHTS, k=self.random.randint(0, 4)), "commit"]
        )
        number = self.tries[key] = self.tries.get(key, 0) + 1
        return script[min(number, len(script)) - 1]

    async def follow(self, job):
        step = self.step(job.row.id)
        await trio.sleep(self.random.choice([0, 0, 0.002, 0.01]))
        match step:
            case "done":
                return Done()
            case "fail":
                raise ValueError("script")
            case "retry":
                return RetryAfter(self.random.uniform(0, 0.02), "script")
            case "snooze":
                raise Snooze(self.random.uniform(0, 0.02))
        async with job.commit() as tx:
            await tx.execute(self.kit.EFFECT, job.row.id, step)
            if step == "commit slowly":
                await trio.sleep(0.01)
            if step == "fail in commit":
                raise ValueError("script")
            if step == "bury in commit":
                job.finish(Bury("script"))
        return None

    async def single(self, ctx, job):
        return await self.follow(job)

    async def batch(self, ctx, batch):
        for job in batch:
            try:
                outcome = await self.follow(job)
                if outcome is not None:
                    job.finish(outcome)
            except LeaseLost:
                continue
            except Exception as error:
                if not job.settled:
                    job.finish(error)

    async def steal(self):
        """Take random leases away, in one of the ways in which they get lost."""
        while True:
            await trio.sleep(self.random.uniform(0, 0.02))
            how = self.random.choice(
                [
                    "lease_until = now() - interval '1 second'",  # recovery takes it
                    "state = 'ready', claim = NULL, lease_until = NULL",  # recovered in this very moment
                ]
            )
            self.stolen += await self.kit.things.set(
                how,
                "id IN (SELECT id FROM wharfd.things WHERE state = 'running' ORDER BY random() LIMIT 4 "
                "FOR UPDATE SKIP LOCKED) AND state = 'running'",
            )


@pytest.mark.parametrize("shape", ["single", "batch", "fair", "ordered"])
async def test_every_row_ends_once_and_effects_are_exact(kit, shape):
    seed = random.randrange(1 << 30)
    chaos = Chaos(kit, seed)
    for owner in "abcdefgh":
        await kit.things.add(ROWS // 8, owner=owner)
    more = {
        "single": {"concurrency": 8},
        "batch": {"batch": 5, "concurrency": 3},
        "fair": {"fair_by": "owner", "per_key": 4, "concurrency": 8},
        "ordered": {"fair_by": "owner", "ordered": True, "skip_buried": True, "concurrency": 8},
    }[shape]
    handler = chaos.batch if shape == "batch" else chaos.single
    more |= {"lease_seconds": 0.5, "retry": Retry(attempts=12, delays=(0.005,))}
    async with (
        kit.open_engine("one") as one,
        kit.open_engine("two") as two,
        kit.work(handler, engine=one, **more),
        kit.work(handler, engine=two, **more),
    ):
        async with trio.open_nursery() as thieves:
            thieves.start_soon(chaos.steal)
            with trio.move_on_after(1.5):  # then peace, so that it ends
                await kit.settled()
            thieves.cancel_scope.cancel()
        states = await kit.settled(seconds=20)
    assert chaos.stolen > 10
    note = f"seed {seed}"
    assert set(states) <= {"done", "buried"}, note
    assert sum(states.values()) == ROWS, note
    rows = await kit.things.fetch("SELECT id, state, attempts, claim FROM wharfd.things")
    endings = dict(await kit.things.fetch("SELECT id, count(*) FROM wharfd.endings GROUP BY id"))
    effects = {}
    for key, by in await kit.things.fetch("SELECT id, by FROM wharfd.effects"):
        effects.setdefault(key, []).append(by)
    for key, state, attempts, claim in rows:
        assert claim is None, note
        assert attempts <= 12, note
        assert endings.get(key, 0) == (state == "done"), note
        assert "fail in commit" not in effects.get(key, []), note
        # An effect is there only with the one ending that was committed together with it.
        assert len(effects.get(key, [])) <= 1, (note, key, effects[key])
        if effects.get(key) == ["bury in commit"]:
            assert state == "buried", note
        elif effects.get(key):
            assert state == "done", note
