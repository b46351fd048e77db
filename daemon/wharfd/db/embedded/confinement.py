"""As whom the server runs: PostgreSQL refuses root, and knows its callers by the names of their user ids.

Three ways, the first that fits:

- an ordinary user with a name: as that user, nothing to do;
- root, or a user id without a name (a container started with `--user 12345`): in a user namespace that
  holds one mapping, ours to a named id. Files stay ours, the server has no capability at all. The name is
  never that of the overflow id (`nobody`): the kernel shows every *unmapped* caller as that id, so peer
  authentication would let everybody in as us;
- root where user namespaces are forbidden (many containers): as another user, who then owns the data.

What the programs do is said in `cluster` and `postmaster`.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from ...errors import EmbeddedPostgresRefused

_OVERFLOW_UID = Path("/proc/sys/kernel/overflowuid")
_SWITCH_TO = ("wharfd", "postgres")  # tried in this order when root has to become another user
_NAMES_PREFERRED = ("daemon", "bin")  # exist nearly everywhere; any other name does as well


@dataclass(frozen=True)
class Confinement:
    """How to start PostgreSQL's programs so that they accept to run.

    `uid` and `groups` are what the kernel looks at when the server touches a file, `peer` is the name
    by which the server sees this daemon when it connects.
    """

    uid: int
    groups: tuple[int, ...]
    peer: str
    prefix: tuple[str, ...] = ()
    switch: bool = False

    def command(self, program: Path, *arguments: str) -> list[str]:
        """Return the command line that runs `program` confined."""
        return [*self.prefix, str(program), *arguments]

    def options(self) -> dict[str, Any]:
        """Return the `subprocess` options that belong to `command`.

        The child gets a session of its own (ctrl-C in the terminal is the daemon's business, which then
        stops the server in order) and none of the caller's `PG…` variables.
        """
        options: dict[str, Any] = {"start_new_session": True, "env": environment()}
        if self.switch:
            options |= {"user": self.uid, "group": self.groups[0], "extra_groups": [], "umask": 0o077}
        return options

    def give(self, path: Path) -> None:
        """Make `path`, which this daemon has just created, the server's own."""
        if self.switch:
            os.chown(path, self.uid, self.groups[0], follow_symlinks=False)

    def first_closed(self, path: Path) -> Path | None:
        """Return the first folder on the way to `path` that the server may not enter."""
        for folder in reversed([path, *path.parents]):
            if self.uid == os.geteuid() != 0:  # the kernel looks at the same rights for both of us
                if folder.exists() and not os.access(folder, os.X_OK):
                    return folder
                continue
            try:
                facts = folder.stat()
            except FileNotFoundError:
                return None
            except PermissionError:
                return folder
            if facts.st_uid == self.uid:
                allowed = facts.st_mode & stat.S_IXUSR
            elif facts.st_gid in self.groups:
                allowed = facts.st_mode & stat.S_IXGRP
            else:
                allowed = facts.st_mode & stat.S_IXOTH
            if stat.S_ISDIR(facts.st_mode) and not allowed:
                return folder
        return None


def environment() -> dict[str, str]:
    """Return our environment without what would lead PostgreSQL's programs elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def name_of(uid: int) -> str | None:
    """Return the name of a user id, None for one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def stand_in() -> pwd.struct_passwd | None:
    """Return the user as whom we appear inside a user namespace; None when there is nobody to choose from."""
    overflow = int(_OVERFLOW_UID.read_text()) if _OVERFLOW_UID.exists() else 65534
    # All users with an id of their own; getpwuid must give the very name that pg_ident.conf will hold.
    fit = {
        user.pw_name: user
        for user in pwd.getpwall()
        if user.pw_uid not in (0, overflow) and name_of(user.pw_uid) == user.pw_name
    }
    for name in _NAMES_PREFERRED:
        if name in fit:
            return fit[name]
    return min(fit.values(), key=lambda user: user.pw_uid, default=None)


def namespace(user: pwd.struct_passwd) -> Confinement:
    """Return the confinement that shows us as `user` inside a user namespace."""
    return Confinement(
        uid=os.geteuid(),
        groups=(os.getegid(), *os.getgroups()),
        peer=user.pw_name,
        prefix=("unshare", "--user", f"--map-user={user.pw_uid}"),
    )


async def choose_confinement(run_as: str | None = None) -> Confinement:
    """Find the way to run PostgreSQL's programs from the user we are; `run_as` names whom root becomes.

    Raises `EmbeddedPostgresRefused` when there is none, with what to change.
    """
    uid = os.geteuid()
    own_name = name_of(uid)
    if uid == 0 and run_as is not None:
        return _switched(run_as)
    if uid != 0 and own_name is not None:
        return Confinement(uid=uid, groups=(os.getegid(), *os.getgroups()), peer=own_name)
    user = stand_in()
    reason = "there is no user in /etc/passwd to appear as"
    if user is not None:
        confinement = namespace(user)
        reason = await _why_no_namespace(confinement.prefix)
        if not reason:
            return confinement
    if uid == 0:
        for name in _SWITCH_TO:
            if any(entry.pw_name == name for entry in pwd.getpwall()):
                return _switched(name)
        raise EmbeddedPostgresRefused(
            f"PostgreSQL refuses to run as root and a user namespace is not available ({reason}); run wharfd "
            "as an ordinary user, or make one for the server: useradd --system wharfd"
        )
    raise EmbeddedPostgresRefused(
        f"PostgreSQL needs a name for user id {uid} and a user namespace is not available ({reason}); "
        "run wharfd as a user who is listed in /etc/passwd"
    )


async def _why_no_namespace(prefix: Sequence[str]) -> str:
    try:
        done = await trio.run_process(
            [*prefix, "true"], check=False, capture_stdout=True, capture_stderr=True, env=environment()
        )
    except FileNotFoundError:
        return "the program unshare is missing"
    return "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip()[:200] or "refused"


def _switched(name: str) -> Confinement:
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise EmbeddedPostgresRefused(
            f"there is no user {name!r} to run PostgreSQL as; make one: useradd --system {name}"
        ) from None
    own_name = name_of(os.geteuid())
    if user.pw_uid == 0 or own_name is None:
        raise EmbeddedPostgresRefused("PostgreSQL refuses to run as root; name an ordinary user")
    try:
        grp.getgrgid(user.pw_gid)
    except KeyError:
        raise EmbeddedPostgresRefused(f"the group of user {name!r} does not exist; make it first") from None
    return Confinement(uid=user.pw_uid, groups=(user.pw_gid,), peer=own_name, switch=True)
