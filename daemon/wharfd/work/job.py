"""What a handler gets: one job, or a batch of them.

Both know how to write their outcome in a transaction of the handler's own, so that what the handler changed
and the fact that it did so are one commit. How outcomes are written is the finisher's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeVar

import trio

from ..db import Transaction
from .outcomes import Outcome

R = TypeVar("R")


class Desk(Protocol):
    """Where jobs are handed in."""

    def commit(self, jobs: Sequence[Job[Any]]) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction whose end also writes the outcomes of the jobs."""
        ...


class Job(Generic[R]):
    """One claimed row.

    `row` holds the declared columns, `key` the row's key as text, `attempt` which try this is (1, 2 …),
    `last` whether it is the last one before the row is buried.
    """

    __slots__ = (
        "_desk",
        "attempt",
        "claim",
        "extra",
        "identity",
        "judged",
        "last",
        "leased_at",
        "lost",
        "outcome",
        "queue",
        "row",
        "scope",
        "settled",
    )

    def __init__(
        self,
        desk: Desk,
        queue: str,
        row: R,
        identity: tuple[Any, ...],
        claim: int,
        attempt: int,
        *,
        last: bool = False,
        leased_at: float = 0.0,
    ) -> None:
        self._desk = desk
        self.queue = queue
        self.row = row
        self.identity = identity
        self.claim = claim
        self.attempt = attempt
        self.last = last
        self.leased_at = leased_at
        self.outcome: object = None
        self.judged = False  # its outcome is on the way to the table
        self.settled = False  # its outcome is in the table
        self.lost = False
        self.scope: trio.CancelScope | None = None
        self.extra: Any = None

    @property
    def key(self) -> str:
        """The row's key as text; the parts of a longer key are joined by a slash."""
        return key_text(self.identity)

    def finish(self, outcome: Outcome | BaseException) -> None:
        """Set how this job ends, where that is not `Done`; takes effect when the handler or commit ends."""
        self.outcome = outcome

    def commit(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction whose end also writes this job's outcome, fenced by the claim.

        Either both are committed or neither. When the row was taken over by another worker meanwhile,
        everything is rolled back and `LeaseLost` raised. What the handler returns afterwards has no effect.
        """
        return self._desk.commit([self])

    def __repr__(self) -> str:
        return f"<job {self.queue} {self.key} attempt {self.attempt}>"


class Batch(Generic[R]):
    """Some jobs worked together; `for job in batch` works too."""

    __slots__ = ("_desk", "jobs")

    def __init__(self, desk: Desk, jobs: Sequence[Job[R]]) -> None:
        self._desk = desk
        self.jobs = jobs

    @classmethod
    def of(cls, jobs: Sequence[Job[R]]) -> Batch[R]:
        """Make a batch of jobs of one queue that are worked singly, to commit their results together."""
        if len({job.queue for job in jobs}) != 1:
            raise ValueError("Batch.of: give at least one job, all of the same queue")
        return cls(jobs[0]._desk, jobs)

    def __iter__(self) -> Iterator[Job[R]]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)

    def commit(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction whose end also writes the outcomes of all these jobs, fenced by their claims.

        Either all is committed or nothing. When one of the rows was taken over by another worker meanwhile,
        everything is rolled back and `LeaseLost` raised; the others are offered again at once.
        """
        return self._desk.commit(self.jobs)


def key_text(identity: Sequence[Any]) -> str:
    """Return a row's key as text."""
    return "/".join(value.isoformat() if hasattr(value, "isoformat") else str(value) for value in identity)
