"""What is delivered during a fault and how the checker finds it again in the database."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import NAMESPACE_URL, uuid5


@dataclass(frozen=True)
class Workload:
    """A kind of delivery: its configuration, its requests, and the statements the checker asks.

    `stored` lists the ids that are kept; each of `effects` lists one id per effect, so an id that is there
    twice is an effect done twice; `open_work` counts what still waits; `leased` are the tables with leases
    of 60 s.
    """

    name: str
    stored: str
    effects: tuple[str, ...]
    open_work: str
    leased: tuple[str, ...] = ("wharfd.inbox", "wharfd.jobs")

    def config(self, extra: str = "") -> str:
        """The TOML that enables the plugin; `extra` are more of its options."""
        raise NotImplementedError

    def request(self, operation: str, random: Random) -> bytes:
        """The HTTP request that delivers an operation."""
        raise NotImplementedError


def post(path: str, body: bytes, *headers: tuple[str, str]) -> bytes:
    """Return a keep-alive HTTP/1.1 POST."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{more}\r\n"
    )
    return head.encode() + body


class Proof(Workload):
    """The core's own: stored once, worked once (half of it in batches), its event heard once."""

    def config(self, extra: str = "") -> str:
        """Enable the plugin `proof`."""
        return f"[plugins.proof]\n{extra}\n"

    def request(self, operation: str, random: Random) -> bytes:
        """Deliver an entry of either kind; the id decides, so that a repeat is the same."""
        kind = "batch" if int(operation[-1], 36) % 2 else "single"
        return post("/proof", json.dumps({"id": operation, "kind": kind}).encode())


PROOF = Proof(
    name="proof",
    stored="SELECT id FROM proof.entries",
    effects=("SELECT entry FROM proof.effects", "SELECT entry FROM proof.heard"),
    open_work="""SELECT (SELECT count(*) FROM proof.entries WHERE state IN ('ready', 'running'))
        + (SELECT count(*) FROM wharfd.inbox WHERE state IN ('ready', 'running'))""",
)


class Netbanx(Workload):
    """A payment that completed, signed as Paysafe signs it: one event, one transaction, one announcement."""

    def config(self, extra: str = "") -> str:
        """Enable the plugin `netbanx` with one source."""
        return (
            "[plugins.netbanx.sources.netbanx]\n"
            'scheme = "paysafe"\npaths = ["/netbanx"]\nkey_encoding = "base64"\n'
            f'keys = ["{base64.b64encode(_KEY).decode()}"]\n{extra}\n'
        )

    def request(self, operation: str, random: Random) -> bytes:
        """Deliver the event; the id decides about its content."""
        number = int.from_bytes(hashlib.sha256(operation.encode()).digest()[:4])
        at = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number % 10_000_000)).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        payment = str(uuid5(NAMESPACE_URL, operation))
        payload = {
            "accountId": f"10{number % 1000:08d}",
            "id": payment,
            "merchantRefNum": operation,
            "amount": 100 + number % 50_000,
            "currencyCode": "EUR",
            "status": "COMPLETED",
            "paymentType": "EPS",
            "statusTime": at,
            "txnTime": at,
            "settleWithAuth": True,
        }
        event = {
            "payload": payload,
            "eventType": "PAYMENT_COMPLETED",
            "attemptNumber": "1",
            "resourceId": payment,
            "eventDate": at,
            "mode": "live",
            "eventName": "PAYMENT_COMPLETED",
        }
        body = json.dumps(event).encode()
        signature = base64.b64encode(hmac.digest(_KEY, body, "sha256")).decode()
        return post("/netbanx", body, ("Signature", signature))


_KEY = b"a key for the fault matrix alone"

NETBANX = Netbanx(
    name="netbanx",
    stored="SELECT merchant_ref FROM netbanx.events",
    effects=(
        "SELECT merchant_ref FROM netbanx.events",
        "SELECT merchant_ref FROM netbanx.transactions",
        "SELECT data->>'merchant_ref' FROM wharfd.events WHERE type = 'payment.received'",
    ),
    open_work="""SELECT (SELECT count(*) FROM netbanx.events WHERE state IN ('ready', 'running'))
        + (SELECT count(*) FROM wharfd.inbox WHERE state IN ('ready', 'running'))""",
    leased=("netbanx.events", "wharfd.inbox", "wharfd.jobs"),
)
WORKLOADS: dict[str, Workload] = {one.name: one for one in (PROOF, NETBANX)}
