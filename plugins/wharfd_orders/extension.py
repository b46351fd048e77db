"""The extension point of this plugin: who carries out orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wharfd import PluginContext, hookspec
from wharfd.contracts.orders import ExternalExecutor, TransactionalExecutor


@hookspec
def register_order_executors(
    ctx: PluginContext[Any],
) -> Sequence[TransactionalExecutor | ExternalExecutor] | None:
    """Add executors, which batches can then choose by name.

    Called: with the implementing plugin's own context, whenever an executor is looked for by name.
    May: return the same objects every time; they are asked for often.
    Must not: do I/O here; `execute` and `execute_many` may.
    Returns: a sequence of executors as in `wharfd.contracts.orders`.
    Example: `return [ctx.state["rta_executor"]]`
    """
