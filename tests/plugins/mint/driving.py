"""The real handler and the real minter on a real database and a scripted chain, one step at a time.

The work engine is left out: a test claims a mint itself, which lets it freeze a worker, claim the mint for
another one, and let the first go on.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import structlog

from wharfd.clock import FixedClock
from wharfd.db import sql
from wharfd.declare import Retry
from wharfd.errors import LeaseLost
from wharfd.work.job import Job
from wharfd.work.outcomes import judge
from wharfd_mint.evm.chain import Chain as EvmChain
from wharfd_mint.evm.endpoints import Endpoints
from wharfd_mint.evm.minter import EvmMinter
from wharfd_mint.store.intents import IntentRow
from wharfd_mint.work import work_mint

CLAIM = sql(
    "test.claim",
    """UPDATE mint.intents SET state = 'running', claim = coalesce(claim, 0) + 1
WHERE id = $1 AND state IN ('ready', 'running') RETURNING claim, license_id""",
)
FINISH = sql(
    "test.finish",
    """UPDATE mint.intents SET state = $3, last_error = $4 WHERE id = $1 AND claim = $2 AND state = 'running'""",
)
RETRY = Retry(attempts=1000)


class Desk:
    """Hands jobs in, fenced as the engine does it."""

    def __init__(self, db):
        self.db = db

    @asynccontextmanager
    async def commit(self, jobs):
        (job,) = jobs
        async with self.db.transaction() as tx:
            yield tx
            await self.finish(tx, job, job.outcome)
        job.settled = True

    async def finish(self, queries, job, end):
        verdict = judge(end, 1, RETRY)
        if await queries.execute(FINISH, job.row.id, job.claim, verdict.state, verdict.error) == 0:
            raise LeaseLost


class Driver:
    """Works one mint on one chain."""

    def __init__(self, house, chain, evm, signer, nodes, *, passing=lambda step: None):
        self.house, self.chain, self.evm = house, chain, evm
        self.clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.signer, self.nodes, self.passing = signer, nodes, passing
        self.desk = Desk(house.db)
        house.ctx.state["minters"] = {}

    async def open(self):
        self.minter = self.daemon()
        await self.minter.open()
        return self

    def daemon(self):
        """A daemon that has just started: it remembers nothing."""
        evm = self.evm
        endpoints = Endpoints(
            self.nodes, evm.chain_id, now=lambda: self.clock.now().timestamp(), spread=lambda low, high: 1.0
        )
        chain = EvmChain(
            endpoints,
            evm.contract,
            evm.interface(),
            confirmations=evm.confirmations,
            finalized=False,
            log_range=evm.log_range,
        )
        return EvmMinter(
            self.house.db, chain, self.signer, evm, self.clock, writer="test", passing=self._pass
        )

    def _pass(self, step):
        self.passing(step)

    async def claim(self, intent_id):
        row = await self.house.db.fetchrow(CLAIM, intent_id)
        if row is None:
            return None
        return Job(
            self.desk, "mint.intents", IntentRow(intent_id, row["license_id"]), (intent_id,), row["claim"], 1
        )

    async def work(self, job, minter=None):
        """Run the handler once and hand in how it ended; False when the mint was taken over."""
        (minter or self.minter).chain.forget()
        ctx = self.house.ctx
        ctx.state["minters"]["evm"] = minter or self.minter
        try:
            end = await work_mint(ctx, job)
            if not job.settled:
                await self.desk.finish(self.house.db, job, job.outcome if end is None else end)
        except LeaseLost:
            return False
        return True

    async def step(self, intent_id):
        job = await self.claim(intent_id)
        if job is not None:
            await self.work(job)
        self.clock.advance(timedelta(seconds=1))
        return job is not None


def quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(60))
