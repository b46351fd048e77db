"""What the newest points of a metric come to: for alert rules over what services send."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import get_args

from wharfd import PluginContext, sql
from wharfd.contracts.metrics import Figure

from .config import Settings

_MOST_SERIES = 500
_FIGURES: tuple[Figure, ...] = get_args(Figure)

SERIES = sql(
    "series_of_metric",
    "SELECT id, labels FROM metrics.series WHERE service_name = $1 AND metric_type = $2 ORDER BY id",
)
FIGURES = sql(
    "figures_of_points",
    """SELECT CASE WHEN $3 THEN series_id END AS series,
  (array_agg(value ORDER BY at DESC, id DESC))[1] AS last,
  avg(value) AS avg, min(value) AS min, max(value) AS max, sum(value) AS sum, count(*)::float8 AS count,
  percentile_disc(0.5) WITHIN GROUP (ORDER BY value) AS p50,
  percentile_disc(0.95) WITHIN GROUP (ORDER BY value) AS p95,
  percentile_disc(0.99) WITHIN GROUP (ORDER BY value) AS p99
FROM metrics.points
WHERE series_id = ANY ($1::int[]) AND at > now() - $2::interval AND at <= now() GROUP BY 1""",
)


class Recent:
    """Answers the contract `RecentPoints`."""

    def __init__(self, ctx: PluginContext[Settings]) -> None:
        self._ctx = ctx

    async def figures(
        self, service: str, metric: str, labels: Mapping[str, str], over: timedelta, *, each: bool
    ) -> dict[str, dict[Figure, float]] | None:
        """See `RecentPoints`. Of more than 500 series the oldest 500 are looked at."""
        known = await self._ctx.db.fetch(SERIES, service, metric)
        if not known:
            return None
        names = {
            row["id"]: ",".join(f"{name}={value}" for name, value in sorted(row["labels"].items()))
            for row in known
            if all(fnmatchcase(row["labels"].get(name, ""), pattern) for name, pattern in labels.items())
        }
        rows = await self._ctx.db.fetch(FIGURES, list(names)[:_MOST_SERIES], over, each)
        if not rows and not each:
            return {"": {"count": 0.0}}
        return {
            names[row["series"]] if each else "": {figure: row[figure] for figure in _FIGURES} for row in rows
        }
