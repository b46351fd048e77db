"""What may stand in `[plugins.netbanx]`: sources, their keys, and how the plugin treats what comes in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from wharfd import NetworkPolicy, Secret, SecretError, option

from .schemes import (
    Key,
    KeyEncoding,
    SchemeName,
    Unchecked,
    Verifier,
    find_preset,
    key_remarks,
    make_key,
    make_verifier,
)
from .schemes.hmac_body import DigestEncoding
from .schemes.keys import digest_size

Identity = Literal["paysafe", "provider_id", "content"]

_NAME = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")
_HOURS = re.compile(
    r"^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))? (\d\d):(\d\d)-(\d\d):(\d\d)$"
)

DEFAULT_PATHS = (
    "/api/webhooks/netbanx",
    "/webhooks/netbanx",
    "/netbanx",
    "/webhook",
    "/api/webhooks/account-status",
    "/api/webhooks/direct-debit",
    "/api/webhooks/alternate-payments",
)


@dataclass(frozen=True)
class KeySettings:
    """One key with its name and the time it counts; during a rotation two of them overlap."""

    value: Secret = option(help="the key, as the provider's portal shows it")
    id: str | None = option(
        None, help="what the key is called in events and logs; a fingerprint if not given"
    )
    from_: datetime | None = option(None, help="the key counts from this time on")
    until: datetime | None = option(None, help="the key counts until just before this time")
    key_encoding: KeyEncoding | None = option(None, help="how this key is written, if unlike the source's")


@dataclass(frozen=True)
class Success:
    """The answer to an accepted delivery, where a provider wants another than wharfd's own."""

    status: int = option(200, help="status of the answer; Paysafe counts 200 and 202 alone as received")
    body: str | None = option(None, help="text to answer with, instead of wharfd's JSON")
    content_type: str = option("application/json", help="content type of that text")

    def __post_init__(self) -> None:
        if not 200 <= self.status < 300:
            raise ValueError("status: must be between 200 and 299; anything else makes the provider repeat")


@dataclass(frozen=True)
class Reconcile:
    """Asking the provider about payments that stay open; needs an address and credentials."""

    url: str = option(help="the provider's API, such as https://api.paysafe.com")
    username: Secret = option(help="user name of the API key")
    password: Secret = option(help="password of the API key")
    every: timedelta = option(timedelta(minutes=15), help="how often open payments are asked about")
    older_than: timedelta = option(
        timedelta(minutes=30), help="a payment is asked about when open for this long"
    )
    younger_than: timedelta = option(timedelta(days=7), help="a payment older than this is not asked about")
    at_most: int = option(50, help="payments asked about in one round")
    allow_networks: tuple[str, ...] = option(
        (), help="networks the provider's API may be in that are refused by default, for a proxy of your own"
    )

    def __post_init__(self) -> None:
        self.network()
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
            raise ValueError('url: must be a whole address, such as "https://api.paysafe.com"')
        if self.every < timedelta(seconds=10) or not 1 <= self.at_most <= 1000:
            raise ValueError("every: must be 10 s or more, and at_most between 1 and 1000")

    def network(self) -> NetworkPolicy:
        """Where the provider's API may be; raises ValueError for what is no network."""
        try:
            return NetworkPolicy(self.allow_networks)
        except ValueError as error:
            raise ValueError(f"allow_networks: {error}") from None


