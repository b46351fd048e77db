"""Writing what came of sends: attempts, endpoints, the next state of the deliveries and events, in one
commit.

Results of sends that end at about the same time are written together; none waits for a send that still runs.
A result is not given up: while the database is away it is tried again, because forgetting it means sending
twice. A delivery that was taken over meanwhile loses its verdict but keeps its attempt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import trio

from wharfd import (
    Batch,
    Bury,
    Cancel,
    DatabaseUnavailable,
    Done,
    Hold,
    Job,
    LeaseLost,
    Outcome,
    PluginContext,
    RetryAfter,
    Snooze,
    StatementTimeout,
    Transaction,
    span_words,
)
from wharfd.contracts.events import Event
from wharfd.contracts.webhooks import (
    OPERATIONAL_TYPES,
    DeliveryExhausted,
    EndpointDisabled,
    EndpointFailing,
    EndpointRecovered,
)

from ..config import Settings
from ..model.endpoint import Endpoint, origin_of
from ..model.health import Change, Limits, after_failure, after_success
from ..model.rows import DeliveryRow
from ..model.verdicts import Answer, Verdict, judge
from ..store import senders
from .directory import Directory
from .gathering import Gathering

_LINGER_SECONDS = 0.005  # under load results are written this much later, in fewer commits
_AGAIN_SECONDS = 0.5
_GIVE_UP_SECONDS = 120.0  # longer than a lease: by then others may have taken the deliveries over
_TRANSIENT = (
    DatabaseUnavailable,
    StatementTimeout,
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.exceptions.LockNotAvailableError,
)


@dataclass(frozen=True)
class Result:
    """One send that ended. `cancel` is set when a plugin wanted it not to be sent."""

    job: Job[DeliveryRow]
    endpoint: Endpoint
    number: int
    answer: Answer
    cancel: str | None = None


@dataclass(frozen=True)
class Told:
    """What the sender learns from the writing: whether the breaker closed, so that parked ones may go."""

    closed: bool = False


class Results:
    """Takes results in and writes them, many at a time."""

    def __init__(self, ctx: PluginContext[Settings], directory: Directory) -> None:
        self._ctx = ctx
        self._directory = directory
        self._policy = ctx.settings.policy()
        self._limits: Limits = ctx.settings.limits()
        self._by_queue: dict[str, Gathering[Result, Told]] = {}

    async def write(self, result: Result) -> Told:
        """Write one result, together with others of its queue."""
        queue = result.job.queue
        gathering = self._by_queue.get(queue)
        if gathering is None:
            gathering = self._by_queue[queue] = Gathering(self._write, linger=_LINGER_SECONDS)
        return await gathering(result)

    async def _write(self, results: Sequence[Result]) -> list[Told]:
        verdicts = [self._verdict(result) for result in results]
        until = trio.current_time() + _GIVE_UP_SECONDS
        while True:
            try:
                return await self._commit(results, verdicts)
            except LeaseLost:
                continue  # those that were lost are left out from now on
            except _TRANSIENT as error:
                if trio.current_time() > until:
                    raise
                self._ctx.log.warning("results_not_written", rows=len(results), error=str(error))
                await trio.sleep(_AGAIN_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311

    def _verdict(self, result: Result) -> Verdict:
        if result.cancel is not None:
            return Verdict("exhausted", result.cancel)
        return judge(
            result.answer,
            result.job.attempt,
            self._policy,
            now=self._ctx.now(),
            budget=result.job.row.budget,
            chance=random.random(),  # noqa: S311
        )

    async def _commit(self, results: Sequence[Result], verdicts: Sequence[Verdict]) -> list[Told]:
        live = [result.job for result in results if not result.job.lost]
        for result, verdict in zip(results, verdicts, strict=True):
            result.job.finish(outcome_of(result, verdict))
        if not live:  # all taken over, or our own commit went through unseen: only the attempts are news
            await senders.finish(self._ctx.db, _all_finished(results, verdicts))
            return [Told()] * len(results)
        async with Batch.of(live).commit() as tx:
            closed = await self._note(tx, results, verdicts)
        return [Told(result.endpoint.id in closed) for result in results]

    async def _note(
        self, tx: Transaction, results: Sequence[Result], verdicts: Sequence[Verdict]
    ) -> set[str]:
        """Write attempts and endpoints; return the endpoints whose breaker closed."""
        await senders.finish(tx, _all_finished(results, verdicts))
        resends = [r.job.row for r in results if r.job.row.trigger == "resend"]
        if resends:
            await senders.end_resends(tx, [(row.id, row.created_at) for row in resends])
        events: list[Event] = []
        closed = await self._note_health(tx, results, verdicts, events)
        for result, verdict in zip(results, verdicts, strict=True):
            if verdict.end == "exhausted" and result.cancel is None and _tells(result.job.row):
                events.append(_exhausted(result, verdict))
        if events:
            await self._ctx.events.publish_many(tx, events)
        return closed

    async def _note_health(
        self, tx: Transaction, results: Sequence[Result], verdicts: Sequence[Verdict], events: list[Event]
    ) -> set[str]:
        by_endpoint: dict[str, list[tuple[Result, Verdict]]] = {}
        for result, verdict in zip(results, verdicts, strict=True):
            if result.cancel is None:
                by_endpoint.setdefault(result.endpoint.id, []).append((result, verdict))
        wanted = [key for key, pairs in by_endpoint.items() if self._matters(key, pairs)]
        closed: set[str] = set()
        writes = []
        for row in await senders.lock_health(tx, wanted) if wanted else []:
            write, events_of_row, did_close = self._move_on(row, by_endpoint[row.id])
            writes.append(write)
            events += events_of_row
            if did_close:
                closed.add(row.id)
            if write.bump:
                tx.after_commit(lambda key=row.id: self._directory.forget(key))  # type: ignore[misc]
        if writes:
            await senders.write_health(tx, writes)
        return closed

    def _matters(self, endpoint_id: str, pairs: Sequence[tuple[Result, Verdict]]) -> bool:
        """Whether anything has to be written about the endpoint: a success after successes says little."""
        well = all(v.end == "delivered" for _, v in pairs)
        was_well = all(r.endpoint.health.failures == 0 and r.endpoint.rest_until is None for r, _ in pairs)
        return self._directory.due_for_note(endpoint_id) or not (well and was_well)

    def _move_on(
        self, row: senders.HealthRow, pairs: Sequence[tuple[Result, Verdict]]
    ) -> tuple[senders.HealthWrite, list[Event], bool]:
        """Take an endpoint's health through what happened, in order, and say what is to be told."""
        events: list[Event] = []
        health = row.health
        opened = closed = False
        disable = ""
        warning: int | None = None
        for result, verdict in pairs:
            if verdict.end == "delivered":
                change = after_success(health)
            else:
                change = after_failure(
                    health,
                    row.now,
                    self._limits,
                    sick=result.answer.action.sick,
                    rest_seconds=verdict.rest_seconds,
                )
                disable = disable or _reason_to_disable(change, verdict, self._limits)
            opened, closed = (opened or change.opened) and not change.closed, closed or change.closed
            warning = change.warning if verdict.end != "delivered" else None
            health = change.health
        last = pairs[-1][0].answer
        facts = {
            "owner": row.owner,
            "subject": row.id,
            "endpoint_id": row.id,
            "origin": origin_of(row.url),
            "failures": health.failures,
            "failing_since": health.failing_since,
        }
        if disable and row.status in ("active", "paused"):
            events.append(EndpointDisabled(reason=disable, **facts))  # type: ignore[arg-type]
        elif warning is not None:
            events.append(EndpointFailing(percent=warning, **facts))  # type: ignore[arg-type]
        if closed and health.failures == 0:
            events.append(EndpointRecovered(**facts))  # type: ignore[arg-type]
        # The version moves when senders elsewhere have to act differently from now on.
        bump = (
            bool(disable)
            or health.open_until != row.health.open_until
            or ((health.failures == 0) != (row.health.failures == 0))
        )
        write = senders.HealthWrite(
            row.id,
            health,
            bump,
            last.status,
            any(v.end == "delivered" for _, v in pairs),
            last.sentence or None,
            disable if row.status in ("active", "paused") else "",
        )
        return write, events, closed and health.open_until is None


