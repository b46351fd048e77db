"""Rules evaluated by a real daemon: fire, wait, resolve, silence, broken rules, mail, heartbeat, own rules."""

from contextlib import aclosing
from types import ModuleType, SimpleNamespace

import pytest
import trio
from structlog.testing import capture_logs

import wharfd_alerts
import wharfd_metrics
from wharfd import sql
from wharfd_alerts import channels, rules, sampling, upkeep

from .conftest import HURRY

STATE = sql(
    "test.rule", "SELECT state, problem, findings, due_at > now() AS later FROM alerts.rules WHERE name = $1"
)
SECOND = sql("test.second", "UPDATE alerts.rules SET declared_at = now() - interval '2 days' WHERE name = $1")


def types(n):
    return [envelope.type for envelope in n.heard]


async def test_it_fires_once_is_told_once_and_resolves(world):
    async with world() as w:
        w.n.finds("eu", "us", message="it burns", value=3.0)
        await w.evaluate()
        await w.evaluate()
        found = {a["key"]: a for a in await w.open()}
        assert set(found) == {"eu", "us"}
        assert found["eu"]["status"] == "firing"
        assert (found["eu"]["message"], found["eu"]["value"]) == ("it burns", 3.0)
        assert sorted(types(w.n)) == ["alert.fired", "alert.fired"]
        w.n.finds("us")
        await w.evaluate()
        assert [a["key"] for a in await w.open()] == ["us"]
        assert types(w.n).count("alert.resolved") == 1
        (over,) = [e for e in w.n.heard if e.type == "alert.resolved"]
        assert over.subject == found["eu"]["id"]
        assert over.data["key"] == "eu"
        history = (await w.d.get("/api/v1/alerts/history?rule=neighbour.trouble&limit=1")).json()
        assert len(history["items"]) == 1
        rest = (
            await w.d.get(
                f"/api/v1/alerts/history?rule=neighbour.trouble&limit=5&cursor={history['next_cursor']}"
            )
        ).json()
        assert {a["status"] for a in history["items"] + rest["items"]} == {"firing", "resolved"}
        assert rest["next_cursor"] is None


async def test_it_waits_before_it_fires_and_before_it_resolves(world):
    async with world(for_seconds=60, resolve_after="2m") as w:
        w.n.finds("")
        await w.evaluate()
        assert await w.open() == []
        assert [a["status"] for a in await w.open(pending=True)] == ["pending"]
        assert w.n.heard == []
        await w.pass_time(61)
        await w.evaluate()
        assert [a["status"] for a in await w.open()] == ["firing"]
        w.n.finds()
        await w.evaluate()
        assert [a["status"] for a in await w.open()] == ["firing"], "well, but not for long enough"
        await w.pass_time(121)
        await w.evaluate()
        assert await w.open() == []
        assert types(w.n) == ["alert.fired", "alert.resolved"]


async def test_what_never_fired_leaves_nothing(world):
    async with world(for_seconds=60) as w:
        w.n.finds("")
        await w.evaluate()
        w.n.finds()
        await w.evaluate()
        assert (await w.d.get("/api/v1/alerts/history?rule=neighbour.trouble")).json()["items"] == []
        assert w.n.heard == []


async def test_a_rule_that_raises_is_an_alert_and_keeps_what_it_found(world):
    async with world() as w:
        w.n.finds("eu")
        await w.evaluate()
        w.n.wrong = RuntimeError("no idea")
        await w.evaluate()
        row = await w.d.db.fetchrow(STATE, "neighbour.trouble")
        assert row["problem"] == "RuntimeError: no idea"
        assert (row["state"], row["later"]) == ("ready", True)
        assert [a["key"] for a in await w.open()] == ["eu"]
        await w.pass_time(121)
        await w.evaluate()
        (broken,) = await w.open(plugin="alerts")
        assert (broken["rule"], broken["key"], broken["severity"]) == (
            "cannot_evaluate",
            "neighbour.trouble",
            "critical",
        )
        assert "no idea" in broken["message"]
        w.n.wrong = None
        await w.evaluate()
        assert await w.open(plugin="alerts") == []


