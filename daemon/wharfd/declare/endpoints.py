"""What a plugin serves: API routes with their limits, and paths where providers post."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from .checks import SCOPE, Handler, check


@dataclass(frozen=True)
class Rate:
    """At most `calls` in `seconds`, counted per caller."""

    calls: int
    seconds: float = 60.0

    def __post_init__(self) -> None:
        check(self.calls > 0 and self.seconds > 0, self, "calls and seconds must be above 0")


@dataclass(frozen=True)
class CacheFor:
    """Keep the answer of a GET for `seconds`, one copy per caller's owner and query.

    `tags` are what a writer names to throw it away: `ctx.cache.invalidate("transactions")`.
    """

    seconds: float
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Route:
    """One endpoint of the API. The handler is `async def handler(ctx, request) -> Struct | Reply`.

    `scope` is what a caller must hold; None opens the route to everybody and is for health and login only.
    `house=True` is for what belongs to nobody in particular: a caller that sees one owner's rows gets a 404.
    `body` is a msgspec type (decoded and validated before the handler runs), `bytes`, or None; with
    `stream=True` the handler reads `request.stream()` itself in constant memory.
    `query` is a msgspec Struct the query string is converted to. A parameter that it does not have is
    refused, but not on the paths in `kept`: callers of an old system come there, and may send more.
    `returns` is documented in OpenAPI.

    `page=True` is for people, not programs: the route stays out of OpenAPI. With `sign_in` a browser that
    comes without credentials is sent to that path (303, the way back in `next`) instead of getting a 401.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    handler: Handler
    scope: str | None
    house: bool = False
    aliases: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    body: Any = None
    query: type[Any] | None = None
    returns: Any = None
    status: int = 200
    stream: bool = False
    max_body_bytes: int = 1 << 20
    idempotent: bool = False
    rate: Rate | None = None
    cache: CacheFor | None = None
    timeout_seconds: float = 30.0
    summary: str = ""
    deprecated: bool = False
    page: bool = False
    sign_in: str | None = None

    def __post_init__(self) -> None:
        for path in self.paths:
            check(path.startswith("/") and "?" not in path, self, f"{path!r} must begin with / and hold no ?")
        check(
            self.scope is None or bool(SCOPE.match(self.scope)),
            self,
            f"scope {self.scope!r} is not area:verb",
        )
        for path in self.kept:
            check(path in self.paths, self, f"kept: {path!r} is neither the path nor one of the aliases")
        check(not self.house or self.scope is not None, self, f"{self.path}: house=True needs a scope")
        check(self.cache is None or self.method == "GET", self, f"{self.path}: only a GET can be cached")
        check(
            self.sign_in is None or (self.page and self.method == "GET" and self.sign_in.startswith("/")),
            self,
            f"{self.path}: sign_in is a path, and for a GET with page=True",
        )
        check(
            not self.idempotent or self.method != "GET", self, f"{self.path}: a GET needs no Idempotency-Key"
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """The path and its aliases."""
        return (self.path, *self.aliases)


@dataclass(frozen=True, kw_only=True)
class IngestRoute:
    """Paths on which a provider posts, answered only after the durable commit.

    `admit(ctx, delivery)` is a plain function without I/O: it verifies and returns an admission (a msgspec
    Struct), or a `Reply` that refuses. `store(ctx, tx, admissions)` writes a whole group in one transaction
    and returns one `Reply` per admission. `answer(ctx, delivery)` replies to a GET or HEAD on the same path.
    Both may see a delivery again that an interrupted commit had already stored; `store` collapses it.

    `single=True` says that `store` writes the group with one statement. It is given a database in place of
    the transaction then: the statement is its own commit, which saves two round trips of three. What `store`
    does after that statement may be cut off, and is repeated when the sender, unanswered, comes again.

    While PostgreSQL is away an admission is kept in the spool, encoded as its type `admission`, and answered
    with what `spooled(ctx, admission)` returns, or 200 `{"success":true}`; it reaches `store` later.
    `spool=False` makes the route answer 503 instead.
    """

    source: str
    paths: tuple[str, ...]
    admit: Callable[..., Any]
    store: Handler
    admission: type[Any] | None = None
    answer: Callable[..., Any] | None = None
    spooled: Callable[..., Any] | None = None
    max_body_bytes: int = 1 << 20
    spool: bool = True
    single: bool = False

    def __post_init__(self) -> None:
        check(bool(self.source), self, "source must not be empty")
        check(bool(self.paths), self, f"{self.source}: at least one path is needed")
        check(
            not self.spool or self.admission is not None,
            self,
            f"{self.source}: the spool needs the type of an admission; give admission=… or spool=False",
        )
        for path in self.paths:
            check(path.startswith("/") and "?" not in path, self, f"{path!r} must begin with / and hold no ?")
