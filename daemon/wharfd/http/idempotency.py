"""Idempotency-Key: a write that is sent again is answered again, and done once.

The key, with the caller's owner, the method and the route, is one row in `wharfd.idempotency_keys`. Same key
and same request: the stored answer. Another request under the key: 422. Still being worked on: 409. A daemon
that dies meanwhile leaves a lease behind; when it is over, a retry does the work anew. The answer is sealed
before it is stored, because it may hold a secret that is shown only once.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
import structlog
import trio

from ..db import Queries, sql
from ..errors import DatabaseUnavailable, SecretError
from .arrival import Arrival
from .endpoint import Endpoint
from .problems import BadRequest, Conflict, HttpProblem, Invalid
from .reply import Answer
from .request import Request
from .signing import Signer

FIELD = "idempotency-key"

_KEPT_HOURS = 24
_LEASE_MARGIN_SECONDS = 30.0
_SETTLE_SECONDS = 10.0
_LARGEST_KEPT = 1 << 20
_KEPT_FIELDS = ("content-type", "location", "link", "content-disposition")
_PLAIN = re.compile(r"^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$")
_TABLE, _COLUMN = "wharfd.idempotency_keys", "body"

CLAIM = sql(
    "claim_idempotency_key",
    """
    INSERT INTO wharfd.idempotency_keys AS held (scope_hash, fingerprint, claim, lease_until, expires_at)
    VALUES ($1, $2, $3, now() + make_interval(secs => $4), now() + make_interval(hours => $5))
    ON CONFLICT (scope_hash) DO UPDATE
       SET fingerprint = excluded.fingerprint, state = 'running', claim = excluded.claim, status = NULL,
           headers = NULL, body = NULL, created_at = now(), lease_until = excluded.lease_until,
           expires_at = excluded.expires_at
     WHERE held.expires_at <= now()
        OR (held.state = 'running' AND held.lease_until <= now() AND held.fingerprint = excluded.fingerprint)
    RETURNING claim
    """,
)
FIND = sql(
    "find_idempotency_key",
    """
    SELECT fingerprint, state, status, headers, body,
           greatest(1, extract(epoch FROM lease_until - now()))::float8 AS wait_seconds
      FROM wharfd.idempotency_keys
     WHERE scope_hash = $1
    """,
)
SETTLE = sql(
    "settle_idempotency_key",
    """
    UPDATE wharfd.idempotency_keys SET state = 'done', status = $3, headers = $4, body = $5
     WHERE scope_hash = $1 AND claim = $2
    """,
)
RELEASE = sql(
    "release_idempotency_key", "DELETE FROM wharfd.idempotency_keys WHERE scope_hash = $1 AND claim = $2"
)
FORGET = sql(
    "forget_idempotency_keys",
    """
    DELETE FROM wharfd.idempotency_keys
     WHERE scope_hash IN (SELECT scope_hash FROM wharfd.idempotency_keys WHERE expires_at <= now()
                           ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)
    """,
)


class Sealer(Protocol):
    """The part of the vault that is used here."""

    async def seal(self, table: str, column: str, row_id: str, plaintext: bytes) -> bytes:
        """Encrypt for one column of one row."""
        ...

    async def open(self, table: str, column: str, row_id: str, sealed: bytes) -> bytes:
        """Decrypt; raises `SecretError` when it was sealed elsewhere or with another key."""
        ...


class IdempotencyKeys:
    """Keeps the answers of writes that carry an Idempotency-Key, on routes that declare `idempotent=True`.

    A streamed body cannot be looked at beforehand: there the key, path and query alone tell requests apart.
    """

    def __init__(
        self, db: Queries, sealer: Sealer, signer: Signer, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._db = db
        self._sealer = sealer
        self._signer = signer
        self._log = log

    def wants(self, endpoint: Endpoint, arrival: Arrival) -> bool:
        """Whether the route is idempotent, the request has a key, and the caller is somebody."""
        named = arrival.caller.identity.kind != "anonymous"
        return endpoint.route.idempotent and named and FIELD in arrival.headers

    async def answer(
        self, endpoint: Endpoint, request: Request, call: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Do it once: return the stored answer, or call the handler and store what it answers.

        Raises `Conflict` (409) while the first request is under way and `Invalid` (422) when the key was used
        for another request. Answers of 429 and from 500 on are not stored: a retry tries again.
        """
        key = parse_key(request.headers[FIELD])
        row_id = self._scope_hash(endpoint, request, key)
        fingerprint = self._fingerprint(request)
        lease = endpoint.route.timeout_seconds + _LEASE_MARGIN_SECONDS
        for _ in range(3):  # a row may be released between our claim and our look at it
            claim = await self._db.fetchval(CLAIM, row_id, fingerprint, _new_claim(), lease, _KEPT_HOURS)
            if claim is not None:
                return await self._run(row_id, claim, call)
            held = await self._db.fetchrow(FIND, row_id)
            if held is not None:
                return await self._replay(row_id, fingerprint, held)
        raise _under_way(1.0)

    async def forget_expired(self, *, most: int = 1000) -> int:
        """Delete up to `most` keys that are over; returns how many. For a schedule to call."""
        return await self._db.execute(FORGET, most)

    async def _run(self, row_id: bytes, claim: int, call: Callable[[], Awaitable[Answer]]) -> Answer:
        settled = False
        try:
            answer = await call()
            if answer.status < 500 and answer.status != 429:
                settled = await self._settle(row_id, claim, answer)
            return answer
        except HttpProblem as problem:
            # A refusal by the handler is an answer too, but not one worth keeping: nothing was done.
            self._log.debug("idempotent_request_refused", status=problem.status)
            raise
        finally:
            if not settled:
                await self._let_go(row_id, claim)

    async def _settle(self, row_id: bytes, claim: int, answer: Answer) -> bool:
        """Store the answer. True also when that failed: the work is done and must not be let go."""
        headers = {name: answer.headers[name] for name in _KEPT_FIELDS if name in answer.headers}
        sealed = None
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SETTLE_SECONDS) as scope:
            try:
                if isinstance(answer.body, bytes) and len(answer.body) <= _LARGEST_KEPT:
                    sealed = await self._sealer.seal(_TABLE, _COLUMN, row_id.hex(), answer.body)
                if not await self._db.execute(SETTLE, row_id, claim, answer.status, headers, sealed):
                    self._log.warning("idempotency_lease_lost")  # a retry took over and its answer counts
            except (DatabaseUnavailable, SecretError) as error:
                self._log.error("idempotent_answer_not_stored", reason=str(error))
        if scope.cancelled_caught:
            self._log.error("idempotent_answer_not_stored", reason="the database took too long")
        return True

    async def _let_go(self, row_id: bytes, claim: int) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SETTLE_SECONDS):
            try:
                await self._db.execute(RELEASE, row_id, claim)
            except DatabaseUnavailable as error:
                self._log.warning("idempotency_key_not_released", reason=str(error))

    async def _replay(self, row_id: bytes, fingerprint: bytes, held: Any) -> Answer:
        if held["fingerprint"] != fingerprint:
            raise Invalid(message="this Idempotency-Key was used for another request; take a new one")
        if held["state"] == "running":
            raise _under_way(held["wait_seconds"])
        if held["body"] is None:
            raise Conflict("this request was done already; its answer was too large to be kept")
        body = await self._sealer.open(_TABLE, _COLUMN, row_id.hex(), held["body"])
        headers = {**held["headers"], "idempotency-replayed": "true"}
        return Answer(held["status"], headers, body)

    def _scope_hash(self, endpoint: Endpoint, request: Request, key: str) -> bytes:
        who = (
            ("owner", request.identity.owner)
            if request.identity.owner
            else ("subject", request.identity.subject)
        )
        parts = [*who, endpoint.route.method, endpoint.route.path, key]
        return self._signer.sign("idempotency scope", msgspec.json.encode(parts))

    def _fingerprint(self, request: Request) -> bytes:
        body = hashlib.sha256(request.raw).hexdigest()
        parts = [sorted(request.path.items()), msgspec.to_builtins(request.query), body]
        return self._signer.sign("idempotency body", msgspec.json.encode(parts))


def parse_key(text: str) -> str:
    """Read the key, written as a quoted structured-field string or bare; raises `BadRequest` otherwise."""
    key = text
    if len(text) >= 2 and text[0] == text[-1] == '"':
        key = re.sub(r"\\([\\\"])", r"\1", text[1:-1])
    if not _PLAIN.match(key):
        raise BadRequest("Idempotency-Key must be 1 to 255 visible ASCII characters, quoted or not")
    return key


def _new_claim() -> int:
    return int.from_bytes(os.urandom(7))


def _under_way(seconds: float) -> Conflict:
    wait = str(min(5, max(1, int(seconds))))
    return Conflict("a request with this Idempotency-Key is still under way", headers={"Retry-After": wait})