async def test_a_silenced_alert_is_shown_but_not_told_of_until_the_silence_ends(world):
    async with world() as w:
        made = await w.d.post(
            "/api/v1/alerts/silences",
            {"plugin": "neigh*", "rule": "trouble", "reason": "upgrade", "seconds": 3600},
        )
        assert made.status == 201, made.body
        w.n.finds("")
        await w.evaluate()
        (alert,) = await w.open()
        assert alert["silenced"] is True
        assert w.n.heard == []
        path = f"/api/v1/alerts/silences/{made.json()['id']}"
        assert (await w.d.request("DELETE", path)).status == 204
        assert (await w.d.request("DELETE", path)).status == 404
        await w.evaluate()
        assert types(w.n) == ["alert.fired"]
        (one,) = (await w.d.get("/api/v1/alerts/silences")).json()["items"]
        assert one["active"] is False
        assert one["ended_by"] is not None


async def test_a_rule_nobody_declares_is_forgotten_and_its_alerts_end(world):
    async with world() as w:
        w.n.finds("")
        await w.evaluate()
        ctx = w.d.context("alerts")
        await w.d.db.execute(SECOND, "neighbour.trouble")
        known = upkeep.known_rules
        upkeep.known_rules = lambda ctx: {k: v for k, v in known(ctx).items() if v[0] != "neighbour"}
        try:
            await upkeep.tidy(ctx)
        finally:
            upkeep.known_rules = known
        assert await w.d.db.fetchrow(STATE, "neighbour.trouble") is None
        assert await w.open() == []


OWN = """
[plugins.alerts.rules.many_threads]
metric = "wharfd_loop_tasks"
op = ">"
threshold = 1
severity = "info"
[plugins.alerts.rules.server_errors]
metric = "wharfd_http_requests_total"
labels = { status = "5*" }
rate = "5m"
threshold = 1
clear = 0.5
for = "5m"
severity = "critical"
summary = "The API answers with errors"
[plugins.alerts.rules.misspelt]
metric = "wharfd_loop_taks"
threshold = 1
"""


async def test_the_operators_rules_look_at_what_metrics_show(world):
    async with world(OWN) as w:
        sampler = w.d.context("alerts").state["sampler"]
        with trio.fail_after(60):
            while not any(
                r.name == "rule.many_threads" and r.value > 1 for r in (await sampler.report()).readings
            ):
                await trio.lowlevel.checkpoint()
        await w.evaluate("alerts.many_threads")
        (alert,) = await w.open(plugin="alerts")
        assert alert["rule"] == "many_threads"
        assert alert["key"] == sampler.node
        rules = {rule["name"]: rule for rule in (await w.d.get("/api/v1/alerts/rules")).json()["items"]}
        assert rules["alerts.server_errors"]["for_seconds"] == 300
        await w.evaluate("alerts.misspelt")
        await w.pass_time(121)
        await w.evaluate("alerts.misspelt")
        broken = [a for a in await w.open(plugin="alerts") if a["rule"] == "cannot_evaluate"]
        assert "cannot be evaluated: no daemon shows a metric wharfd_loop_taks" in broken[0]["message"]


POINTS = """[plugins.metrics]
publish = false
[plugins.alerts.rules.shop_is_slow]
service = "shop"
metric = "response_time"
figure = "p95"
threshold = 500
each = true
labels = { region = "e*" }
[plugins.alerts.rules.shop_is_silent]
service = "shop"
metric = "response_time"
labels = { region = "north" }
figure = "count"
op = "<"
threshold = 1
[plugins.alerts.rules.nobody]
service = "ghost"
metric = "response_time"
threshold = 1
"""


