"""What an operator is told, and the health check. No rule asks the chain: each reads what was noted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from wharfd import AlertRule, Finding, Health, HealthCheck, PluginContext

from .config import Settings
from .minters import evm_of
from .model.fees import WEI_PER_COIN
from .store import ledger, watching

RUNBOOK = "docs/runbooks/stuck-mint.md"


async def find_without_token(ctx: PluginContext[Settings]) -> list[Finding]:
    """Active buyers without a tx_hash: money taken, nothing delivered."""
    rows = await watching.without_token(ctx.db, ctx.now() - ctx.settings.unminted_after)
    return [
        Finding(
            f"license {row['license_id']} is paid since {row['status_at']:%Y-%m-%d %H:%M} and has no token: "
            f"{row['trouble'] or row['stage'] or 'there is no mint for it'}",
            row["license_id"],
        )
        for row in rows
    ]


async def find_stuck(ctx: PluginContext[Settings]) -> list[Finding]:
    """Mints that wait for a person, met trouble, or take too long."""
    rows = await watching.stuck(ctx.db, ctx.now() - ctx.settings.stuck_after)
    return [
        Finding(
            f"the mint of {row['license_id']} is {row['state']} ({row['stage']}): "
            f"{row['trouble'] or row['last_error'] or 'it takes long'}",
            row["license_id"],
        )
        for row in rows
    ]


async def find_payments(ctx: PluginContext[Settings]) -> list[Finding]:
    """Payments that fit no buyer, or not quite."""
    return [
        Finding(f"payment {row['transaction_id']} for {row['license_id']}: {row['outcome']}", row["event_id"])
        for row in await watching.open_payments(ctx.db, 20)
    ]


async def find_old_wires(ctx: PluginContext[Settings]) -> list[Finding]:
    """Wires that never came, where they do not expire by themselves."""
    before = ctx.now() - timedelta(days=ctx.settings.wire_days)
    return [
        Finding(
            f"license {row['license_id']} waits for its wire since {row['status_at']:%Y-%m-%d}",
            row["license_id"],
        )
        for row in await watching.old_wires(ctx.db, before, 20)
    ]


async def find_signer_trouble(ctx: PluginContext[Settings]) -> list[Finding]:
    """Low balance, a pause, a gap in the nonces, a day's cap nearly reached."""
    minter, settings = evm_of(ctx), ctx.settings.evm
    if minter is None or settings is None:
        return []
    row = await ledger.get(ctx.db, minter.account)
    if row is None or row["seen_at"] is None:
        return []
    name, found = row["signer"], []
    balance = int(row["balance"]) / WEI_PER_COIN
    if balance < settings.low_balance:
        found.append(Finding(f"signer {name} has {balance:.6f} coins left", "balance", balance))
    if row["paused_for"] is not None:
        found.append(Finding(row["paused_for"], "paused"))
    gaps = await ledger.gaps(ctx.db, minter.account, row["nonce"])
    if gaps:
        found.append(Finding(f"signer {name}: nonces {gaps[:10]} are missing and hold up later ones", "gap"))
    spent = await ledger.spent(ctx.db, minter.account, ctx.now().date()) / WEI_PER_COIN
    if spent > 0.8 * settings.spend_per_day:
        found.append(
            Finding(f"{spent:.4f} of {settings.spend_per_day} coins are spent today", "spending", spent)
        )
    return found


async def find_rpc_trouble(ctx: PluginContext[Settings]) -> list[Finding]:
    """Endpoints that are away, or that serve another chain."""
    minter = evm_of(ctx)
    if minter is None:
        return []
    endpoints = minter.chain.endpoints
    found = [Finding(f"{one.name}: {one.last_error}", one.name) for one in endpoints.health() if not one.up]
    if endpoints.wrong is not None:
        found.append(Finding(f"{endpoints.wrong}; nothing is minted", "chain"))
    return found


async def check_minting(ctx: PluginContext[Settings]) -> Health:
    """Degraded while endpoints are away or mints wait for a person; never makes the daemon unready."""
    counts: dict[str, Any] = await watching.count_open(ctx.db)
    minter = evm_of(ctx)
    if minter is not None:
        if minter.chain.endpoints.wrong is not None:
            return Health("down", minter.chain.endpoints.wrong, counts)
        health = minter.chain.endpoints.health()
        if health and not any(one.up for one in health):
            return Health("degraded", "no RPC endpoint answers", counts)
    waiting = counts.get("held", 0) + counts.get("buried", 0)
    if waiting:
        return Health("degraded", f"{waiting} mints wait for a person", counts)
    return Health("ok", detail=counts)


def rules(settings: Settings) -> list[AlertRule]:
    """Return what is watched."""
    found = [
        AlertRule(
            name="buyer_without_token", summary="A buyer paid and has no token", check=find_without_token,
            severity="critical", runbook=RUNBOOK,
        ),
        AlertRule(
            name="mint_stuck", summary="A mint does not get on", check=find_stuck, severity="critical",
            runbook=RUNBOOK,
        ),
        AlertRule(
            name="payment_unclear", summary="A payment fits no buyer", check=find_payments, runbook=RUNBOOK
        ),
    ]  # fmt: skip
    if not settings.expire_wires:
        found.append(AlertRule(name="wire_overdue", summary="A wire never came", check=find_old_wires))
    if settings.evm is not None:
        found += [
            AlertRule(
                name="signer_trouble", summary="The minter's account needs attention",
                check=find_signer_trouble, severity="critical", runbook=RUNBOOK,
            ),
            AlertRule(
                name="rpc_trouble", summary="An RPC endpoint is away or wrong", check=find_rpc_trouble,
                for_seconds=120, runbook=RUNBOOK,
            ),
        ]  # fmt: skip
    return found


def health_checks(settings: Settings) -> list[HealthCheck]:
    """Return the check of this plugin."""
    return [HealthCheck(name="minting", check=check_minting)]
