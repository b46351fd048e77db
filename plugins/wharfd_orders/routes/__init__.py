"""The endpoints, under `/api/bulk-orders` as old callers know them and under `/api/v1/bulk-orders`."""

from __future__ import annotations

from typing import Any

from wharfd import Route

from ..config import Settings
from . import deciding, files, reading, uploading

_UPLOAD_SECONDS = 3600.0
_DOWNLOAD_SECONDS = 3600.0


def routes(settings: Settings) -> list[Route]:
    """Return all of them."""
    read, write = "orders:read", "orders:write"

    def route(method: Any, path: str, handler: Any, scope: str, summary: str, **more: Any) -> Route:
        return Route(
            method=method,
            path=f"/api/bulk-orders{path}",
            aliases=(f"/api/v1/bulk-orders{path}",),
            handler=handler,
            scope=scope,
            summary=summary,
            **more,
        )

    return [
        route(
            "POST", "", uploading.submit, write, "Send a batch of orders as JSON, JSON Lines or CSV",
            stream=True, max_body_bytes=settings.max_upload_bytes, timeout_seconds=_UPLOAD_SECONDS,
            status=201,
        ),
        route(
            "GET", "", reading.list_batches, read, "List batches", query=reading.ListQuery,
            kept=("/api/bulk-orders",),
        ),
        route("GET", "/limits", reading.show_limits, read, "What an upload may be"),
        route(
            "GET", "/template", files.download_template, read, "An example file", query=files.TemplateQuery
        ),
        route("GET", "/{batch}", reading.show_batch, read, "Show a batch"),
        route("GET", "/{batch}/progress", reading.show_progress, read, "How far a batch is"),
        route(
            "GET", "/{batch}/events", reading.follow_progress, read, "Follow a batch as server-sent events"
        ),
        route(
            "GET", "/{batch}/results", files.download, read, "Download results", query=files.FileQuery,
            timeout_seconds=_DOWNLOAD_SECONDS,
        ),
        route(
            "GET", "/{batch}/results/checksum", files.show_checksum, read, "Checksum of a download",
            query=files.FileQuery, timeout_seconds=_DOWNLOAD_SECONDS,
        ),
        route("GET", "/{batch}/orders", reading.list_items, read, "List results", query=reading.ItemsQuery),
        route("GET", "/{batch}/orders/{index}", reading.show_item, read, "Show one order of a batch"),
        route(
            "POST", "/{batch}/orders/{index}/resolve", deciding.resolve, write,
            "Say what became of an order whose outcome is unknown", body=deciding.Resolution,
        ),
        route("POST", "/{batch}/pause", deciding.pause, write, "Pause a batch"),
        route("POST", "/{batch}/resume", deciding.resume, write, "Let a paused batch go on"),
        route("POST", "/{batch}/cancel", deciding.cancel, write, "Cancel a batch", body=bytes),
        route("POST", "/{batch}/retry", deciding.retry, write, "Retry failed orders", body=bytes),
        route("POST", "/{batch}/approve", deciding.approve, "orders:approve", "Approve a batch"),
        route("GET", "/{batch}/verify", deciding.verify, read, "Recount the rows", timeout_seconds=120.0),
        Route(
            method="GET", path="/api/v1/orders", handler=reading.list_orders, scope=read,
            query=reading.OrdersQuery, summary="List orders that were carried out",
        ),
    ]  # fmt: skip
