"""Backfill jobs: what the backfill plugin publishes."""

from __future__ import annotations

from typing import ClassVar

from .events import Event


class BackfillEvent(Event, frozen=True, kw_only=True):
    """Something happened to a backfill job."""

    job_id: str
    job_type: str
    start_block: int
    end_block: int
    current_block: int


class BackfillStarted(BackfillEvent, frozen=True, kw_only=True):
    """A job was started."""

    type: ClassVar[str] = "backfill.started"


class BackfillCompleted(BackfillEvent, frozen=True, kw_only=True):
    """A job reached its end."""

    type: ClassVar[str] = "backfill.completed"


class BackfillFailed(BackfillEvent, frozen=True, kw_only=True):
    """A job was given up."""

    type: ClassVar[str] = "backfill.failed"
    reason: str = ""
