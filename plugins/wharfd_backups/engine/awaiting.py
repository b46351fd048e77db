"""Commits that wait for the receiver: what was acknowledged lies in a second file, on disk.

PostgreSQL itself does the waiting (`synchronous_standby_names`); here it is told from when on and until when.
A receiver that ends or falls behind must not stop the shop: within moments nobody waits for it any more,
which is logged and shown, and once it has caught up everybody waits again.
"""

from __future__ import annotations

from contextlib import suppress

import structlog
import trio

from wharfd import WharfdError

from ..model.wal import lsn_of
from .programs import Programs

RECEIVER = "wharfd_receiver"
_LOOK_SECONDS = 1.0
_LOOKS = 2  # in a row that must agree, before anything is changed
_STOP_SECONDS = 5.0
_LOOK = f"""SELECT coalesce(bool_or(state = 'streaming'), false), coalesce(max(flush_lsn), '0/0'),
  pg_current_wal_flush_lsn(), current_setting('synchronous_standby_names')
FROM pg_stat_replication WHERE application_name = '{RECEIVER}'"""
_WAIT = f"ALTER SYSTEM SET synchronous_standby_names = '{RECEIVER}'"
_WAIT_NOT = "ALTER SYSTEM RESET synchronous_standby_names"
_RELOAD = "SELECT pg_reload_conf()"


class Awaiting:
    """Tells one server when its commits wait for the receiver; `now` is whether they do."""

    def __init__(
        self,
        programs: Programs,
        superuser: str,
        log: structlog.stdlib.BoundLogger,
        *,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self.now = False
        self._programs, self._dsn, self._log, self._look_seconds = programs, superuser, log, look_seconds
        self._flushed = 0  # what the server had on disk at the last look
        self._agreeing = 0
        self._others = ""  # standbys that somebody else has set

    async def run(self) -> None:
        """Watch the receiver until cancelled; then nobody waits any more."""
        try:
            while True:
                with suppress(trio.BrokenResourceError):  # the server was away already
                    await self._watch()
                self.now, self._agreeing = False, 0
                await trio.sleep(self._look_seconds)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _STOP_SECONDS):
                await self.let_go("the plugin stops")

    async def let_go(self, why: str) -> None:
        """Have nobody wait from now on; a server that cannot be told is told at the next look."""
        if self.now and await self._tell(_WAIT_NOT):
            self.now = False
            self._log.warning("commits_wait_no_more", reason=why)

    async def _judge(self, look: list[str]) -> None:
        streaming, received, flushed, names = look
        if names not in ("", RECEIVER):
            self._leave_alone(names)
            return
        self.now = names == RECEIVER
        in_step = streaming == "t" and lsn_of(received) >= self._flushed
        self._flushed = lsn_of(flushed)
        self._agreeing = 0 if in_step == self.now else self._agreeing + 1
        if self._agreeing < _LOOKS:
            return
        self._agreeing = 0
        if not in_step:
            await self.let_go("the receiver is behind" if streaming == "t" else "the receiver is away")
        elif await self._tell(_WAIT):
            self.now = True
            self._log.info("commits_wait_for_receiver")

    def _leave_alone(self, names: str) -> None:
        if names != self._others:
            self._log.warning("commits_wait_for_others", synchronous_standby_names=names)
        self.now, self._others = False, names

    async def _tell(self, statement: str) -> bool:
        try:
            await self._programs.rows(self._dsn, statement)
            await self._programs.rows(self._dsn, _RELOAD)
        except WharfdError as error:
            self._log.warning("commits_not_told", reason=str(error))
            return False
        return True

    async def _watch(self) -> None:
        """Judge how things are, once a second, until the server goes away."""
        async with self._programs.conversation(self._dsn) as psql:
            await psql.send_all(f"{_LOOK} \\watch {self._look_seconds}\n".encode())
            unread = b""
            while chunk := await psql.receive_some():
                *looks, unread = (unread + chunk).split(b"\n")
                for look in looks:
                    await self._judge(look.decode().split("|"))
