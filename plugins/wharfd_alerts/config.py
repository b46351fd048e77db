"""What may stand in `[plugins.alerts]`: limits of the rules that ship, the operator's own rules, channels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from wharfd import NetworkPolicy, Secret, option
from wharfd.contracts.metrics import Figure

_RULE = re.compile(r"^[a-z][a-z0-9_]{0,60}$")


@dataclass(frozen=True)
class OperatorRule:
    """A rule of the operator's own: over what `/metrics` of each daemon shows, or what a `service` sends."""

    metric: str = option(help="name of the sample, as in /metrics; with `service`, of the metric it sends")
    threshold: float = option(help="what the value is compared with")
    op: Literal[">", ">=", "<", "<=", "==", "!="] = option(">", help="fires while `value op threshold`")
    clear: float | None = option(None, help="once fired, it lasts until the value is back at this one")
    labels: dict[str, str] = option(
        default_factory=dict, help='labels a series must have; shell patterns such as "5*" are possible'
    )
    each: bool = option(False, help="look at every series by itself instead of at their sum")
    rate: timedelta | None = option(
        None, help="compare the increase per second over this time instead of the value"
    )
    service: str | None = option(
        None, help="judge the points this service sends to the plugin metrics, not what /metrics shows"
    )
    figure: Figure = option("avg", help="with `service`: what of its points is compared")
    over: timedelta = option(timedelta(minutes=5), help="with `service`: the points of how long")
    for_: timedelta = option(timedelta(0), help="how long it must be so before the alert fires")
    severity: Literal["info", "warning", "critical"] = option("warning", help="how bad it is")
    summary: str = option("", help="the sentence people read")
    runbook: str = option("", help="where to read what to do")

    def __post_init__(self) -> None:
        if self.service is None and not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", self.metric):
            raise ValueError(f"metric: {self.metric!r} is not the name of a metric")
        if self.clear is not None and self.op in ("==", "!="):
            raise ValueError("clear: only goes with > >= < <=")
        below = self.op in ("<", "<=")
        if self.clear is not None and (self.clear < self.threshold) is below and self.clear != self.threshold:
            raise ValueError("clear: must lie on the good side of the threshold")
        if self.rate is not None and not 15 <= self.rate.total_seconds() <= 3600:
            raise ValueError("rate: must be between 15s and 1h")
        if self.rate is not None and self.service is not None:
            raise ValueError("rate: goes with /metrics; of what a service sends, compare a figure")
        if not timedelta(seconds=15) <= self.over <= timedelta(days=1):
            raise ValueError("over: must be between 15s and 1d")


@dataclass(frozen=True)
class Mail:
    """How alerts go out by e-mail."""

    host: str = option(help="the mail server")
    sender: str = option(help="the address it comes from")
    recipients: tuple[str, ...] = option(help="who gets it")
    port: int = option(587, help="its port")
    security: Literal["starttls", "tls", "none"] = option("starttls", help="how the connection is protected")
    username: str | None = option(None, help="to sign in with, where the server wants that")
    password: Secret | None = option(None, help="to sign in with")
    timeout: timedelta = option(timedelta(seconds=20), help="time for one message")

    def __post_init__(self) -> None:
        if not self.recipients:
            raise ValueError("recipients: name at least one")
        for address in (self.sender, *self.recipients):
            if not re.fullmatch(r"[^@\s<>,;]{1,64}@[^@\s<>,;]{1,255}", address):
                raise ValueError(f"recipients: {address!r} is not an e-mail address")
        if (self.username is None) is not (self.password is None):
            raise ValueError("password: username and password go together")
        if self.username is not None and self.security == "none":
            raise ValueError("security: a password is not sent over an unprotected connection")


@dataclass(frozen=True)
class Settings:
    """Limits, own rules, channels. A limit of 0 switches its rule off."""

    queue_backlog: int = option(100, help="due work in one queue above which `queue_backlog` fires")
    work_failing: float = option(0.10, help="share of failing work in a queue above which it fires")
    cache_hit_rate: float = option(0.80, help="cache hit rate below which it fires")
    cache_min_calls: int = option(200, help="calls within ten minutes below which the hit rate says nothing")
    pool_used: float = option(0.80, help="share of the connection pool in use above which it fires")
    connections_used: float = option(0.80, help="share of PostgreSQL's max_connections above which it fires")
    database_limit_gib: float = option(0.0, help="size the database may grow to; 0 for no limit")
    database_used: float = option(0.80, help="share of database_limit_gib above which it fires")
    slow_query: timedelta = option(timedelta(seconds=1), help="a statement that took longer fires")
    disk_free: float = option(
        0.10, help="share of free space on the state folder's disk below which it fires"
    )
    clock_skew: timedelta = option(timedelta(seconds=2), help="difference to the database's clock that fires")
    resolve_after: timedelta = option(
        timedelta(minutes=2), help="how long a thing must be well again before its alert resolves"
    )
    repeat: timedelta = option(
        timedelta(hours=4), help="a firing alert nobody acknowledged is mailed again after this time"
    )
    mail: Mail | None = option(None, help="e-mail; none is sent without it")
    mail_severity: Literal["info", "warning", "critical"] = option(
        "warning", help="the least severity that is mailed"
    )
    heartbeat_url: Secret | None = option(
        None, help="asked for every minute while rules are evaluated; whoever watches it misses a dead daemon"
    )
    allow_networks: tuple[str, ...] = option(
        (), help="networks the heartbeat may go to that are refused by default", example='["10.0.0.0/8"]'
    )
    keep: timedelta = option(timedelta(days=400), help="how long resolved alerts are kept")
    rules: dict[str, OperatorRule] = option(default_factory=dict, help="rules of your own, by name")

    def __post_init__(self) -> None:
        for name in self.rules:
            if not _RULE.match(name):
                raise ValueError(f"rules: the name {name!r} must be snake_case")
        for name in ("work_failing", "cache_hit_rate", "pool_used", "connections_used", "database_used"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: is a share, between 0 and 1")
        if not 0 <= self.disk_free <= 1:
            raise ValueError("disk_free: is a share, between 0 and 1")
        if self.queue_backlog < 0 or self.database_limit_gib < 0:
            raise ValueError("queue_backlog: cannot be negative, nor can database_limit_gib")
        if self.repeat < timedelta(minutes=5):
            raise ValueError("repeat: must be at least 5m")
        try:
            self.network()
        except ValueError as error:
            raise ValueError(f"allow_networks: {error}") from None

    def network(self) -> NetworkPolicy:
        """Where the heartbeat may go."""
        return NetworkPolicy(self.allow_networks)
