"""Rows that other suites read: payments of a hundred owners."""

from __future__ import annotations

from ...db import sql
from ..ground import Ground

OWNERS = 100


async def fill(ground: Ground) -> int:
    """See to it that the table of payments holds the planned rows; return how many it has."""
    table = f"{ground.plan.schema}.payments"
    count = int(await ground.db.fetchval(sql("bench.count", f"SELECT coalesce(max(id), 0) FROM {table}")))
    missing = ground.plan.rows - count
    if missing > 0:
        await ground.db.owner.execute(
            sql(
                "bench.fill_payments",
                f"""INSERT INTO {table} (owner, amount, status, created_at)
                SELECT 'owner_' || n % {OWNERS}, 100 + n % 9000, CASE n % 20 WHEN 0 THEN 'failed'
                ELSE 'completed' END, now() - n * interval '1 second'
                FROM generate_series(1, $1::int) AS n""",
            ),
            missing,
        )
        await ground.db.owner.execute(sql("bench.vacuum", f"VACUUM ANALYZE {table}"))
    return max(count, ground.plan.rows)
