"""Endpoints as the sender knows them: kept in memory, proven current by every attempt that is written.

What is kept may be old; that does no harm, because an attempt is only written down when the endpoint still
has the version the sender looked at, and whoever would hold a delivery back reads it anew first. Nothing here
has to be invalidated.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from wharfd import ClientCertificate, PluginContext, Record, SecretError

from ..config import Settings
from ..model.endpoint import Endpoint
from ..model.health import Health
from ..model.keys import read_key
from ..store import senders
from ..store.endpoints import SEALED, SECRETS, open_client_key, open_headers
from .gathering import Gathering

_KEPT_SECONDS = 300.0
_MOST = 20_000
_NOTE_SECONDS = 5.0


class Directory:
    """Finds endpoints by id; several that are missing are read with one statement."""

    def __init__(self, ctx: PluginContext[Settings]) -> None:
        self._ctx = ctx
        self._known: dict[str, tuple[Endpoint, float]] = {}
        self._noted: dict[str, float] = {}
        self._reading: Gathering[str, Endpoint | None] = Gathering(self._read)

    async def find(self, endpoint_id: str) -> Endpoint | None:
        """Return the endpoint as it was read some time ago, or None when there is none."""
        known = self._known.get(endpoint_id)
        if known is not None and trio.current_time() < known[1]:
            return known[0]
        return await self._reading(endpoint_id)

    async def read(self, endpoint_id: str) -> Endpoint | None:
        """Return the endpoint as it is now: another daemon may have switched it on."""
        return await self._reading(endpoint_id)

    def forget(self, endpoint_id: str) -> None:
        """Read it anew the next time."""
        self._known.pop(endpoint_id, None)

    def due_for_note(self, endpoint_id: str) -> bool:
        """Whether its last delivery should be noted in the database: every few seconds is enough."""
        now = trio.current_time()
        if now - self._noted.get(endpoint_id, -_NOTE_SECONDS) < _NOTE_SECONDS:
            return False
        if len(self._noted) >= _MOST:
            self._noted.clear()
        self._noted[endpoint_id] = now
        return True

    async def _read(self, wanted: Sequence[str]) -> list[Endpoint | None]:
        found: dict[str, Endpoint] = {}
        now = trio.current_time()
        for row in await senders.load(self._ctx.db, sorted(set(wanted))):
            endpoint = self._endpoint(row, now)
            found[endpoint.id] = endpoint
            # A secret that ends its overlap must stop signing; the version does not move by itself then.
            stale = min(_KEPT_SECONDS, max(0.0, row["secrets_change_in"] or _KEPT_SECONDS))
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[endpoint.id] = (endpoint, now + stale)
        return [found.get(endpoint_id) for endpoint_id in wanted]

    def _endpoint(self, row: Record, now: float) -> Endpoint:
        keys = []
        for secret_id, sealed in zip(row["secret_ids"], row["sealed"], strict=True):
            try:
                plain = self._ctx.secrets.open_now(SECRETS, SEALED, secret_id, sealed)
                keys.append(read_key(plain.decode()))
            except SecretError as error:
                self._ctx.log.error(
                    "secret_not_opened", endpoint=row["id"], secret=secret_id, reason=str(error)
                )
        rest = row["rest_seconds"]
        return Endpoint(
            id=row["id"],
            owner=row["owner"],
            url=row["url"],
            version=row["version"],
            status=row["status"],
            status_reason=row["status_reason"],
            headers=open_headers(self._ctx.secrets, row),
            legacy=row["legacy"],
            transform=row["transform"] or self._ctx.settings.transform,
            at_most_once=row["at_most_once"],
            max_in_flight=row["max_in_flight"],
            rate_per_second=row["rate_per_second"],
            timeout_seconds=row["timeout_seconds"],
            health=Health(
                row["failure_count"],
                row["first_failed_at"],
                row["breaker_opened"],
                row["breaker_until"],
                row["warned"],
            ),
            rest_until=None if rest is None else now + rest,
            keys=tuple(keys),
            ca=row["ca"],
            client_certificate=self._client_certificate(row),
        )

    def _client_certificate(self, row: Record) -> ClientCertificate | None:
        """Return what is shown to the receiver. A key that cannot be opened is told of, and nothing shown."""
        try:
            key = open_client_key(self._ctx.secrets, row)
        except SecretError as error:
            self._ctx.log.error("client_key_not_opened", endpoint=row["id"], reason=str(error))
            return None
        return None if key is None else ClientCertificate(row["client_certificate"], key)
