"""Which minters there are: ours, and those that other plugins offer with the hook `register_minters`."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from wharfd import NotReady, PluginContext, hookspec
from wharfd.contracts.mints import Minter

from .config import Settings
from .evm.chain import Chain
from .evm.endpoints import Endpoints, HttpTransport
from .evm.minter import EvmMinter
from .evm.signer import BadKey, open_signer
from .http_minter import HttpMinter


class Hookspecs:
    """The extension point of this plugin."""

    @hookspec
    async def register_minters(self, ctx: Any) -> Mapping[str, Minter] | None:
        """Offer ways to mint.

        Called: when a mint first needs a minter of that name; `ctx` is the offering plugin's own.
        May: return several, by name.
        Must not: mint anything yet, or use the names `evm` and `http`.
        Returns: a mapping of names to `wharfd.contracts.mints.Minter`.
        Example: `return {"solana": SolanaMinter(ctx)}`
        """


async def open_evm(ctx: PluginContext[Settings], **options: Any) -> EvmMinter:
    """Make the minter for the configured chain. Raises `NotReady` for a key that is none."""
    settings = ctx.settings.evm
    assert settings is not None
    try:
        signer = await open_signer(settings.key)
    except BadKey as error:
        raise NotReady(str(error)) from None
    policy, timeout = settings.network(), settings.timeout.total_seconds()
    calls = ctx.metrics["rpc_calls_total"]
    endpoints = Endpoints(
        [HttpTransport(ctx.http, url, policy, timeout, number) for number, url in enumerate(settings.rpc, 1)],
        settings.chain_id,
        observe=lambda method, outcome: calls.labels(method, outcome).inc(),
    )
    chain = Chain(
        endpoints,
        settings.contract,
        settings.interface(),
        confirmations=settings.confirmations,
        finalized=settings.finality == "finalized",
        from_block=settings.from_block,
        log_range=settings.log_range,
        legacy=settings.legacy,
    )
    writer = f"{socket.gethostname()}:{os.getpid()}"
    minter = EvmMinter(ctx.db, chain, signer, settings, ctx.clock, writer=writer, **options)
    await minter.open()
    ctx.log.info(
        "signer_ready", address=signer.address, chain_id=settings.chain_id, endpoints=len(settings.rpc)
    )
    return minter


async def open_minters(ctx: PluginContext[Settings], **options: Any) -> None:
    """Make our own minters and keep them on the context."""
    made: dict[str, Minter] = {}
    if ctx.settings.evm is not None:
        made["evm"] = await open_evm(ctx, **options)
    if ctx.settings.http is not None:
        made["http"] = HttpMinter(ctx.db, ctx.http, ctx.settings.http)
    ctx.state["minters"] = made


async def find_minter(ctx: PluginContext[Settings], name: str) -> Minter | None:
    """Return a minter by name, asking the other plugins for those that are not ours."""
    made: dict[str, Minter] = ctx.state["minters"]
    if name not in made:
        for offered in await ctx.hooks.call("register_minters"):
            for other, minter in (offered or {}).items():
                made.setdefault(other, minter)
    return made.get(name)


def evm_of(ctx: PluginContext[Settings]) -> EvmMinter | None:
    """Return the minter for the chain, where there is one."""
    found = ctx.state.get("minters", {}).get("evm")
    return found if isinstance(found, EvmMinter) else None
