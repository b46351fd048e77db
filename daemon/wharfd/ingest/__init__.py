"""Ingest: the public listener for providers, the group commit and the spool behind it.

A plugin sees of this `Delivery` and `Reply`; the daemon puts the rest together.
"""

from __future__ import annotations

from .answering import Answerer
from .committer import CommitPolicy, CommitStatistics, GroupCommitter
from .keeping import Keeper
from .limits import ListenerLimits
from .listener import serve_ingest
from .message import Delivery, Reply, come_back, problem
from .observing import ListenerStatistics, Observer
from .proxy import Trust
from .routes import Mounted, RouteTable
from .spool import SpoolBudget
from .spools import Spools, SpoolStatistics

IngestReply = Reply  # what plugins call it, beside the API's own Reply

__all__ = [
    "Answerer",
    "CommitPolicy",
    "CommitStatistics",
    "Delivery",
    "GroupCommitter",
    "IngestReply",
    "Keeper",
    "ListenerLimits",
    "ListenerStatistics",
    "Mounted",
    "Observer",
    "Reply",
    "RouteTable",
    "SpoolBudget",
    "SpoolStatistics",
    "Spools",
    "Trust",
    "come_back",
    "problem",
    "serve_ingest",
]
