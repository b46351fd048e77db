"""The age keys: whom backups are encrypted for, and what verifies and drills open them with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wharfd import Packing, Secret, make_identity, recipient_of, write_durably

from ..config import Settings

_FILE = "identity.txt"


@dataclass(frozen=True)
class Keyring:
    """How backups are packed here. `own`: with a key that was made on this machine and may be only here."""

    packing: Packing
    identity: Secret | None
    own: Path | None = None


def open_keyring(settings: Settings, state_dir: Path) -> Keyring:
    """Return the keys; without a configured one, one is made in the state folder on the first call.

    Raises `StorageError` for a key that is none.
    """
    if not settings.encrypt:
        return Keyring(Packing(level=settings.compression), None)
    path = state_dir / _FILE
    identity, own, recipients = settings.identity, None, settings.recipients
    if not recipients and identity is not None:
        recipients = (recipient_of(identity),)
    elif not recipients:
        if not path.exists():
            secret, public = make_identity()
            text = f"# opens the backups made for {public}; without it they are worth nothing\n{secret}\n"
            write_durably(path, text.encode())
        own, identity = path, Secret(path.read_text())
        recipients = (recipient_of(identity),)
    elif identity is None and path.exists():
        identity = Secret(path.read_text())
    return Keyring(Packing(tuple(recipients), level=settings.compression), identity, own)
