"""The core's Authenticator: who is behind a key, a pair of key and secret, or a signature.

Three ways to call: `Authorization: Bearer <key>` (or `X-API-Key`), `Authorization: Basic <key:secret>` for
integrations, and signed requests (`model/signing.py`). Whatever is wrong, the caller learns only what the
holder of the right secret may know.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from datetime import UTC, datetime, timedelta

from wharfd import Clock, Database, PluginMetrics, Vault
from wharfd.contracts.access import Credentials, Identity, Refused

from .config import Settings
from .keyring import Keyring, TooManyUnknown
from .model.key_text import PREFIX, KeyText, parse_key, parse_public, public_part
from .model.record import UNKNOWN, KeyIdentity, KeyRecord, Refusal, identity_of, standing
from .model.signing import SIGNATURE_FIELD, SignedHead, is_signed_by, read_head
from .refusals import RecentRefusals
from .store.lookup import keep_nonce
from .usage_log import UsageLog

HASHES = "integrations.keys"
SECRETS = ("integrations.keys", "secret")

_NO_HASH = bytes(32)
_NONCE_MARGIN = timedelta(minutes=5)  # the clocks of several daemons may differ
_BUSY = Refusal("busy", "too many unknown keys are being tried at the moment; ask again later", 429)


class KeyAuthenticator:
    """Checks credentials against the keyring, and hands what it hears of requests to the usage log."""

    def __init__(
        self,
        keyring: Keyring,
        usage: UsageLog,
        refusals: RecentRefusals,
        *,
        db: Database,
        vault: Vault,
        clock: Clock,
        settings: Settings,
        metrics: PluginMetrics,
    ) -> None:
        self._keyring = keyring
        self._usage = usage
        self._refusals = refusals
        self._db = db
        self._vault = vault
        self._clock = clock
        self._settings = settings
        self._counted = metrics["authentications_total"]

    async def authenticate(self, credentials: Credentials) -> Identity | Refused | None:
        """Return the caller, a refusal, or None for credentials that are not ours.

        Raises `DatabaseUnavailable` when the key is not in memory and PostgreSQL is away: nobody gets in on
        a guess.
        """
        try:
            found = await self._find(credentials)
        except TooManyUnknown:
            found = _BUSY
        if found is None:
            return None
        if isinstance(found, Refusal):
            self._counted.labels(found.outcome).inc()
            self._refusals.count()
            return found.told()
        self._counted.labels("accepted").inc()
        return identity_of(found, credentials.method, credentials.client)

    async def observe(self, identity: Identity, *, endpoint: str, status: int, seconds: float) -> None:
        """Put the request into the usage log; never waits."""
        if isinstance(identity, KeyIdentity):
            self._usage.note(identity, endpoint=endpoint, status=status, seconds=seconds)

    async def _find(self, credentials: Credentials) -> KeyRecord | Refusal | None:
        if credentials.headers.get(SIGNATURE_FIELD):
            return await self._by_signature(credentials)
        if credentials.bearer is not None:
            if not credentials.bearer.startswith(PREFIX):
                return None
            return await self._by_key(credentials.bearer, credentials)
        pair = read_pair(credentials.headers.get("authorization", ""))
        if pair is None or not pair[0].startswith(PREFIX):
            return None
        return await self._by_pair(*pair, credentials)

    async def _by_key(self, text: str, credentials: Credentials) -> KeyRecord | Refusal:
        record = await self._proven(text)
        if isinstance(record, Refusal):
            return record
        if record.signed_only:
            return Refusal("unsigned", "requests with this key must be signed; see docs/api-keys.md", 403)
        return standing(record, self._clock.now(), credentials.client) or record

    async def _by_pair(self, text: str, secret: str, credentials: Credentials) -> KeyRecord | Refusal:
        record = await self._proven(text)
        if isinstance(record, Refusal):
            return record
        if record.secret is None:
            return Refusal("wrong_secret", "this key has no secret; send it as a bearer token")
        if not hmac.compare_digest(await self._secret_of(record), secret.encode("utf-8", "surrogatepass")):
            return Refusal("wrong_secret", UNKNOWN.reason)
        if record.signed_only:
            return Refusal("unsigned", "requests with this key must be signed; see docs/api-keys.md", 403)
        return standing(record, self._clock.now(), credentials.client) or record

    async def _proven(self, text: str) -> KeyRecord | Refusal:
        """The key that `text` is, its hash compared in constant time whether there is such a key or not."""
        key = parse_key(text)
        if key is None:
            return Refusal("malformed", "the key is mistyped or cut off: its checksum does not fit")
        if key.mode != self._settings.mode:
            return self._other_mode(key.public)
        record = await self._keyring.find(key.short)
        mark = key_hash(self._vault, key)
        if not hmac.compare_digest(mark, _NO_HASH if record is None else record.hash) or record is None:
            return UNKNOWN if record is None else Refusal("wrong_secret", UNKNOWN.reason)
        return record

    async def _by_signature(self, credentials: Credentials) -> KeyRecord | Refusal:
        head = read_head(credentials.headers)
        if isinstance(head, str):
            return Refusal("malformed", head)
        public = parse_public(head.key)
        if public is None:
            return Refusal(
                "malformed", f"x-wharfd-key must be the public part, {PREFIX}…_… without the secret"
            )
        if public[0] != self._settings.mode:
            return self._other_mode(public_part(*public))
        now = self._clock.now()
        off = abs(now.timestamp() - head.timestamp)
        if off > self._settings.signature_tolerance.total_seconds():
            return Refusal(
                "clock", f"the time of the signature is {off:.0f} s off; check the clock and sign anew"
            )
        record = await self._keyring.find(public[1])
        secret = b"" if record is None or record.secret is None else await self._secret_of(record)
        good = is_signed_by(
            head,
            secret.decode(),
            method=credentials.method,
            target=credentials.target,
            body=credentials.body,
        )
        if record is None or record.secret is None or not good:
            return Refusal("signature", "the signature does not fit the request or the key")
        return standing(record, now, credentials.client) or await self._first_time(record, head)

    async def _first_time(self, record: KeyRecord, head: SignedHead) -> KeyRecord | Refusal:
        """Accept a nonce once. Only a good signature gets here, so nobody else can use nonces up."""
        ends = datetime.fromtimestamp(head.timestamp, UTC) + self._settings.signature_tolerance
        if not await keep_nonce(self._db, record.id, head.nonce, ends + _NONCE_MARGIN):
            return Refusal("replay", "this request was received before; sign each with a nonce of its own")
        return record

    async def _secret_of(self, record: KeyRecord) -> bytes:
        assert record.secret is not None
        return await self._vault.open(*SECRETS, record.id, record.secret)

    def _other_mode(self, public: str) -> Refusal:
        mode = self._settings.mode
        return Refusal("unknown", f"{public}… is no {mode} key, and this installation takes {mode} keys only")


def key_hash(vault: Vault, key: KeyText) -> bytes:
    """What is kept of a key: SHA-256 keyed with a key that is not in the database."""
    return vault.fingerprint_now(HASHES, key.text)


def read_pair(authorization: str) -> tuple[str, str] | None:
    """Read `Basic` credentials: the key and the secret."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > 1024:
        return None
    try:
        key, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (key, secret) if colon else None
