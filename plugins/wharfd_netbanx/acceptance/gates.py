"""The gates: what each source's deliveries are checked with, kept current as keys come and go.

Keys of the file are fixed while the daemon runs; stored ones are read again every few minutes, after every
change here, and soon after a delivery that no known key explains: it may be signed with one that was added
on another machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import trio

from ..config import Settings, Source
from ..processing.staleness import Staleness
from ..processing.waking import News
from ..schemes import Headers, Key, PayPal, Reason, Unchecked, Verdict, Verifier, refuse
from .admission import Gate
from .certificates import Certificates
from .refusals import Refusals

RELOAD_EVERY = timedelta(minutes=5)
# A flood of bad signatures must not become a flood of queries.
RELOAD_AT_MOST_EVERY = timedelta(seconds=5)
_EXPLAINED_BY_A_NEW_KEY = frozenset({Reason.SIGNATURE_MISMATCH, Reason.NO_ACTIVE_KEY})


class Closed:
    """The verifier of a source that has no key yet: refuses everything with 503, so that it comes again."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme

    def verify(
        self, headers: Headers, body: bytes, now: datetime, certificate: bytes | None = None
    ) -> Verdict:
        """Refuse: nothing can be verified."""
        return refuse(Reason.NO_ACTIVE_KEY)


@dataclass
class Use:
    """How often a key was used since that was last written down."""

    count: int = 0
    last_at: datetime | None = None


@dataclass
class Intake:
    """Everything acceptance holds while the plugin runs; one per plugin context."""

    settings: Settings
    gates: dict[str, Gate] = field(default_factory=dict)
    stored_keys: dict[str, list[Key]] = field(default_factory=dict)
    refusals: Refusals = field(default_factory=Refusals)
    certificates: Certificates = field(default_factory=Certificates)
    uses: dict[tuple[str, str], Use] = field(default_factory=dict)
    old_keys: dict[tuple[str, str], datetime] = field(default_factory=dict)
    stale: Staleness = field(default_factory=Staleness)
    news: News = field(default_factory=News)
    spooled: int = 0
    spooled_at: datetime | None = None
    key_missed: trio.Event = field(default_factory=trio.Event)

    def open_gates(self) -> None:
        """Make the gate of every source from the keys known now; raises ValueError where that cannot be."""
        for name, source in self.settings.sources.items():
            self.gates[name] = Gate(name, source, self._verifier(name, source), source.identity_rule)

    def derives(self, source: str) -> bool:
        """Whether transactions and accounts follow from the events of a source."""
        gate = self.gates.get(source)
        return gate is not None and gate.derives

    def take_keys(self, source: str, keys: list[Key]) -> None:
        """Use these stored keys from now on, beside those of the file."""
        self.stored_keys[source] = keys
        gate = self.gates[source]
        gate.verifier = self._verifier(source, gate.source)

    def used(self, source: str, key_id: str, at: datetime, *, old: bool = False) -> None:
        """Count the use of a key, `old` when a newer one was active; written down later, many together."""
        use = self.uses.get((source, key_id))
        if use is None:
            use = self.uses[source, key_id] = Use()
        use.count += 1
        use.last_at = at
        if old:
            self.old_keys[source, key_id] = at

    def missed(self, gate: Gate, reason: Reason) -> None:
        """Note a refusal that a key we have not heard of would explain."""
        if gate.source.stored_keys and reason in _EXPLAINED_BY_A_NEW_KEY:
            self.key_missed.set()

    def _verifier(self, name: str, source: Source) -> Verifier:
        keys = [*source.typed_keys(), *self.stored_keys.get(name, [])]
        if source.ca_bundle is not None:
            return self.settings.verifier(source, [], source.ca_bundle.read_bytes())
        if not keys:
            closed = Closed(source.scheme)
            return closed if self.settings.signature_validation else Unchecked(closed)
        return self.settings.verifier(source, keys)


def certificate_of(intake: Intake, gate: Gate, headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """Return the certificate a delivery names, if it is here already; else ask for it to be fetched."""
    if not isinstance(gate.verifier, PayPal):
        return None
    url = gate.verifier.certificate_url(Headers(headers))
    return None if isinstance(url, Reason) else intake.certificates.find(url)