async def test_the_operators_rules_look_at_what_services_send(daemon):
    plugins = {"alerts": wharfd_alerts, "metrics": wharfd_metrics}
    async with daemon(plugins=plugins, config=f"[plugins.alerts]\n{POINTS}") as d:
        for region, value in (("east", 900.0), ("europe", 100.0), ("west", 5000.0)):
            point = {"service_name": "shop", "metric_type": "response_time", "metric_value": value}
            answer = await d.post("/api/v1/monitoring/metrics", point | {"labels": {"region": region}})
            assert answer.status == 200, answer.body
        for rule in ("shop_is_slow", "shop_is_silent", "nobody"):
            await d.db.execute(HURRY, f"alerts.{rule}")
        d.context("alerts").work.wake(None, "rules")
        await d.drain("alerts.rules")
        found = {a["rule"]: a for a in (await d.get("/api/v1/alerts")).json()["items"]}
        slow = found["shop_is_slow"]
        assert (slow["key"], slow["value"]) == ("region=east", 900)
        assert slow["message"] == "p95 of response_time{region=east} of shop is 900 (limit > 500)"
        assert found["shop_is_silent"]["value"] == 0
        rules = {one["name"]: one for one in (await d.get("/api/v1/alerts/rules")).json()["items"]}
        assert rules["alerts.nobody"]["problem"].startswith("ghost never sent a metric response_time")


BACKLOG = sql(
    "test.backlog",
    """INSERT INTO alerts.notices (id, alert_id, channel, kind, state, due_at)
    SELECT 'ntc_' || n, $1, 'mail', 'fired', 'ready', now() - interval '1 hour' FROM generate_series(1, 150) n""",
)
NODE = sql(
    "test.node",
    """INSERT INTO alerts.nodes (node, at, readings) VALUES ($1, now() - make_interval(secs => $2), $3)""",
)
LIMITS = 'database_limit_gib = 0.000001\ncache_min_calls = 1\nqueue_backlog = 100\nclock_skew = "2s"\n'


async def test_the_rules_that_ship_find_what_they_are_for(world):
    """Every rule of D6 that is this plugin's, from what another daemon reported or the database shows."""
    async with world(LIMITS) as w:
        w.n.finds("")
        await w.evaluate()
        (alert,) = await w.open()
        ctx = w.d.context("alerts")
        await ctx.work.pause("notices", actor="test")
        await w.d.db.execute(BACKLOG, alert["id"])
        sick = {
            "readings": [
                {"name": "pool_used_ratio", "key": "app", "value": 0.95},
                {"name": "cache_hit_ratio", "key": "", "value": 0.5},
                {"name": "slow_query_seconds", "key": "orders.list", "value": 1.5},
                {"name": "disk_free_ratio", "key": "", "value": 0.02},
                {"name": "clock_skew_seconds", "key": "", "value": -9.0},
                {"name": "plugin_down", "key": "mint quarantined", "value": 1.0},
            ]
        }
        await w.d.db.execute(NODE, "other-1", 1.0, sick)
        await w.d.db.execute(NODE, "dead-1", 300.0, {"readings": []})
        rules = {rule.name: rule for _, rule in ctx.plugins.declared(wharfd_alerts.AlertRule)}
        seen = {}
        for name, rule in rules.items():
            seen[name] = [f for f in await ctx.plugins.call("alerts", rule.check) if name != "trouble"]
        assert [f.key for f in seen["queue_backlog"]] == ["alerts.notices"]
        assert "150 rows" in seen["queue_backlog"][0].message
        assert [f.key for f in seen["pool_used"] if "other" in f.key] == ["other-1 app"]
        assert [f.key for f in seen["cache_hit_rate"]] == ["other-1"]
        assert "orders.list" in [f.key for f in seen["slow_query"]]
        assert "other-1" in [f.key for f in seen["disk_low"]]
        assert [f.key for f in seen["clock_skew"]] == ["other-1"]
        assert [f.message for f in seen["plugin_down"]] == ["the plugin mint is quarantined on other-1"]
        assert [f.key for f in seen["silent_daemon"]] == ["dead-1"]
        assert len(seen["database_size"]) == 1
        assert seen["partition_missing"] == []
        assert seen["connections_used"] == []


