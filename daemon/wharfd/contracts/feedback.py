"""Feedback as events: what somebody may want to look into."""

from __future__ import annotations

from typing import ClassVar

from .events import Event


class FeedbackFlagged(Event, frozen=True, kw_only=True):
    """A user flagged an insight; `subject` is the feedback's id."""

    type: ClassVar[str] = "feedback.flagged"
    insight_id: str
    user_id: str
    flag_type: str
    flag_reason: str


class FeedbackModerated(Event, frozen=True, kw_only=True):
    """A moderator decided about a flag: `state` is open, upheld or dismissed."""

    type: ClassVar[str] = "feedback.moderated"
    insight_id: str
    flag_type: str
    state: str