@dataclass(frozen=True)
class Source:
    """`[plugins.netbanx.sources.NAME]`: one provider endpoint, how it signs and where it posts."""

    scheme: SchemeName = option("paysafe", help="how the provider signs; `wharfd sources schemes` lists them")
    paths: tuple[str, ...] = option(DEFAULT_PATHS, help="paths the provider may post to")
    keys: tuple[Secret | KeySettings, ...] = option((), help="the keys that count; the newest first")
    key_encoding: KeyEncoding | None = option(
        None, help="how keys are written; the scheme's own if not given"
    )
    stored_keys: bool = option(False, help="take further keys from those managed by API and CLI")
    public_url: str | None = option(
        None, help="the address the provider posts to, where it is signed (Square)"
    )
    tolerance: timedelta | None = option(None, help="how far a signed time may be off, both ways")
    signature_header: str | None = option(None, help="header with the signature, if unlike the scheme's")
    digest: str | None = option(None, help="hash of scheme hmac: sha256, sha384, sha512 or sha1")
    digest_encoding: DigestEncoding | None = option(None, help="how scheme hmac writes the signature")
    prefix: str | None = option(None, help='text before the signature in scheme hmac, such as "sha256="')
    signed: str | None = option(None, help="what scheme hmac signs, of {body}, {url}, {timestamp} and {id}")
    timestamp_header: str | None = option(None, help="header with {timestamp} in scheme hmac")
    id_header: str | None = option(None, help="header with the provider's event id in scheme hmac")
    id_field: tuple[str, ...] | None = option(
        None, help="where in the body the event id stands in scheme hmac"
    )
    webhook_id: str | None = option(None, help="PayPal's id of this webhook")
    ca_bundle: Path | None = option(None, help="PEM file with the roots PayPal's certificate must lead to")
    certificate_hosts: tuple[str, ...] | None = option(
        None, help="hosts PayPal's certificate may come from; one that begins with a stop allows all below it"
    )
    allow_weak_checksum: bool | None = option(None, help="needed for scheme legacy-upp, which is plain SHA-1")
    identity: Identity | None = option(None, help="how duplicates are told; the scheme's own if not given")
    success: Success = option(default_factory=Success, help="the answer to an accepted delivery")
    owner: str | None = option(None, help="whose events these are; empty for the house's own")
    max_body_bytes: int = option(1 << 20, help="largest body that is taken; a larger one gets 413")
    expect_every: timedelta | None = option(
        None, help="alert when nothing came for this long in active hours"
    )
    reconcile: Reconcile | None = option(None, help="ask the provider about payments that stay open")
    active_hours: tuple[str, ...] = option(
        (), help='when deliveries are expected, in UTC, such as "mon-fri 08:00-20:00"; empty for always'
    )

    def __post_init__(self) -> None:
        preset = find_preset(self.scheme)
        if not self.paths:
            raise ValueError("paths: missing; the provider needs somewhere to post to")
        for path in self.paths:
            if not path.startswith("/") or "?" in path or " " in path:
                raise ValueError(f"paths: {path!r} must begin with / and hold neither ? nor blank")
        if not 1024 <= self.max_body_bytes <= 64 << 20:
            raise ValueError("max_body_bytes: must be between 1 KiB and 64 MiB")
        for hours in self.active_hours:
            _check_hours(hours)
        if self.public_url is not None and not urlsplit(self.public_url).netloc:
            raise ValueError('public_url: must be a whole address, such as "https://pay.example.com/hook"')
        if self.digest is not None:
            digest_size(self.digest)
        if preset.needs_keys and not self.keys and not self.stored_keys:
            raise ValueError(
                "keys: missing; give the provider's key, or set stored_keys = true to manage keys by API"
            )
        # Made here once so that a wrong key or option is found before anything starts. The bundle is a file,
        # and reading files is not for a settings class: PayPal's own check follows when the plugin starts.
        keys = self.typed_keys()
        if preset.needs_keys and (keys or not self.stored_keys):
            self.verifier(keys)
        elif not preset.needs_keys and (self.webhook_id is None or self.ca_bundle is None):
            missing = "webhook_id" if self.webhook_id is None else "ca_bundle"
            raise ValueError(f"{missing}: missing; scheme {self.scheme!r} cannot verify without it")

    def typed_keys(self) -> list[Key]:
        """Return the keys of the file, ready for use; raises ValueError naming the one that is wrong."""
        keys = []
        for number, typed in enumerate(self._entries()):
            try:
                key = make_key(
                    self.scheme,
                    typed.value.reveal(),
                    typed.key_encoding or self.key_encoding,
                    id=typed.id,
                    valid_from=typed.from_,
                    valid_until=typed.until,
                )
            except (ValueError, SecretError) as error:
                raise ValueError(f"keys[{number}]: {error}") from None
            keys.append(key)
        return keys

    def revealed_keys(self) -> list[str]:
        """Return the keys of the file as typed, for `explain` and for signing samples; never for logs."""
        return [entry.value.reveal() for entry in self._entries()]

    def key_remarks(self) -> list[str]:
        """Return what an operator should know about the keys as typed."""
        default = self.key_encoding or find_preset(self.scheme).key_encoding
        if self.scheme == "standard-webhooks":
            return []
        return [
            f"keys[{number}]: {remark}"
            for number, typed in enumerate(self._entries())
            for remark in key_remarks(typed.value.reveal(), typed.key_encoding or default)
        ]

    def _entries(self) -> list[KeySettings]:
        return [entry if isinstance(entry, KeySettings) else KeySettings(value=entry) for entry in self.keys]

    def verifier(self, keys: list[Key], ca_bundle: bytes | None = None) -> Verifier:
        """Make the verifier for `keys` (of the file, or with those stored in the database)."""
        options: dict[str, Any] = {
            "signature_header": self.signature_header,
            "digest": self.digest,
            "digest_encoding": self.digest_encoding,
            "prefix": self.prefix,
            "signed": self.signed,
            "public_url": self.public_url,
            "timestamp_header": self.timestamp_header,
            "tolerance": self.tolerance,
            "id_header": self.id_header,
            "id_field": self.id_field,
            "webhook_id": self.webhook_id,
            "ca_bundle": ca_bundle,
            "certificate_hosts": self.certificate_hosts,
            "allow_weak_checksum": self.allow_weak_checksum,
        }
        return make_verifier(self.scheme, keys, **options)

    @property
    def identity_rule(self) -> Identity:
        """How duplicates of this source are told."""
        return self.identity or find_preset(self.scheme).identity


