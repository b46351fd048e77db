"""Making keys and their secrets, and what a maker may give away."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from wharfd import Conflict, FieldError, Forbidden, Invalid, Queries, Transaction, new_id
from wharfd.contracts.access import Identity

from .authenticator import SECRETS, key_hash
from .model.key_text import make_key, make_secret
from .model.record import stamp
from .model.scopes import Network, beyond, outside
from .parts import Context
from .store.key_rows import NewKeyRow, count_keys, get_key, insert_key


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What somebody wants of a new key."""

    name: str
    owner: str | None
    scopes: tuple[str, ...]
    allow_list: tuple[Network, ...] = ()
    rate_per_minute: int | None = None
    expires_at: datetime | None = None
    signed_only: bool = False
    integration_id: str | None = None
    with_secret: bool = False
    pair: bool = False
    rotated_from: str | None = None


@dataclass(frozen=True)
class Minted:
    """A key that was just made: the only moment at which it and its secret can be shown."""

    id: str
    short: str
    draft: Draft
    key: str = field(repr=False)
    secret: str | None = field(repr=False)


async def bounded(db: Queries, maker: Identity, draft: Draft) -> Draft:
    """Return the draft within what its maker holds: a limit the maker has and the draft leaves out is added.

    Raises `Forbidden` for scopes the maker does not hold and `Invalid` for limits wider than the maker's.
    """
    missing = beyond(maker, draft.scopes)
    if missing:
        raise Forbidden(
            f"a key cannot get what its maker does not hold: {', '.join(missing)}", scope=" ".join(missing)
        )
    if maker.kind != "key":
        return draft
    own = await get_key(db, maker.subject, None)
    if own is None:
        raise Forbidden("the key that asks is no more")
    ends: list[datetime] = [at for at in (own["expires_at"], own["valid_until"]) if at is not None]
    if ends:
        latest = min(ends)
        if draft.expires_at is not None and draft.expires_at > latest:
            raise _wider("expires_at", f"must not be after {stamp(latest)}, when the maker's own key ends")
        draft = replace(draft, expires_at=draft.expires_at or latest)
    allowed = tuple(own["allow_list"])
    if allowed:
        wide = outside(draft.allow_list, allowed)
        if wide:
            raise _wider("allow_list", f"{wide[0]} is not within the networks of the maker's own key")
        draft = replace(draft, allow_list=draft.allow_list or allowed)
    rate = own["rate_per_minute"]
    if rate is not None:
        if draft.rate_per_minute is not None and draft.rate_per_minute > rate:
            raise _wider("rate_per_minute", f"must not be above {rate}, the rate of the maker's own key")
        draft = replace(draft, rate_per_minute=draft.rate_per_minute or rate)
    return draft


async def mint(ctx: Context, tx: Transaction, maker: Identity, draft: Draft) -> Minted:
    """Make a key, write its row, and return the key itself to be shown once.

    Raises what `bounded` raises, `Conflict` when the owner has too many keys, and `Invalid` for an end in
    the past.
    """
    draft = await bounded(tx, maker, draft)
    if draft.expires_at is not None and draft.expires_at <= ctx.now():
        raise Invalid(FieldError("expires_at", "lies in the past"))
    if await count_keys(tx, draft.owner) >= ctx.settings.max_keys_per_owner:
        raise Conflict(
            f"there are {ctx.settings.max_keys_per_owner} keys in use already; revoke some, "
            "or raise [plugins.integrations] max_keys_per_owner"
        )
    key, key_id = make_key(ctx.settings.mode), new_id("key")
    secret = make_secret() if draft.with_secret else None
    sealed = None if secret is None else await ctx.secrets.seal(*SECRETS, key_id, secret.encode())
    await insert_key(
        tx,
        NewKeyRow(
            id=key_id,
            short=key.short,
            hash=key_hash(ctx.secrets, key),
            mode=key.mode,
            owner=draft.owner,
            integration_id=draft.integration_id,
            name=draft.name,
            scopes=draft.scopes,
            allow_list=draft.allow_list,
            rate_per_minute=draft.rate_per_minute,
            signed_only=draft.signed_only,
            secret=sealed,
            pair=draft.pair,
            expires_at=draft.expires_at,
            created_by=maker.subject,
            rotated_from=draft.rotated_from,
        ),
    )
    return Minted(key_id, key.short, draft, key.text, secret)


def facts(minted: Minted) -> dict[str, Any]:
    """What the audit log keeps of a new key."""
    draft = minted.draft
    return {
        "id": minted.id,
        "name": draft.name,
        "scopes": list(draft.scopes),
        "allow_list": [str(network) for network in draft.allow_list],
        "rate_per_minute": draft.rate_per_minute,
        "expires_at": draft.expires_at,
        "signed_only": draft.signed_only,
        "integration_id": draft.integration_id,
    }


def _wider(name: str, message: str) -> Invalid:
    return Invalid(FieldError(name, message))
