"""The hook this plugin adds for others."""

from __future__ import annotations

from wharfd import PluginContext, hookspec
from wharfd.contracts.webhooks import Change, Outgoing, Skip


@hookspec
async def before_delivery(ctx: PluginContext[object], delivery: Outgoing) -> Change | Skip | None:
    """Change what an endpoint is sent, or keep it from being sent.

    Called: before every try of a delivery whose endpoint has a `transform`, with your own context.
    May: return `Change(body, headers)` or `Skip(reason)`; do I/O, within the delivery's lease.
    Must not: answer to a `delivery.transform` that is not yours: return None then.
    Returns: a `Change`, a `Skip`, or None. When nobody answers, or you raise, nothing is sent and it is tried
        again later: an endpoint never gets what should have been changed.
    Example: `return Change({**delivery.body, "data": slim(delivery.body["data"])})`
    """