def outcome_of(result: Result, verdict: Verdict) -> Outcome:
    """Return what becomes of the row. A resend that fails leaves everything as it was before it."""
    if result.cancel is not None:
        return Cancel(result.cancel)
    row = result.job.row
    if verdict.end == "delivered":
        return Done()
    if row.trigger == "test":
        return Bury(verdict.reason)
    if row.trigger == "resend" and row.resume is not None and verdict.end != "gone":
        match row.resume.get("state"):
            case "ready":
                return Snooze(until=datetime.fromisoformat(row.resume["due_at"]), reason=verdict.reason)
            case "done":
                return Done()
            case "held":
                return Hold(verdict.reason)
            case "cancelled":
                return Cancel(verdict.reason)
            case _:
                return Bury(verdict.reason)
    if verdict.end == "again":
        return RetryAfter(max(verdict.delay or 0.0, verdict.rest_seconds), verdict.reason)
    return Bury(verdict.reason)


def _all_finished(results: Sequence[Result], verdicts: Sequence[Verdict]) -> list[senders.Finished]:
    return [_finished(result, verdict) for result, verdict in zip(results, verdicts, strict=True)]


def _finished(result: Result, verdict: Verdict) -> senders.Finished:
    answer = result.answer
    outcome = "delivered" if verdict.end == "delivered" else "failed"
    return senders.Finished(
        result.job.row.id,
        result.job.row.created_at,
        result.number,
        outcome,
        answer.status,
        round(answer.seconds * 1000),
        answer.error_kind if result.cancel is None else "skipped",
        (answer.sentence if result.cancel is None else result.cancel) or None,
        answer.request_sent,
        answer.body or None,
    )


def _reason_to_disable(change: Change, verdict: Verdict, limits: Limits) -> str:
    if verdict.end == "gone":
        return "it answered 410 Gone"
    if change.disable and limits.disable_after is not None:
        return f"it failed {change.health.failures} times in a row for {span_words(limits.disable_after)}"
    return ""


def _tells(row: DeliveryRow) -> bool:
    """Whether events may be published about this delivery: never about one that tells of such events."""
    return row.type not in OPERATIONAL_TYPES and row.trigger != "test"


def _exhausted(result: Result, verdict: Verdict) -> DeliveryExhausted:
    row = result.job.row
    return DeliveryExhausted(
        owner=result.endpoint.owner,
        subject=row.id,
        delivery_id=row.id,
        endpoint_id=row.endpoint_id,
        message_id=row.message_id,
        event_type=row.type,
        attempts=result.number,
        status=result.answer.status,
        error=verdict.reason,
    )
