"""`wharfd send`, `events` and `sources` against a running daemon, as a person types them."""

from __future__ import annotations

import argparse
import base64
import importlib
import io
import json
import re

import pytest
import trio

import wharfd_netbanx
from wharfd import Client, Secret, WharfdError
from wharfd_netbanx.config import Settings, Source

module = importlib.import_module("wharfd_netbanx.commands")  # its function of the same name hides it
KEY = base64.b64encode(b"a key that only this test knows!").decode()
NEXT = base64.b64encode(b"its successor, which it knows too").decode()
CONFIG = f'''
[plugins.netbanx.sources.netbanx]
keys = ["{KEY}"]
[plugins.netbanx.sources.managed]
paths = ["/managed"]
stored_keys = true
'''
LOGGED = re.compile(r"(\x1b\[\d+m)*(20\d\d-|\[(\x1b\[\d+m)*(debug|info|warning|error) )")


@pytest.fixture
async def cli(daemon, capsys):
    """Run a command in a thread and return its exit code and what it printed."""
    made = {c.name: c for c in module.commands(Settings(sources={"netbanx": Source(keys=(Secret(KEY),))}))}
    async with daemon(plugins={"netbanx": wharfd_netbanx}, config=CONFIG) as running:

        async def run(name, *words, as_json=False):
            parser = argparse.ArgumentParser()
            parser.add_argument("--json", action="store_true")
            made[name].configure(parser)
            arguments = parser.parse_args([*(["--json"] if as_json else []), *map(str, words)])
            capsys.readouterr()
            client = Client(running.api, running.token)
            code = await trio.to_thread.run_sync(made[name].run, arguments, client)
            out = capsys.readouterr().out
            return code, "".join(line for line in out.splitlines(True) if not LOGGED.match(line))

        run.daemon = running
        yield run


async def test_from_a_sample_to_its_event_worked_once_more(cli):
    with trio.fail_after(60):
        code, out = await cli("send", "payment-completed", "--count", 3, "--first", 1, as_json=True)
        assert (code, json.loads(out)["accepted"], json.loads(out)["duplicates"]) == (0, 3, 0)
        code, out = await cli("send", "payment-completed", "--count", 3, "--first", 1, as_json=True)
        assert json.loads(out)["duplicates"] == 3
        await cli.daemon.drain("netbanx.events")

        code, out = await cli("events", as_json=True)
        events = json.loads(out)
        assert [event["state"] for event in events] == ["done"] * 3
        code, out = await cli("events", "list", "--source", "nobody")
        assert (code, "no event fits" in out) == (0, True)
        one = events[0]["id"]
        code, out = await cli("events", "show", one, as_json=True)
        shown = json.loads(out)
        assert (shown["id"], shown["copies"], shown["ledTo"][0]["status"]) == (one, 2, "COMPLETED")

        code, out = await cli("events", "replay", one)
        assert "1 would be worked once more" in out
        code, out = await cli("events", "replay", one, "--yes")
        assert "1 are worked once more" in out
        await cli.daemon.drain("netbanx.events")
        code, out = await cli("sources", "explain", one)
        assert "yes" in out
        code, out = await cli("sources", as_json=True)
        assert {row["name"] for row in json.loads(out)} == {"managed", "netbanx"}
        code, out = await cli("sources", "schemes")
        assert "paysafe" in out


async def test_send_says_where_it_posts_and_guesses_nothing(cli):
    with trio.fail_after(60):
        for words, place in (((), cli.daemon.ingest), (("--to", cli.daemon.api), cli.daemon.api)):
            _, out = await cli("send", "payment-completed", *words, as_json=True)
            assert (json.loads(out)["to"], json.loads(out)["accepted"]) == (place, 1)
        answers = cli.daemon.running.machinery.metrics.registry.get_sample_value(
            "wharfd_ingest_answers_total", {"source": "netbanx", "status": "200"}
        )
        assert answers == 1
        stranger = Client(cli.daemon.api, None)
        with pytest.raises(WharfdError, match=r"does not say where it takes webhooks .*--to URL"):
            await trio.to_thread.run_sync(module.find_ingest, stranger)
        with pytest.raises(WharfdError, match="no wharfd answers"):
            module.find_ingest(Client("http://127.0.0.1:9", "token"))


@pytest.mark.parametrize(
    ("ingest", "expected"),
    [
        ("http://127.0.0.1:8471", "http://127.0.0.1:8471"),
        ("http://0.0.0.0:8471", "http://pay.example:8471"),
        ("http://[::]:8471, http+unix:///run/x", "http://pay.example:8471"),
        ("http+unix:///run/wharfd.sock", "http://pay.example:8470"),
        ("", "http://pay.example:8470"),
    ],
)
def test_every_kind_of_listener_gives_an_address(ingest, expected):
    class Fake:
        url = "http://pay.example:8470"

        def get(self, path):
            return {"ingest": ingest}

    assert module.find_ingest(Fake()) == expected


