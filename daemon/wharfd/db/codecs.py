"""How values travel: json and jsonb are encoded and decoded with msgspec.

Everything else is asyncpg's own: timestamptz is an aware datetime in UTC, numeric a Decimal, bytea bytes,
arrays lists. The codecs are binary, so that COPY can use them too.
"""

from __future__ import annotations

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


async def register_codecs(connection: asyncpg.Connection) -> None:
    """Teach a new connection json and jsonb (asyncio side)."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode_jsonb, decoder=_decode_jsonb, format="binary"
    )
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=_encoder.encode, decoder=_decoder.decode, format="binary"
    )
