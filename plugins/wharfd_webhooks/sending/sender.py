"""The sender: what happens to one claimed delivery, from the gate to the written result.

1. The endpoint, as it was read last, and its gate: a delivery that may not go now is parked or put off. Where
   the endpoint takes fewer sends than there are daemons, these take turns.
2. The attempt is written down, together with others, and only if the delivery is still ours and the endpoint
   still has the version that was looked at. Otherwise the endpoint is read anew and we begin again.
3. The send, with nothing held in the database.
4. The result is written with the delivery's next state in one commit, together with others.

A crash between 2 and 4 leaves the attempt `started`; whoever gets the delivery next marks it `unknown`.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from wharfd import (
    Bury,
    Cancel,
    DatabaseUnavailable,
    Hold,
    Job,
    Outcome,
    PluginContext,
    Snooze,
    StatementTimeout,
)

from ..config import Settings
from ..model.endpoint import Endpoint
from ..model.rows import DeliveryRow
from ..model.verdicts import Answer
from ..store import senders
from .directory import Directory
from .gates import Gate, Gates, refusal
from .gathering import Gathering
from .posting import Parcel, post
from .results import Result, Results
from .shares import Shares
from .turns import Turns

SWEEP_SECONDS = 15.0  # how often parked deliveries are looked at
QUEUES = {"free": "deliveries", "ordered": "ordered", "skipping": "ordered_skipping"}  # by lane
_LOOKS = 5
_MARK_SECONDS = 3.0

_Start = tuple[Job[DeliveryRow], Endpoint]


class Turn:
    """A turn at a gate, given back once."""

    def __init__(self, gate: Gate, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.delivered: bool | None = None
        self.seconds = 0.0
        self.slot: int | None = None
        self._gate: Gate | None = gate

    def end(self) -> None:
        """Give it back, with what was learnt about the endpoint."""
        if self._gate is not None:
            self._gate.leave(self.endpoint, self.delivered, self.seconds)
            self._gate = None


class Sender:
    """Sends deliveries of this daemon. `ctx.state["sender"]` is one."""

    def __init__(self, ctx: PluginContext[Settings]) -> None:
        self._ctx = ctx
        self.gates = Gates()
        self.shares = Shares(ctx)
        self.turns = Turns(ctx)
        self.directory = Directory(ctx)
        self.results = Results(ctx, self.directory)
        self.begin: Gathering[_Start, senders.Begun | None] = Gathering(self._begin)
        self._releasing: Gathering[tuple[str, int], None] = Gathering(self._release)

    async def deliver(self, job: Job[DeliveryRow]) -> Outcome | None:
        """Work one delivery; returns its outcome unless it was already written."""
        trigger = job.row.trigger
        forced = trigger in ("resend", "test") or (trigger == "retry" and job.attempt == 1)
        for _ in range(_LOOKS):
            endpoint = await self.directory.find(job.row.endpoint_id)
            if endpoint is not None and refusal(endpoint, forced=forced) is not None:
                endpoint = await self.directory.read(endpoint.id)
            if endpoint is None:
                return Cancel("the endpoint is not there any more")
            most, endpoint = endpoint.max_in_flight, self.shares.of(endpoint)
            gate = self.gates.of(endpoint.id)
            refused = await gate.enter(endpoint, forced=forced)
            if refused is not None:
                self._count_refusal(refused)
                return refused
            turn = Turn(gate, endpoint)
            try:
                if most < self.shares.daemons:
                    turn.slot = await self.turns.take(endpoint.id, job.row.id, most)
                    if turn.slot is None:
                        self._count_refusal(
                            outcome := Snooze(1.0, reason="put off: other daemons send to it")
                        )
                        return outcome
                begun = await self.begin((job, endpoint))
                if begun is None:  # the endpoint has changed, or the delivery is not ours any more
                    self.directory.forget(endpoint.id)
                    if job.lost:
                        return None
                    continue
                if begun.number is None:
                    return Bury("it may have been sent before wharfd stopped, and is to be sent at most once")
                if begun.body is None:
                    return Bury("its payload is not kept any more")
                await self._send(job, turn, begun.number, begun.body)
            finally:
                if turn.slot is not None:
                    await self.turns.give(endpoint.id, job.row.id, turn.slot)
                turn.end()
            if turn.delivered is not None and (wanted := gate.release_now(endpoint)):
                await self._releasing((endpoint.id, wanted))
            return None
        return Snooze(1.0, reason="the endpoint is being changed")

    async def _send(self, job: Job[DeliveryRow], turn: Turn, number: int, body: bytes) -> None:
        row = job.row
        parcel = Parcel(row.id, row.message_id, row.type, number, body)
        cancel = None
        started = trio.current_time()
        try:
            answer = await post(self._ctx, turn.endpoint, parcel)
        except Cancel as outcome:
            answer, cancel = Answer(None, "skipped", outcome.reason), outcome.reason
        except BaseException as error:
            await self._mark_unknown(job, number, trio.current_time() - started, error)
            raise
        self._count(answer)
        action = answer.action
        turn.seconds = answer.seconds
        if cancel is None and (action.sick or action.kind == "success"):
            turn.delivered = action.kind == "success"
        if turn.endpoint.rest_until is None:
            turn.end()  # the next may go while this result is written; behind a probe it may not
        with trio.CancelScope(shield=True):  # the send is made: forgetting how it ended means sending twice
            told = await self.results.write(Result(job, turn.endpoint, number, answer, cancel))
            if told.closed:
                await self.release_ramped(turn.endpoint.id)

    async def _mark_unknown(
        self, job: Job[DeliveryRow], number: int, seconds: float, error: BaseException
    ) -> None:
        """Note that nobody saw the end of a send: wharfd is stopping, the lease is lost, or a bug."""
        reason = (
            "the send was broken off"
            if isinstance(error, trio.Cancelled)
            else f"{type(error).__name__}: {error}"
        )
        end = senders.Finished(
            job.row.id, job.row.created_at, number, "unknown", None, round(seconds * 1000), "interrupted",
            reason, "some", None,
        )  # fmt: skip
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _MARK_SECONDS):
            try:
                await senders.finish(self._ctx.db, [end])
            except (DatabaseUnavailable, StatementTimeout) as failure:
                self._ctx.log.warning("attempt_not_marked", delivery=job.row.id, error=str(failure))

    async def _begin(self, starts: Sequence[_Start]) -> list[senders.Begun | None]:
        begun = await senders.begin(
            self._ctx.db,
            [
                (
                    job.row.id,
                    job.row.created_at,
                    job.claim,
                    endpoint.id,
                    endpoint.version,
                    endpoint.at_most_once,
                )
                for job, endpoint in starts
            ],
        )
        return [begun.get(job.row.id) for job, _ in starts]

    # -- parked deliveries ---------------------------------------------------------------------------

    async def release_ramped(self, endpoint_id: str) -> int:
        """Let parked deliveries of a recovered endpoint go, slowly; the sweep goes on with the rest."""
        ramp = self._ctx.settings.ramp_per_second
        lanes = await senders.release(self._ctx.db, endpoint_id, max(1, int(ramp * SWEEP_SECONDS)), ramp)
        self.wake(lanes)
        return len(lanes)

    async def _release(self, wanted: Sequence[tuple[str, int]]) -> list[None]:
        """Bring some parked deliveries back, at once."""
        for endpoint_id, count in wanted:
            lanes = await senders.release(self._ctx.db, endpoint_id, count, 1e6)
            if len(lanes) < count:
                self.gates.of(endpoint_id).parked = 0
            self.wake(lanes)
        return [None] * len(wanted)

    async def sweep(self) -> int:
        """Release what is parked at endpoints that take deliveries again, and probe those that rested."""
        released = 0
        for row in await senders.releasable(self._ctx.db):
            if row["probing"]:
                lanes = await senders.release(self._ctx.db, row["id"], 1, 1.0)
            elif share := self._share(row["id"]):
                lanes = await senders.release(
                    self._ctx.db, row["id"], share, self._ctx.settings.ramp_per_second
                )
            else:
                continue
            self.wake(lanes)
            released += len(lanes)
        return released

    def _share(self, endpoint_id: str) -> int:
        """How many to release per sweep: what the ramp allows, or what a slow endpoint can take meanwhile.

        That is nothing while all the turns it gets are taken: what came back would only be parked again.
        """
        ramp = int(self._ctx.settings.ramp_per_second * SWEEP_SECONDS)
        gate: Gate = self.gates.of(endpoint_id)
        if trio.current_time() < gate.stuck_until:
            return min(ramp, gate.room + int(gate.rate * SWEEP_SECONDS))
        return max(1, ramp)

    def wake(self, lanes: Sequence[str]) -> None:
        """Wake the workers of these lanes."""
        for lane in set(lanes):
            self._ctx.work.wake(None, QUEUES[lane], rows=0)

    # -- counting ------------------------------------------------------------------------------------

    def _count(self, answer: Answer) -> None:
        kind = answer.error_kind or (f"{answer.status // 100}xx" if answer.status else "other")
        self._ctx.metrics["attempts_total"].labels(kind).inc()
        self._ctx.metrics["attempt_seconds"].observe(answer.seconds)

    def _count_refusal(self, outcome: Outcome) -> None:
        kind = (
            "parked"
            if isinstance(outcome, Hold)
            else "put_off"
            if isinstance(outcome, Snooze)
            else "cancelled"
        )
        self._ctx.metrics["stepped_aside_total"].labels(kind).inc()


async def deliver(ctx: PluginContext[Settings], job: Job[DeliveryRow]) -> Outcome | None:
    """Work one delivery: the handler of all three queues."""
    sender: Sender = ctx.state["sender"]
    return await sender.deliver(job)


async def sweep(ctx: PluginContext[Settings]) -> None:
    """Release parked deliveries that may go: the handler of the schedule."""
    sender: Sender = ctx.state["sender"]
    released = await sender.sweep()
    if released:
        ctx.log.info("parked_released", deliveries=released)
