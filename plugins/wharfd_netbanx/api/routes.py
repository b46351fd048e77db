"""The plugin's routes, all in one place."""

from __future__ import annotations

from wharfd import CacheFor, Route

from ..config import Settings
from . import accounts, analytics, events, keys, queue, sources, transactions

_EVENTS = "/api/v1/webhook-events"
_OLD_EVENTS = "/api/webhooks/events"
_SECRETS = "/api/webhook-secrets"


def api_routes(settings: Settings) -> list[Route]:
    """Return the endpoints of the plugin."""
    return [
        Route(
            method="GET",
            path="/api/webhooks/netbanx",
            aliases=("/api/v1/webhooks/netbanx",),
            handler=queue.get_status,
            scope="webhook_events:read",
            summary="Whether webhooks are taken, what came in, and how the queue is doing",
        ),
        Route(
            method="GET",
            path="/api/webhooks/queue",
            aliases=("/api/v1/webhooks/queue",),
            handler=queue.get_queue,
            scope="webhook_queue:read",
            house=True,
            summary="Depth, rates, oldest age, refusals and what was given up",
        ),
        Route(
            method="POST",
            path="/api/webhooks/queue",
            aliases=("/api/v1/webhooks/queue",),
            handler=queue.change_queue,
            scope="webhook_queue:manage",
            house=True,
            body=queue.QueueAction,
            summary="Pause, resume, retry one or all that failed, clean up",
        ),
        Route(
            method="GET",
            path="/api/v1/transactions",
            aliases=("/api/transactions",),
            kept=("/api/v1/transactions", "/api/transactions"),
            handler=transactions.list_transactions,
            scope="transactions:read",
            query=transactions.TransactionQuery,
            cache=CacheFor(120, ("transactions",)),
            summary="Transactions, newest first",
        ),
        Route(
            method="GET",
            path="/api/v1/transactions/{id}",
            aliases=("/api/transactions/{id}",),
            handler=transactions.get_transaction,
            scope="transactions:read",
            cache=CacheFor(120, ("transactions",)),
            summary="One transaction, by our id or the provider's",
        ),
        Route(
            method="GET",
            path="/api/v1/accounts",
            aliases=("/api/accounts",),
            kept=("/api/v1/accounts", "/api/accounts"),
            handler=accounts.list_accounts,
            scope="accounts:read",
            query=accounts.AccountQuery,
            cache=CacheFor(600, ("accounts",)),
            summary="Merchant accounts, newest first",
        ),
        Route(
            method="GET",
            path="/api/v1/accounts/{id}",
            aliases=("/api/accounts/{id}",),
            handler=accounts.get_account,
            scope="accounts:read",
            cache=CacheFor(600, ("accounts",)),
            summary="One account with its status history and payment methods",
        ),
        Route(
            method="GET",
            path="/api/v1/analytics",
            aliases=("/api/analytics",),
            kept=("/api/v1/analytics", "/api/analytics"),
            handler=analytics.get_analytics,
            scope="analytics:read",
            query=analytics.AnalyticsQuery,
            cache=CacheFor(180, ("analytics",)),
            summary="Counts and sums of the last hour, day, week or month",
        ),
        *_event_routes(),
        *_key_routes(),
        Route(
            method="GET",
            path="/api/v1/webhook-sources",
            handler=sources.list_sources,
            scope="webhook_events:read",
            summary="The sources, their keys with state and validity, and when they were last heard of",
        ),
    ]


def _event_routes() -> list[Route]:
    return [
        Route(
            method="GET",
            path=_EVENTS,
            aliases=(_OLD_EVENTS,),
            kept=(_OLD_EVENTS,),
            handler=events.list_events,
            scope="webhook_events:read",
            query=events.EventQuery,
            summary="Stored events, newest first",
        ),
        Route(
            method="POST",
            path=f"{_EVENTS}/replay",
            aliases=(f"{_OLD_EVENTS}/replay",),
            handler=events.replay_events,
            scope="webhook_events:replay",
            body=events.Replay,
            summary="Work events once more; a dry run unless told otherwise",
        ),
        Route(
            method="GET",
            path=f"{_EVENTS}/{{id}}",
            aliases=(f"{_OLD_EVENTS}/{{id}}",),
            handler=events.get_event,
            scope="webhook_events:read",
            summary="One event with body, headers, verdict and what it led to",
        ),
        Route(
            method="POST",
            path=f"{_EVENTS}/{{id}}/resolve",
            aliases=(f"{_OLD_EVENTS}/{{id}}/resolve",),
            handler=events.resolve_conflicts,
            scope="webhook_events:replay",
            summary="Say that the other contents an event came with were looked into",
        ),
        Route(
            method="GET",
            path=f"{_EVENTS}/{{id}}/explain",
            aliases=(f"{_OLD_EVENTS}/{{id}}/explain",),
            handler=events.explain_event,
            scope="webhook_secrets:manage",
            summary="Which settings reproduce the signature of a stored delivery",
        ),
    ]


def _key_routes() -> list[Route]:
    def route(method: str, path: str, handler: object, summary: str, **more: object) -> Route:
        return Route(
            method=method,  # type: ignore[arg-type]
            path=_SECRETS + path,
            aliases=(f"/api/v1/webhook-secrets{path}",),
            handler=handler,  # type: ignore[arg-type]
            scope="webhook_secrets:manage",
            summary=summary,
            **more,  # type: ignore[arg-type]
        )

    return [
        route("GET", "", keys.list_keys, "Stored keys, without the keys", query=keys.KeyQuery),
        route("POST", "", keys.create_key, "Store a key", body=keys.NewKey, status=201),
        route("GET", "/{id}", keys.get_key, "One stored key, without the key"),
        route("PATCH", "/{id}", keys.change_key, "Describe it, switch it off or on", body=keys.KeyChange),
        route("DELETE", "/{id}", keys.delete_key, "Throw it away", status=204),
        route("POST", "/{id}/rotate", keys.rotate_key, "Store its next version", body=keys.Rotation),
    ]
