"""The executor `http`: a signed POST to an order system, and what its answers mean."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import msgspec
import structlog

from wharfd import NetworkPolicy, OutboundClient, OutboundError, OutboundResponse
from wharfd.contracts.orders import Executed, NotDone, OrderToExecute, Refused, Unknown

from ..config import HttpSettings
from .breaker import Breaker

Answer = Executed | Refused | NotDone | Unknown
_LONGEST_WAIT = 3600.0
_SETTING_WRONG = (401, 403, 407)
_NOT_TAKEN = (408, 425, 429, 503)  # these say that nothing was done


class HttpExecutor:
    """Sends orders to another system over HTTP.

    The request carries `Idempotency-Key`, `Wharfd-Timestamp` and `Wharfd-Signature: v1=<hex>`, an
    HMAC-SHA256 over `key.timestamp.body`.
    """

    name = "http"

    def __init__(
        self,
        settings: HttpSettings,
        client: OutboundClient,
        clock: Callable[[], float],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._settings = settings
        self._client = client
        self._log = log
        self._policy = NetworkPolicy(allow_networks=settings.allow_networks)
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_pause.total_seconds(), clock)
        self.idempotent = settings.idempotent
        self.max_per_second = settings.max_per_second

    @property
    def trouble(self) -> str | None:
        """Why orders wait for the other side at the moment; None when they do not."""
        if not self.breaker.open:
            return None
        return "the order system failed several times in a row; orders wait and lose no attempt"

    async def execute(self, order: OrderToExecute) -> Answer:
        """POST the order."""
        body = msgspec.json.encode(
            {
                "orderId": order.order_id, "batchId": order.batch_id, "index": order.index,
                "clientRef": order.client_ref, "account": order.account, "currency": order.currency,
                "amount": order.amount, "order": order.payload,
            }
        )  # fmt: skip
        return await self._ask("POST", self._settings.url, order, body, judge_answer)

    async def find(self, order: OrderToExecute) -> Answer:
        """GET what became of the order; 404 means that it is not there, unless it may still be under way."""
        if self._settings.find_url is None:
            return Unknown("the order system cannot be asked, because find_url is not set", final=True)
        url = self._settings.find_url.replace("{key}", quote(order.idempotency_key, safe=""))
        found = await self._ask("GET", url, order, b"", judge_found)
        if isinstance(found, NotDone) and not found.all_wait:
            left = self._still_under_way(order)
            if left > 0:
                return NotDone("the order system does not have it yet; asked again soon", left, all_wait=True)
        return found

    def _still_under_way(self, order: OrderToExecute) -> float:
        """Return for how many seconds the order may still turn up: it was sent, and got no answer."""
        if order.sent_at is None:
            return 0.0
        return order.sent_at.timestamp() + self._settings.missing_after.total_seconds() - time.time()

    async def _ask(
        self, method: str, url: str, order: OrderToExecute, body: bytes, judge: Callable[..., Answer]
    ) -> Answer:
        wait = self.breaker.wait_seconds()
        if wait > 0:
            return NotDone("the order system failed too often; waiting", wait, all_wait=True)
        try:
            response = await self._client.request(
                method, url, headers=self._headers(order, body), body=body,
                deadline=self._settings.timeout.total_seconds(), policy=self._policy,
            )  # fmt: skip
        except OutboundError as error:
            self._failed(f"{error.kind}: {error}")
            if error.request_sent == "none":
                return NotDone(f"{error.kind}: {error}", all_wait=True)  # no order is to blame for that
            return Unknown(f"{error.kind}: {error}")
        if response.status >= 500 or response.status in _SETTING_WRONG:
            self._failed(f"status {response.status}")
        elif self.breaker.succeeded():
            self._log.info("order_system_back", url=self._settings.url)
        return judge(response)

    def _failed(self, reason: str) -> None:
        if self.breaker.failed():
            pause = self._settings.breaker_pause.total_seconds()
            self._log.warning(
                "order_system_away", url=self._settings.url, reason=reason, next_try_seconds=pause
            )

    def _headers(self, order: OrderToExecute, body: bytes) -> list[tuple[str, str]]:
        stamp = str(int(time.time()))
        signed = f"{order.idempotency_key}.{stamp}.".encode() + body
        mark = hmac.new(self._settings.secret.reveal().encode(), signed, hashlib.sha256).hexdigest()
        return [
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
            ("Idempotency-Key", order.idempotency_key),
            ("Wharfd-Timestamp", stamp),
            ("Wharfd-Signature", f"v1={mark}"),
        ]


def judge_answer(response: OutboundResponse) -> Answer:
    """Say what an answer to a POST means for the order."""
    status, facts = response.status, _facts(response)
    if 200 <= status < 300:
        if status == 202:
            return Unknown("the order system answered 202: it has not decided yet", facts)
        document = _document(response)
        return Executed(_external_id(document), {**facts, "answer": document})
    if status in _NOT_TAKEN:
        return NotDone(f"status {status}", _retry_after(response), all_wait=status in (429, 503))
    if status in _SETTING_WRONG:
        return NotDone(f"status {status}: the order system refuses our credentials", 60.0, all_wait=True)
    if 400 <= status < 500:
        document = _document(response)
        code, reason = _refusal(document, status)
        return Refused(code, reason, {**facts, "answer": document})
    # 5xx: it may have failed before or after the order was carried out. 3xx: somebody else answered.
    return Unknown(f"status {status}", facts)


def judge_found(response: OutboundResponse) -> Answer:
    """Say what an answer to the question after an order means."""
    status = response.status
    if status in (404, 410):
        return NotDone("the order system does not have it", 0.0)
    if status == 200:
        document = _document(response)
        state = str(document.get("status", "")).lower()
        if state in ("failed", "rejected", "refused", "cancelled"):
            return Refused(*_refusal(document, status), {**_facts(response), "answer": document})
        if state in ("pending", "processing", "accepted"):
            return Unknown(f"the order system says {state}", _facts(response))
        return Executed(_external_id(document), {**_facts(response), "answer": document})
    return Unknown(f"asked for the order, the order system answered {status}", _facts(response))


def _facts(response: OutboundResponse) -> dict[str, Any]:
    return {
        "status": response.status,
        "seconds": round(response.timings.total, 4),
        "request_id": response.header("x-request-id"),
    }


def _document(response: OutboundResponse) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"text": response.text()[:1000]}
    if not isinstance(found, dict) or len(response.body) > 8192 or b"\\u0000" in response.body:
        return {"text": response.text()[:1000].replace("\\u0000", "")}
    return found


def _external_id(document: dict[str, Any]) -> str | None:
    for name in ("id", "orderId", "order_id", "modelOrderId"):
        value = document.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value):
            return str(value)[:200]
    return None


def _refusal(document: dict[str, Any], status: int) -> tuple[str, str]:
    code = document.get("code") or document.get("error_code") or f"status_{status}"
    reason = document.get("detail") or document.get("message") or document.get("error") or f"status {status}"
    # The code is what stands before the first colon of the stored reason, so it has none itself.
    return str(code)[:60].replace(":", "_"), str(reason)[:300]


def _retry_after(response: OutboundResponse) -> float | None:
    text = (response.header("retry-after") or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_WAIT)
    if text:
        try:
            return min(max(1.0, parsedate_to_datetime(text).timestamp() - time.time()), _LONGEST_WAIT)
        except ValueError:
            return None
    return None
