"""The core's own migrations, as a declaration like any plugin's. Its schema is `wharfd`."""

from __future__ import annotations

from ..declare import Migrations

CORE = (
    "wharfd",
    Migrations(
        "wharfd.db",
        partitioned=("wharfd.events", "wharfd.audit"),
        keep_forever=("wharfd.migrations", "wharfd.data_keys", "wharfd.audit", "wharfd.audit_seals"),
    ),
)