async def test_a_daemon_reports_itself_and_takes_leave(world):
    async with world() as w:
        sampler = w.d.context("alerts").state["sampler"]
        report = await sampler.report()
        names = {reading.name for reading in report.readings}
        assert {"pool_used_ratio", "disk_free_ratio", "clock_skew_seconds"} <= names
        fresh, silent = await sampling.reports(w.d.context("alerts"))
        assert list(fresh) == [sampler.node]
        assert silent == {}
        await sampler.leave()
        assert (await sampling.reports(w.d.context("alerts")))[0] == {}


def elsewhere(ctx, folder):
    """Return a sampler whose state folder the daemon's own does not write into."""
    return sampling.Sampler(SimpleNamespace(node=ctx.node, db=ctx.db, log=ctx.log, state_dir=folder))


async def test_a_daemon_takes_leave_for_the_one_that_died_on_its_state_folder(world, tmp_path):
    async with world() as w:
        ctx = w.d.context("alerts")
        sampler = elsewhere(ctx, tmp_path)
        for node in ("dead-1", "elsewhere-1"):
            await w.d.db.execute(NODE, node, 300.0, {"readings": []})
        (tmp_path / "node").write_text("dead-1")
        with capture_logs() as logs:
            await sampler.succeed()
            (tmp_path / "node").unlink()
            await sampler.succeed()
        assert [(one["event"], one["node"]) for one in logs] == [("daemon_before_died", "dead-1")]
        assert list((await sampling.reports(ctx))[1]) == ["elsewhere-1"]
        assert not (tmp_path / "node").exists(), "the note is read and written once"


async def test_a_note_that_a_crash_left_without_text_is_none(world, tmp_path):
    async with world() as w:
        for left in (b"", b"\0" * 20, b"dead-\xff"):
            (tmp_path / "node").write_bytes(left)
            sampler = elsewhere(w.d.context("alerts"), tmp_path)
            await sampler.succeed()
            assert (tmp_path / "node").read_text() == sampler.node
            assert not list(tmp_path.glob("*.tmp"))


async def test_a_plugin_that_is_quarantined_is_reported(world):
    async with world() as w:
        ctx = w.d.context("alerts")
        wharfd_alerts.observe_plugin_state(ctx, "mint", "running", "quarantined")
        assert [
            r.key for r in (await ctx.state["sampler"].measure()).readings if r.name == "plugin_down"
        ] == ["mint quarantined"]
        wharfd_alerts.observe_plugin_state(ctx, "mint", "quarantined", "running")
        assert not [r for r in (await ctx.state["sampler"].measure()).readings if r.name == "plugin_down"]


async def test_a_plugin_that_cannot_run_is_an_alert(daemon):
    bad = ModuleType("plugin_bad")
    exec(
        "from wharfd import hookimpl\n@hookimpl\nasync def provision(ctx): raise RuntimeError('no key')",
        bad.__dict__,
    )
    config = '[plugins.bad]\non_start_failure = "ignore"\n'
    async with daemon(plugins={"bad": bad, "alerts": wharfd_alerts}, config=config) as d:
        ctx = d.context("alerts")
        await ctx.state["sampler"].report()
        (found,) = await rules.find_plugins_down(ctx)
        assert found.message == f"the plugin bad is failed on {ctx.state['sampler'].node}"


