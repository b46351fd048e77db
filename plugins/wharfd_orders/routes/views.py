"""What callers see: batches, results, orders, in the names that old callers know."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wharfd import Record

from ..executing.gates import gate_for
from ..model.money import text_of_minor
from ..model.state import SHOWN, Counts
from ..parts import Context, parts_of


def stamp(moment: datetime | None) -> str | None:
    """Write a time in ISO 8601 with Z."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def amounts_view(amounts: Mapping[str, int]) -> dict[str, Any]:
    """Return sums by currency, in minor units and as people write them."""
    return {
        currency: {"minor": minor, "text": text_of_minor(minor, currency)}
        for currency, minor in amounts.items()
    }


def batch_view(ctx: Context, batch: Record, counts: Counts) -> dict[str, Any]:
    """Return a batch; its status and counts come from its rows."""
    gate = gate_for(ctx, batch)
    finished = batch["finished_at"]
    phase = gate.phase
    if not counts.open:
        phase = "finished" if finished else "finishing"
    left = counts.of("waiting", "ready", "running")
    if phase == "running" and not left and counts.of("held"):
        phase = "needs_attention"
    return {
        "batchId": batch["id"],
        "owner": batch["owner"] or None,
        "label": batch["label"],
        "status": counts.status,
        "phase": phase,
        "phaseUntil": stamp(gate.until) if phase == gate.phase else None,
        "waitsFor": parts_of(ctx).executors.trouble(batch["executor"]) if phase == "running" else None,
        "total": counts.total,
        "processed": counts.processed,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "pending": counts.of("waiting", "ready"),
        "processing": counts.of("running"),
        "unknown": counts.of("held"),
        "duplicates": counts.duplicates,
        "skipped": counts.of("skipped"),
        "cancelled": counts.cancelled,
        "error": batch["cancel_reason"] if batch["cancelled_at"] is not None else None,
        "executor": batch["executor"],
        "fifo": batch["lane"].endswith("fifo"),
        "priority": batch["priority"],
        "maxPerSecond": batch["max_per_second"],
        "stopOnError": batch["stop_on_error"],
        "startAt": stamp(batch["start_at"]),
        "amounts": amounts_view(batch["amounts"]),
        "source": batch["source"],
        "contentSha256": batch["content_sha256"].hex(),
        "createdBy": batch["created_by"],
        "createdAt": stamp(batch["created_at"]),
        "startedAt": stamp(batch["started_at"]),
        "completedAt": stamp(finished),
        "resultsExpireAt": stamp(finished + ctx.settings.keep_results) if finished else None,
        "needsApproval": batch["needs_approval"],
        "approvedBy": batch["approved_by"],
        "approvedAt": stamp(batch["approved_at"]),
        "pausedBy": batch["paused_by"],
        "cancelledBy": batch["cancelled_by"],
    }


def split_error(state: str, code: str | None, error: str | None) -> tuple[str | None, str | None]:
    """Return code and sentence of what went wrong with a row."""
    if state == "skipped":
        return code, error
    if state == "duplicate":
        return "duplicate", None
    if state in ("buried", "held") and error:
        head, colon, rest = error.partition(": ")
        return (head, rest) if colon and " " not in head else ("failed", error)
    if state == "cancelled":
        return "cancelled", error
    return None, None


def result_view(row: Record) -> dict[str, Any]:
    """Return the result of one row. For a duplicate it is that of the order it repeats."""
    state, shown_state = row["state"], row["state"]
    original = None
    if state == "duplicate":
        shown_state = row["same_state"] or "done"
        original = {"batchId": row["same_batch_id"], "index": row["same_idx"]}
    code, error = split_error(state, row["code"], row["last_error"])
    if state == "duplicate" and shown_state in ("buried", "held", "cancelled"):
        code, error = split_error(shown_state, None, row["same_error"])
    over = shown_state in ("done", "buried", "skipped", "cancelled")
    view = {
        "index": row["idx"],
        "row": row["line"],
        "clientRef": row["client_ref"],
        "orderId": row["order_id"],
        "modelOrderId": row["external_id"],
        "success": (shown_state == "done") if over else None,
        "status": SHOWN[state],
        "code": code,
        "error": error,
        "attempts": row["attempts"],
        "lastError": row["last_error"] if state in ("waiting", "ready", "running") else None,
        "finishedAt": stamp(row["finished_at"]),
        "data": row["payload"],
    }
    if original is not None:
        view["duplicate"] = True
        view["duplicateOf"] = original
    return view


def order_view(row: Record) -> dict[str, Any]:
    """Return an order of the ledger."""
    return {
        "orderId": row["id"],
        "owner": row["owner"] or None,
        "batchId": row["batch_id"],
        "index": row["idx"],
        "clientRef": row["client_ref"],
        "account": row["account"],
        "currency": row["currency"],
        "amount": row["amount"],
        "amountText": text_of_minor(row["amount"], row["currency"]),
        "executor": row["executor"],
        "modelOrderId": row["external_id"],
        "order": row["payload"],
        "result": row["result"],
        "createdAt": stamp(row["created_at"]),
    }
