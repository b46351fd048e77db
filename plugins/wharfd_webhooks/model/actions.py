"""What an answer means: the one table from status to action. The docs publish it and a test compares the
two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["success", "retry", "slow_down", "reject", "gone"]
ClientErrors = Literal["retry", "fail"]


@dataclass(frozen=True)
class Action:
    """What is done after an answer.

    `success` delivers. `retry` follows the schedule. `slow_down` does too, and rests the whole endpoint for
    as long as Retry-After says. `reject` is an answer that says the request itself is wrong: the short
    schedule, or none. `gone` ends the delivery and disables the endpoint. `sick` says whether the
    endpoint's health suffers.
    """

    kind: Kind
    sick: bool
    words: str


@dataclass(frozen=True)
class Rule:
    """One line of the table: the statuses from `first` to `last`."""

    first: int
    last: int
    action: Action

    @property
    def statuses(self) -> str:
        """The statuses as people write them."""
        return str(self.first) if self.first == self.last else f"{self.first}–{self.last}"


_RETRY = Action("retry", True, "not delivered; tried again on the schedule")
_REDIRECT = Action("retry", True, "a redirect is never followed; counts as not delivered, tried again")
_REJECT = Action("reject", True, "the receiver refuses the request; tried again on the short schedule only")

# The first line that holds the status counts.
STATUS_TABLE: tuple[Rule, ...] = (
    Rule(200, 299, Action("success", False, "delivered")),
    Rule(
        410,
        410,
        Action("gone", True, "the receiver is gone for good: the endpoint is disabled, nothing is retried"),
    ),
    Rule(
        429,
        429,
        Action("slow_down", False, "tried again after Retry-After; the whole endpoint rests until then"),
    ),
    Rule(
        503,
        503,
        Action("slow_down", True, "tried again after Retry-After; the whole endpoint rests until then"),
    ),
    Rule(408, 409, _RETRY),
    Rule(425, 425, _RETRY),
    Rule(300, 399, _REDIRECT),
    Rule(400, 499, _REJECT),
    Rule(500, 599, _RETRY),
    Rule(
        100, 999, Action("retry", True, "not an HTTP status that means success; tried again on the schedule")
    ),
)

# Failures without a status, by the outbound client's kind. All others are retried.
FAILURE_TABLE: dict[str, Action] = {
    "timeout": Action("retry", True, "no complete answer before the deadline; tried again"),
    "connect": Action("retry", True, "no connection; tried again"),
    "reset": Action("retry", True, "the connection broke before the answer was complete; tried again"),
    "dns": Action("retry", True, "the host name has no address; tried again"),
    "tls": Action("retry", True, "the TLS handshake failed or the certificate is not valid; tried again"),
    "protocol": Action("retry", True, "the answer is not HTTP/1.1; tried again"),
    "too_large_headers": Action("retry", True, "the answer's headers are too large; tried again"),
    "refused_address": Action(
        "retry", True, "the host has an address that is not allowed; nothing was sent, tried again"
    ),
    "bad_url": Action("reject", True, "the URL cannot be sent to; nothing was sent; short schedule"),
    "bad_header": Action("reject", True, "a header cannot be sent; nothing was sent; short schedule"),
    "transform": Action("retry", False, "a plugin's before_delivery failed; nothing was sent, tried again"),
}
_UNKNOWN = Action("retry", True, "the request failed; tried again")


def action_for(status: int | None, error_kind: str | None = None) -> Action:
    """Return what is done after this answer, or after this failure when there was no whole answer."""
    if error_kind is not None:
        return FAILURE_TABLE.get(error_kind, _UNKNOWN)
    if status is None:
        return _UNKNOWN
    return next((rule.action for rule in STATUS_TABLE if rule.first <= status <= rule.last), _UNKNOWN)


def table_as_markdown() -> str:
    """Return both tables as the docs print them."""
    lines = ["| answer | what wharfd does | counts against the endpoint |", "|---|---|---|"]
    rows = [(rule.statuses, rule.action) for rule in STATUS_TABLE]
    rows += [(f"no answer: `{kind}`", action) for kind, action in FAILURE_TABLE.items()]
    lines += [f"| {name} | {action.words} | {'yes' if action.sick else 'no'} |" for name, action in rows]
    return "\n".join(lines)