class MailServer:
    """Speaks enough SMTP to take mail; `answers` are given to RCPT in turn, then 250."""

    def __init__(self):
        self.mails = []
        self.answers = []
        self.got = trio.Event()

    async def serve(self, stream):
        async with aclosing(stream_lines(stream)) as lines:
            await self.talk(stream, lines)

    async def talk(self, stream, lines):
        await stream.send_all(b"220 test\r\n")
        async for line in lines:
            word = line.split(b" ")[0].split(b":")[0].upper()
            if word == b"DATA":
                await stream.send_all(b"354 go on\r\n")
                mail = []
                async for part in lines:
                    if part == b".":
                        break
                    mail.append(part)
                self.mails.append(b"\n".join(mail).decode())
                self.got.set()
            if word == b"RCPT" and self.answers:
                await stream.send_all(self.answers.pop(0))
                continue
            await stream.send_all(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


async def stream_lines(stream):
    data = b""
    async for chunk in stream:
        data += chunk
        while b"\r\n" in data:
            line, _, data = data.partition(b"\r\n")
            yield line


@pytest.fixture
async def mail_server(nursery):
    server = MailServer()
    listeners = await nursery.start(trio.serve_tcp, server.serve, 0)
    server.port = listeners[0].socket.getsockname()[1]
    return server


def mail_config(server):
    return (
        f'[plugins.alerts.mail]\nhost = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\n'
        'sender = "wharfd@example.com"\nrecipients = ["ops@example.com", "cfo@example.com"]\n'
    )


async def test_alerts_go_out_by_mail(world, mail_server):
    async with world(mail_config(mail_server)) as w:
        w.n.finds("eu", message="größer als erlaubt")
        await w.evaluate()
        w.n.finds()
        await w.evaluate()
        await w.d.drain("alerts.notices")
        fired, resolved = mail_server.mails
        assert "Subject: [wharfd] firing: neighbour.trouble eu: There is trouble" in fired
        assert "To: ops@example.com, cfo@example.com" in fired
        assert "Auto-Submitted: auto-generated" in fired
        assert "docs/operate.md" in fired
        assert "[wharfd] resolved: neighbour.trouble eu" in resolved


async def test_a_mail_nobody_takes_is_buried_with_the_reason(world, mail_server):
    mail_server.answers = [b"550 no such user\r\n", b"550 no such user\r\n"]
    async with world(mail_config(mail_server)) as w:
        w.n.finds("eu")
        await w.evaluate()
        await w.d.drain("alerts.notices")
        (row,) = (await w.d.context("alerts").work.buried("notices")).items
        assert "ops@example.com 550" in row.reason


async def test_a_mail_server_that_is_away_is_tried_again(world):
    config = (
        '[plugins.alerts.mail]\nhost = "127.0.0.1"\nport = 1\nsecurity = "none"\n'
        'sender = "w@example.com"\nrecipients = ["ops@example.com"]\n'
    )
    async with world(config) as w:
        w.n.finds("eu")
        await w.evaluate()
        await w.d.drain("alerts.notices")
        waiting = await w.d.context("alerts").work.statistics("notices")
        assert (waiting.ready, waiting.due, waiting.buried) == (1, 0, 0)


async def test_a_firing_alert_is_told_of_again_unless_acknowledged(world, mail_server):
    async with world(mail_config(mail_server)) as w:
        w.n.finds("eu")
        await w.evaluate()
        await w.d.drain("alerts.notices")
        await w.pass_time(4 * 3600 + 1)
        await w.evaluate()
        await w.d.drain("alerts.notices")
        assert "still firing" in mail_server.mails[1]
        (alert,) = await w.open()
        await w.d.post(f"/api/v1/alerts/{alert['id']}/ack", {"note": "I am on it"})
        await w.pass_time(4 * 3600 + 1)
        await w.evaluate()
        await w.d.drain("alerts.notices")
        assert len(mail_server.mails) == 2
        assert types(w.n) == ["alert.fired"], "events tell of changes only"


async def test_the_heartbeat_beats_while_rules_are_evaluated(world, receiver):
    config = f'heartbeat_url = "{receiver.url}/beat"\nallow_networks = ["127.0.0.0/8"]\n'
    async with world(config) as w:
        ctx = w.d.context("alerts")
        await channels.beat(ctx)
        assert len(receiver.requests) == 1
        late = sql("test.late", "UPDATE alerts.rules SET due_at = now() - interval '1 hour' WHERE name = $1")
        await ctx.work.pause("rules", actor="test")
        await ctx.db.execute(late, "neighbour.trouble")
        with pytest.raises(wharfd_alerts.channels.WharfdError, match="1 alert rules are overdue"):
            await channels.beat(ctx)
        assert len(receiver.requests) == 1
