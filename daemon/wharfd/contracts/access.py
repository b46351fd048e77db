"""Who is calling, and what that caller may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, Protocol

from .services import ServiceKey

Kind = Literal["admin", "operator", "key", "anonymous"]


@dataclass(frozen=True)
class Identity:
    """The caller of one request. `owner` is None for callers that see everybody's rows."""

    subject: str
    kind: Kind
    owner: str | None = None
    scopes: frozenset[str] = frozenset()
    rate_per_minute: int | None = None

    def may(self, scope: str) -> bool:
        """Whether this caller holds `scope`, itself or by `area:*` or `*`.

        An operator holds every scope that ends in `:read` and no other.
        """
        if self.kind == "admin":
            return True
        if self.kind == "operator":
            return scope.endswith(":read")
        area = scope.partition(":")[0]
        return not self.scopes.isdisjoint({scope, f"{area}:*", "*"})


ANONYMOUS = Identity("anonymous", "anonymous")


@dataclass(frozen=True)
class Credentials:
    """What a request brought to prove who sent it. Never logged."""

    bearer: str | None
    headers: Mapping[str, str]
    method: str
    target: str
    body: bytes
    client: IPv4Address | IPv6Address | None

    def __repr__(self) -> str:
        return f"Credentials({self.method} {self.target}, bearer={'given' if self.bearer else 'none'})"


@dataclass(frozen=True)
class Refused:
    """The credentials are for this authenticator and are not good; `reason` may be told to the caller."""

    reason: str
    status: Literal[401, 403, 429] = 401


class Authenticator(Protocol):
    """Turns credentials into an identity. The core asks it for every bearer that is not the admin token."""

    async def authenticate(self, credentials: Credentials) -> Identity | Refused | None:
        """Return the identity, a refusal, or None when the credentials are of a kind it does not know."""
        ...

    async def observe(self, identity: Identity, *, endpoint: str, status: int, seconds: float) -> None:
        """Hear of every answered request of an identity it gave out; must not raise or wait long."""
        ...


AUTHENTICATOR: ServiceKey[Authenticator] = ServiceKey("authenticator")
