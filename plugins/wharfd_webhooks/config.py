"""What may stand in `[plugins.webhooks]`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from wharfd import NetworkPolicy, option

from .model.health import Limits
from .model.schedule import Policy

HEADROOM_SECONDS = (
    10.0  # between the longest send and the lease: for the gate before it and the writing after
)
LEASE_SECONDS = 60.0


@dataclass(frozen=True)
class Settings:
    """Everything about sending; what differs per endpoint is set at the endpoint."""

    allow_networks: tuple[str, ...] = option(
        (), help="networks endpoints may be in that are refused by default", example='["10.0.0.0/8"]'
    )
    deny_networks: tuple[str, ...] = option(
        (), help="networks no endpoint may be in; wins over allow_networks"
    )
    https_only: bool = option(False, help="refuse endpoints whose URL begins with http://")
    delays: tuple[float, ...] = option(
        Policy.delays, help="seconds to wait after each failed try; one try more than there are delays"
    )
    reject_delays: tuple[float, ...] = option(
        Policy.reject_delays,
        help="the same after an answer that refuses the request (most 4xx); empty fails at once",
    )
    jitter: float = option(0.2, help="each delay is spread by up to this share of itself, both ways")
    timeout: timedelta = option(
        timedelta(seconds=15), help="time for a whole send, DNS to the last byte; endpoints may ask for less"
    )
    connect_timeout: timedelta = option(timedelta(seconds=5), help="time for TCP and TLS within that")
    concurrency: int = option(512, help="deliveries under way at a time in this daemon")
    max_in_flight: int = option(
        16, help="deliveries under way at a time to one endpoint, over all daemons; the most it may ask for"
    )
    max_response_bytes: int = option(4096, help="how much of an answer's body is kept")
    max_payload_bytes: int = option(262144, help="largest payload taken by POST /api/v1/events")
    undeclared_events: bool = option(
        False,
        help="take events of types that nobody defined, instead of refusing them",
    )
    max_endpoints: int = option(200, help="endpoints one owner may have")
    open_after: int = option(5, help="failures in a row after which an endpoint rests")
    rest: timedelta = option(
        timedelta(seconds=30), help="how long it rests at first, doubled with each failed probe"
    )
    longest_rest: timedelta = option(timedelta(minutes=15), help="how long it rests at most")
    disable_after: timedelta | None = option(
        timedelta(days=5),
        help="an endpoint that failed for this long and disable_count times in a row is disabled",
    )
    disable_count: int = option(20, help="see disable_after; both must be reached")
    ramp_per_second: float = option(200.0, help="how fast parked deliveries of one endpoint are released")
    secret_overlap: timedelta = option(timedelta(days=1), help="how long a rotated secret goes on signing")
    secret_overlap_max: timedelta = option(
        timedelta(days=30), help="the longest overlap a caller may ask for"
    )
    fan_out_concurrency: int = option(
        2, help="batches of events worked on at a time; 1 keeps deliveries in the order of events"
    )
    transform: str | None = option(
        None, help="transform for endpoints that name none; a plugin's before_delivery hook answers to it"
    )
    header_case: Literal["lower", "canonical"] = option("lower", help="webhook-id or Webhook-Id")
    keep_deliveries: timedelta = option(timedelta(days=90), help="how long deliveries and attempts are kept")
    keep_messages: timedelta = option(
        timedelta(days=90), help="how long payloads are kept; recovery reaches back so far"
    )

    def __post_init__(self) -> None:
        if not self.delays or min(self.delays) < 0:
            raise ValueError("delays: needs at least one, and none below 0")
        if self.reject_delays and min(self.reject_delays) < 0:
            raise ValueError("reject_delays: none may be below 0")
        if not 0 <= self.jitter < 1:
            raise ValueError("jitter: must be at least 0 and below 1")
        if not 0.1 <= self.timeout.total_seconds() <= LEASE_SECONDS - HEADROOM_SECONDS:
            raise ValueError(f"timeout: must be between 0.1 and {LEASE_SECONDS - HEADROOM_SECONDS:g} seconds")
        if not 1 <= self.concurrency <= 1000:
            raise ValueError("concurrency: must be between 1 and 1000")
        if not 1 <= self.max_in_flight <= 256:
            raise ValueError("max_in_flight: must be between 1 and 256")
        if not 0 <= self.max_response_bytes <= 1 << 20:
            raise ValueError("max_response_bytes: must be between 0 and 1048576")
        if self.open_after < 1 or self.disable_count < 1:
            raise ValueError("open_after: this and disable_count must be at least 1")
        if self.ramp_per_second <= 0:
            raise ValueError("ramp_per_second: must be above 0")
        if self.keep_messages < timedelta(days=1) or self.keep_deliveries < timedelta(days=1):
            raise ValueError("keep_messages: this and keep_deliveries must be at least a day")
        self.network()

    def network(self) -> NetworkPolicy:
        """Which hosts deliveries may go to."""
        try:
            return NetworkPolicy(self.allow_networks, self.deny_networks, https_only=self.https_only)
        except ValueError as error:
            raise ValueError(f"allow_networks: {error}") from None

    def policy(self) -> Policy:
        """When a failed delivery is tried again."""
        return Policy(tuple(self.delays), tuple(self.reject_delays), self.jitter)

    def limits(self) -> Limits:
        """When an endpoint rests and when it is disabled."""
        return Limits(
            self.open_after,
            self.rest.total_seconds(),
            self.longest_rest.total_seconds(),
            self.disable_after,
            self.disable_count,
        )
