"""Who is calling: the tokens in our own files, a browser session, or an Authenticator of some plugin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from ..contracts.access import ANONYMOUS, Authenticator, Credentials, Identity, Refused
from ..errors import ServiceUnavailable
from .clients import Address, neighbourhood
from .headers import Headers
from .problems import Forbidden, HttpProblem, TooMany, Unauthorized, Unavailable
from .sessions import Session, Sessions
from .throttle import FailureThrottle
from .token_file import TokenFile

ADMIN = Identity("admin", "admin")
OPERATOR = Identity("operator", "operator")

_LONGEST_BEARER = 4096
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# A request with one of these may be signed rather than carry a key; the Authenticator has to look at it.
_SIGNING_FIELDS = (
    "authorization", "signature", "signature-input", "x-signature", "x-api-signature", "x-wharfd-signature",
)  # fmt: skip

CSRF_FIELD = "x-csrf-token"


@dataclass(frozen=True)
class Caller:
    """The identity of a request and, when a plugin's Authenticator gave it, that Authenticator."""

    identity: Identity
    authenticator: Authenticator | None = None
    session: Session | None = None


NOBODY = Caller(ANONYMOUS)


@dataclass(frozen=True)
class Presented:
    """What a request brought, before its body is read."""

    method: str
    target: str
    headers: Headers
    client: Address | None
    read_body: Callable[[], Awaitable[bytes]]

    def __repr__(self) -> str:
        return f"Presented({self.method} {self.target})"

    @property
    def bearer(self) -> str | None:
        """The token in Authorization: Bearer, or in X-API-Key."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return token.strip() or None
        return self.headers.get("x-api-key") or None


class Authentication:
    """Finds out who sent a request, and slows down whoever guesses.

    `authenticator()` returns the Authenticator that is installed, None when there is none; it raises
    `ServiceUnavailable` while its plugin is not running, and then callers are told to come back (503).
    """

    def __init__(
        self,
        *,
        admin: TokenFile,
        operator: TokenFile | None,
        sessions: Sessions,
        authenticator: Callable[[], Authenticator | None],
        log: structlog.stdlib.BoundLogger,
        throttle: FailureThrottle | None = None,
    ) -> None:
        self._admin = admin
        self._operator = operator
        self.sessions = sessions
        self._authenticator = authenticator
        self._log = log
        self._throttle = throttle or FailureThrottle()

    async def identify(self, presented: Presented) -> Caller:
        """Return the caller, `NOBODY` when no credentials came along.

        Raises `Unauthorized`, `Forbidden`, `TooMany` or `Unavailable` when credentials came and are not good.
        """
        bearer = presented.bearer
        if bearer is None:
            session = self._session(presented.headers)
            if session is not None and not await self.sessions.is_ended(session):
                return self._by_session(presented, session)
            if not any(name in presented.headers for name in _SIGNING_FIELDS):
                return NOBODY
        elif len(bearer) > _LONGEST_BEARER:
            raise Unauthorized("the token is too long to be one of ours")
        caller, credential = (
            neighbourhood(presented.client),
            bearer or presented.headers.get("authorization") or presented.headers.get("x-wharfd-key", ""),
        )
        self._hold_back(caller, credential)
        identity = self.local(bearer) if bearer is not None else None
        if identity is not None:
            self._throttle.passed(credential)
            return Caller(identity)
        found = await self._ask(presented, bearer)
        if isinstance(found, Caller):
            if credential:
                self._throttle.passed(credential)
            return found
        if found.status == 401:
            self._throttle.failed(caller)
        self._log.info("credentials_refused", client=str(presented.client), status=found.status)
        raise found

    def identify_here(self, presented: Presented) -> Caller:
        """Return the caller by our own tokens and sessions alone, without any dependency; never refuses."""
        bearer = presented.bearer
        if bearer is None:
            session = self._session(presented.headers)
            return Caller(_identity_of(session), session=session) if session is not None else NOBODY
        caller = neighbourhood(presented.client)
        if len(bearer) > _LONGEST_BEARER or self._throttle.wait_seconds(caller, bearer) > 0:
            return NOBODY
        identity = self.local(bearer)
        return Caller(identity) if identity is not None else NOBODY

    def sign_in(self, token: str, client: Address | None, *, secure: bool) -> tuple[Session, str]:
        """Begin a session with the admin or operator token; returns it and the Set-Cookie value.

        Raises `Unauthorized` for any other token and `TooMany` for a caller who guesses.
        """
        caller = neighbourhood(client)
        self._hold_back(caller, token)
        identity = self.local(token)
        fingerprint = self._fingerprint(identity.kind) if identity is not None else None
        if identity is None or fingerprint is None:
            self._throttle.failed(caller)
            self._log.info("sign_in_refused", client=str(client))
            raise Unauthorized("this is neither the admin token nor the operator token")
        self._throttle.passed(token)
        return self.sessions.start("admin" if identity is ADMIN else "operator", fingerprint, secure=secure)

    def local(self, token: str) -> Identity | None:
        """The identity behind one of our own tokens."""
        if self._admin.matches(token):
            return ADMIN
        if self._operator is not None and self._operator.matches(token):
            return OPERATOR
        return None

    def session_of(self, headers: Headers) -> Session | None:
        """The browser session that a request carries."""
        return self._session(headers)

    def _hold_back(self, caller: str, credential: str) -> None:
        wait = self._throttle.wait_seconds(caller, credential)
        if wait > 0:
            raise TooMany(
                "too many failed attempts from this address; wait before the next", retry_after=wait
            )

    def _session(self, headers: Headers) -> Session | None:
        return self.sessions.read(headers.get("cookie"), self._fingerprint)

    def _fingerprint(self, kind: str) -> bytes | None:
        file = self._admin if kind == "admin" else self._operator
        return file.fingerprint() if file is not None else None

    def _by_session(self, presented: Presented, session: Session) -> Caller:
        if presented.method not in _SAFE and not session.accepts(presented.headers.get(CSRF_FIELD)):
            raise Forbidden("a write by cookie needs the header X-CSRF-Token; GET /api/v1/session tells it")
        return Caller(_identity_of(session), session=session)

    async def _ask(self, presented: Presented, bearer: str | None) -> Caller | HttpProblem:
        try:
            authenticator = self._authenticator()
        except ServiceUnavailable as error:
            raise Unavailable("API keys cannot be checked at the moment; ask again later") from error
        if authenticator is None:
            return Unauthorized("the token is not known")
        credentials = Credentials(
            bearer=bearer,
            headers=presented.headers,
            method=presented.method,
            target=presented.target,
            body=await presented.read_body(),
            client=presented.client,
        )
        found = await authenticator.authenticate(credentials)
        if isinstance(found, Identity):
            return Caller(found, authenticator)
        if isinstance(found, Refused):
            return _refusal(found.status, found.reason)
        return Unauthorized("the credentials are not known")


def _identity_of(session: Session) -> Identity:
    return ADMIN if session.kind == "admin" else OPERATOR


def _refusal(status: Literal[401, 403, 429], reason: str) -> HttpProblem:
    if status == 403:
        return Forbidden(reason)
    return TooMany(reason) if status == 429 else Unauthorized(reason)
