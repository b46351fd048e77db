"""Events: facts written in the transaction that made them true, and an inbox row for everybody who listens.

Publishing is one statement however many subscribers there are. Who listens is kept in the database, so a
daemon that does not run a plugin still leaves it its events. The inbox is a work table like any other: one
queue per subscriber, named `plugin.subscriber`, whose rows are deleted when they are handled.
"""

from __future__ import annotations

from .bus import EventBus, Events
from .facts import find_problems
from .inbox import Inbox, Waiting

__all__ = ["EventBus", "Events", "Inbox", "Waiting", "find_problems"]
