"""Every exception wharfd raises on purpose.

The class docstring is the default message and is written for the person who has to act on it.
Nothing here holds a secret: a message may be logged, printed and sent to a caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import getdoc


class WharfdError(Exception):
    """wharfd could not do what was asked."""

    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (getdoc(type(self)) or "").split("\n\n")[0])


@dataclass(frozen=True)
class Problem:
    """One thing wrong in the configuration: where, what, and what to type instead."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"; {self.hint}" if self.hint else "")


class ConfigError(WharfdError):
    """The configuration is wrong."""

    exit_code = 78  # EX_CONFIG: systemd must not restart us until somebody has edited the file

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"the configuration has {count}:", *(f"  {p}" for p in self.problems)]))


class NotReady(WharfdError):
    """Something the plugin needs is not there yet; wharfd tries again with back-off.

    Raised by a plugin's `provision`. Any other exception there counts as a crash.
    """


class ServiceUnavailable(WharfdError):
    """A service of another plugin is not available at the moment; try again later."""


class DatabaseUnavailable(WharfdError):
    """PostgreSQL cannot be reached or refuses work at the moment."""


class DatabaseBusy(DatabaseUnavailable):
    """No database connection became free in time; raise [database] pool_size or lower the load."""


class StateFolderInUse(WharfdError):
    """Another wharfd already works on this state folder."""


class EmbeddedPostgresError(DatabaseUnavailable):
    """The embedded PostgreSQL does not run at the moment; it may by itself on the next try."""


class EmbeddedPostgresRefused(EmbeddedPostgresError):
    """The embedded PostgreSQL cannot run here until somebody has changed something."""

    exit_code = 78  # as with a wrong configuration: another try gives the same answer


class MigrationError(WharfdError):
    """A migration cannot be applied."""


class LeaseLost(WharfdError):
    """The work was taken over by another worker while this one held it; its result is dropped."""


class SecretError(WharfdError):
    """A sealed secret cannot be opened with the key that is configured."""


class Overloaded(WharfdError):
    """There is more waiting than wharfd accepts; ask again after the given time."""

    def __init__(self, message: str | None = None, *, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class StateFolderError(WharfdError):
    """The state folder cannot be used."""


class ListenError(WharfdError):
    """An address cannot be listened on."""
