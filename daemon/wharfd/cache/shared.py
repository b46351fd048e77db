"""The second level: values in Redis, believed only when they prove to be what was stored.

Every tag has a generation, a random word under its own key. A value is stored with the generations its
compute saw before it began, and is good while they are still the current ones. So invalidating is one
write, whatever the number of values, and a compute that began before an invalidation cannot bring the old
state back, however late it ends. A generation that was evicted or flushed is made anew: a miss, never a lie.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING

import msgspec

from ..redis.scripts import Script
from .keys import KeySpace

if TYPE_CHECKING:
    from ..redis.link import RedisLink

_GENERATION_MS = 7 * 86_400_000
_SEAL = 16

_READ = Script("""
local answer = {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
for i = 2, #KEYS do
    local generation = redis.call('GET', KEYS[i])
    if not generation then
        generation = ARGV[1]
        redis.call('SET', KEYS[i], generation, 'PX', ARGV[2])
    end
    answer[i + 1] = generation
end
return answer
""")

_INVALIDATE = Script("""
for i = 1, #KEYS do
    redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
end
return redis.call('PUBLISH', ARGV[3], ARGV[4])
""")


class _Envelope(msgspec.Struct, array_like=True, frozen=True):
    generations: list[bytes]
    data: bytes


@dataclass(frozen=True)
class Found:
    """What a look-up brought: the generations now, and the value with its remaining seconds, if good.

    `lie` says that Redis held something that was not stored by us under this key.
    """

    generations: list[bytes]
    data: bytes | None
    seconds: float
    lie: bool = False


class RedisLevel:
    """Reads, writes and invalidates in Redis. Every method may raise `RedisUnavailable`."""

    def __init__(self, link: RedisLink, keys: KeySpace, seal_key: bytes) -> None:
        self.link = link
        self._keys = keys
        self._seal_key = seal_key
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(_Envelope)

    async def read(self, digest: bytes, tags: Sequence[str]) -> Found:
        """Look a value up, and the generations that a new value would be stored with."""
        reply = await self.link.script(
            _READ,
            [self._keys.entry_key(digest), *self._keys.tag_keys(tags)],
            os.urandom(12),
            _GENERATION_MS,
        )
        blob, left_ms, *generations = reply
        if not all(isinstance(one, bytes) for one in generations) or len(generations) != len(tags):
            return Found([], None, 0.0, lie=True)
        if blob is None or left_ms <= 0:
            return Found(generations, None, 0.0)
        envelope = self._unsealed(digest, blob)
        if envelope is None:
            return Found(generations, None, 0.0, lie=True)
        current = envelope.generations == generations
        return Found(generations, envelope.data if current else None, left_ms / 1000)

    async def write(self, digest: bytes, generations: list[bytes], data: bytes, seconds: float) -> None:
        """Store a value with the generations that were read before it was computed."""
        blob = self._sealed(digest, self._encoder.encode(_Envelope(generations, data)))
        key, lasting = self._keys.entry_key(digest), max(1, int(seconds * 1000))
        await self.link.run(lambda redis: redis.set(key, blob, px=lasting))

    async def invalidate(self, tags: Sequence[str], message: bytes) -> None:
        """Give the tags new generations and tell the other nodes, in one step."""
        await self.link.script(
            _INVALIDATE,
            self._keys.tag_keys(tags),
            os.urandom(12),
            _GENERATION_MS,
            self._keys.channel,
            message,
        )

    def _sealed(self, digest: bytes, body: bytes) -> bytes:
        return self._seal(digest, body) + body

    def _unsealed(self, digest: bytes, blob: bytes) -> _Envelope | None:
        """Return what was stored under this digest, or None when this is something else."""
        seal, body = blob[:_SEAL], blob[_SEAL:]
        if not compare_digest(seal, self._seal(digest, body)):
            return None
        try:
            return self._decoder.decode(body)
        except msgspec.MsgspecError:
            return None

    def _seal(self, digest: bytes, body: bytes) -> bytes:
        return blake2b(digest + body, digest_size=_SEAL, key=self._seal_key).digest()
