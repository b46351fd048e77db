"""The rules that the shipped plugins declare, each carried out on its own table."""

from wharfd import PluginContext, RetentionRule, partitions_of, sql
from wharfd_retention import store, tables
from wharfd_retention.model import Hold, gate
from wharfd_retention.nightly import policies_of

NAMES = ("alerts", "backfill", "feedback", "integrations", "metrics", "mint", "netbanx", "orders", "webhooks")
CONFIG = """
[plugins.mint]
minter = "http"
[plugins.mint.http]
url = "http://127.0.0.1:9/mint"
allow_networks = ["127.0.0.0/8"]
"""
HOLDS = [
    Hold(id="hold_1", table="*", owner="own_1"),
    Hold(id="hold_2", table="*", owner="own_1", key="7"),
    Hold(id="hold_3", table="*", key="7"),
]


async def test_every_shipped_rule_fits_its_table(daemon):
    config = CONFIG + "".join(f"[plugins.{n}]\n" for n in (*NAMES, "retention") if n != "mint")
    async with daemon(config=config) as d:
        ctx: PluginContext = d.context("retention")
        policies, _ = policies_of(ctx)
        assert {policy.name.partition(".")[0] for policy in policies} == {*NAMES, "core"}
        assert len(policies) == len(ctx.plugins.declared(RetentionRule)) >= 26
        now, _ = await store.clock(ctx.db)
        for policy in policies:
            shape = await tables.shape(ctx.db.owner, policy.table)
            assert shape is not None, policy.name
            assert {policy.column, *policy.key} <= set(shape.columns), policy.name
            parts = await partitions_of(ctx.db, policy.table)
            assert bool(parts) == policy.partitioned, policy.name
            for holds in ([], HOLDS):
                passing, of_month = (gate(policy, shape, holds, at) for at in (policy.cutoff(now), None))
                assert (await tables.would_go(ctx.db.owner, policy, passing))[0] == 0
                async with ctx.db.owner.transaction() as tx:
                    for part in parts[:1]:
                        await tables.kept_back(tx, part.name, of_month)
                        await tables.facts(tx, policy, part.name)
                    table = parts[0].name if parts else policy.table
                    limit = None if policy.partitioned else 10
                    chosen = of_month if parts else passing
                    await tx.execute(tables.declare_rows(policy, table, chosen, limit), *chosen.values)
                    assert await tx.fetch(tables.FETCH) == [] or parts
                    if not parts:
                        assert await tables.delete_plain(tx, policy, passing, 10) == 0
                        assert await tables.delete_archived(tx, policy, passing, []) == 0
        # A table that another rule calls a row of by name, in the order in which they are declared.
        assert await ctx.db.fetchval(sql("nothing_held", "SELECT wharfd.held('a.b', 'o', 'k')")) is False
