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

RECEIVER = "wharfd_receiver"  # `prepare.sql` knows it, too
_LOOK_SECONDS = 1.0
_LOOKS = 2  # in a row that must agree, before anything is changed
_STOP_SECONDS = 5.0
_LOOK = f"""SELECT coalesce(max(state), 'away'), coalesce(max(flush_lsn), '0/0'),
  pg_current_wal_flush_lsn(), current_setting('synchronous_standby_names')
FROM pg_stat_replication WHERE application_name = '{RECEIVER}'"""
_IS_OURS = f"SELECT current_setting('synchronous_standby_names') = '{RECEIVER}'"
_WAIT = f"ALTER SYSTEM SET synchronous_standby_names = '{RECEIVER}'"
_WAIT_NOT = "ALTER SYSTEM RESET synchronous_standby_names"
_RELOAD = "SELECT pg_reload_conf()"


class Awaiting:
    """Tells one server when its commits wait for the receiver.

    `now` is whether they do, `why_not` why they should and do not, `others` whom somebody else lets them
    wait for.
    """

    def __init__(
        self,
        programs: Programs,
        superuser: str,
        log: structlog.stdlib.BoundLogger,
        *,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self.now = False
        self.why_not = "the receiver starts"
        self.others = ""
        self._programs, self._dsn, self._log, self._look_seconds = programs, superuser, log, look_seconds
        self._told = False  # whether the server may have been told to wait, whatever became of it
        self._turn = trio.Lock()
        self._flushed = 0  # what the server had on disk at the last look
        self._agreeing = 0

    async def run(self) -> None:
        """Watch the receiver until cancelled; then nobody waits any more."""
        try:
            while True:
                words = await self._watch()
                self.now, self._agreeing = False, 0
                self._note(f"the server cannot be asked: {words}")
                await trio.sleep(self._look_seconds)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _STOP_SECONDS):
                await self.let_go("the plugin stops")
            if self._told:
                self._log.error("commits_may_still_wait", hint=f"{_WAIT_NOT}; {_RELOAD}")

    async def take_back(self) -> None:
        """Have nobody wait for a receiver that there shall not be, should an earlier life have said so."""
        self._told = await self._programs.value(self._dsn, _IS_OURS) == "t"
        await self.let_go("it is not configured")

    async def let_go(self, why: str) -> None:
        """Have nobody wait from now on; a server that cannot be told is told at a later look."""
        async with self._turn:
            if self._told and await self._tell(_WAIT_NOT):
                self.now = self._told = False
                self._note(why)

    async def _judge(self, state: str, received: str, flushed: str, names: str) -> None:
        self.others = "" if names == RECEIVER else names
        if self.others:
            self.now = False
            self._note(f"commits wait for {names}")
            return
        self.now = names == RECEIVER
        self._told = self._told or self.now
        in_step = state == "streaming" and lsn_of(received) >= self._flushed
        self._flushed = lsn_of(flushed)
        self._agreeing = 0 if in_step == self.now else self._agreeing + 1
        if self._agreeing < _LOOKS:
            return
        self._agreeing = 0
        if not in_step:
            await self.let_go("the receiver is away" if state == "away" else "the receiver is behind")
            return
        async with self._turn:
            self._told = True
            if await self._tell(_WAIT):
                self.now, self.why_not = True, ""
                self._log.info("commits_wait_for_receiver")

    def _note(self, why: str) -> None:
        if why != self.why_not:
            self._log.warning("commits_do_not_wait", reason=why)
        self.why_not = why

    async def _tell(self, statement: str) -> bool:
        try:
            await self._programs.rows(self._dsn, statement)
            await self._programs.rows(self._dsn, _RELOAD)
        except WharfdError as error:
            self._log.warning("commits_not_told", reason=str(error))
            return False
        return True

    async def _watch(self) -> str:
        """Judge how things are, again and again, until the server goes away; return the last words."""
        words = "it is away"
        async with self._programs.conversation(self._dsn) as psql:
            with suppress(trio.BrokenResourceError):  # the server was away already
                await psql.send_all(f"{_LOOK} \\watch {self._look_seconds}\n".encode())
            unread = b""
            while chunk := await psql.receive_some():
                *lines, unread = (unread + chunk).split(b"\n")
                for line in lines:
                    look = line.decode(errors="replace").split("|", 3)
                    if len(look) == 4:
                        await self._judge(*look)
                    else:
                        words = look[0]
        return words
