"""The SQL of feedback: one statement writes what a user says, unless the version is another one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from wharfd import Database, Record, Transaction, new_id, sql

_SHOWN = """id, insight_id, user_id, rating, comment, flag_type, flag_reason, flag_state, version,
  created_at, updated_at"""

# A value that is not given stays as it was. No row comes back when the version is another one.
SAVE = sql(
    "save_feedback",
    f"""INSERT INTO feedback.feedback AS f (id, owner, insight_id, user_id, rating, comment, commented_at,
      flag_type, flag_reason, flag_state, flagged_at)
    VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $6::text IS NOT NULL THEN now() END,
      $7, $8, CASE WHEN $7::text IS NOT NULL THEN 'open' END, CASE WHEN $7::text IS NOT NULL THEN now() END)
    ON CONFLICT (insight_id, user_id, owner) DO UPDATE SET
      rating = coalesce(excluded.rating, f.rating),
      comment = coalesce(excluded.comment, f.comment),
      commented_at = CASE WHEN excluded.comment IS DISTINCT FROM f.comment
        THEN coalesce(excluded.commented_at, f.commented_at) ELSE f.commented_at END,
      flag_type = coalesce(excluded.flag_type, f.flag_type),
      flag_reason = coalesce(excluded.flag_reason, f.flag_reason),
      flag_state = CASE WHEN excluded.flag_type IS NULL
          OR (excluded.flag_type, excluded.flag_reason) IS NOT DISTINCT FROM (f.flag_type, f.flag_reason)
        THEN f.flag_state ELSE 'open' END,
      flagged_at = CASE WHEN excluded.flag_type IS NULL
          OR (excluded.flag_type, excluded.flag_reason) IS NOT DISTINCT FROM (f.flag_type, f.flag_reason)
        THEN f.flagged_at ELSE now() END,
      version = f.version + 1, updated_at = now()
    WHERE $9::int IS NULL OR f.version = $9
    RETURNING {_SHOWN}, flagged_at = now() AS newly_flagged""",
)
VERSION = sql(
    "read_version",
    """SELECT version FROM feedback.feedback
    WHERE insight_id = $1 AND user_id = $2 AND owner IS NOT DISTINCT FROM $3::text""",
)
STATISTICS = sql(
    "read_counters",
    """SELECT coalesce(sum(rating_1), 0)::bigint AS rating_1, coalesce(sum(rating_2), 0)::bigint AS rating_2,
      coalesce(sum(rating_3), 0)::bigint AS rating_3, coalesce(sum(rating_4), 0)::bigint AS rating_4,
      coalesce(sum(rating_5), 0)::bigint AS rating_5, coalesce(sum(comments), 0)::bigint AS comments,
      coalesce(sum(inaccurate), 0)::bigint AS inaccurate,
      coalesce(sum(misleading), 0)::bigint AS misleading, coalesce(sum(spam), 0)::bigint AS spam
    FROM feedback.counters WHERE insight_id = $1 AND ($2::text IS NULL OR owner = $2)""",
)
RECOUNT = sql(
    "recount",
    """SELECT count(*) FILTER (WHERE rating = 1) AS rating_1, count(*) FILTER (WHERE rating = 2) AS rating_2,
      count(*) FILTER (WHERE rating = 3) AS rating_3, count(*) FILTER (WHERE rating = 4) AS rating_4,
      count(*) FILTER (WHERE rating = 5) AS rating_5, count(comment) AS comments,
      count(*) FILTER (WHERE flag_type = 'inaccurate' AND flag_state <> 'dismissed') AS inaccurate,
      count(*) FILTER (WHERE flag_type = 'misleading' AND flag_state <> 'dismissed') AS misleading,
      count(*) FILTER (WHERE flag_type = 'spam' AND flag_state <> 'dismissed') AS spam
    FROM feedback.feedback WHERE insight_id = $1 AND ($2::text IS NULL OR owner = $2)""",
)


def _comments(where: str) -> str:
    return f"""SELECT {_SHOWN}, commented_at FROM feedback.feedback
    WHERE {where} AND comment IS NOT NULL
      AND (commented_at, id) < (coalesce($3, 'infinity'::timestamptz), coalesce($4, ''))
    ORDER BY commented_at DESC, id DESC LIMIT $5 OFFSET $6"""


COMMENTS = sql("list_comments", _comments("insight_id = $1 AND $2::text IS NULL"))
OWN_COMMENTS = sql("list_own_comments", _comments("insight_id = $1 AND owner = $2"))
OF_USER = sql(
    "list_of_user",
    f"""SELECT {_SHOWN} FROM feedback.feedback
    WHERE user_id = $1 AND ($2::text IS NULL OR owner = $2)
      AND (updated_at, id) < (coalesce($3, 'infinity'::timestamptz), coalesce($4, ''))
    ORDER BY updated_at DESC, id DESC LIMIT $5 OFFSET $6""",
)
COUNT_OF_USER = sql(
    "count_of_user",
    "SELECT count(*) FROM feedback.feedback WHERE user_id = $1 AND ($2::text IS NULL OR owner = $2)",
)
_FLAG = f"""{_SHOWN}, flagged_at, moderated_at, moderated_by, moderator_note"""
FLAGS = sql(
    "list_flags",
    f"""SELECT {_FLAG} FROM feedback.feedback
    WHERE flag_state = $1 AND ($2::text IS NULL OR owner = $2)
      AND (flagged_at, id) > (coalesce($3, '-infinity'::timestamptz), coalesce($4, ''))
    ORDER BY flagged_at, id LIMIT $5""",
)
LOCK = sql("lock_feedback", f"SELECT owner, {_FLAG} FROM feedback.feedback WHERE id = $1 FOR UPDATE")
MODERATE = sql(
    "moderate_flag",
    f"""UPDATE feedback.feedback SET flag_state = $2, moderated_at = now(), moderated_by = $3,
      moderator_note = $4, version = version + 1 WHERE id = $1 RETURNING {_FLAG}""",
)
WAITING = sql(
    "waiting_flags",
    """SELECT count(*) FROM (SELECT FROM feedback.feedback
      WHERE flag_state = 'open' AND flagged_at < now() - $1::interval LIMIT 10000) f""",
)


async def save(
    tx: Transaction,
    owner: str | None,
    insight_id: str,
    user_id: str,
    *,
    rating: int | None = None,
    comment: str | None = None,
    flag: tuple[str, str] | None = None,
    version: int | None = None,
) -> Record | None:
    """Write what a user says about an insight; None when `version` is given and is not the present one."""
    kind, reason = flag or (None, None)
    row = await tx.fetchrow(
        SAVE, new_id("fb"), owner, insight_id, user_id, rating, comment, kind, reason, version
    )
    if row is not None and version is not None and row["version"] != version + 1:
        return None  # there was nothing of that version: the caller rolls back what this has written
    return row


async def present_version(db: Database, owner: str | None, insight_id: str, user_id: str) -> int:
    """Return the version there is, 0 for none."""
    return int(await db.fetchval(VERSION, insight_id, user_id, owner) or 0)


async def counters(db: Database, insight_id: str, owner: str | None) -> dict[str, Any]:
    """Return the counters of an insight, of one owner or of all."""
    row = await db.fetchrow(STATISTICS, insight_id, owner)
    assert row is not None
    return dict(row)


async def comments(
    db: Database, insight_id: str, owner: str | None, before: tuple[Any, ...] | None, limit: int, offset: int
) -> Sequence[Record]:
    """Return the comments on an insight, the newest first."""
    at, feedback_id = before or (None, None)
    statement = COMMENTS if owner is None else OWN_COMMENTS
    return await db.fetch(statement, insight_id, owner, at, feedback_id, limit, offset)


async def of_user(
    db: Database, user_id: str, owner: str | None, before: tuple[Any, ...] | None, limit: int, offset: int
) -> Sequence[Record]:
    """Return what a user said, the latest change first."""
    at, feedback_id = before or (None, None)
    return await db.fetch(OF_USER, user_id, owner, at, feedback_id, limit, offset)


async def flags(
    db: Database, state: str, owner: str | None, after: tuple[datetime, str] | None, limit: int
) -> Sequence[Record]:
    """Return flags of a state, the oldest first."""
    at, feedback_id = after or (None, None)
    return await db.fetch(FLAGS, state, owner, at, feedback_id, limit)


async def waiting(db: Database, longer_than: timedelta) -> int:
    """Return how many open flags wait longer, up to 10,000."""
    return int(await db.fetchval(WAITING, longer_than))
