"""Taking in what a user says: checked, limited, written; cached statistics go after the commit."""

from __future__ import annotations

from typing import Any

from wharfd import Conflict, FieldError, Invalid, PluginContext, Rate, Record, TooMany, Transaction
from wharfd.contracts.feedback import FeedbackFlagged

from . import store
from .config import Settings
from .model import Refused, clean_id, clean_text

_HOUR = 3600.0


class _OutOfDate(Exception):
    """Ends the transaction of a change that was made for another version."""


def checked_id(name: str, text: str, where: str = "body") -> str:
    """Return an id; 422 names the field when it is none."""
    try:
        return clean_id(text)
    except Refused as error:
        raise Invalid(FieldError(name, str(error), where)) from None


def checked_text(name: str, text: str, most: int) -> str:
    """Return a text made clean; 422 names the field when it is not taken."""
    try:
        return clean_text(text, most)
    except Refused as error:
        raise Invalid(FieldError(name, str(error))) from None


def tags(owner: str | None, insight_id: str) -> list[str]:
    """Return what cached statistics of an insight are tagged with, for this owner and for who sees all."""
    return (
        [f"insight * {insight_id}"]
        if owner is None
        else [f"insight {owner} {insight_id}", f"insight * {insight_id}"]
    )


async def say(
    ctx: PluginContext[Settings],
    kind: str,
    owner: str | None,
    insight_id: str,
    user_id: str,
    version: int | None,
    **said: Any,
) -> Record:
    """Write what a user says; 409 when `version` is not the present one, 429 when it is too much."""
    insight_id, user_id = checked_id("insight_id", insight_id), checked_id("user_id", user_id)
    rate = Rate(ctx.settings.changes_per_user, _HOUR)
    verdict = await ctx.limits.take("user", f"{owner or ''} {user_id}", rate)
    if not verdict.allowed:
        ctx.metrics["changes_total"].labels(kind, "limited").inc()
        raise TooMany(
            f"this user made {ctx.settings.changes_per_user} changes within an hour",
            retry_after=verdict.reset_seconds,
        )

    async def unit(tx: Transaction) -> Record:
        row = await store.save(tx, owner, insight_id, user_id, version=version, **said)
        if row is None:
            raise _OutOfDate
        if "flag" in said and row["newly_flagged"]:
            await ctx.events.publish(
                tx,
                FeedbackFlagged(
                    owner=owner,
                    subject=row["id"],
                    insight_id=insight_id,
                    user_id=user_id,
                    flag_type=row["flag_type"],
                    flag_reason=row["flag_reason"],
                ),
            )
        tx.after_commit(lambda: ctx.cache.invalidate_soon(*tags(owner, insight_id)))
        return row

    try:
        row = await ctx.db.repeat(unit)
    except _OutOfDate:
        present = await store.present_version(ctx.db, owner, insight_id, user_id)
        raise Conflict(f"the feedback is at version {present}, not {version}", version=present) from None
    ctx.metrics["changes_total"].labels(kind, "done").inc()
    return row
