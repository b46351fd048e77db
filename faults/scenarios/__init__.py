"""The scenarios, one file each, in the order in which they are run and shown."""

from __future__ import annotations

from ..stage import Scenario
from . import kill_daemon

SCENARIOS: dict[str, Scenario] = {one.SCENARIO.name: one.SCENARIO for one in (kill_daemon,)}