@dataclass(frozen=True)
class Settings:
    """`[plugins.netbanx]`."""

    sources: dict[str, Source] = option(default_factory=dict, help="the provider endpoints, by name")
    signature_validation: bool = option(
        True, help="false takes every delivery unchecked, for a try-out on a machine nobody else reaches"
    )
    spool: bool = option(
        True, help="keep deliveries on disk while the database is away; false answers them 503"
    )
    batch: int = option(500, help="events processed in one transaction")
    concurrency: int = option(1, help="transactions that process events at a time")
    max_retries: int = option(3, help="times an event that failed is tried again before it is buried")
    retry_seconds: float = option(1.0, help="wait before the first further try; doubled each time")

    def __post_init__(self) -> None:
        if not 2 <= self.batch <= 1000:
            raise ValueError("batch: must be between 2 and 1000")
        if not 1 <= self.concurrency <= 16:
            raise ValueError("concurrency: must be between 1 and 16")
        if not 0 <= self.max_retries <= 100 or self.retry_seconds <= 0:
            raise ValueError("max_retries: must be between 0 and 100, and retry_seconds above 0")
        taken: dict[str, str] = {}
        for name, source in self.sources.items():
            if not _NAME.match(name):
                raise ValueError(f"sources: {name!r} is not a name; use small letters, digits, - and _")
            for path in source.paths:
                if path in taken:
                    raise ValueError(f"sources: {path} belongs to both {taken[path]!r} and {name!r}")
                taken[path] = name

    def remarks(self) -> list[str]:
        """Return what an operator should know about the keys of all sources."""
        return [
            f"sources.{name}.{one}" for name, source in self.sources.items() for one in source.key_remarks()
        ]

    def verifier(self, source: Source, keys: list[Key], ca_bundle: bytes | None = None) -> Verifier:
        """Make the verifier of a source; without checking only when `signature_validation` is false."""
        if self.signature_validation:
            return source.verifier(keys, ca_bundle)
        return Unchecked(source.verifier(keys, ca_bundle) if keys or ca_bundle else None)


def _check_hours(text: str) -> None:
    match = _HOURS.match(text)
    numbers = [int(part) for part in match.groups()[3:]] if match else []
    if not numbers or numbers[0] > 24 or numbers[2] > 24 or numbers[1] > 59 or numbers[3] > 59:
        raise ValueError(f'active_hours: {text!r} is not like "mon-fri 08:00-20:00"')
