"""`HttpMinter`: a mint service somewhere else, told once and asked until it says how it went.

`POST <url>` with `Idempotency-Key: <mint id>` and `{"id", "license_id", "wallet", "tier"}`; `GET
<url>/<mint id>`. Both answer `{"status": "pending" | "minted" | "failed", "tx_hash"?, "token_id"?,
"error"?}`; 404 on the GET means that the service does not know the mint. The service must mint once per
key, and per license.
"""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote

import msgspec

from wharfd import Database, NetworkPolicy, OutboundClient, OutboundError
from wharfd.contracts.mints import (
    Minted,
    MintRequest,
    NeedsPerson,
    Pending,
    Progress,
    Settled,
    Verified,
    Withdrawn,
)

from .config import Http
from .store import intents

_TRY_LATER = frozenset({408, 409, 423, 425, 429})
_NOT_LET_IN = frozenset({403, 404, 405})  # the settings' fault and no mint's, unless the answer says so
_AWAY_SECONDS = 15.0
_NOT_LET_IN_SECONDS = 60.0


class _Answer(msgspec.Struct):
    """What the service says of a mint."""

    status: Literal["pending", "minted", "failed"]
    tx_hash: str | None = None
    token_id: str | int | None = None
    error: str = ""


class HttpMinter:
    """Mints through a service that keeps idempotency keys."""

    def __init__(self, db: Database, http: OutboundClient, settings: Http) -> None:
        self._db = db
        self._http = http
        self._settings = settings
        self._policy = NetworkPolicy(settings.allow_networks)

    async def advance(self, request: MintRequest) -> Progress:
        """See `Minter`. The service is asked before it is told (again)."""
        if request.delivered:
            return Settled()
        try:
            intent = await intents.load(self._db, request.id)
            known = await self._ask(request) if intent is not None and intent.sent_on else None
            if known is None and not request.wanted:
                return Withdrawn()
            if known is None:
                async with self._db.transaction() as tx:
                    if not await request.still_wanted(tx):
                        return Withdrawn()
                    await request.fence(tx)
                    await intents.mark_sent_on(tx, request.id)
                known = await self._tell(request)
        except OutboundError as error:
            return Pending(_AWAY_SECONDS, "service_away", f"the mint service does not answer: {error}")
        return known if isinstance(known, Pending) else self._read(known)

    def _read(self, answer: _Answer) -> Progress:
        if answer.status == "minted":
            token = None if answer.token_id is None else str(answer.token_id)
            return Minted(answer.tx_hash, token)
        if answer.status == "failed":
            return NeedsPerson(f"the mint service refuses: {answer.error[:300] or 'it gives no reason'}")
        return Pending(self._settings.poll.total_seconds(), "sent")

    async def _ask(self, request: MintRequest) -> _Answer | Pending | None:
        status, body = await self._call("GET", f"{self._settings.url}/{quote(request.id)}")
        return None if status == 404 else self._decode(status, body)

    async def _tell(self, request: MintRequest) -> _Answer | Pending:
        body = {
            "id": request.id,
            "license_id": request.license_id,
            "wallet": request.wallet,
            "tier": request.tier,
        }
        status, answer = await self._call("POST", self._settings.url, body, key=request.id)
        return self._decode(status, answer)

    def _decode(self, status: int, body: bytes) -> _Answer | Pending:
        if status >= 500 or status in _TRY_LATER:
            return Pending(_AWAY_SECONDS, "service_away", f"the mint service answers {status}")
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except msgspec.MsgspecError:
            answer = None
        said_so = answer is not None and (status < 300 or answer.status == "failed")
        if status == 401 or (status in _NOT_LET_IN and not said_so):
            trouble = f"the mint service answers {status}; look at url and token in [plugins.mint.http]"
            return Pending(_NOT_LET_IN_SECONDS, "service_away", trouble)
        if answer is not None and said_so:
            return answer
        if 400 <= status < 500:
            return _Answer("failed", error=f"status {status}")
        return Pending(_AWAY_SECONDS, "service_away", "the mint service answers what is no answer")

    async def _call(
        self, method: str, url: str, body: Any = None, *, key: str | None = None
    ) -> tuple[int, bytes]:
        headers = [("Accept", "application/json")]
        if body is not None:
            headers.append(("Content-Type", "application/json"))
        if key is not None:
            headers.append(("Idempotency-Key", key))
        if self._settings.token is not None:
            headers.append(("Authorization", f"Bearer {self._settings.token.reveal()}"))
        answer = await self._http.request(
            method, url, headers=headers, body=b"" if body is None else msgspec.json.encode(body),
            deadline=self._settings.timeout.total_seconds(), policy=self._policy,
        )  # fmt: skip
        return answer.status, answer.body

    async def verify(self, request: MintRequest, tx_hash: str | None) -> Verified:
        """See `Minter`: asks the service again. A change of its mind is for a person, never minted again."""
        try:
            answer = await self._ask(request)
        except OutboundError as error:
            return Verified(None, detail=str(error))
        if isinstance(answer, _Answer) and answer.status == "minted":
            token = None if answer.token_id is None else str(answer.token_id)
            return Verified(True, final=True, token_id=token)
        if isinstance(answer, Pending):
            return Verified(None, detail=answer.trouble or "")
        return Verified(False, detail="the mint service does not know the mint any more")

    async def examine(self) -> list[dict[str, Any]]:
        """See `Minter`."""
        try:
            status, _ = await self._call("GET", f"{self._settings.url}/wharfd-doctor")
        except OutboundError as error:
            return [{"check": "service", "state": "fail", "detail": str(error)}]
        well = status < 500 and status not in (401, 403)
        detail = "answers, and knows no mint it was not told" if status == 404 else f"answers {status}"
        return [{"check": "service", "state": "ok" if well else "fail", "detail": detail}]
