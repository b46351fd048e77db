"""kill -9 of the daemon while it sends webhooks to customers, again and again."""

from __future__ import annotations

import json

import trio

from ..daemon import Daemon
from ..receiving import Receivers
from ..stage import Scenario, Stage

CONFIG = """[plugins.webhooks]
allow_networks = ["127.0.0.0/8"]
delays = [0.2, 0.2, 0.5, 0.5, 1, 1, 1, 1, 1, 1]
timeout = "5s"
open_after = 50
rest = "1s"
longest_rest = "2s"
"""
HEALTHY = ("fast", "slow", "flaky")
ONCE = "slow-once"
SETTLE_SECONDS = 240.0
ENDED = "state IN ('done', 'buried', 'cancelled')"


async def run(stage: Stage) -> None:
    """Kill it at random moments, then compare what was published with what the receivers took."""
    receivers = Receivers(stage.random)
    async with trio.open_nursery() as nursery:
        await nursery.start(receivers.run)
        daemon = await stage.started(activated=True, more=CONFIG)
        ids = {path: await add_endpoint(daemon, receivers, path) for path in (*HEALTHY, ONCE, "hole")}
        kills = sending = 0
        async with stage.load(rate=60.0, senders=6) as load:
            for _ in stage.times(4, 100, seconds=400):
                await trio.sleep(stage.random.uniform(0.05, 0.8))
                await daemon.kill()
                kills += 1
                sending += await count(stage, "webhooks.attempts WHERE outcome = 'started'") > 1
                died = trio.current_time()
                daemon.launch()
                await stage.recovered(load, died)
            await load.more(50)
        stuck = await settle(stage, ids)
        stage.expect(not stuck, f"deliveries of healthy endpoints did not end: {stuck}")
        await compare(stage, receivers, ids)
        stage.note(f"{kills} kills, {sending} of them with sends under way")
        nursery.cancel_scope.cancel()


async def add_endpoint(daemon: Daemon, receivers: Receivers, path: str) -> str:
    """Add an endpoint by the API and return its id."""
    body = {
        "url": f"http://127.0.0.1:{receivers.port}/{path}",
        "events": ["payment.*"],
        "atMostOnce": path == ONCE,
    }
    status, answer = await daemon.ask("POST", "/api/v1/webhooks", json.dumps(body).encode())
    assert status == 201, answer
    made = json.loads(answer)
    receivers.secrets[path] = made["secret"]
    return str(made["id"])


async def count(stage: Stage, what: str) -> int:
    """Count rows."""
    return int((await stage.server.query(stage.database, f"SELECT count(*) FROM {what}"))[0][0])


async def settle(stage: Stage, ids: dict[str, str]) -> list[list[str]]:
    """Wait until every event is worked and every delivery but those of the black hole has ended.

    Leases of the dead are ended as the checker does; whoever is alive has renewed its own by then.
    """
    names = ", ".join(f"'{one}'" for path, one in ids.items() if path != "hole")
    table = f"webhooks.deliveries WHERE endpoint_id IN ({names}) AND NOT {ENDED}"
    await stage.settled()
    with trio.move_on_after(SETTLE_SECONDS):
        while await count(stage, table):
            await stage.server.query(
                stage.database,
                "UPDATE webhooks.deliveries SET lease_until = now() WHERE state = 'running'"
                " AND lease_until BETWEEN now() AND now() + interval '45 seconds'",
            )
            await trio.sleep(0.5)
    return await stage.server.query(
        stage.database, f"SELECT endpoint_id, state, last_error, count(*) FROM {table} GROUP BY 1, 2, 3"
    )


async def compare(stage: Stage, receivers: Receivers, ids: dict[str, str]) -> None:
    """Every published event reached every healthy endpoint, under one id; once where that was asked for."""
    rows = await stage.server.query(
        stage.database, "SELECT id FROM wharfd.events WHERE type = 'payment.received'"
    )
    published = {row[0] for row in rows}
    for path in HEALTHY:
        taken = receivers.taken[path]
        missing, strange = published - taken.keys(), taken.keys() - published
        stage.expect(not missing, f"/{path} never got {len(missing)} of {len(published)}")
        stage.expect(not strange, f"/{path} got {len(strange)} ids that nobody published")
        again = sum(taken.values()) - len(taken)
        stage.note(f"/{path}: {len(taken)} of {len(published)} events, {again} of them once more")
    renamed = [payment for payment, names in receivers.names.items() if len(names) > 1]
    stage.expect(not renamed, f"{len(renamed)} payments came under more than one webhook-id")
    stage.expect(receivers.forged == 0, f"{receivers.forged} requests did not verify")
    once = receivers.taken[ONCE]
    buried = await count(
        stage, f"webhooks.deliveries WHERE endpoint_id = '{ids[ONCE]}' AND state = 'buried'"
        " AND last_error LIKE '%at most once%'",
    )  # fmt: skip
    stage.expect(max(once.values(), default=0) <= 1, "an endpoint that wants each once got one twice")
    unsent = len(published - once.keys())
    stage.expect(unsent <= buried, f"{unsent} were not sent at most once, and only {buried} say why")
    stage.note(f"/{ONCE}: {len(once)} once, {buried} left to a person, nothing twice")
    open_attempts = await count(
        stage, f"""webhooks.attempts a JOIN webhooks.deliveries d
          ON d.id = a.delivery_id AND d.created_at = a.delivery_at
          WHERE a.outcome = 'started' AND d.endpoint_id <> '{ids["hole"]}'""",
    )  # fmt: skip
    stage.expect(open_attempts == 0, f"{open_attempts} attempts never got an end")
    unknown = await count(stage, "webhooks.attempts WHERE outcome = 'unknown'")
    stage.note(f"{receivers.requests} requests, {unknown} attempts whose end nobody saw")


SCENARIO = Scenario(
    "kill-webhooks",
    "kill -9 of the daemon while it sends webhooks to five receivers, one of which never answers.",
    run,
    workloads=("netbanx",),
)