async def test_what_cannot_be_sent_is_said(cli):
    with pytest.raises(WharfdError, match="no source 'nobody'"):
        await cli("send", "--source", "nobody")
    with pytest.raises(WharfdError, match="no sample 'nothing'"):
        await cli("send", "nothing")
    with pytest.raises(WharfdError, match="key"):
        await cli("send", "--key", "not base64 at all!")
    with pytest.raises(WharfdError, match="count"):
        await cli("send", "--count", 0)
    code, out = await cli("send", "payment-completed", "--key", base64.b64encode(b"x" * 32).decode())
    assert (code, "signature_mismatch" in out) == (1, True)


async def test_a_tail_shows_each_event_once(cli, monkeypatch):
    class Enough(Exception):
        pass

    rounds = []

    class Pause:
        def wait(self, seconds):
            rounds.append(seconds)
            if len(rounds) == 3:
                raise Enough

    with trio.fail_after(60):
        await cli("send", "payment-completed", "--count", 2, as_json=True)
        monkeypatch.setattr(module.threading, "Event", Pause)
        client = Client(cli.daemon.api, cli.daemon.token)
        parser = argparse.ArgumentParser()
        module._configure_events(parser)
        arguments = parser.parse_args(["tail"])
        arguments.json = False
        lines = []
        monkeypatch.setattr(module.Output, "line", lambda self, text: lines.append(text))
        with pytest.raises(Enough):
            await trio.to_thread.run_sync(module._events, arguments, client)
        assert len([line for line in lines if "PAYMENT_COMPLETED" in line]) == 2

        records = []
        monkeypatch.setattr(module.Output, "record", lambda self, value: records.append(value))
        rounds.clear()
        arguments.json = True
        with pytest.raises(Enough):
            await trio.to_thread.run_sync(module._events, arguments, client)
        assert [one["name"] for one in records] == ["PAYMENT_COMPLETED"] * 2


def test_a_tail_shows_what_arrived_and_nothing_older():
    class Fake:
        """Lists 1,000 events, the newest first."""

        def get(self, path, *, limit, cursor, **query):
            newest = cursor or 999
            events = [{"id": f"evt_{n:03}"} for n in range(newest, max(newest - limit, -1), -1)]
            return {"items": events, "next_cursor": newest - limit if newest >= limit else None}

    def arrived(shown, oldest):
        found = module._arrived(Fake(), "", {"limit": 200}, shown, oldest)
        return [event["id"] for event in found]

    assert arrived({"evt_998", "evt_999"}, "evt_998") == []
    assert arrived({"evt_996", "evt_998"}, "evt_996") == ["evt_999", "evt_997"]
    assert arrived({"evt_450"}, "evt_450") == [f"evt_{n:03}" for n in range(999, 450, -1)]
    assert len(arrived(set(), "")) == 1000


async def test_other_contents_are_resolved(cli):
    with trio.fail_after(60):
        source = Source(keys=(Secret(KEY),))
        signer = source.verifier(source.typed_keys())
        at = cli.daemon.running.machinery.clock.now()
        document = {
            "eventType": "PAYMENT_COMPLETED",
            "resourceId": "r-1",
            "eventDate": "2026-08-03T10:00:00Z",
        }
        for amount in (1, 2):
            body = json.dumps(document | {"payload": {"id": "r-1", "amount": amount}}).encode()
            body, headers = signer.sign(body, at, "evt_test")
            assert (await cli.daemon.deliver("/webhooks/netbanx", body, headers)).status == 200
        (event,) = json.loads((await cli("events", as_json=True))[1])
        shown = json.loads((await cli("events", "show", event["id"], as_json=True))[1])
        assert [one["resolvedAt"] for one in shown["conflicts"]] == [None]
        for expected in (1, 0):
            out = (await cli("events", "resolve", event["id"], as_json=True))[1]
            assert json.loads(out) == {"event": event["id"], "resolved": expected}
        shown = json.loads((await cli("events", "show", event["id"], as_json=True))[1])
        assert shown["conflicts"][0]["resolvedBy"]


async def test_keys_are_stored_rotated_and_dropped(cli, monkeypatch):
    def typed(text):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    def count():
        return cli("sources", "keys", "--source", "managed", as_json=True)

    with trio.fail_after(60):
        typed(f"{KEY}\n")
        code, out = await cli("sources", "add-key", "managed")
        assert (code, "is used from now on" in out) == (0, True)
        [made] = json.loads((await count())[1])
        assert (made["name"], made["keyVersion"], KEY in str(made)) == ("default", 1, False)
        typed(f"{NEXT}\n")
        await cli("sources", "rotate-key", made["id"], "--overlap", 60)
        found = {one["keyVersion"]: one for one in json.loads((await count())[1])}
        assert found[1]["validUntil"]
        await cli("sources", "drop-key", found[1]["id"])
        assert [one["keyVersion"] for one in json.loads((await count())[1])] == [2]
        typed("")
        with pytest.raises(WharfdError, match="no key on standard input"):
            await cli("sources", "add-key", "managed")
