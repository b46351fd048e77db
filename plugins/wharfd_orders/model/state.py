"""What the rows of a batch say about it: states of an order, and the status of a batch as their function.

Nothing else is ever stored as the status of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

WAITING = "waiting"  # not offered to the workers: paused, not approved, too early, or over the rate
HELD = "held"  # it may or may not have been carried out; a person has to say
OPEN = (WAITING, "ready", "running", HELD)
FAILED = ("buried", "skipped")
STATES = (*OPEN, "done", "cancelled", "duplicate", *FAILED)

Status = Literal["pending", "processing", "completed", "failed", "partial", "cancelled"]

SHOWN: Mapping[str, str] = {
    WAITING: "pending",
    "ready": "pending",
    "running": "processing",
    HELD: "unknown",
    "done": "succeeded",
    "buried": "failed",
    "skipped": "skipped",
    "duplicate": "duplicate",
    "cancelled": "cancelled",
}


@dataclass(frozen=True)
class Counts:
    """How many rows of a batch are in which state."""

    rows: Mapping[str, int]

    def of(self, *states: str) -> int:
        """Add up the rows in these states."""
        return sum(self.rows.get(state, 0) for state in states)

    @property
    def total(self) -> int:
        """All rows."""
        return self.of(*STATES)

    @property
    def open(self) -> int:
        """Rows that are not finished."""
        return self.of(*OPEN)

    @property
    def succeeded(self) -> int:
        """Orders carried out by this batch."""
        return self.of("done")

    @property
    def failed(self) -> int:
        """Rows that failed: refused by the executor, given up, or invalid."""
        return self.of(*FAILED)

    @property
    def duplicates(self) -> int:
        """Rows whose order an earlier batch has."""
        return self.of("duplicate")

    @property
    def cancelled(self) -> int:
        """Rows that were not begun when the batch was cancelled."""
        return self.of("cancelled")

    @property
    def processed(self) -> int:
        """Rows with a result."""
        return self.total - self.open - self.cancelled

    @property
    def status(self) -> Status:
        """The status of a batch with these rows."""
        if self.open:
            begun = self.of("running", HELD, "done", "buried")
            return "processing" if begun else "pending"
        if self.cancelled:
            return "cancelled"
        if not self.failed:
            return "completed"
        return "partial" if self.of("done", "duplicate") else "failed"
