"""Hears, from every daemon on the database, which keys changed."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from wharfd import Database, DatabaseUnavailable

from .keyring import Keyring
from .store.lookup import CHANNEL

_AGAIN_SECONDS = 1.0


class Revocations:
    """Makes the keyring forget what another daemon changed."""

    def __init__(self, db: Database, keyring: Keyring, log: structlog.stdlib.BoundLogger) -> None:
        self._db = db
        self._keyring = keyring
        self._log = log
        self.heard = 0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled; after a gap everything is forgotten, because something may be missed."""
        announced = False

        def announce() -> None:
            nonlocal announced
            if not announced:
                announced = True
                task_status.started()

        while True:
            try:
                await self._listen(announce)
            except DatabaseUnavailable as error:
                # Not heard is no disaster: a key is looked up anew after `cache_seconds` at the latest.
                self._log.warning("key_changes_not_heard", reason=str(error))
                announce()
                await trio.sleep(_AGAIN_SECONDS)

    async def _listen(self, announce: Callable[[], None]) -> None:
        async with self._db.listen(CHANNEL) as notices:
            self._keyring.forget_all()
            announce()
            async for channel, what in notices:
                self.heard += 1
                if channel == CHANNEL and what:
                    self._keyring.forget(what)
                else:
                    self._keyring.forget_all()
