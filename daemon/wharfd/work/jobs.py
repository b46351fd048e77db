"""One-off jobs: work that has no table of its own. Rows of `wharfd.jobs`, one queue per kind of job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..db import Transaction, sql
from ..declare import JobKind, WorkQueue
from ..errors import UnknownQueue, WharfdError
from ..ids import new_id
from .control import Work
from .job import Job
from .outcomes import Bury
from .retry import told

UNIQUE_STATES = "('ready', 'running', 'held')"
FORGET = ", unique_key = NULL"  # a requeued job may meet a younger one with the same key

_ENQUEUE = sql(
    "work.enqueue",
    f"""INSERT INTO wharfd.jobs (id, kind, args, unique_key, priority, due_at)
VALUES ($1, $2, $3::text::jsonb, $4, $5, now() + make_interval(secs => $6))
ON CONFLICT (kind, unique_key) WHERE unique_key IS NOT NULL AND state IN {UNIQUE_STATES} DO NOTHING
RETURNING id""",
)
_EXISTING = sql(
    "work.existing_job",
    f"SELECT id FROM wharfd.jobs WHERE kind = $1 AND unique_key = $2 AND state IN {UNIQUE_STATES}",
)
_TRIES = 10


class JobRow(msgspec.Struct):
    """What a job's row holds."""

    id: str
    args: dict[str, Any]


def queue_of(plugin: str, kind: JobKind) -> WorkQueue:
    """Return the queue that works one kind of job."""

    async def handle(ctx: Any, job: Job[JobRow]) -> Any:
        try:
            args = msgspec.convert(job.row.args, kind.args)
        except msgspec.ValidationError as error:
            raise Bury(f"the arguments do not fit {kind.args.__name__}: {told(error)}") from error
        return await kind.handler(ctx, args, job)

    return WorkQueue(
        name=kind.name,
        table="wharfd.jobs",
        row=JobRow,
        handler=handle,
        lane=("kind", f"{plugin}.{kind.name}"),
        concurrency=kind.concurrency,
        timeout_seconds=kind.timeout_seconds,
        retry=kind.retry,
        keep_done=kind.keep_done,
    )


class Jobs:
    """Starts one-off jobs of one plugin. `ctx.jobs` is one of these."""

    def __init__(self, plugin: str, work: Work, kinds: Mapping[type[Any], JobKind]) -> None:
        self._plugin = plugin
        self._work = work
        self._kinds = kinds

    async def enqueue(
        self,
        transaction: Transaction,
        args: Any,
        *,
        due_in: float | None = None,
        priority: int = 100,
        unique: str | None = None,
    ) -> str:
        """Start a job with the transaction's commit and return its id.

        The kind is the one declared for the class of `args`. `due_in` delays it by seconds; a lower
        `priority` goes first. While a job of the kind with the same `unique` key is unfinished, its id is
        returned and nothing is added.
        """
        kind = self._kinds.get(type(args))
        if kind is None:
            raise UnknownQueue(
                f"plugin {self._plugin} declares no job for {type(args).__name__}; "
                f"return JobKind(args={type(args).__name__}, …) from register_work"
            )
        text = msgspec.json.encode(args)
        if b"\\u0000" in text:
            raise ValueError(f"job {kind.name}: its arguments hold a NUL character, which cannot be stored")
        full = f"{self._plugin}.{kind.name}"
        for _ in range(_TRIES):
            job_id: str | None = await transaction.fetchval(
                _ENQUEUE, new_id("job"), full, text.decode(), unique, priority, float(due_in or 0)
            )
            if job_id is not None:
                self._work.wake(transaction, full)
                return job_id
            job_id = await transaction.fetchval(_EXISTING, full, unique)
            if job_id is not None:
                return job_id
            # It ended between the two statements: try again.
        raise WharfdError(f"job {full} with unique key {unique!r} could neither be added nor found")
