"""Hears, from every daemon on the database, which keys changed."""

from __future__ import annotations

import trio

from wharfd import Database

from .keyring import Keyring
from .store.lookup import CHANNEL


class Revocations:
    """Makes the keyring forget what another daemon changed."""

    def __init__(self, db: Database, keyring: Keyring) -> None:
        self._db = db
        self._keyring = keyring
        self.heard = 0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled; after a gap everything is forgotten, because something may be missed."""
        async with self._db.listen(CHANNEL) as notices:
            self._keyring.forget_all()
            task_status.started()
            async for channel, what in notices:
                self.heard += 1
                if channel == CHANNEL and what:
                    self._keyring.forget(what)
                else:
                    self._keyring.forget_all()
