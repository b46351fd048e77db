"""The columns of a delivery that its worker gets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class DeliveryRow(msgspec.Struct):
    """One delivery: which message, to which endpoint, and why it is sent now.

    `budget` replaces the number of tries where a person asked for so many. `resume` is what a resend goes
    back to when it fails.
    """

    id: str
    created_at: datetime
    endpoint_id: str
    message_id: str
    message_at: datetime
    type: str
    trigger: str
    budget: int | None
    resume: dict[str, Any] | None
