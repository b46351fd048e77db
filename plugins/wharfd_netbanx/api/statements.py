"""The statements that list events: newest first by id, each combination of filters on an index of its own.

Ids sort by the time of arrival, so a span of time is a span of ids.
"""

from __future__ import annotations

from functools import lru_cache

from wharfd import Statement, sql

MAX_LIMIT = 200
COLUMNS = """e.id, e.received_at, e.source, e.owner, e.trace_id, e.name, e.resource_id, e.merchant_ref,
  e.receipt, e.state, e.attempts, e.last_error, e.finished_at"""
_PARKED = ("buried", "held")


@lru_cache(256)
def list_statement(equal: tuple[str, ...], *, low: bool, high: bool, ids: bool, by_source: bool) -> Statement:
    """Return the statement for columns that must equal something, bounds of the id, or a list of ids.

    Parameters come in this order: the equal columns, low, high, ids, sources, limit. With `by_source` a name
    is looked up in each source by itself, because the index begins with the source.
    """
    conditions = [f"e.{column} = ${n}" for n, column in enumerate(equal, 1)]
    number = len(equal)
    for wanted, condition in ((low, "e.id >= ${}"), (high, "e.id < ${}"), (ids, "e.id = ANY (${}::text[])")):
        if wanted:
            number += 1
            conditions.append(condition.format(number))
    if by_source:
        number += 1
        source = f"unnest(${number}::text[]) AS s (source) CROSS JOIN LATERAL"
        conditions.append("e.source = s.source")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    one = f"SELECT {COLUMNS} FROM netbanx.events e {where} ORDER BY e.id DESC LIMIT ${number + 1}"
    if by_source:
        one = f"SELECT e.* FROM {source} ({one}) e ORDER BY e.id DESC LIMIT ${number + 1}"
    return sql("list_events", one)
