"""Ingest: the public listener for providers, the group commit and the spool behind it.

A plugin sees of this `Delivery` and `Reply`; the daemon puts the rest together.
"""

from __future__ import annotations

from .limits import ListenerLimits
from .listener import serve_ingest
from .message import Delivery, Reply, come_back, problem
from .observing import ListenerStatistics, Observer
from .proxy import Trust
from .routes import Mounted, RouteTable
from .sockets import adopt_socket, open_sockets

__all__ = [
    "Delivery",
    "ListenerLimits",
    "ListenerStatistics",
    "Mounted",
    "Observer",
    "Reply",
    "RouteTable",
    "Trust",
    "adopt_socket",
    "come_back",
    "open_sockets",
    "problem",
    "serve_ingest",
]
