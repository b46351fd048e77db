"""How far an import came: one row a walk, moved in the transaction that writes the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ..db import Queries, Transaction, sql
from .errors import ImportRefused

_COLUMNS = (
    "position, rows_read, written, refused, noted, digest, started_at, finished_at, compared_at, comparison"
)
GET = sql("import_get", f"SELECT {_COLUMNS} FROM wharfd.imports WHERE source = $1 AND importer = $2")
BEGIN = sql(
    "import_begin",
    """INSERT INTO wharfd.imports (source, importer) VALUES ($1, $2) ON CONFLICT (source, importer) DO UPDATE
SET position = '', rows_read = 0, written = 0, refused = 0, noted = 0, digest = '', started_at = now(),
  moved_at = now(), finished_at = NULL, compared_at = NULL, comparison = NULL""",
)
FORGET = sql("import_forget_remarks", "DELETE FROM wharfd.import_remarks WHERE source = $1 AND importer = $2")
MOVE = sql(
    "import_move",
    """UPDATE wharfd.imports SET position = $4, rows_read = rows_read + $5, written = written + $6,
  refused = refused + $7, noted = noted + $8, digest = $9, moved_at = now()
WHERE source = $1 AND importer = $2 AND position = $3 AND finished_at IS NULL""",
)
FINISH = sql(
    "import_finish",
    "UPDATE wharfd.imports SET finished_at = now(), moved_at = now() WHERE source = $1 AND importer = $2",
)
COMPARED = sql(
    "import_compared",
    "UPDATE wharfd.imports SET compared_at = now(), comparison = $3 WHERE source = $1 AND importer = $2",
)
REMARK = sql(
    "import_remark",
    """INSERT INTO wharfd.import_remarks AS r (source, importer, refused, remark, rows, examples)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (source, importer, refused, remark) DO UPDATE
SET rows = r.rows + excluded.rows, examples = (r.examples || excluded.examples)[1:20]""",
)
REMARKS = sql(
    "import_remarks",
    """SELECT refused, remark, rows, examples FROM wharfd.import_remarks
WHERE source = $1 AND importer = $2 ORDER BY refused DESC, rows DESC, remark LIMIT 200""",
)

EXAMPLES = 20
_KINDS = 100  # remarks of one page that differ more than this are summed up


class Walk(msgspec.Struct, frozen=True):
    """A walk as it stands."""

    position: str
    rows_read: int
    written: int
    refused: int
    noted: int
    digest: str
    started_at: datetime
    finished_at: datetime | None
    compared_at: datetime | None
    comparison: Any


class Remarks:
    """What is to be said of rows, counted."""

    def __init__(self) -> None:
        self.rows: Counter[tuple[bool, str]] = Counter()
        self.examples: dict[tuple[bool, str], list[str]] = {}

    def add(self, key: str, remark: str, *, refused: bool) -> None:
        """Count one."""
        mark = (refused, remark[:500])
        if mark not in self.rows and len(self.rows) >= _KINDS:
            mark = (refused, "… and other reasons")
        self.rows[mark] += 1
        examples = self.examples.setdefault(mark, [])
        if len(examples) < EXAMPLES:
            examples.append(key[:200])

    def extend(self, other: Remarks) -> None:
        """Add what another one counted."""
        for mark, rows in other.rows.items():
            self.rows[mark] += rows
            self.examples[mark] = (self.examples.get(mark, []) + other.examples[mark])[:EXAMPLES]

    def listed(self) -> list[Mapping[str, Any]]:
        """Return them, refusals first and the most frequent first."""
        ordered = sorted(self.rows.items(), key=lambda item: (not item[0][0], -item[1], item[0][1]))
        return [
            {"refused": refused, "remark": remark, "rows": rows, "examples": self.examples[refused, remark]}
            for (refused, remark), rows in ordered
        ]


async def find(db: Queries, source: str, importer: str) -> Walk | None:
    """Return how far a walk is, or None before its first."""
    row = await db.fetchrow(GET, source, importer)
    return None if row is None else Walk(**row)


async def begin(tx: Transaction, source: str, importer: str) -> None:
    """Begin a walk, or begin it anew."""
    await tx.execute(BEGIN, source, importer)
    await tx.execute(FORGET, source, importer)


async def move(
    tx: Transaction,
    source: str,
    importer: str,
    *,
    since: str,
    to: str,
    read: int,
    written: int,
    digest: str,
    remarks: Remarks,
) -> None:
    """Note a page in the transaction that wrote it; raises `ImportRefused` when another import moved on."""
    refused = sum(rows for (bad, _), rows in remarks.rows.items() if bad)
    noted = sum(rows for (bad, _), rows in remarks.rows.items() if not bad)
    moved = await tx.execute(MOVE, source, importer, since, to, read, written, refused, noted, digest)
    if not moved:
        raise ImportRefused(f"{importer}: another import of {source} is running; wait for it, or stop it")
    for (bad, remark), rows in sorted(remarks.rows.items()):
        await tx.execute(REMARK, source, importer, bad, remark, rows, remarks.examples[bad, remark])


async def finish(db: Queries, source: str, importer: str) -> None:
    """Note that a walk reached the end."""
    await db.execute(FINISH, source, importer)


async def compared(db: Queries, source: str, importer: str, comparison: Mapping[str, Any]) -> None:
    """Keep what the comparison found."""
    await db.execute(COMPARED, source, importer, dict(comparison))


async def remarks_of(db: Queries, source: str, importer: str) -> list[Mapping[str, Any]]:
    """Return what was said of rows during a walk."""
    return [dict(row) for row in await db.fetch(REMARKS, source, importer)]
