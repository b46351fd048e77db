"""`/api/v1/work`: the work queues, what is buried in them, and digging it up again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import trio

from ..declare import Route
from ..errors import UnknownQueue, WharfdError
from ..http import FieldError, Invalid, NotFound, Page, Request, decode_cursor, encode_cursor
from ..work.control import BuriedRow, QueueStatistics
from .sources import CoreSources

T = TypeVar("T")

_AT_ONCE = 4
_MOST_KEYS = 10_000


class QueueInfo(msgspec.Struct, kw_only=True):
    """How a queue is doing, over all daemons; rates are per minute."""

    name: str
    state: Literal["working", "paused"]
    ready: int
    due: int
    running: int
    buried: int
    held: int
    oldest_due_seconds: float | None
    arrived_per_minute: float
    done_per_minute: float
    retried_per_minute: float
    buried_per_minute: float


class Queues(msgspec.Struct):
    """All queues, by name."""

    queues: list[QueueInfo]


class Switched(msgspec.Struct, kw_only=True):
    """The queue, its state now, and whether that is new."""

    name: str
    state: Literal["working", "paused"]
    changed: bool


class Requeue(msgspec.Struct, forbid_unknown_fields=True):
    """Which buried rows to work again: these `keys`, or `all` of them."""

    keys: Annotated[list[str], msgspec.Meta(max_length=_MOST_KEYS)] | None = None
    all: bool = False


class Requeued(msgspec.Struct, kw_only=True):
    """How many rows will be worked again."""

    name: str
    requeued: int


class BuriedQuery(msgspec.Struct):
    """Which buried rows to show."""

    cursor: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


def queue_info(found: QueueStatistics) -> QueueInfo:
    """A queue's figures as they are shown."""
    return QueueInfo(
        name=found.queue,
        state="paused" if found.paused else "working",
        ready=found.ready,
        due=found.due,
        running=found.running,
        buried=found.buried,
        held=found.held,
        oldest_due_seconds=found.oldest_due_seconds,
        arrived_per_minute=found.arrived_per_minute,
        done_per_minute=found.done_per_minute,
        retried_per_minute=found.retried_per_minute,
        buried_per_minute=found.buried_per_minute,
    )


async def queue_infos(ctx: CoreSources) -> list[QueueInfo]:
    """The figures of every queue, a few asked at a time."""
    found: dict[str, QueueInfo] = {}
    turn = trio.CapacityLimiter(_AT_ONCE)

    async def ask(name: str) -> None:
        async with turn:
            found[name] = queue_info(await ctx.work.statistics(name))

    async with trio.open_nursery() as nursery:
        for name in ctx.work.names():
            nursery.start_soon(ask, name)
    return [found[name] for name in sorted(found)]


async def list_queues(ctx: CoreSources, request: Request) -> Queues:
    """List the queues and how they are doing."""
    return Queues(await queue_infos(ctx))


async def pause(ctx: CoreSources, request: Request) -> Switched:
    """Stop working a queue, on every daemon; what runs goes on."""
    name = request.path["queue"]
    changed = await _known(ctx.work.pause, name, actor=request.identity.subject)
    return Switched(name=name, state="paused", changed=changed)


async def resume(ctx: CoreSources, request: Request) -> Switched:
    """Work a paused queue again."""
    name = request.path["queue"]
    changed = await _known(ctx.work.resume, name, actor=request.identity.subject)
    return Switched(name=name, state="working", changed=changed)


async def requeue(ctx: CoreSources, request: Request) -> Requeued:
    """Work buried rows again, with all their attempts; their history is kept."""
    name, wanted = request.path["queue"], request.body
    if wanted.all == bool(wanted.keys):
        raise Invalid(FieldError("keys", "give keys or all, one of them"))
    chosen: dict[str, Any] = {"where": {}} if wanted.all else {"keys": wanted.keys}
    try:
        count = await _known(ctx.work.requeue, name, actor=request.identity.subject, **chosen)
    except WharfdError as error:
        if isinstance(error, NotFound) or type(error) is not WharfdError:
            raise
        raise Invalid(FieldError("keys", str(error))) from error
    return Requeued(name=name, requeued=count)


async def list_buried(ctx: CoreSources, request: Request) -> Page[BuriedRow]:
    """List the rows that were given up, the latest first, with the reason and the history of each."""
    query: BuriedQuery = request.query
    last = decode_cursor(request, query.cursor, str)
    inner = last[0] if last is not None else None
    rows = await _known(ctx.work.buried, request.path["queue"], inner, limit=query.limit)
    following = encode_cursor(request, rows.next_cursor) if rows.next_cursor is not None else None
    return Page(items=list(rows.items), next_cursor=following)


async def _known(ask: Callable[..., Awaitable[T]], queue: str, *arguments: Any, **options: Any) -> T:
    try:
        return await ask(queue, *arguments, **options)
    except UnknownQueue as unknown:
        raise NotFound(str(unknown)) from unknown


READ, WRITE = "system:read", "system:write"

ROUTES = [
    Route(method="GET", path="/api/v1/work", handler=list_queues, scope=READ, returns=Queues),
    Route(method="POST", path="/api/v1/work/{queue}/pause", handler=pause, scope=WRITE, returns=Switched),
    Route(method="POST", path="/api/v1/work/{queue}/resume", handler=resume, scope=WRITE, returns=Switched),
    Route(
        method="POST",
        path="/api/v1/work/{queue}/requeue",
        handler=requeue,
        scope=WRITE,
        body=Requeue,
        returns=Requeued,
    ),
    Route(
        method="GET",
        path="/api/v1/work/{queue}/buried",
        handler=list_buried,
        scope=READ,
        query=BuriedQuery,
        returns=Page[BuriedRow],
    ),
]
