"""An upload in its normal form, on disk until it is loaded: small ones stay in memory.

Nothing of an upload is in the database before all of it was read and judged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .model.order import RowError
from .reading import Row

_CHUNK_ROWS = 1000
_CHUNK_BYTES = 1 << 20
_IN_MEMORY_BYTES = 2 << 20
_LONGEST_REASON = 500


class SpooledRow(msgspec.Struct, array_like=True):
    """A row as it will be stored. `code` and `error` are set when it cannot be taken."""

    idx: int
    line: int
    client_ref: str | None
    account: str | None
    currency: str | None
    amount: int | None
    payload: bytes
    fingerprint: bytes | None
    code: str | None = None
    error: str | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[SpooledRow])


class Spool:
    """Rows on their way in. `rows` counts them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Unlinked from the start, so a daemon that is killed leaves nothing behind.
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, dir=str(folder))  # noqa: SIM115
        self._pending: list[SpooledRow] = []
        self._pending_bytes = 0
        self.rows = 0

    def add(self, row: Row) -> None:
        """Append a row."""
        order = row.order
        if order is not None:
            spooled = SpooledRow(
                self.rows, row.line, order.client_ref, order.account, order.currency, order.amount,
                order.payload, order.fingerprint,
            )  # fmt: skip
        else:
            code, error = summary_of(row.errors)
            spooled = SpooledRow(self.rows, row.line, None, None, None, None, row.raw, None, code, error)
        self.rows += 1
        self._pending.append(spooled)
        self._pending_bytes += len(spooled.payload)
        if len(self._pending) >= _CHUNK_ROWS or self._pending_bytes >= _CHUNK_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            data = _encoder.encode(self._pending)
            self._file.write(len(data).to_bytes(4, "big") + data)
            self._pending, self._pending_bytes = [], 0

    def chunks(self) -> Iterator[list[SpooledRow]]:
        """Give all rows from the beginning, some at a time; can be done again."""
        self._flush()
        self._file.seek(0)
        while head := self._file.read(4):
            yield _decoder.decode(self._file.read(int.from_bytes(head, "big")))

    def close(self) -> None:
        """Throw it away."""
        self._file.close()


def summary_of(errors: tuple[RowError, ...]) -> tuple[str, str]:
    """Return the code of the first error, and all of them in one sentence."""
    words = "; ".join(
        f"{error.column}: {error.message}" if error.column else error.message for error in errors
    )
    return errors[0].code, words[:_LONGEST_REASON]
