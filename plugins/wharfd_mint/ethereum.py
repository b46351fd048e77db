"""The Ethereum libraries, loaded late (they take a second) and without what they do to the process.

Importing `eth_account` raises Python's recursion limit to 100,000 for the whole process. wharfd decodes JSON
from strangers, and with that limit a deeply nested body overflows the C stack and kills the daemon instead of
being refused. So they are loaded here and nowhere else, and the limit is put back.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wharfd import NotReady


def load_account() -> Any:
    """Return `eth_account.Account`, which signs; say which package is missing when one is."""
    with _own_recursion_limit():
        try:
            import eth_abi  # noqa: F401  calls are encoded with it; better to miss it now than at the first mint
            from eth_account import Account
        except ImportError as error:
            raise NotReady(f"{error.name} is not installed; run: pip install 'wharfd[mint]'") from None
    return Account


@contextmanager
def _own_recursion_limit() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
