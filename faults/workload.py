"""What is delivered during a fault and how the checker finds it again in the database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Workload:
    """A kind of delivery: its configuration, its requests, and the statements the checker asks.

    `stored` lists the ids that are kept; each of `effects` lists one id per effect, so an id that is there twice is
    an effect done twice; `open_work` counts what still waits; `leased` are the tables with leases of 60 s.
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

WORKLOADS: dict[str, Workload] = {one.name: one for one in (PROOF,)}
