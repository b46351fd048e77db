"""Looking at the database: table and index sizes, use and bloat, cache hit ratios, health. Changes nothing.

What is found wrong is put right by `maintenance`. All figures are PostgreSQL's own since its statistics were
last reset; row counts and bloat are estimates.
"""

from __future__ import annotations

from datetime import datetime
from time import perf_counter

import msgspec

from .queries import Queries
from .statements import sql

# A partition's figures are added to its table's, so a table partitioned for years is one line.
TABLES = sql(
    "inspect_tables",
    """SELECT rn.nspname || '.' || r.relname AS name,
              count(*) FILTER (WHERE c.relispartition AND c.relkind = 'r')::int AS partitions,
              sum(pg_total_relation_size(c.oid))::bigint AS total_bytes,
              sum(pg_table_size(c.oid))::bigint AS table_bytes,
              sum(pg_indexes_size(c.oid))::bigint AS index_bytes,
              coalesce(sum(s.n_live_tup), 0)::bigint AS live_rows,
              coalesce(sum(s.n_dead_tup), 0)::bigint AS dead_rows,
              coalesce(sum(s.seq_scan), 0)::bigint AS sequential_scans,
              coalesce(sum(s.idx_scan), 0)::bigint AS index_scans,
              max(greatest(s.last_vacuum, s.last_autovacuum)) AS vacuumed_at,
              max(greatest(s.last_analyze, s.last_autoanalyze)) AS analyzed_at
         FROM pg_class c
         JOIN pg_class r ON r.oid = coalesce(pg_partition_root(c.oid), c.oid)
         JOIN pg_namespace rn ON rn.oid = r.relnamespace
         LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
        WHERE c.relkind IN ('r', 'p', 'm')
          AND rn.nspname NOT IN ('pg_catalog', 'information_schema') AND rn.nspname NOT LIKE 'pg\\_%'
        GROUP BY r.oid, rn.nspname, r.relname
        ORDER BY total_bytes DESC, name""",
)
# A B-tree's expected size from the average width of its columns: 12 bytes of tuple head and line pointer per
# entry, pages filled to 90 %. Deduplication makes real ones smaller, so what is reported as bloated is.
INDEXES = sql(
    "inspect_indexes",
    """WITH widths AS (
           SELECT i.indexrelid, sum(coalesce(s.avg_width, 16)) AS width
             FROM pg_index i
             JOIN pg_attribute a ON a.attrelid = i.indexrelid AND a.attnum > 0
             JOIN pg_class t ON t.oid = i.indrelid
             JOIN pg_class x ON x.oid = i.indexrelid
             JOIN pg_namespace n ON n.oid = t.relnamespace
             LEFT JOIN pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = i.indkey[a.attnum - 1]
                                     AND k.attnum > 0
             LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND NOT s.inherited
                                 AND ((k.attname IS NOT NULL AND s.tablename = t.relname
                                       AND s.attname = k.attname)
                                   OR (k.attname IS NULL AND s.tablename = x.relname
                                       AND s.attname = a.attname))
            GROUP BY i.indexrelid)
       SELECT n.nspname || '.' || x.relname AS name, n.nspname || '.' || t.relname AS table,
              pg_relation_size(x.oid) AS bytes,
              CASE WHEN m.amname = 'btree' AND x.reltuples > 0
                   THEN greatest(8192, ceil(x.reltuples::float8 * (ceil(w.width / 8.0) * 8 + 12)
                                            / (8192 * 0.9)) * 8192)::bigint END AS expected_bytes,
              coalesce(s.idx_scan, 0) AS scans,
              i.indisvalid AND i.indisready AS valid,
              i.indisunique OR i.indisprimary OR i.indisexclusion OR i.indisreplident AS constraining,
              x.relname ~ '_cc(new|old)[0-9]*$' AND NOT i.indisvalid AS leftover
         FROM pg_index i
         JOIN pg_class x ON x.oid = i.indexrelid AND x.relkind = 'i'
         JOIN pg_am m ON m.oid = x.relam
         JOIN pg_class t ON t.oid = i.indrelid
         JOIN pg_namespace n ON n.oid = t.relnamespace
         JOIN widths w ON w.indexrelid = i.indexrelid
         LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = i.indexrelid
        WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
        ORDER BY bytes DESC, name""",
)
CACHE = sql(
    "inspect_cache",
    """SELECT sum(heap_blks_hit)::float8 / nullif(sum(heap_blks_hit + heap_blks_read), 0) AS tables,
              sum(idx_blks_hit)::float8 / nullif(sum(idx_blks_hit + idx_blks_read), 0) AS indexes,
              (SELECT blks_hit::float8 / nullif(blks_hit + blks_read, 0) FROM pg_stat_database
                WHERE datname = current_database()) AS everything
         FROM pg_statio_user_tables""",
)
HEALTH = sql(
    "inspect_health",
    """SELECT current_setting('server_version') AS server_version, current_database()::text AS database,
              pg_database_size(current_database()) AS bytes, pg_postmaster_start_time() AS started_at,
              pg_is_in_recovery() AS standby,
              (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int
                  AS connections,
              current_setting('max_connections')::int AS max_connections,
              coalesce((SELECT extract(epoch FROM max(clock_timestamp() - xact_start))
                          FROM pg_stat_activity
                         WHERE datname = current_database() AND backend_type = 'client backend'), 0)::float8
                  AS oldest_transaction_seconds,
              (SELECT count(*) FROM pg_locks WHERE NOT granted)::int AS waiting_for_locks,
              (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database())
                  AS transaction_id_age,
              (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()) AS deadlocks,
              (SELECT coalesce(sum(checksum_failures), 0) FROM pg_stat_database)::bigint AS checksum_failures,
              (SELECT count(*) FROM pg_index WHERE NOT indisvalid)::int AS invalid_indexes""",
)

