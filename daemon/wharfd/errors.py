"""Every exception wharfd raises on purpose.

The class docstring is the default message and is written for the person who has to act on it.
Nothing here holds a secret: a message may be logged, printed and sent to a caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import getdoc
from typing import Literal


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


class CommitUnknown(DatabaseUnavailable):
    """The connection was lost while committing; whether the changes were kept is not known."""


class DatabaseUnsuitable(WharfdError):
    """PostgreSQL is there but would not keep wharfd's promises."""


class StatementTimeout(WharfdError):
    """A statement took longer than it may and was stopped."""


class TransactionAborted(WharfdError):
    """Nothing was committed: a statement in the transaction failed and its error was not let through."""


class BenchFailed(WharfdError):
    """The bench could not be carried through; nothing it measured counts."""


class BenchBusy(WharfdError):
    """A bench runs already; wait for its end, or stop it."""


class MaintenanceBusy(WharfdError):
    """Database maintenance is running already, here or on another daemon; ask again when it is done."""


class MigrationError(WharfdError):
    """A migration cannot be applied."""


class LeaseLost(WharfdError):
    """The work was taken over by another worker while this one held it; its result is dropped."""


class WorkTableError(WharfdError):
    """A table cannot be worked as declared: a column or an index is missing."""


class UnknownQueue(WharfdError):
    """There is no work queue of that name here."""


class UnknownEvent(WharfdError):
    """The event is of no type that this plugin publishes; list it in register_subscriptions."""


class InvalidEvent(WharfdError):
    """The event does not fit its own type."""


class UnknownSchedule(WharfdError):
    """There is no schedule of that name here."""


class SealRefused(WharfdError, ValueError):
    """What was given as a seal of the audit log is none, or is older than the chain that is kept."""


class SecretError(WharfdError):
    """A sealed secret cannot be opened with the key that is configured."""


class UnknownKey(SecretError):
    """A sealed secret names a data key that this database does not hold."""


class MisplacedSecret(SecretError):
    """A sealed secret was made for another table, column or row than the one it was found in."""


class DamagedSecret(SecretError):
    """A sealed secret was changed after it was written; restore the row from a backup or set it anew."""


class KeyNotLoaded(SecretError):
    """The data key is not in memory yet; call `await ctx.secrets.prepare(table)` in `provision` first."""


class MasterKeyError(SecretError):
    """The master key is missing, malformed, open to others, or not the one the database was sealed with."""

    exit_code = 78  # starting again with the same key cannot help


class SecretUnreadable(WharfdError):
    """A secret that the configuration points to cannot be read.

    `what` is the reason, `hint` the way out, so that a report can put the path of the setting in front.
    """

    exit_code = 78

    def __init__(self, what: str, hint: str = "") -> None:
        self.what = what
        self.hint = hint
        super().__init__(f"{what}; {hint}" if hint else what)


class Overloaded(WharfdError):
    """There is more waiting than wharfd accepts; ask again after the given time."""

    def __init__(self, message: str | None = None, *, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class StateFolderError(WharfdError):
    """The state folder cannot be used."""


class StorageError(WharfdError):
    """A place for backups or archives cannot be used, or what lies there is not what was put there."""


# -- Outbound HTTP -----------------------------------------------------------------------------------


class OutboundError(WharfdError):
    """An outbound request failed.

    `kind` names the class of failure for records and metrics. `request_sent` is what the other side can
    have seen: "none" (a second send cannot be a duplicate), "some" or "all". `status` is the status of the
    answer where its head had arrived. The message never holds a URL's path or query: they may carry secrets.
    """

    kind = "outbound"

    def __init__(
        self,
        message: str | None = None,
        *,
        request_sent: Literal["none", "some", "all"] = "none",
        status: int | None = None,
        phase: str = "",
    ) -> None:
        self.request_sent = request_sent
        self.status = status
        self.phase = phase
        super().__init__(message)


class UrlRefused(OutboundError):
    """The URL is not one that wharfd sends to."""

    kind = "bad_url"


class HeaderRefused(OutboundError):
    """A request header has a name or value that must not be sent."""

    kind = "bad_header"


class AddressRefused(OutboundError):
    """The host has an address that the network policy refuses; `allow_networks` can open it."""

    kind = "refused_address"


class NameNotResolved(OutboundError):
    """The host name cannot be resolved."""

    kind = "dns"


class ConnectFailed(OutboundError):
    """No connection could be made."""

    kind = "connect"


class TlsFailed(OutboundError):
    """The TLS handshake failed."""

    kind = "tls"


class OutboundTimeout(OutboundError):
    """The request was not over before its deadline; `phase` says what it was waiting for."""

    kind = "timeout"


class ConnectionLost(OutboundError):
    """The connection broke before the answer was complete."""

    kind = "reset"


class AnswerBroken(OutboundError):
    """The answer is not HTTP/1.1."""

    kind = "protocol"


class AnswerHeadTooLarge(OutboundError):
    """The answer's status line and headers are larger than wharfd accepts."""

    kind = "too_large_headers"


class CannotListen(WharfdError):
    """An address cannot be listened on."""


class SpoolError(WharfdError):
    """The spool cannot take a delivery now: it is full, or its disk failed."""


# -- Redis -------------------------------------------------------------------------------------------


class RedisUnavailable(WharfdError):
    """Redis does not answer in time; wharfd goes on without it."""


class RedisRefused(RedisUnavailable):
    """Redis answered with an error: full, read-only, or not the kind of value that was expected."""
