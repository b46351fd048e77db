"""The work engine: every table whose rows are work is worked by the same pair of hands (law 3).

A plugin declares a `WorkQueue` and writes a handler; that gets a `Job` or a `Batch` and ends in an outcome.
"""

from __future__ import annotations

from .control import BuriedRow, BuriedRows, QueueStatistics, Work
from .engine import WorkEngine
from .job import Batch, Job
from .jobs import Jobs
from .outcomes import Again, Bury, Cancel, Done, Hold, Outcome, RetryAfter, Snooze

__all__ = [
    "Again",
    "Batch",
    "BuriedRow",
    "BuriedRows",
    "Bury",
    "Cancel",
    "Done",
    "Hold",
    "Job",
    "Jobs",
    "Outcome",
    "QueueStatistics",
    "RetryAfter",
    "Snooze",
    "Work",
    "WorkEngine",
]
