"""The same delivery a thousand times, at once, on two daemons: one row, one effect, and honest answers."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress

import trio

from ..http import call, exchange
from ..stage import Scenario, Stage

_CONNECTIONS = 16


async def run(stage: Stage) -> None:
    """Every id is sent many times over many connections."""
    first, second = await stage.started(), await stage.started()
    for number in stage.times(2, 10):
        operation = f"storm-{number}"
        stage.ledger.offer(operation)
        answers: Counter[str] = Counter()
        copies = int(stage.scale(200, 1000))
        request = stage.workload.request(operation, stage.random)
        began = trio.current_time()

        async def send(port: int, count: int, *, request=request, answers=answers) -> None:
            done = 0
            while done < count:
                with suppress(OSError, EOFError, trio.BrokenResourceError):
                    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                        while done < count:
                            answer = await exchange(stream, request)
                            done += 1
                            answers[f"{answer.status} {_how(answer.body)}"] += 1

        async with trio.open_nursery() as nursery:
            for which in range(_CONNECTIONS):
                nursery.start_soon(send, (first, second)[which % 2].ingest, copies // _CONNECTIONS)
        acknowledged = sum(count for name, count in answers.items() if name.startswith("200"))
        stage.expect(acknowledged > 0, "no copy was acknowledged")
        stage.expect(answers["200 stored"] == 1, f"stored {answers['200 stored']} times: {dict(answers)}")
        stage.ledger.acknowledge(operation, trio.current_time() - began)
        if number == 0:
            stage.note(f"{copies} copies over {_CONNECTIONS} connections to two daemons: {dict(answers)}")
    status = (await call(first.api, "GET", "/health/ready")).status
    stage.expect(status == 200, f"not ready afterwards: {status}")


def _how(body: bytes) -> str:
    try:
        return str(json.loads(body).get("how", ""))
    except ValueError:
        return ""


SCENARIO = Scenario(
    "duplicate-storm", "The same delivery up to 1,000 times at once on two daemons.", run, short=True
)
