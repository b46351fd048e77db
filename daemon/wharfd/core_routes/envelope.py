"""The form of the older endpoints: `{"success": true, "data": …, "timestamp": …}`."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Envelope(msgspec.Struct, Generic[T], kw_only=True):
    """An answer as callers of the older system read it."""

    success: bool = True
    data: T
    timestamp: datetime
