"""What the plugin does by the clock: say which rules there are, and end what belongs to none."""

from __future__ import annotations

from wharfd import PluginContext

from . import store
from .config import Settings
from .evaluating import known_rules, resolve


async def declare_rules(ctx: PluginContext[Settings]) -> None:
    """Make sure that every rule known here is evaluated."""
    await store.declare(ctx.db, [(plugin, rule.name) for plugin, rule in known_rules(ctx).values()])


async def tidy(ctx: PluginContext[Settings]) -> None:
    """Renew the rules known here, forget those nobody has declared for a day, and end their alerts."""
    await declare_rules(ctx)
    gone = await ctx.db.fetch(store.GONE)
    if gone:
        ctx.log.info("alert_rules_forgotten", rules=[f"{row['plugin']}.{row['rule']}" for row in gone])
    for row in await ctx.db.fetch(store.ORPHANED):
        async with ctx.db.transaction() as tx:
            await resolve(ctx, tx, row["id"], "alerts", "its rule is gone")