BLOATED_RATIO = 2.0
BLOATED_MIN_BYTES = 8 << 20  # rebuilding less gains nothing anybody notices
UNUSED_MIN_BYTES = 1 << 20


class TableFigures(msgspec.Struct, frozen=True):
    """One table with its partitions and indexes."""

    name: str
    partitions: int
    total_bytes: int
    table_bytes: int
    index_bytes: int
    live_rows: int
    dead_rows: int
    sequential_scans: int
    index_scans: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None


class IndexFigures(msgspec.Struct, frozen=True):
    """One index. `expected_bytes` is an estimate, None where there is none."""

    name: str
    table: str
    bytes: int
    expected_bytes: int | None
    scans: int
    valid: bool
    constraining: bool
    leftover: bool

    @property
    def bloated(self) -> bool:
        """Whether it is at least twice the size it needs and big enough to matter."""
        expected = self.expected_bytes
        return expected is not None and self.bytes >= max(BLOATED_MIN_BYTES, BLOATED_RATIO * expected)

    @property
    def unused(self) -> bool:
        """Whether nothing ever read it and no constraint needs it."""
        return self.valid and not self.constraining and self.scans == 0 and self.bytes >= UNUSED_MIN_BYTES


class CacheRatios(msgspec.Struct, frozen=True):
    """The share of block reads that PostgreSQL's own cache served; None before the first read."""

    tables: float | None
    indexes: float | None
    everything: float | None


class ServerHealth(msgspec.Struct, frozen=True):
    """The server as seen from here. `round_trip_seconds` is the time this question took."""

    server_version: str
    database: str
    bytes: int
    started_at: datetime
    standby: bool
    connections: int
    max_connections: int
    oldest_transaction_seconds: float
    waiting_for_locks: int
    transaction_id_age: int
    deadlocks: int
    checksum_failures: int
    invalid_indexes: int
    round_trip_seconds: float


async def tables(database: Queries) -> list[TableFigures]:
    """Return every table, the biggest first."""
    return [TableFigures(**dict(row)) for row in await database.fetch(TABLES)]


async def indexes(database: Queries) -> list[IndexFigures]:
    """Return every index, the biggest first; ask as the owner role, others see no width statistics."""
    return [IndexFigures(**dict(row)) for row in await database.fetch(INDEXES)]


async def cache_ratios(database: Queries) -> CacheRatios:
    """Return how well PostgreSQL's cache serves this database."""
    row = await database.fetchrow(CACHE)
    assert row is not None
    return CacheRatios(**dict(row))


async def server_health(database: Queries) -> ServerHealth:
    """Return the state of the server; raises `DatabaseUnavailable` when it cannot be asked."""
    started = perf_counter()
    row = await database.fetchrow(HEALTH)
    assert row is not None
    return ServerHealth(**dict(row), round_trip_seconds=perf_counter() - started)
