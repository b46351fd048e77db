"""Who asks for what, kept in memory, and proven current by the statement that makes the deliveries.

The table `webhooks.generation` moves with every change of an endpoint that matters here, in the same
transaction. A batch of messages is kept, and its deliveries made, by one statement that does nothing when the
generation is not the one the targets were read at; then they are read anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from wharfd import Record, Transaction, sql

from ..model.endpoint import Target, read_target
from ..model.patterns import asking_for
from .messages import Message, Planned

# An endpoint hears what belongs to its owner; one without an owner is the house's and hears everything.
ASKING = sql(
    "endpoints_asking",
    """
    SELECT now.number, e.*
      FROM webhooks.generation now
      LEFT JOIN (
        SELECT g.place, e.id, e.owner, e.version, e.filter, e.order_by, e.order_failed
          FROM unnest($1::int[], $2::text[], $3::text[]) AS g (place, patterns, owner)
          JOIN webhooks.endpoints e
            ON e.events && string_to_array(g.patterns, ' ') AND e.status IN ('active', 'paused')
           AND (e.owner IS NULL OR e.owner = g.owner)) e ON true
     ORDER BY e.place, e.id
    """,
)
HOLD = sql("hold_generation", "SELECT number FROM webhooks.generation FOR SHARE")

# now() is when the transaction began: the time of the messages and of their deliveries.
SPREAD = sql(
    "keep_and_deliver",
    """
    WITH current AS MATERIALIZED (SELECT FROM webhooks.generation WHERE number = $1),
    kept AS (
      INSERT INTO webhooks.messages (id, type, owner, source, subject, trace_id, body)
      SELECT g.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                             $8::bytea[]) AS g
       WHERE EXISTS (SELECT FROM current)
    ), made AS (
      INSERT INTO webhooks.deliveries (id, endpoint_id, message_id, message_at, type, lane, order_key)
      SELECT g.id, g.endpoint_id, g.message_id, now(), g.type, g.lane, g.order_key
        FROM unnest($9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[])
          AS g (id, endpoint_id, message_id, type, lane, order_key)
       WHERE EXISTS (SELECT FROM current)
       ORDER BY g.id
    )
    SELECT EXISTS (SELECT FROM current)
    """,
)

_MOST_KINDS = 10_000
_PATIENCE = 3  # changes in a row that are waited out before nobody may change anything meanwhile

Kind = tuple[str, str | None]  # type and owner
Plan = Callable[[Message, Sequence[Target]], list[Planned]]


class Asking:
    """Who asks for messages of which type and owner. `ctx.state["asking"]` is one."""

    def __init__(self) -> None:
        self._generation = 0
        self._targets: dict[Kind, list[Target]] = {}
        self._known: dict[tuple[str, int], Target] = {}

    async def spread(self, tx: Transaction, messages: Sequence[Message], plan: Plan) -> list[Planned]:
        """Keep messages and make the deliveries that `plan` chooses; return what was made."""
        kinds = list(dict.fromkeys((message.type, message.owner) for message in messages))
        tries = 0
        while True:
            missing = [kind for kind in kinds if kind not in self._targets]
            if missing and not await self._read(tx, missing):
                continue  # what was known was read at another generation and is forgotten now
            planned = [
                one
                for message in messages
                for one in plan(message, self._targets[message.type, message.owner])
            ]
            if await _spread(tx, self._generation, messages, planned):
                return planned
            self._targets.clear()
            tries += 1
            if tries >= _PATIENCE:
                await tx.fetchval(HOLD)

    async def _read(self, tx: Transaction, kinds: Sequence[Kind]) -> bool:
        """Read who asks; returns False when that meant forgetting other kinds."""
        rows = await tx.fetch(
            ASKING,
            list(range(len(kinds))),
            [" ".join(asking_for(kind[0])) for kind in kinds],
            [kind[1] for kind in kinds],
        )
        complete = True
        if rows[0]["number"] != self._generation or len(self._targets) + len(kinds) > _MOST_KINDS:
            complete = not self._targets
            self._targets.clear()
            self._generation = rows[0]["number"]
        found: dict[Kind, list[Target]] = {kind: [] for kind in kinds}
        for row in rows:
            if row["place"] is not None:
                found[kinds[row["place"]]].append(self._target(row))
        self._targets.update(found)
        return complete

    def _target(self, row: Record) -> Target:
        key = (row["id"], row["version"])
        target = self._known.get(key)
        if target is None:
            if len(self._known) >= _MOST_KINDS:
                self._known.clear()
            self._known[key] = target = read_target(
                row["id"], row["owner"], row["version"], row["filter"], row["order_by"], row["order_failed"]
            )
        return target


async def _spread(
    tx: Transaction, generation: int, messages: Sequence[Message], planned: Iterable[Planned]
) -> bool:
    made = list(planned)
    return bool(
        await tx.fetchval(
            SPREAD,
            generation,
            [m.id for m in messages],
            [m.type for m in messages],
            [m.owner for m in messages],
            [m.source for m in messages],
            [m.subject for m in messages],
            [m.trace_id for m in messages],
            [m.body for m in messages],
            [p.id for p in made],
            [p.target.id for p in made],
            [p.message.id for p in made],
            [p.message.type for p in made],
            [p.target.lane for p in made],
            [p.order_key for p in made],
        )
    )
