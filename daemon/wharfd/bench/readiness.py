"""`validate`: is this daemon fit for production? Each point passes or fails, with its reason."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from ..config import CoreSettings

_OPEN_FILES = 8192


class Looked(Protocol):
    """One finding of the doctor."""

    @property
    def check(self) -> str:
        """What was looked at."""
        ...

    @property
    def state(self) -> Literal["ok", "warn", "fail"]:
        """How it is."""
        ...

    @property
    def found(self) -> str:
        """What was found."""
        ...

    @property
    def hint(self) -> str:
        """What to do about it."""
        ...


class Point(msgspec.Struct, kw_only=True):
    """One point: a `fail` keeps this daemon from being ready, a `warn` is worth knowing."""

    check: str
    state: Literal["ok", "warn", "fail"]
    reason: str
    hint: str = ""


class Verdict(msgspec.Struct, kw_only=True):
    """Whether this daemon is ready for production, and every point it was judged by."""

    ready: bool
    failed: int
    warned: int
    points: list[Point]


def validate(
    findings: Iterable[Looked],
    core: CoreSettings,
    *,
    plugins: Sequence[Any],
    troubles: Sequence[str],
    open_files: int,
) -> Verdict:
    """Judge by the doctor's findings, the configuration, the plugins' states and the health checks."""
    points = [Point(check=one.check, state=one.state, reason=one.found, hint=one.hint) for one in findings]
    points += _exposure(core)
    points += _plugins(plugins)
    points += [Point(check="health", state="fail", reason=trouble) for trouble in troubles]
    if not troubles:
        points.append(Point(check="health", state="ok", reason="every check is well"))
    points.append(_database(core))
    points.append(_key(core))
    points.append(_log(core))
    points.append(_files(open_files))
    failed = sum(point.state == "fail" for point in points)
    warned = sum(point.state == "warn" for point in points)
    return Verdict(ready=failed == 0, failed=failed, warned=warned, points=points)


def _exposure(core: CoreSettings) -> Iterable[Point]:
    for name, bind, tls in (
        ("API", core.http.bind, core.http.tls),
        ("ingest", core.ingest.bind, core.ingest.tls),
    ):
        if tls is not None or _is_local(bind):
            how = "with TLS" if tls is not None else "on this machine only; a proxy in front speaks TLS"
            yield Point(check=f"{name} address", state="ok", reason=f"{bind} {how}")
        else:
            yield Point(
                check=f"{name} address",
                state="fail",
                reason=f"{bind} is open to the network without TLS",
                hint="set tls, or bind to loopback behind a proxy",
            )


def _is_local(bind: str) -> bool:
    if bind.startswith(("unix:", "/")):
        return True
    host = bind.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _plugins(plugins: Sequence[Any]) -> Iterable[Point]:
    names = {one.name for one in plugins}
    for one in plugins:
        if one.state != "running":
            yield Point(
                check=f"plugin {one.name}",
                state="fail",
                reason=f"it is {one.state}" + (f": {one.last_error}" if one.last_error else ""),
                hint=f"wharfd plugins resume {one.name}",
            )
    if names and all(one.state == "running" for one in plugins):
        yield Point(check="plugins", state="ok", reason=f"all {len(names)} run")
    for name, without in (
        ("backups", "a lost disk would be a lost business"),
        ("retention", "data is kept for ever"),
        ("alerts", "nobody is told when something fails"),
    ):
        yield Point(
            check=name,
            state="ok" if name in names else "fail" if name == "backups" else "warn",
            reason="enabled" if name in names else f"not enabled; {without}",
            hint="" if name in names else f"add [plugins.{name}], unless something else does this for you",
        )


def _database(core: CoreSettings) -> Point:
    if core.database.url is None:
        return Point(
            check="database server",
            state="warn",
            reason="the embedded PostgreSQL: one machine, no standby",
            hint="set [database] url to a server with a standby for automatic failover",
        )
    return Point(check="database server", state="ok", reason="a server of its own")


def _key(core: CoreSettings) -> Point:
    if core.secrets.key is None:
        return Point(
            check="secrets key",
            state="warn",
            reason="master.key lies in the state folder",
            hint="keep a copy elsewhere, or give it as a credential in [secrets] key",
        )
    return Point(check="secrets key", state="ok", reason="given by the configuration")


def _log(core: CoreSettings) -> Point:
    if core.log.level == "debug":
        return Point(
            check="log", state="warn", reason="level debug is slow and verbose", hint="[log] level = info"
        )
    return Point(check="log", state="ok", reason=f"level {core.log.level}")


def _files(open_files: int) -> Point:
    needed = _OPEN_FILES
    if open_files < needed:
        return Point(
            check="open files",
            state="warn",
            reason=f"at most {open_files:,} at a time",
            hint=f"raise LimitNOFILE above {needed:,}: every connection takes one",
        )
    return Point(check="open files", state="ok", reason=f"up to {open_files:,}")
