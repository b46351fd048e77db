"""Browser sessions: a signed cookie, made from the admin or operator token, with a CSRF token for writes.

A cookie carries its session; it ends when it expires, when somebody signs out, or when the token it was made
from is replaced. Who signed out is kept in `wharfd.ended_sessions` until the session would have expired, so
that a copied cookie is worth nothing, at any daemon and after any restart. While PostgreSQL is away a daemon
goes by what it was told itself: the console has to show what is wrong then.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookies import CookieError, SimpleCookie
from typing import Literal

import msgspec

from ..db import Queries, sql
from ..errors import DatabaseBusy, DatabaseUnavailable
from .signing import Signer

COOKIE = "wharfd_session"
_MARK = 16
_MOST_ENDED = 10_000

_END = sql(
    "http.end_session",
    """INSERT INTO wharfd.ended_sessions (mark, expires_at) VALUES ($1, $2) ON CONFLICT (mark) DO NOTHING""",
)
_ENDED = sql("http.ended_session", "SELECT true FROM wharfd.ended_sessions WHERE mark = $1")


class _Payload(msgspec.Struct, array_like=True):
    kind: Literal["admin", "operator"]
    expires_at: int
    nonce: str


@dataclass(frozen=True)
class Session:
    """A session that was found good."""

    kind: Literal["admin", "operator"]
    expires_at: int
    csrf_token: str

    def accepts(self, csrf_token: str | None) -> bool:
        """Whether the request proved that it came from our own page."""
        return csrf_token is not None and hmac.compare_digest(
            self.csrf_token.encode(), csrf_token.encode("utf-8", "surrogatepass")
        )

    def __repr__(self) -> str:
        return f"Session({self.kind})"


class Sessions:
    """Makes and reads session cookies that last `seconds`."""

    def __init__(self, signer: Signer, db: Queries, *, seconds: int, now: Callable[[], float]) -> None:
        self._signer = signer
        self._db = db
        self._seconds = seconds
        self._now = now
        self._ended: OrderedDict[str, int] = OrderedDict()

    def start(
        self, kind: Literal["admin", "operator"], token_fingerprint: bytes, *, secure: bool
    ) -> tuple[Session, str]:
        """Begin a session for whoever held this token; returns it and the Set-Cookie value."""
        payload = _Payload(kind, int(self._now()) + self._seconds, secrets.token_urlsafe(16))
        data = msgspec.json.encode(payload)
        value = base64.urlsafe_b64encode(self._mark(data, token_fingerprint) + data).rstrip(b"=").decode()
        return self._session(payload), self._cookie(value, self._seconds, secure)

    async def end(self, session: Session) -> None:
        """Accept this session no more, here at once and everywhere as soon as this returns."""
        self._forget(session)
        until = datetime.fromtimestamp(session.expires_at, UTC)
        await self._db.execute(_END, self._ending(session), until)

    async def is_ended(self, session: Session) -> bool:
        """Whether somebody ended the session, at whichever daemon."""
        try:
            ended = bool(await self._db.fetchval(_ENDED, self._ending(session)))
        except (DatabaseUnavailable, DatabaseBusy):
            return False
        if ended:
            self._forget(session)
        return ended

    def _ending(self, session: Session) -> bytes:
        return self._signer.sign("ended-session", session.csrf_token.encode())

    def _forget(self, session: Session) -> None:
        now = self._now()
        while self._ended and (len(self._ended) >= _MOST_ENDED or next(iter(self._ended.values())) <= now):
            self._ended.popitem(last=False)
        self._ended[session.csrf_token] = session.expires_at

    def end_cookie(self, *, secure: bool) -> str:
        """The Set-Cookie value that drops the session from the browser."""
        return self._cookie("", 0, secure)

    def read(
        self, cookie_header: str | None, fingerprint: Callable[[Literal["admin", "operator"]], bytes | None]
    ) -> Session | None:
        """Return the session in a Cookie field if it is ours, not over, and its token is still the same."""
        value = _cookie_value(cookie_header)
        if not value:
            return None
        try:
            blob = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
            payload = msgspec.json.decode(blob[_MARK:], type=_Payload)
        except (ValueError, binascii.Error, msgspec.DecodeError):
            return None
        token = fingerprint(payload.kind)
        if token is None or not hmac.compare_digest(self._mark(blob[_MARK:], token), blob[:_MARK]):
            return None
        session = self._session(payload)
        return session if payload.expires_at > self._now() and session.csrf_token not in self._ended else None

    def _mark(self, data: bytes, token_fingerprint: bytes) -> bytes:
        return self._signer.sign("session", data + token_fingerprint)

    def _session(self, payload: _Payload) -> Session:
        csrf = self._signer.sign("csrf", payload.nonce.encode())
        return Session(payload.kind, payload.expires_at, csrf.hex())

    @staticmethod
    def _cookie(value: str, seconds: int, secure: bool) -> str:
        ending = "; Secure" if secure else ""
        return f"{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{ending}"


def _cookie_value(header: str | None) -> str | None:
    if not header or COOKIE not in header:
        return None
    try:
        cookies = SimpleCookie(header)
    except CookieError:
        return None
    return cookies[COOKIE].value if COOKIE in cookies else None
