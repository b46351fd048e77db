"""The executors there are: our own, and those that other plugins add with `register_order_executors`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import structlog

from wharfd import Hooks, Transaction
from wharfd.contracts.orders import (
    Executed,
    ExternalExecutor,
    OrderToExecute,
    Refused,
    TransactionalExecutor,
)

Executor = TransactionalExecutor | ExternalExecutor


class LedgerExecutor:
    """The ledger alone: an order is carried out by being written down, which the handler does for all."""

    name = "ledger"

    async def execute_many(
        self, tx: Transaction, orders: Sequence[OrderToExecute]
    ) -> Sequence[Executed | Refused]:
        """Accept all of them."""
        return [Executed() for _ in orders]


def is_transactional(executor: Executor) -> TypeGuard[TransactionalExecutor]:
    """Whether it works through our own transaction."""
    return hasattr(executor, "execute_many")


class Executors:
    """Finds executors by name. Those of other plugins are asked for when one is not known yet."""

    def __init__(self, own: Sequence[Executor], hooks: Hooks, log: structlog.stdlib.BoundLogger) -> None:
        self._own = {executor.name: executor for executor in own}
        self._found: dict[str, Executor] = dict(self._own)
        self._hooks = hooks
        self._log = log

    async def find(self, name: str) -> Executor | None:
        """Return an executor, or None when nobody that runs at the moment has it."""
        if name not in self._own:
            await self._ask()
        return self._found.get(name)

    def trouble(self, name: str) -> str | None:
        """Return why orders wait for an executor at the moment, as far as it says so."""
        words: str | None = getattr(self._found.get(name), "trouble", None)
        return words

    async def names(self) -> list[str]:
        """Return the names of all executors."""
        await self._ask()
        return sorted(self._found)

    async def _ask(self) -> None:
        found = dict(self._own)
        for given in await self._hooks.call("register_order_executors"):
            for executor in given or ():
                name: Any = getattr(executor, "name", None)
                if not isinstance(name, str) or name in found:
                    self._log.error("order_executor_refused", executor=str(name), reason="no name, or taken")
                    continue
                found[name] = executor
        self._found = found
