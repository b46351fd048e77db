"""The gate in front of each endpoint: how many sends may be under way, how fast, and who has to step aside.

Every claimed delivery passes it before its attempt is written. What cannot go soon does not wait here: it
is parked (`Hold`) or put off (`Snooze`), which costs no attempt, so an endpoint that never answers holds a
few sends and nothing else. How many sends an endpoint gets follows from how it does: a few at first, twice
as many after each success up to its limit, half as many after each failure.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import trio

from wharfd import Cancel, Hold, Outcome, Snooze

from ..model.endpoint import Endpoint

PATIENCE_SECONDS = 1.0  # how long a crowd may wait for its turn, each holding a worker
NEXT_SECONDS = 30.0  # the same for those who come next
FIRST_ALLOWANCE = 2.0
_MOST_GATES = 20_000
_REMEMBER_SECONDS = 60.0  # a stuck endpoint is tried patiently again after this time


@dataclass(eq=False)
class Gate:
    """One endpoint's gate in this daemon."""

    in_flight: int = 0
    allowance: float = FIRST_ALLOWANCE
    stuck_until: float = 0.0
    proven: bool = False  # its last send that said anything was delivered
    parked: int = 0  # deliveries parked for want of a turn since the last release
    next_send: float = 0.0
    put_off_to: float = 0.0
    rate: float = 0.0
    _measured: float = 0.0
    _queue: deque[trio.Event] = field(default_factory=deque)

    @property
    def idle(self) -> bool:
        """Whether nothing is lost by forgetting it."""
        return not self.in_flight and not self._queue and not self.parked

    @property
    def room(self) -> int:
        """How many more deliveries would find a turn at once, by what the endpoint was last given."""
        return max(0, int(self.allowance) - self.in_flight - len(self._queue))

    async def enter(self, endpoint: Endpoint, *, forced: bool = False) -> Outcome | None:
        """Take a turn; returns None when the send may go and `leave` must be called after it.

        Otherwise returns what becomes of the delivery. `forced` is for a person who asked for this send: it
        passes a pause and an open breaker, but not a deletion.
        """
        refused = refusal(endpoint, forced=forced)
        if refused is not None:
            return refused
        now = trio.current_time()
        probing = endpoint.rest_until is not None and not forced
        limit = 1 if probing else self._limit(endpoint)
        if self.in_flight >= limit or self._queue:
            if probing:
                return Hold("parked while the endpoint is probed with one delivery")
            # A few wait so that an endpoint that takes deliveries is kept busy; a crowd waits a moment.
            next_in_line = forced or (self.proven and len(self._queue) < limit)
            patience = NEXT_SECONDS if next_in_line else PATIENCE_SECONDS
            if (not next_in_line and now < self.stuck_until) or not await self._wait_for_turn(patience):
                self.stuck_until = trio.current_time() + _REMEMBER_SECONDS
                self.parked += 1
                return Hold("parked: the endpoint is slow, its turn comes")
            # `leave` has already counted us in.
        else:
            self.in_flight += 1
        pause = 0.0 if forced else self._pace(endpoint)
        if pause > PATIENCE_SECONDS:
            self.leave(endpoint, None)
            return Snooze(self._put_off(endpoint), reason="put off: the endpoint's rate limit")
        if pause > 0:
            self.next_send += 1 / (endpoint.rate_per_second or 1)
            try:
                await trio.sleep(pause)
            except trio.Cancelled:
                self.leave(endpoint, None)
                raise
        elif endpoint.rate_per_second:
            self.next_send = trio.current_time() + 1 / endpoint.rate_per_second
        return None

    def leave(self, endpoint: Endpoint, delivered: bool | None, seconds: float = 0.0) -> None:
        """Give the turn back; `delivered` None when nothing was learnt about the endpoint."""
        self.in_flight -= 1
        now = trio.current_time()
        if delivered is not None:
            self.proven = delivered
        if delivered:
            self.allowance = min(max(self.allowance * 2, FIRST_ALLOWANCE), float(endpoint.max_in_flight))
            self._count(now)
        elif delivered is False:
            self.allowance = max(1.0, self.allowance / 2)
        if delivered is not None and seconds < PATIENCE_SECONDS:
            self.stuck_until = 0.0
        limit = self._limit(endpoint)
        while self._queue and self.in_flight < limit:
            self.in_flight += 1  # counted for the one that is woken
            self._queue.popleft().set()

    def release_now(self, endpoint: Endpoint) -> int:
        """Return how many parked deliveries should come back now to keep the endpoint busy, and forget
        them."""
        if not self.parked:
            return 0
        limit = self._limit(endpoint)
        room = 2 * limit - self.in_flight - len(self._queue)
        if room < max(1, limit // 2):
            return 0
        wanted = min(self.parked, room)
        self.parked -= wanted
        return wanted

    def _limit(self, endpoint: Endpoint) -> int:
        return max(1, min(int(self.allowance), endpoint.max_in_flight))

    async def _wait_for_turn(self, patience: float) -> bool:
        turn = trio.Event()
        self._queue.append(turn)
        try:
            with trio.move_on_after(patience):
                await turn.wait()
        except trio.Cancelled:
            if turn.is_set():
                self.in_flight -= 1
            else:
                self._queue.remove(turn)
            raise
        if not turn.is_set():
            self._queue.remove(turn)
        return turn.is_set()

    def _pace(self, endpoint: Endpoint) -> float:
        if endpoint.rate_per_second is None:
            return 0.0
        return max(0.0, self.next_send - trio.current_time())

    def _put_off(self, endpoint: Endpoint) -> float:
        """Give each delivery that is put off a time of its own, so that they do not come back together."""
        now = trio.current_time()
        self.put_off_to = max(self.put_off_to, self.next_send, now) + 1 / (endpoint.rate_per_second or 1)
        return self.put_off_to - now

    def _count(self, now: float) -> None:
        """Follow how many deliveries a second succeed."""
        gap = max(now - self._measured, 0.0001) if self._measured else 1.0
        self._measured = now
        self.rate += (1 / gap - self.rate) * min(1.0, gap)


class Gates:
    """The gates of this daemon, by endpoint."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}

    def of(self, endpoint_id: str) -> Gate:
        """Return the gate of an endpoint."""
        gate = self._gates.get(endpoint_id)
        if gate is None:
            if len(self._gates) >= _MOST_GATES:
                self._gates = {key: kept for key, kept in self._gates.items() if not kept.idle}
            gate = self._gates[endpoint_id] = Gate()
        return gate

    def in_flight(self) -> int:
        """Return how many sends are under way."""
        return sum(gate.in_flight for gate in self._gates.values())


def refusal(endpoint: Endpoint, *, forced: bool = False) -> Outcome | None:
    """Return what becomes of a delivery whose endpoint takes none now, or None when it may go on."""
    if endpoint.status == "deleted":
        return Cancel("the endpoint was deleted")
    if forced:
        return None
    if endpoint.status != "active":
        reason = f": {endpoint.status_reason}" if endpoint.status_reason else ""
        return Hold(f"parked while the endpoint is {endpoint.status}{reason}")
    if endpoint.rest_until is not None and trio.current_time() < endpoint.rest_until:
        return Hold("parked while the endpoint rests after failures")
    return None
