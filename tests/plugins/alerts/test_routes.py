"""The endpoints: who may, what is refused, what is audited, and that lists are served by their indexes."""

import argparse

from wharfd import sql
from wharfd.cli.client import Client
from wharfd_alerts import commands, listing

AUDIT = sql("test.audit", "SELECT action FROM wharfd.audit WHERE action LIKE 'alert.%' ORDER BY recorded_at")
MANY = sql(
    "test.many",
    """INSERT INTO alerts.alerts (id, plugin, rule, key, status, severity, summary, message, started_at,
      last_found_at, resolved_at)
    SELECT 'alr_' || n, 'p' || n % 20, 'r', '', 'resolved', 'info', '', '', now() - n * interval '1 minute', now(), now()
    FROM generate_series(1, 20000) n""",
)


async def test_ack_and_resolve(world):
    async with world() as w:
        w.n.finds("eu")
        await w.evaluate()
        (alert,) = await w.open()
        path = f"/api/v1/alerts/{alert['id']}"
        acked = (await w.d.post(f"{path}/ack", {"note": "mine"})).json()
        assert (acked["acknowledged_by"], acked["note"]) == ("admin", "mine")
        done = (await w.d.post(f"{path}/resolve", {})).json()
        assert done["status"] == "resolved"
        again = await w.d.post(f"{path}/resolve", {})
        assert again.status == 409
        assert "is resolved; only one that fires" in again.json()["detail"]
        shown = (await w.d.get(path)).json()
        assert [(t["what"], t["actor"]) for t in shown["transitions"]] == [
            ("fired", "alerts"),
            ("acknowledged", "admin"),
            ("resolved", "admin"),
        ]
        assert shown["started_at"].endswith("Z")
        await w.evaluate()
        assert [a["key"] for a in await w.open()] == ["eu"], "it is still so: it fires anew"
        actions = [row["action"] for row in await w.d.db.fetch(AUDIT)]
        assert actions == ["alert.acknowledged", "alert.resolved"]


async def test_rules_are_listed_with_their_last_evaluation(world):
    async with world() as w:
        await w.evaluate()
        rules = {rule["name"]: rule for rule in (await w.d.get("/api/v1/alerts/rules")).json()["items"]}
        assert rules["neighbour.trouble"]["severity"] == "critical"
        assert rules["neighbour.trouble"]["evaluated_at"] is not None
        assert "alerts.queue_backlog" in rules


BAD = [
    ("GET", "/api/v1/alerts/alr_none", None, 404),
    ("POST", "/api/v1/alerts/alr_none/ack", {}, 404),
    ("POST", "/api/v1/alerts/alr_none/ack", {"note": "x" * 1001}, 422),
    ("POST", "/api/v1/alerts/alr_none/ack", {"notes": "x"}, 422),
    ("GET", "/api/v1/alerts/history?rule=nodot", None, 400),
    ("GET", "/api/v1/alerts/history?limit=0", None, 422),
    ("GET", "/api/v1/alerts/history?cursor=forged", None, 422),
    ("POST", "/api/v1/alerts/silences", {"reason": "", "seconds": 5}, 422),
    ("POST", "/api/v1/alerts/silences", {"reason": "x", "seconds": 0}, 422),
    ("POST", "/api/v1/alerts/silences", {"reason": "x", "seconds": 1e12}, 422),
    ("POST", "/api/v1/alerts/silences", {"reason": "x\0", "seconds": 5}, 422),
    ("POST", "/api/v1/alerts/silences", {"reason": "x", "seconds": 5, "rule": ""}, 422),
    ("DELETE", "/api/v1/alerts/silences/sil_none", None, 404),
]


async def test_bad_input(world):
    async with world() as w:
        for method, path, body, status in BAD:
            answer = await w.d.request(method, path, body)
            assert answer.status == status, (method, path, body, answer.body)
            assert answer.json()["success"] is False


async def test_nobody_without_credentials(world):
    async with world() as w:
        for path in ("", "/history", "/rules", "/silences"):
            assert (await w.d.get(f"/api/v1/alerts{path}", token=None)).status == 401


async def test_history_is_served_by_its_index(world):
    async with world() as w:
        await w.d.db.execute(MANY)
        await w.d.db.owner.execute(sql("test.analyze", "ANALYZE alerts.alerts"))
        assert "alerts_by_start" in await w.d.db.explain(listing.HISTORY, None, None, 51)
        assert "alerts_by_rule" in await w.d.db.explain(listing.HISTORY_OF_RULE, None, None, 51, "p3", "r")
        assert "Seq Scan" not in await w.d.db.explain(listing.OPEN, False)


async def test_the_command_line(world, capsys):
    import trio

    async with world() as w:
        w.n.finds("eu")
        await w.evaluate()
        (alert,) = await w.open()
        client = Client(w.d.api, w.d.token)
        parser = argparse.ArgumentParser()
        parser.set_defaults(json=False)
        commands.configure(parser)

        async def wharfd(*words):
            code = await trio.to_thread.run_sync(commands.run, parser.parse_args(words), client)
            assert code == 0
            return capsys.readouterr().out

        assert alert["id"] in await wharfd("list")
        assert "firing" in await wharfd("history", "--rule", "neighbour.trouble")
        assert "neighbour.trouble" in await wharfd("rules")
        assert "admin" in await wharfd("ack", alert["id"], "--note", "mine")
        made = await wharfd("silence", "neighbour.*", "--for", "2h", "--reason", "upgrade")
        silence = next(word for word in made.split() if word.startswith("sil_"))
        assert silence in await wharfd("silences")
        await wharfd("unsilence", silence)
        assert " no " in await wharfd("silences")
        assert "resolved" in await wharfd("resolve", alert["id"])


async def test_the_page_shows_what_fires_and_runs_nothing(world):
    async with world("[plugins.console]\n") as w:
        w.n.finds("eu", message="<script>alert(1)</script>")
        await w.evaluate()
        html = (await w.d.get("/console/alerts")).body.decode()
        assert "neighbour" in html
        assert "<script>" not in html
        assert "&lt;script&gt;" in html
