"""Nothing that opens a door can be read from the database, and a sealed value opens in its own row only."""

import base64

import pytest
import trio

from wharfd import sql
from wharfd.errors import MisplacedSecret


async def dump_of(postgres, database_settings):
    name = database_settings.url.split("@/")[1].split("?")[0]
    with trio.fail_after(60):
        program = [str(postgres.bin / "pg_dump"), "-h", str(postgres.folder), "-U", "postgres", name]
        return (await trio.run_process(program, capture_stdout=True)).stdout


async def test_a_dump_of_the_database_shows_no_secret(node, db, postgres, database_settings):
    async with node() as n:
        config = {"apiKey": "config-secret-one", "nested": {"password": "config-secret-two"}, "user": "joe"}
        made = await n.make_integration(
            scopes=["keys:*", "integrations:*"], config=config, webhookUrl="https://hooks.example/in"
        )
        path = f"/api/integrations/{made['id']}"
        await n.api.post(f"{path}/activate")
        key = await n.make_key("keys:read", with_secret=True)
        child = await n.make_key("keys:read", token=made["apiKey"])
        rotated = (await n.api.post(f"{path}/rotate")).json()
        again = (await n.api.post(f"{path}/regenerate-credentials")).json()
        await n.put(path, {"config": {"apiKey": "config-secret-three"}})
        for token in (key["key"], again["apiKey"], child["key"], rotated["apiKey"]):
            await n.api.get("/api/v1/keys", token=token)
        await n.parts.usage.flush(everything=True)
    dump = await dump_of(postgres, database_settings)
    assert made["id"].encode() in dump
    assert key["details"]["public"].rpartition("_")[2].encode() in dump
    secrets = ["config-secret-one", "config-secret-two", "config-secret-three", key["secret"]]
    secrets += [one[name] for one in (made, rotated, again) for name in ("apiKey", "apiSecret")]
    secrets += [made["webhookSecret"], again["webhookSecret"], key["key"], child["key"]]
    for secret in secrets:
        tail = secret.rpartition("_")[2]
        for form in (
            secret,
            tail,
            tail[:-6],
            base64.b64encode(secret.encode()).decode(),
            secret.encode().hex(),
        ):
            assert form.encode() not in dump, form


async def test_a_secret_moved_to_another_row_does_not_open(node, db):
    async with node(running=False) as n:
        one, two = await n.make_integration(), await n.make_integration()
        move = """UPDATE integrations.keys SET secret = (SELECT secret FROM integrations.keys WHERE id = $1)
                   WHERE id = $2"""
        await db.execute(sql("move_secret", move), one["keyId"], two["keyId"])
        record = await n.parts.keyring.find(two["apiKey"].split("_")[2])
        with pytest.raises(MisplacedSecret):
            await n.ctx.secrets.open("integrations.keys", "secret", record.id, record.secret)


async def test_a_hash_moved_to_another_key_lets_its_key_in_nowhere_new(node, db):
    async with node(running=False) as n:
        weak, strong = await n.make_key("keys:read"), await n.make_key("keys:*")
        move = """UPDATE integrations.keys SET hash = (SELECT hash FROM integrations.keys WHERE id = $1)
                   WHERE id = $2"""
        await db.execute(sql("move_hash", move), weak["details"]["id"], strong["details"]["id"])
        assert (await n.api.get("/api/v1/keys", token=strong["key"])).status == 401
        answer = await n.api.post("/api/v1/keys", {"name": "x", "scopes": []}, token=weak["key"])
        assert answer.status == 403
