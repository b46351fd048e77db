"""Certificates that a provider names by address (PayPal): fetched once, kept for a day, bounded.

`find` is for the hot path and does no I/O: what is not here is noted as wanted and the delivery answered 503,
so the provider sends it again and finds the certificate there. Which hosts may be named is the verifier's
decision; nothing else is ever fetched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import structlog
import trio

from wharfd import OutboundClient, WharfdError

from ..schemes.paypal import MAX_CERTIFICATE_BYTES

_KEEP = timedelta(days=1).total_seconds()
_MAX_KEPT = 32
_MAX_WANTED = 8
_AGAIN_SECONDS = 30.0
_DEADLINE_SECONDS = 10.0


@dataclass
class Certificates:
    """The certificates seen so far, by address."""

    _kept: dict[str, tuple[float, bytes]] = field(default_factory=dict)
    _wanted: dict[str, None] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)
    _something: trio.Event = field(default_factory=trio.Event)

    def find(self, url: str) -> bytes | None:
        """Return the certificate (PEM) at `url`, or None and have it fetched."""
        now = trio.current_time()
        kept = self._kept.get(url)
        if kept is not None and now - kept[0] < _KEEP:
            return kept[1]
        if len(self._wanted) < _MAX_WANTED and now >= self._not_before.get(url, 0.0):
            self._wanted[url] = None
            self._something.set()
        return kept[1] if kept is not None else None

    async def fetch_wanted(self, client: OutboundClient, log: structlog.stdlib.BoundLogger) -> None:
        """Fetch what is wanted, for ever."""
        while True:
            await self._something.wait()
            self._something = trio.Event()
            while self._wanted:
                url = next(iter(self._wanted))
                await self._fetch(client, log, url)
                self._wanted.pop(url, None)

    async def _fetch(self, client: OutboundClient, log: structlog.stdlib.BoundLogger, url: str) -> None:
        if len(self._not_before) > _MAX_KEPT:
            self._not_before.clear()
        self._not_before[url] = trio.current_time() + _AGAIN_SECONDS
        try:
            answer = await client.request(
                "GET", url, deadline=_DEADLINE_SECONDS, max_response_bytes=MAX_CERTIFICATE_BYTES
            )
        except (WharfdError, OSError) as error:
            log.warning("certificate_not_fetched", url=url, error=str(error))
            return
        if answer.status != 200 or answer.truncated:
            log.warning("certificate_not_fetched", url=url, status=answer.status)
            return
        while len(self._kept) >= _MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[url] = (trio.current_time(), answer.body)
