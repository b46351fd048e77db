"""How values travel: json and jsonb are encoded and decoded with msgspec, arrays of built-in types are known.

Everything else is asyncpg's own: timestamptz is an aware datetime in UTC, numeric a Decimal, bytea bytes,
arrays lists. The codecs are binary, so that COPY can use them too.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import asyncpg
import msgspec

_JSONB_VERSION = b"\x01"
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def _encode_jsonb(value: Any) -> bytes:
    return _JSONB_VERSION + _encoder.encode(value)


def _decode_jsonb(data: bytes) -> Any:
    return _decoder.decode(data[1:])


# PostgreSQL numbers the types below this by hand: each means the same on every server, but for the row types
# of catalogues, whose attributes change from one major version to the next.
_BY_HAND = 10_000
_described: dict[frozenset[int], Any] = {}
_NOT_ASKED = SimpleNamespace(name="not asked")  # no statement of the server was used


class Connection(asyncpg.Connection):
    """A connection that describes a built-in type as an earlier one learnt it.

    asyncpg asks the server anew on each connection for each kind of array, by a query that takes longer than
    most that need the answer. What is overridden here is asyncpg's own affair: the upper bound on its version
    in `pyproject.toml` is to be raised only after a look at it.
    """

    async def _introspect_types(self, typeoids: Iterable[int], timeout: float | None) -> tuple[Any, Any]:
        wanted = frozenset(typeoids)
        if wanted in _described:
            return _described[wanted], _NOT_ASKED
        types, statement = await super()._introspect_types(wanted, timeout)  # type: ignore[misc]
        if max(wanted) < _BY_HAND and not any(one["attrtypoids"] for one in types):
            _described[wanted] = types
        return types, statement


async def register_codecs(connection: asyncpg.Connection) -> None:
    """Teach a new connection json and jsonb (asyncio side)."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode_jsonb, decoder=_decode_jsonb, format="binary"
    )
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=_encoder.encode, decoder=_decoder.decode, format="binary"
    )
