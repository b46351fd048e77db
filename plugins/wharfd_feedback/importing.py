"""`insight_feedback` of the system before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from wharfd import Importer, OldRow, PluginContext, Transaction, Unfit, columns_of, sql, stable_id, stored_of

from .config import Settings

SYSTEM = "insight platform"
_FLAGS = ("inaccurate", "misleading", "spam")

ADD = sql(
    "import_feedback",
    """INSERT INTO feedback.feedback (id, insight_id, user_id, rating, comment, commented_at, flag_type,
  flag_reason, flag_state, flagged_at, created_at, updated_at)
SELECT id, insight_id, user_id, rating, comment, CASE WHEN comment IS NOT NULL THEN updated_at END, flag_type,
  flag_reason, CASE WHEN flag_type IS NOT NULL THEN 'open' END,
  CASE WHEN flag_type IS NOT NULL THEN updated_at END, created_at, updated_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::text[], $7::text[],
  $8::timestamptz[], $9::timestamptz[])
AS g (id, insight_id, user_id, rating, comment, flag_type, flag_reason, created_at, updated_at)
ON CONFLICT DO NOTHING RETURNING id""",
)
READ = sql(
    "read_imported_feedback",
    """SELECT f.id, f.insight_id, f.user_id, f.rating, f.comment, f.flag_type, f.flag_reason, f.created_at,
  f.updated_at
FROM unnest($1::text[], $2::text[]) AS g (insight_id, user_id)
JOIN feedback.feedback f ON f.insight_id = g.insight_id AND f.user_id = g.user_id AND f.owner IS NULL""",
)


class OldFeedback(msgspec.Struct, frozen=True):
    """What one user said, as it will stand in the table."""

    id: str
    insight_id: str
    user_id: str
    rating: int | None
    comment: str | None
    flag_type: str | None
    flag_reason: str | None
    created_at: datetime
    updated_at: datetime


def convert(row: OldRow, settings: Settings) -> OldFeedback:
    """Return what a user said; a flag of the old system waits here to be looked at."""
    rating = row.integer("rating")
    if rating is not None and not 1 <= rating <= 5:
        raise Unfit(f"rating {rating} is not between 1 and 5")
    flag = None if row.text("flag_type") is None else row.word("flag_type", _FLAGS)
    comment = row.text("comment")
    if rating is None and flag is None and comment is None:
        raise Unfit("it says nothing: no rating, no comment, no flag")
    created = row.moment("created_at")
    insight, user = row.word("insight_id"), row.word("user_id")
    return OldFeedback(
        id=stable_id("fb", created, SYSTEM, insight, user),
        insight_id=insight,
        user_id=user,
        rating=rating,
        comment=comment,
        flag_type=flag,
        flag_reason=row.text("flag_reason"),
        created_at=created,
        updated_at=row.time("updated_at") or created,
    )


async def write(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldFeedback]) -> int:
    """Add what is not there; the statistics follow by themselves."""
    return len(await tx.fetch(ADD, *columns_of(records)))


async def read(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldFeedback]) -> list[Any]:
    """Return what stands in the table."""
    rows = await tx.fetch(READ, [one.insight_id for one in records], [one.user_id for one in records])
    return stored_of(records, rows, "insight_id", "user_id")


IMPORTERS = (
    Importer(
        name="feedback",
        system=SYSTEM,
        table="insight_feedback",
        key=("insight_id", "user_id"),
        needs=("insight_id", "user_id", "rating", "comment", "flag_type", "created_at"),
        convert=convert,
        write=write,
        read=read,
    ),
)
