"""The scenarios, one file each, in the order in which they are run and shown."""

from __future__ import annotations

from ..stage import Scenario
from . import (
    backend_killed,
    bulk_orders,
    clock,
    crash_points,
    disk_full,
    failover,
    file_limits,
    hostile_http,
    kill_daemon,
    kill_postmaster,
    mixed,
    network,
    order_system,
    plugin_trouble,
    postgres_away,
    redis_trouble,
    reload,
    restart,
    stopped_process,
    storms,
    two_daemons,
)

_TABLE = (
    kill_daemon.SCENARIO,
    bulk_orders.SCENARIO,
    order_system.SCENARIO,
    crash_points.SCENARIO,
    two_daemons.SCENARIO,
    restart.SCENARIO,
    stopped_process.SCENARIO,
    kill_postmaster.SCENARIO,
    backend_killed.SCENARIO,
    postgres_away.ON,
    postgres_away.OFF,
    failover.SCENARIO,
    network.SCENARIO,
    redis_trouble.SCENARIO,
    plugin_trouble.BLOCK,
    plugin_trouble.CRASH,
    storms.SCENARIO,
    hostile_http.SCENARIO,
    file_limits.SCENARIO,
    disk_full.SPOOL,
    disk_full.DATA,
    clock.SCENARIO,
    reload.SCENARIO,
    mixed.SCENARIO,
)
SCENARIOS: dict[str, Scenario] = {one.name: one for one in _TABLE}
