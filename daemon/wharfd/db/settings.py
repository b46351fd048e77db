"""What the database layer needs to be told; `wharfd.config` fills it from `[database]`."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """Where PostgreSQL is and how it is used. A URL may hold a password and is never shown.

    `url` may name several hosts (`postgresql://wharfd@a,b/wharfd`): the one that takes writes is used.
    `read_url` serves `Database.read`, `owner_url` serves `Database.owner`; without them both are `url`.
    `listen_url` is for LISTEN when `url` leads through PgBouncer, which cannot carry it.
    With `pgbouncer=True` no prepared statement is kept and no start-up parameter is sent; the timeouts must
    then be set on the role.
    """

    url: str = field(repr=False)
    read_url: str | None = field(default=None, repr=False)
    owner_url: str | None = field(default=None, repr=False)
    listen_url: str | None = field(default=None, repr=False)
    application_name: str = "wharfd"
    pgbouncer: bool = False
    pool_size: int = 10
    pool_min_size: int = 1
    urgent_pool_size: int = 4
    owner_pool_size: int = 2
    acquire_timeout_seconds: float = 5.0
    connect_timeout_seconds: float = 5.0
    statement_timeout_seconds: float = 30.0
    # Index builds and partition work of the owner role may honestly take hours on a big table.
    owner_statement_timeout_seconds: float = 6 * 3600.0
    lock_timeout_seconds: float = 10.0
    idle_in_transaction_timeout_seconds: float = 60.0
    idle_seconds: float = 300.0
    lifetime_seconds: float = 1800.0
    slow_statement_seconds: float = 0.2
    allow_asynchronous_commit: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.pool_size <= 1000 or not 0 <= self.pool_min_size <= self.pool_size:
            raise ValueError("pool_size must be 1 to 1000 and pool_min_size between 0 and pool_size")
        if self.owner_pool_size < 1:
            raise ValueError("owner_pool_size must be at least 1")
        for name in ("statement_timeout_seconds", "owner_statement_timeout_seconds", "lock_timeout_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0: a statement without a limit can block everything")


def split_hosts(url: str) -> tuple[str, ...]:
    """Return one URL per host, so that each host gets its own connect timeout."""
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return (url,)
    return tuple(urlunsplit(parts._replace(netloc=f"{credentials}{at}{host}")) for host in hosts.split(","))


def shown(url: str) -> str:
    """Return host and database of a URL, without user and password, for messages."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if not host:
        host = next((p[5:] for p in parts.query.split("&") if p.startswith("host=")), "the local socket")
    return f"{host}{parts.path}"
