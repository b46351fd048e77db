"""`wharfd bench` and `/api/database/test`: one engine that measures what wharfd does on this machine.

The suites drive the daemon's own parts (listener, group commit, work engine, outbound client, cache, API
server, pool) with load from processes of their own. `docs/bench.md` is the guide.
"""

from __future__ import annotations

from .plan import SUITES, Figure, Plan, Progress, Report, Suite, Targets, new_schema
from .readiness import Verdict, validate
from .running import Benches, Status, carry_out

__all__ = [
    "SUITES",
    "Benches",
    "Figure",
    "Plan",
    "Progress",
    "Report",
    "Status",
    "Suite",
    "Targets",
    "Verdict",
    "carry_out",
    "new_schema",
    "validate",
]
