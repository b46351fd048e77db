"""Answers of GET routes that declare `cache=CacheFor(…)`: kept in the cache, one per owner and query."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from .arrival import Arrival
from .endpoint import Endpoint
from .reply import Answer
from .request import Request

_KEPT_FIELDS = ("content-type", "etag", "link", "content-disposition")


class Cache(Protocol):
    """The part of the cache that is used here. Values are what msgpack can hold."""

    async def get(
        self,
        name: str,
        key: Any,
        compute: Callable[[], Awaitable[Any]],
        *,
        ttl: float,
        tags: Sequence[str] = (),
    ) -> Any:
        """Return the kept value, or compute it once for everybody who asks at the same time."""
        ...


class _NotKept(Exception):
    """The answer is not one to keep; it travels past the cache to whoever asked."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("not kept")
        self.answer = answer


class AnswerCache:
    """Keeps 200 answers for as long as the route says; `ctx.cache.invalidate(tag)` throws them away."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def wants(self, endpoint: Endpoint, arrival: Arrival) -> bool:
        """Whether the route is cached."""
        return endpoint.route.cache is not None

    async def answer(
        self, endpoint: Endpoint, request: Request, call: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Return the kept answer, or call the handler and keep what it answers."""
        rule = endpoint.route.cache
        assert rule is not None

        async def compute() -> dict[str, Any]:
            answer = await call()
            if not isinstance(answer.body, bytes):
                raise TypeError(f"{endpoint.route.path}: a route that is cached cannot stream its answer")
            if answer.status != 200:
                raise _NotKept(answer)
            headers = {name: answer.headers[name] for name in _KEPT_FIELDS if name in answer.headers}
            return {"headers": headers, "body": answer.body}

        name = f"http.{endpoint.plugin}.{endpoint.route.path}"
        # The plugin names its tags without its own name in front, as it does with `ctx.cache`.
        tags = [f"{endpoint.plugin}.{tag}" for tag in rule.tags]
        try:
            kept = await self._cache.get(name, _key(request), compute, ttl=rule.seconds, tags=tags)
        except _NotKept as passed:
            return Answer(passed.answer.status, dict(passed.answer.headers), passed.answer.body)
        return Answer(200, dict(kept["headers"]), bytes(kept["body"]))


def _key(request: Request) -> str:
    """Whose answer it is and to what question; callers without an owner are apart by kind."""
    identity = request.identity
    who = ["owner", identity.owner] if identity.owner is not None else ["kind", identity.kind]
    parts = [who, sorted(request.path.items()), msgspec.to_builtins(request.query)]
    return msgspec.json.encode(parts).decode()
