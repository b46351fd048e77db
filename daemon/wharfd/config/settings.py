"""The core's own settings: what may stand outside `[plugins]`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from ..secrets import Secret
from .options import option

Level = Literal["debug", "info", "warning", "error"]
Networks = tuple[IPv4Network | IPv6Network, ...]


def split_address(text: str) -> tuple[str, int]:
    """Split `host:port` or `[host]:port`; raises ValueError with the way to write it."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'{text!r} is not an address; write it like "127.0.0.1:8470"')
    return host, int(port)


@dataclass(frozen=True)
class TlsSettings:
    """A certificate and its key, in PEM files."""

    certificate: Path = option(help="PEM file with the certificate and its chain")
    key: Path = option(help="PEM file with the private key")


def _check_bind(bind: str) -> None:
    try:
        split_address(bind)
    except ValueError as error:
        raise ValueError(f"bind: {error}") from None


@dataclass(frozen=True)
class HttpSettings:
    """`[http]`: the API and the console."""

    bind: str = option("127.0.0.1:8470", help="address the API listens on")
    tls: TlsSettings | None = option(
        None,
        help="serve HTTPS with this certificate",
        example='{ certificate = "/etc/wharfd/tls.pem", key = "/etc/wharfd/tls.key" }',
    )
    trusted_proxies: Networks = option((), help="networks whose X-Forwarded-For is believed")
    open_metrics: bool = option(False, help="serve /metrics without credentials")
    access_log: Literal["off", "debug", "info"] = option("debug", help="level at which requests are logged")
    max_connections: int = option(1000, help="connections the API keeps at a time")

    def __post_init__(self) -> None:
        _check_bind(self.bind)


@dataclass(frozen=True)
class IngestSettings:
    """`[ingest]`: the public listener for providers."""

    bind: str = option("127.0.0.1:8471", help="address the webhook listener listens on")
    tls: TlsSettings | None = option(
        None,
        help="serve HTTPS with this certificate",
        example='{ certificate = "/etc/wharfd/tls.pem", key = "/etc/wharfd/tls.key" }',
    )
    trusted_proxies: Networks = option((), help="networks whose X-Forwarded-For is believed")
    proxy_protocol: bool = option(False, help="expect the PROXY protocol from trusted_proxies")
    max_connections: int = option(4096, help="connections kept at a time")
    batch_size: int = option(500, help="most webhooks in one commit")
    batch_timeout_ms: int = option(5, help="longest wait for a fuller commit; an idle daemon never waits")
    max_retries: int = option(3, help="tries of a commit before the spool, or 503")
    retry_delay_ms: int = option(1000, help="wait before the second try; doubles each time")
    max_waiting: int = option(10_000, help="webhooks waiting for their commit before new ones get 503")
    spool: bool = option(True, help="accept into a local file while PostgreSQL is away; false answers 503")
    spool_max_mib: int = option(1024, help="most the spool may take on disk")

    def __post_init__(self) -> None:
        _check_bind(self.bind)
        for name in ("batch_size", "max_connections", "max_waiting", "spool_max_mib"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")


@dataclass(frozen=True)
class DatabaseSettings:
    """`[database]`: without a url, an embedded PostgreSQL runs under the state folder."""

    url: Secret | None = option(
        None,
        help="PostgreSQL to use; several hosts are tried for the primary",
        example='{ credential = "database_url" }',
    )
    owner_url: Secret | None = option(
        None,
        help="the role that owns the tables, for migrations and retention",
        example='{ credential = "database_owner_url" }',
    )
    read_url: Secret | None = option(
        None, help="a replica for reading", example='{ credential = "database_read_url" }'
    )
    bin_dir: Path | None = option(
        None,
        help="folder with the PostgreSQL programs, instead of the ones found",
        example='"/usr/lib/postgresql/18/bin"',
    )
    pool_size: int = option(10, help="connections kept for the daemon")
    acquire_timeout: timedelta = option(timedelta(seconds=5), help="longest wait for a free connection")
    statement_timeout: timedelta = option(timedelta(seconds=30), help="longest a statement may run")
    slow_query: timedelta = option(timedelta(milliseconds=200), help="statements above this are logged")
    pgbouncer: bool = option(False, help="the url leads to PgBouncer in transaction mode")
    settings: dict[str, str] = option(
        default_factory=dict,
        help="settings of the embedded PostgreSQL, instead of ours",
        example='{ shared_buffers = "1GB" }',
    )

    def __post_init__(self) -> None:
        if self.settings and self.url is not None:
            raise ValueError("settings: are for the embedded PostgreSQL; a server at url has its own")
        if self.pool_size < 3:
            raise ValueError("pool_size: must be at least 3: one to accept, one to work, one to answer")


@dataclass(frozen=True)
class RedisSettings:
    """`[redis]`: optional; without it the in-process cache stands alone."""

    url: Secret | None = option(
        None, help="Redis to use as shared cache", example='"redis://127.0.0.1:6379/0"'
    )


@dataclass(frozen=True)
class LogSettings:
    """`[log]`."""

    level: Level = option("info", help="least severe level that is written", live=True)
    format: Literal["auto", "console", "json", "journald"] = option(
        "auto", help="auto picks by where it goes"
    )


@dataclass(frozen=True)
class SecretsSettings:
    """`[secrets]`: the key that seals secrets at rest."""

    key: Secret | None = option(
        None,
        help="32 bytes in base64; by default STATE_DIR/master.key, made at first start",
        example='{ credential = "master.key" }',
    )
    old_keys: tuple[Secret, ...] = option((), help="earlier keys, still accepted while a rotation runs")


@dataclass(frozen=True)
class DaemonSettings:
    """`[daemon]`."""

    node: str = option("", help="name of this daemon among several; by default the host name")
    plugins_dir: Path | None = option(
        None, help="folder with single-file plugins", example='"/etc/wharfd/plugins.d"'
    )
    start_timeout: timedelta = option(timedelta(seconds=60), help="longest a plugin may take to start")
    stop_timeout: timedelta = option(timedelta(seconds=30), help="longest an orderly stop may take")
    partitions_ahead: int = option(3, help="months for which partitions are made ahead")

    def __post_init__(self) -> None:
        if not 1 <= self.partitions_ahead <= 24:
            raise ValueError("partitions_ahead: must be between 1 and 24 months")


@dataclass(frozen=True)
class PluginSettings:
    """What the core itself reads from every `[plugins.<name>]`; the rest belongs to the plugin."""

    enabled: bool = option(True, help="false keeps the table and leaves the plugin out")
    log_level: Level | None = option(None, help="its own log level", live=True)
    on_start_failure: Literal["retry", "fail", "ignore"] = option("retry", help="when it cannot start")


@dataclass(frozen=True)
class CoreSettings:
    """Everything outside `[plugins]`."""

    daemon: DaemonSettings = option(default_factory=DaemonSettings, help="the process")
    http: HttpSettings = option(default_factory=HttpSettings, help="the API and the console")
    ingest: IngestSettings = option(default_factory=IngestSettings, help="the webhook listener")
    database: DatabaseSettings = option(default_factory=DatabaseSettings, help="PostgreSQL")
    redis: RedisSettings = option(default_factory=RedisSettings, help="the shared cache")
    log: LogSettings = option(default_factory=LogSettings, help="what is written about what happens")
    secrets: SecretsSettings = option(default_factory=SecretsSettings, help="secrets at rest")
