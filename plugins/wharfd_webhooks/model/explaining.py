"""Why was this not delivered? Facts in, sentences out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .filters import compile_filter
from .patterns import matches

Facts = Mapping[str, Any]


def explain_missing(message: Facts, endpoint: Facts, payload: Any) -> list[str]:
    """Say why a message made no delivery for an endpoint, as far as the endpoint is as it was then."""
    reasons = []
    if endpoint["owner"] is not None and endpoint["owner"] != message["owner"]:
        reasons.append("the event belongs to another owner; an endpoint hears its own owner's events only")
    if not any(matches(pattern, message["type"]) for pattern in endpoint["events"]):
        reasons.append(
            f"the endpoint does not ask for {message['type']}; it asks for {', '.join(endpoint['events'])}"
        )
    elif endpoint["filter"] is not None and not compile_filter(endpoint["filter"])(payload):
        reasons.append("the endpoint's filter does not let this payload through")
    if endpoint["created_at"] > message["created_at"]:
        reasons.append("the endpoint was added after the event; recover sends it what came before")
    if endpoint["status"] == "disabled" and endpoint["status_at"] <= message["created_at"]:
        why = f" ({endpoint['status_reason']})" if endpoint["status_reason"] else ""
        reasons.append(f"the endpoint was disabled{why}; enable it and recover since then")
    if not reasons:
        reasons.append(
            "as the endpoint is now it would get the event: it was changed since, or it was disabled at that "
            "time; recover sends it"
        )
    return reasons


def explain_delivery(delivery: Facts, endpoint: Facts, attempts: Sequence[Facts]) -> list[str]:
    """Say what a delivery waits for, or how it ended."""
    state = delivery["state"]
    reasons = []
    if state == "done":
        reasons.append(
            f"it was delivered with attempt {attempts[-1]['number']}" if attempts else "it was delivered"
        )
    elif state == "cancelled":
        reasons.append(f"it was cancelled: {delivery['last_error'] or 'no reason was given'}")
    elif state == "buried":
        reasons.append(delivery["last_error"] or "it was given up")
        reasons.append("retry sends it again with all its tries")
    elif state == "held":
        reasons.append(delivery["last_error"] or "it is parked")
    elif state == "running":
        reasons.append("it is being sent at this moment")
    elif attempts:
        reasons.append(
            f"attempt {attempts[-1]['number']} failed; the next one is due at {_time(delivery['due_at'])}"
        )
    else:
        reasons.append(f"it waits for its first attempt, due at {_time(delivery['due_at'])}")
    if state in ("ready", "held"):
        reasons += _endpoint_reasons(endpoint)
    if any(attempt["outcome"] == "unknown" for attempt in attempts):
        reasons.append(
            "the outcome of an attempt is unknown: the receiver may have got it, with the same webhook-id"
        )
    if attempts and attempts[-1]["error"]:
        reasons.append(f"the last attempt: {attempts[-1]['error']}")
    return reasons


def _endpoint_reasons(endpoint: Facts) -> list[str]:
    reasons = []
    if endpoint["status"] != "active":
        why = f" ({endpoint['status_reason']})" if endpoint["status_reason"] else ""
        reasons.append(f"the endpoint is {endpoint['status']}{why}")
    if endpoint["resting"]:
        reasons.append(
            f"the endpoint rests until {_time(endpoint['breaker_until'])} "
            f"after {endpoint['failure_count']} failures in a row; then one delivery is tried"
        )
    elif endpoint["breaker_until"] is not None:
        reasons.append("the endpoint is being probed with one delivery after a rest")
    if endpoint["order_by"] is not None:
        reasons.append("the endpoint takes deliveries in order: an earlier one with the same key goes first")
    if endpoint["rate_per_second"] is not None:
        reasons.append(f"the endpoint takes at most {endpoint['rate_per_second']:g} deliveries a second")
    return reasons


def _time(value: Any) -> str:
    return str(value.strftime("%Y-%m-%dT%H:%M:%SZ"))
