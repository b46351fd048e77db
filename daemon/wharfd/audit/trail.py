"""`Audit`: adds to the audit log, seals what was added, and hands out search and verification."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import trio

from ..db import Database, Transaction, sql
from ..errors import DatabaseUnavailable, StatementTimeout
from ..ids import new_id
from ..log import every, get_logger
from ..redaction import redact_fields
from . import sealing, search, verify
from .chain import Seal
from .search import AuditFilter, AuditPage
from .verify import Verification

MAX_TEXT = 300
MAX_IP = 64
MAX_DETAIL_BYTES = 16 * 1024

_ACTION = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")

RECORD = sql(
    "audit_record",
    """WITH added AS (
           INSERT INTO wharfd.audit (id, actor, action, subject, owner, ip, detail)
           VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id, recorded_at)
       INSERT INTO wharfd.audit_pending (audit_id, recorded_at) SELECT id, recorded_at FROM added""",
)


class Audit:
    """The audit log of the daemon.

    Rows cannot be changed or deleted, by the rights of the app role. Within seconds each is sealed into a
    chain of hashes, so that a later change made with more rights than these shows up in `verify`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._added = trio.Event()
        self._log = get_logger()

    async def record(
        self,
        tx: Transaction,
        *,
        actor: str,
        action: str,
        subject: str,
        detail: Mapping[str, Any] | None = None,
        owner: str | None = None,
        ip: str | None = None,
    ) -> str:
        """Add a row in the caller's transaction, together with the change it tells of; return its id.

        `actor` is who did it (`identity.subject`), `action` what (`webhook.created`), `subject` to what
        (`wh_…`), `owner` whose it is. Values in `detail` whose name is that of a secret are hidden; a detail
        above 16 KiB is kept as the names of its fields.
        """
        if not _ACTION.fullmatch(action) or len(action) > MAX_TEXT:
            raise ValueError(f"audit action {action!r} is not written area.verb")
        for name, text in (("actor", actor), ("subject", subject), ("owner", owner)):
            if text is not None and not 0 < len(text) <= MAX_TEXT:
                raise ValueError(f"audit {name} of {action} must have 1 to {MAX_TEXT} characters")
        plain = redact_fields(detail or {})
        if (size := len(msgspec.json.encode(plain))) > MAX_DETAIL_BYTES:
            plain = {"left_out": f"{size} bytes", "fields": [name[:60] for name in plain]}
        audit_id = new_id("aud")
        values = (actor, action, subject, owner, ip[:MAX_IP] if ip else None, plain)
        await tx.execute(RECORD, audit_id, *map(_storable, values))
        tx.after_commit(lambda: self._added.set())  # the event of that time, not of now
        return audit_id

    async def entries(
        self, wanted: AuditFilter = search.EVERYTHING, *, limit: int = 50, before: search.Cursor | None = None
    ) -> AuditPage:
        """Return the newest entries that match; pass `page.next` as `before` to get the page after."""
        return await search.entries(self._database.read, wanted, limit=limit, before=before)

    async def seal_pending(self) -> int:
        """Seal what was added and return how many rows; 0 while another daemon is at it."""
        sealed, head = await sealing.seal_pending(self._database)
        if head is not None:
            # The journal is a second place: who rewrites the table cannot rewrite this.
            self._log.info("audit_sealed", rows=sealed, head=str(head))
        return sealed

    async def head(self) -> Seal | None:
        """Return the newest seal; None when nothing is sealed yet."""
        return await sealing.head(self._database)

    async def verify(
        self, first: int | None = None, last: int | None = None, *, known: Seal | None = None
    ) -> Verification:
        """Walk the chain from seal `first` to `last` and name the first place where it does not hold.

        `known` is a seal that was written down elsewhere (`Seal`, from the log line `audit_sealed`): it must
        be in the chain, or the whole chain was written anew.
        """
        return await verify.verify(self._database, first, last, known=known)

    async def run_sealer(
        self, *, every_seconds: float = 5.0, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Seal soon after every commit here, and every so often what others left; until cancelled."""
        task_status.started()
        while True:
            self._added = trio.Event()
            try:
                while await self.seal_pending() == sealing.BATCH_ROWS:
                    pass
            except (DatabaseUnavailable, StatementTimeout) as exc:
                self._log.warning("audit_sealing_waits", reason=str(exc), **every(60))
                await trio.sleep(every_seconds)
            else:
                with trio.move_on_after(every_seconds):
                    await self._added.wait()


def _storable(value: Any) -> Any:
    """Replace the zero character, which PostgreSQL cannot keep."""
    if isinstance(value, str):
        return value.replace("\0", "\\0")
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value
