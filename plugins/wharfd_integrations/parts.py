"""What the plugin holds while it runs, made in `provision` and found by routes and checks."""

from __future__ import annotations

from dataclasses import dataclass

from wharfd import DatabaseUnavailable, NetworkPolicy, NotReady, PluginContext

from .authenticator import HASHES, KeyAuthenticator
from .config import Settings
from .keyring import Keyring
from .listening import Revocations
from .refusals import RecentRefusals
from .store.lookup import find_key
from .usage_log import UsageLog

Context = PluginContext[Settings]

SEALED_TABLES = ("integrations.keys", "integrations.integrations")


@dataclass(frozen=True)
class Parts:
    """One life's objects."""

    keyring: Keyring
    usage: UsageLog
    refusals: RecentRefusals
    revocations: Revocations
    authenticator: KeyAuthenticator
    policy: NetworkPolicy


async def make_parts(ctx: Context) -> Parts:
    """Load the keys of the vault and make everything, nothing running yet."""
    try:
        await ctx.secrets.prepare(*SEALED_TABLES, fingerprints=[HASHES])
    except DatabaseUnavailable as error:
        raise NotReady(f"the vault's keys cannot be read: {error}") from error
    settings = ctx.settings
    keyring = Keyring(
        lambda short: find_key(ctx.db, short), seconds=settings.cache_seconds, most=settings.cached_keys
    )
    usage = UsageLog(ctx.db, clock=ctx.clock, metrics=ctx.metrics, log=ctx.log, most=settings.usage_buffer)
    refusals = RecentRefusals()
    ctx.metrics["keys_in_memory"].set_function(lambda: len(keyring))
    ctx.metrics["key_lookups"].set_function(lambda: keyring.lookups)
    ctx.metrics["key_hits"].set_function(lambda: keyring.hits)
    return Parts(
        keyring=keyring,
        usage=usage,
        refusals=refusals,
        revocations=Revocations(ctx.db, keyring, ctx.log),
        authenticator=KeyAuthenticator(
            keyring,
            usage,
            refusals,
            db=ctx.db,
            vault=ctx.secrets,
            clock=ctx.clock,
            settings=settings,
            metrics=ctx.metrics,
        ),
        policy=NetworkPolicy(allow_networks=tuple(str(network) for network in settings.allow_networks)),
    )


def parts_of(ctx: Context) -> Parts:
    """The parts of the life that `ctx` belongs to."""
    parts = ctx.state["parts"]
    assert isinstance(parts, Parts)
    return parts
