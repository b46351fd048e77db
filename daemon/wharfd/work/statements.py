"""The statements of a queue, built once from its declaration. Nothing here runs one.

Every statement is short, uses the database's clock, and touches a claimed row only through its fence: the
row's key *and* the claim it was taken under. Claims, lease extensions and wake-ups commit asynchronously
(`synchronous_commit = off` for that one statement); outcomes are always flushed.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..db import Statement
from ..declare import WorkQueue
from .claims import ClaimText
from .fences import FenceText
from .fragments import Columns


@dataclass(frozen=True)
class Statements:
    """All statements of one queue."""

    claim: Statement
    claim_on: Statement | None
    next_due: Statement | None
    done: Statement
    settle: Statement
    extend: Statement
    ours: Statement
    recover: Statement


def build(name: str, queue: WorkQueue, columns: Columns) -> Statements:
    """Write the statements of a queue; `name` is its full name, `plugin.queue`."""
    claims, fences = ClaimText(name, queue, columns), FenceText(name, queue, columns)
    fair = queue.fair_by is not None
    return Statements(
        claim=claims.fair_claim(on=False) if fair else claims.claim(),
        claim_on=claims.fair_claim(on=True) if fair else None,
        next_due=None if fair else claims.next_due(),
        done=fences.done(),
        settle=fences.settle(),
        extend=fences.extend(),
        ours=fences.ours(),
        recover=fences.recover(),
    )
