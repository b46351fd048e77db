"""The work engine: every table whose rows are work is worked by the same pair of hands (law 3)."""

from __future__ import annotations

from .job import Batch, Job
from .outcomes import Again, Bury, Cancel, Done, Hold, Outcome, RetryAfter, Snooze

__all__ = ["Again", "Batch", "Bury", "Cancel", "Done", "Hold", "Job", "Outcome", "RetryAfter", "Snooze"]
