"""The start is rehearsed on a copy of the database: ready, sealed values open, nothing of a plugin runs."""

from types import ModuleType

import pytest

from wharfd import Secret, hookimpl, sql
from wharfd.config import CoreSettings, SecretsSettings, hide_secrets
from wharfd.contracts.daemon import REHEARSAL
from wharfd.errors import SecretError

TABLE = sql("t", "CREATE TABLE shop.partners (id text PRIMARY KEY, token bytea)")
ADD = sql("a", "INSERT INTO shop.partners VALUES ($1, $2)")
SWAP = sql("s", "UPDATE shop.partners SET token = (SELECT token FROM shop.partners WHERE id = 'b')")
MAKE = sql("make", "CREATE SCHEMA IF NOT EXISTS shop")


def shop(lives):
    module = ModuleType("shop")

    @hookimpl
    async def provision(ctx):
        lives.append(ctx)

    module.provision = provision
    return module


async def test_a_daemon_comes_up_on_a_copy_and_opens_what_is_sealed(daemon, tmp_path):
    lives = []
    async with daemon(plugins={"shop": shop(lives)}) as d:
        await d.db.owner.execute(MAKE)
        await d.db.owner.execute(TABLE)
        vault = d.context("shop").secrets
        for name in ("a", "b"):
            await d.db.owner.execute(ADD, name, await vault.seal("shop.partners", "token", name, b"x"))
        rehearsal = d.context("shop").services.get(REHEARSAL)
        done = await rehearsal.rehearse(d.settings.owner_url, tmp_path / "state")
        assert (done.ready, done.migrated, done.opened) == (200, [], {"shop.partners.token": 2})
        assert len(lives) == 1  # that of the daemon itself
        await d.db.owner.execute(SWAP)
        with pytest.raises(SecretError, match=r"shop.partners.token: .* sealed for another place"):
            await rehearsal.rehearse(d.settings.owner_url, tmp_path / "again")


def test_secrets_are_hidden_in_the_text_of_the_configuration():
    text = """
[secrets]
key = "aGVsbG8="
[redis]
url = { env = "REDIS_URL" }
[plugins.broken]
api_token = "tok_1"
tokens = ["tok_2"]
name = "kept"
"""
    core = CoreSettings(secrets=SecretsSettings(key=Secret("aGVsbG8=")))
    hidden = hide_secrets(text, [core])
    for secret in ("aGVsbG8=", "tok_1", "tok_2"):
        assert secret not in hidden
    assert 'name = "kept"' in hidden
    assert "REDIS_URL" in hidden
