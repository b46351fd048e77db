"""Turns at endpoints that take fewer sends at a time than there are daemons.

A share of such a limit would be less than one send, so its daemons take turns: a row of `webhooks.turns` per
send, as many as the endpoint takes, with a unique key that decides. Whoever gets none asks again for a moment
and then puts its delivery off, which costs no attempt. The row of a daemon that died counts until its send
would have been over. All other endpoints never come here.
"""

from __future__ import annotations

import trio

from wharfd import DatabaseUnavailable, Overloaded, PluginContext, StatementTimeout, sql

from ..config import Settings

ASK_SECONDS = 0.1
PATIENCE_SECONDS = 5.0
# From the turn to the send, and from its end to giving the turn back.
SLACK_SECONDS = 10.0
_GIVE_SECONDS = 3.0

TAKE = sql(
    "take_turn",
    """
    INSERT INTO webhooks.turns AS t (endpoint_id, slot, delivery_id, until)
    SELECT $1, free.slot, $2, clock_timestamp() + make_interval(secs => $4)
      FROM generate_series(0, $3::int - 1) AS free (slot)
     WHERE NOT EXISTS (SELECT FROM webhooks.turns taken
                        WHERE taken.endpoint_id = $1 AND taken.slot = free.slot
                          AND taken.until > clock_timestamp())
     ORDER BY free.slot LIMIT 1
    ON CONFLICT (endpoint_id, slot) DO UPDATE SET delivery_id = excluded.delivery_id, until = excluded.until
     WHERE t.until <= clock_timestamp()
    RETURNING slot
    """,
)
GIVE = sql(
    "give_turn", "DELETE FROM webhooks.turns WHERE endpoint_id = $1 AND slot = $2 AND delivery_id = $3"
)


class Turns:
    """Takes turns at narrow endpoints for this daemon, and gives them back."""

    def __init__(self, ctx: PluginContext[Settings]) -> None:
        self._ctx = ctx
        self._seconds = ctx.settings.timeout.total_seconds() + SLACK_SECONDS

    async def take(self, endpoint_id: str, delivery_id: str, most: int) -> int | None:
        """Return the slot of the turn that was taken, or None when there was none for a while."""
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                slot: int | None = await self._ctx.db.fetchval(
                    TAKE, endpoint_id, delivery_id, most, self._seconds
                )
                if slot is not None:
                    return slot
                await trio.sleep(ASK_SECONDS)
        return None

    async def give(self, endpoint_id: str, delivery_id: str, slot: int) -> None:
        """Give a turn back; what cannot be said now is over by itself later."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _GIVE_SECONDS):
            try:
                await self._ctx.db.execute(GIVE, endpoint_id, slot, delivery_id)
            except (DatabaseUnavailable, Overloaded, StatementTimeout) as error:
                self._ctx.log.warning("turn_not_given_back", endpoint=endpoint_id, error=str(error))
