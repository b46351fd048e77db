"""What the NetBanx dashboard left: events, transactions, accounts; and what has to be entered again."""

from __future__ import annotations

from .accounts import ACCOUNTS, HISTORY, METHODS
from .events import EVENTS
from .keys import KEYS
from .transactions import TRANSACTIONS

IMPORTERS = (EVENTS, TRANSACTIONS, ACCOUNTS, HISTORY, METHODS, KEYS)
