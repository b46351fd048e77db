"""A wall clock for tests: `clock` stands still until it is moved."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ..clock import FixedClock


@pytest.fixture
def clock() -> FixedClock:
    """A clock that says noon of 20 November 2026, UTC, until the test moves it."""
    return FixedClock(datetime(2026, 11, 20, 12, tzinfo=UTC))
