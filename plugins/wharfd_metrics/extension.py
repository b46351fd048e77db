"""The hook this plugin adds for others."""

from __future__ import annotations

from collections.abc import Sequence

from wharfd import PluginContext, hookspec
from wharfd.contracts.metrics import MetricSink


@hookspec
def register_metric_sinks(ctx: PluginContext[object]) -> Sequence[MetricSink] | None:
    """Take each daemon's metrics somewhere else, too.

    Called: every minute, with your own context; return the same sinks each time.
    May: return several sinks; each `push` has half a minute.
    Must not: count on being called in every minute: while the database is away nothing is published.
    Returns: a sequence of sinks, see `wharfd.contracts.metrics`.
    Example: `return [ctx.state["statsd"]]`
    """
