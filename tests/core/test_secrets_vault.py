"""The vault on a real PostgreSQL: sealing, rotation, several daemons, and what a dump shows."""

import os

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from wharfd.db import sql
from wharfd.errors import (
    DamagedSecret,
    KeyNotLoaded,
    MasterKeyError,
    MisplacedSecret,
    SecretError,
    UnknownKey,
)
from wharfd.keystore import DataKeyTable, open_vault, plan_reseal, reseal, retire_data_keys, rotate_master
from wharfd.secrets import Secret
from wharfd.secrets.keyfile import load_or_make_master_key
from wharfd.secrets.keys import MasterKey, MasterKeys
from wharfd.secrets.vault import Vault

TABLE, COLUMN = "wharfd.test_accounts", "token"
PLAINTEXT = b"whsec_the-plain-text-of-the-secret"

COUNT_KEYS = sql("count_keys", "SELECT count(*) FROM wharfd.data_keys")
INSERT = sql("insert_account", "INSERT INTO wharfd.test_accounts (id, token) VALUES ($1, $2)")
SELECT = sql("select_accounts", "SELECT id, token FROM wharfd.test_accounts ORDER BY id")
SET = sql("set_account", "UPDATE wharfd.test_accounts SET token = $2 WHERE id = $1")
RETIRED = sql("list_retired", "SELECT id FROM wharfd.data_keys WHERE retired_at IS NOT NULL")


@pytest.fixture
def master():
    return MasterKey.make()


@pytest.fixture
async def vault(db, master):
    return Vault(DataKeyTable(db), MasterKeys([master]))


@pytest.fixture
async def accounts(db):
    await db.owner.execute(
        sql("create_accounts", "CREATE TABLE wharfd.test_accounts (id bigint PRIMARY KEY, token bytea)")
    )


async def fill(db, vault, count):
    for number in range(1, count + 1):
        await db.execute(
            INSERT, number, await vault.seal(TABLE, COLUMN, str(number), PLAINTEXT + b"%d" % number)
        )


async def test_what_was_sealed_opens_here_and_in_another_daemon(db, master, vault):
    sealed = await vault.seal(TABLE, COLUMN, "1", PLAINTEXT)
    other = Vault(DataKeyTable(db), MasterKeys([master]))
    assert await vault.open(TABLE, COLUMN, "1", sealed) == PLAINTEXT
    assert await other.open(TABLE, COLUMN, "1", sealed) == PLAINTEXT
    assert await other.open(TABLE, COLUMN, "2", await vault.seal(TABLE, COLUMN, "2", b"")) == b""
    assert PLAINTEXT not in sealed
    assert await vault.seal(TABLE, COLUMN, "1", PLAINTEXT) != sealed


async def test_every_table_has_its_own_key_made_once_by_many_at_the_same_time(db, master):
    vaults = [Vault(DataKeyTable(db), MasterKeys([master])) for _ in range(5)]
    found = set()

    async def one(vault):
        found.add(await vault.current_key_id(TABLE))

    async with trio.open_nursery() as nursery:
        for vault in vaults * 2:
            nursery.start_soon(one, vault)
    assert len(found) == 1
    await vaults[0].prepare("wharfd.other")
    assert await vaults[0].current_key_id("wharfd.other") not in found
    assert await db.fetchval(COUNT_KEYS) == 2


async def test_moved_changed_and_unknown_are_told_apart(db, master, vault):
    sealed = await vault.seal(TABLE, COLUMN, "row-42", PLAINTEXT)
    for place in ((TABLE, COLUMN, "row-43"), (TABLE, "secret", "row-42")):
        with pytest.raises(MisplacedSecret, match="sealed for another place"):
            await vault.open(*place, sealed)
    await vault.prepare("wharfd.other")
    with pytest.raises(SecretError, match=r"which is for wharfd\.test_accounts"):
        await vault.open("wharfd.other", COLUMN, "row-42", sealed)
    with pytest.raises(DamagedSecret, match="was changed since it was sealed"):
        await vault.open(TABLE, COLUMN, "row-42", sealed[:-1] + bytes((sealed[-1] ^ 1,)))
    with pytest.raises(DamagedSecret, match="not a sealed value"):
        await vault.open(TABLE, COLUMN, "row-42", b"plain")
    for unknown in ((77).to_bytes(8, "big"), b"\xff" * 8):
        with pytest.raises(UnknownKey, match=r"is not in wharfd\.data_keys; restore"):
            await vault.open(TABLE, COLUMN, "row-42", sealed[:1] + unknown + sealed[9:])


async def test_any_flipped_byte_is_refused_by_the_vault(vault):
    sealed = await vault.seal(TABLE, COLUMN, "1", PLAINTEXT)

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(sealed) - 1).filter(lambda at: not 1 <= at <= 8), st.integers(1, 255))
    def flipped(at, change):
        damaged = bytearray(sealed)
        damaged[at] ^= change
        with pytest.raises((DamagedSecret, MisplacedSecret)):
            vault.open_now(TABLE, COLUMN, "1", bytes(damaged))

    flipped()
    for at in range(1, 9):  # the key id: asks the database
        damaged = bytearray(sealed)
        damaged[at] ^= 0x41
        with pytest.raises(UnknownKey):
            await vault.open(TABLE, COLUMN, "1", bytes(damaged))


async def test_without_waiting_only_what_is_prepared_works(db, master):
    vault = Vault(DataKeyTable(db), MasterKeys([master]))
    for call in (
        lambda: vault.seal_now(TABLE, COLUMN, "1", PLAINTEXT),
        lambda: vault.fingerprint_now(TABLE, "a"),
    ):
        with pytest.raises(KeyNotLoaded, match=r"call `await prepare"):
            call()
    await vault.prepare(TABLE, fingerprints=[TABLE])
    sealed = vault.seal_now(TABLE, COLUMN, "1", PLAINTEXT)
    assert vault.open_now(TABLE, COLUMN, "1", sealed) == PLAINTEXT
    with pytest.raises(KeyNotLoaded):
        Vault(DataKeyTable(db), MasterKeys([master])).open_now(TABLE, COLUMN, "1", sealed)


async def test_a_fingerprint_is_the_same_everywhere_and_tells_nothing_without_the_key(db, master, vault):
    other = Vault(DataKeyTable(db), MasterKeys([master]))
    mark = await vault.fingerprint(TABLE, "value")
    assert mark == await other.fingerprint(TABLE, b"value") == vault.fingerprint_now(TABLE, "value")
    assert len(mark) == 32
    assert mark != await vault.fingerprint(TABLE, "other value")
    assert mark != await vault.fingerprint("wharfd.test_accounts.token", "value")
    await vault.rotate_data_key(TABLE)
    assert mark == await vault.fingerprint(TABLE, "value")
    with pytest.raises(ValueError, match="is not written"):
        await vault.fingerprint("nothing", "value")


async def test_a_plugin_reaches_its_own_schema_only(vault):
    mine = vault.for_schema("mint")
    sealed = await mine.seal("mint.signers", "key", "1", PLAINTEXT)
    assert await vault.open("mint.signers", "key", "1", sealed) == PLAINTEXT
    for call in (
        mine.seal("netbanx.secrets", "key", "1", PLAINTEXT),
        mine.open("netbanx.secrets", "key", "1", sealed),
        mine.fingerprint("mintage.x", "a"),
        mine.prepare("netbanx.secrets"),
    ):
        with pytest.raises(SecretError, match="of its own schema mint only"):
            await call


async def test_no_key_shows_in_any_printed_form(vault, master):
    await vault.prepare(TABLE)
    shown = repr(vault) + repr(vault._ring) + repr(vault._ring.opened) + str(vars(vault))
    for key in vault._ring.opened.values():
        assert repr(key.secret.reveal_bytes()) not in shown
    assert master.text() not in shown
    assert repr(master.secret.reveal_bytes()) not in shown


# -- the master key at start --------------------------------------------------------------------------


async def test_a_wrong_master_key_is_refused_before_anything_is_written(db, tmp_path):
    await open_vault(db, configured=None, key_path=tmp_path / "right.key")
    right = load_or_make_master_key(tmp_path / "right.key").current
    wrong = MasterKey.make()
    with pytest.raises(
        MasterKeyError, match=f"wrapped with master key {right.id}, but configured is {wrong.id}"
    ):
        await open_vault(db, configured=Secret(wrong.text()), key_path=tmp_path / "unused")
    with pytest.raises(
        MasterKeyError, match=f"is missing, but the database is sealed with master key {right.id}"
    ):
        await open_vault(db, configured=None, key_path=tmp_path / "gone.key")
    assert os.listdir(tmp_path) == ["right.key"]
    assert await db.fetchval(COUNT_KEYS) == 1
    both = Secret(f"{wrong.text()}\n{right.text()}")
    await open_vault(db, configured=both, key_path=tmp_path / "unused")
    await open_vault(db, configured=None, key_path=tmp_path / "right.key")


async def test_of_two_daemons_with_different_keys_on_a_fresh_database_one_is_refused(db):
    keys = [MasterKey.make(), MasterKey.make()]
    results = []

    async def start(key):
        try:
            await Vault(DataKeyTable(db), MasterKeys([key])).check()
            results.append("opened")
        except MasterKeyError:
            results.append("refused")

    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(start, key)
    assert sorted(results) == ["opened", "refused"]


async def test_a_damaged_key_row_of_one_plugin_hurts_that_plugin_only(db, master, vault):
    await vault.check()
    await vault.prepare(TABLE, "wharfd.other")
    await db.execute(
        sql("damage_key", "UPDATE wharfd.data_keys SET wrapped = wrapped || '\\x00' WHERE purpose = $1"),
        TABLE,
    )
    later = Vault(DataKeyTable(db), MasterKeys([master]))
    await later.check()
    await later.prepare("wharfd.other")
    with pytest.raises(DamagedSecret, match="was changed; restore its row"):
        await later.prepare(TABLE)


# -- rotation -----------------------------------------------------------------------------------------


async def test_rotating_the_master_key_rewraps_and_nothing_else(db, master, vault):
    await vault.prepare(TABLE, fingerprints=[TABLE])
    sealed = await vault.seal(TABLE, COLUMN, "1", PLAINTEXT)
    new = MasterKey.make()
    keys = MasterKeys([new, master])
    plan = await rotate_master(db, keys, dry_run=True)
    assert (plan.total, plan.changed, plan.kek_id) == (2, 2, new.id)
    assert (await rotate_master(db, keys)).changed == 2
    assert (await rotate_master(db, keys)).changed == 0
    after = Vault(DataKeyTable(db), MasterKeys([new]))
    await after.check()
    assert await after.open(TABLE, COLUMN, "1", sealed) == PLAINTEXT
    with pytest.raises(MasterKeyError):
        await Vault(DataKeyTable(db), MasterKeys([master])).check()


async def test_a_master_rotation_without_the_old_key_changes_nothing(db, vault):
    await vault.prepare(TABLE)
    with pytest.raises(MasterKeyError):
        await rotate_master(db, MasterKeys([MasterKey.make()]))
    await vault.refresh()


async def test_rotating_a_data_key_reseals_the_rows_and_retires_the_old_one(accounts, db, master, vault):
    other = Vault(DataKeyTable(db), MasterKeys([master]))
    await fill(db, vault, 1203)
    await db.execute(INSERT, 5000, None)
    old = await other.current_key_id(TABLE)
    new = await vault.rotate_data_key(TABLE)
    assert await other.current_key_id(TABLE) == old  # until it refreshes
    await other.refresh()
    assert await other.current_key_id(TABLE) == new

    plan = await plan_reseal(db, vault, TABLE, COLUMN)
    assert (plan.rows_by_key, plan.remaining) == ({old: 1203}, 1203)
    assert await retire_data_keys(db, vault, TABLE, [COLUMN], grace_seconds=0) == []
    seen = []
    done = await reseal(db, vault, TABLE, COLUMN, progress=lambda *pair: seen.append(pair))
    assert (done.resealed, done.refused, done.remaining) == (1203, 0, 0)
    assert seen == [(500, 1203), (1000, 1203), (1203, 1203)]
    assert (await plan_reseal(db, vault, TABLE, COLUMN)).rows_by_key == {new: 1203}
    for row in (await db.fetch(SELECT))[:-1]:
        assert other.open_now(TABLE, COLUMN, str(row["id"]), row["token"]) == PLAINTEXT + b"%d" % row["id"]

    assert await retire_data_keys(db, vault, TABLE, [COLUMN]) == []  # within the grace
    assert await retire_data_keys(db, vault, TABLE, [COLUMN], grace_seconds=0) == [old]
    assert [row["id"] for row in await db.fetch(RETIRED)] == [old]
    assert (await reseal(db, vault, TABLE, COLUMN)).resealed == 0


async def test_a_value_sealed_with_a_retired_key_still_opens(accounts, db, master, vault):
    archived = await vault.seal(TABLE, COLUMN, "1", PLAINTEXT)
    await vault.rotate_data_key(TABLE)
    assert len(await retire_data_keys(db, vault, TABLE, [COLUMN], grace_seconds=0)) == 1
    later = Vault(DataKeyTable(db), MasterKeys([master]))
    assert await later.open(TABLE, COLUMN, "1", archived) == PLAINTEXT


async def test_a_key_column_with_an_awkward_name_is_paged_in_its_own_order(db, vault):
    await db.owner.execute(
        sql("create", 'CREATE TABLE wharfd.odd (row_id bigint PRIMARY KEY, "sealed" bytea)')
    )
    insert = sql("insert_odd", "INSERT INTO wharfd.odd (row_id, sealed) VALUES ($1, $2)")
    await vault.prepare("wharfd.odd")
    rows = [(n, vault.seal_now("wharfd.odd", "sealed", str(n), b"x")) for n in range(1, 1102)]
    await db.executemany(insert, rows)
    await vault.rotate_data_key("wharfd.odd")
    done = await reseal(db, vault, "wharfd.odd", "sealed", "row_id")
    assert (done.resealed, done.remaining) == (1101, 0)


async def test_resealing_leaves_and_reports_what_does_not_open(accounts, db, vault):
    await fill(db, vault, 3)
    wrong = await vault.seal(TABLE, COLUMN, "999", PLAINTEXT)
    await db.execute(SET, 2, wrong)
    await vault.rotate_data_key(TABLE)
    done = await reseal(db, vault, TABLE, COLUMN)
    assert (done.resealed, done.refused, done.remaining) == (2, 1, 1)
    assert "sealed for another place" in done.reasons["2"]
    assert (await db.fetch(SELECT))[1]["token"] == wrong
    with pytest.raises(SecretError, match="has no column uid"):
        await reseal(db, vault, TABLE, COLUMN, "uid")


async def test_a_value_changed_during_the_reseal_wins(accounts, db, master, vault):
    await fill(db, vault, 2)
    await vault.rotate_data_key(TABLE)
    newer = await vault.seal(TABLE, COLUMN, "1", b"newer")

    class Interfering(Vault):
        async def seal(self, table, column, row_id, plaintext):
            await db.execute(SET, 1, newer)
            return await super().seal(table, column, row_id, plaintext)

    done = await reseal(db, Interfering(DataKeyTable(db), MasterKeys([master])), TABLE, COLUMN)
    assert (done.resealed, done.remaining) == (1, 0)
    assert (await db.fetch(SELECT))[0]["token"] == newer


async def test_rotations_at_the_same_time_leave_one_current_key(db, master):
    vaults = [Vault(DataKeyTable(db), MasterKeys([master])) for _ in range(4)]
    await vaults[0].prepare(TABLE)
    async with trio.open_nursery() as nursery:
        for vault in vaults:
            nursery.start_soon(vault.rotate_data_key, TABLE)
    current = set()
    for vault in vaults:
        await vault.refresh()
        current.add(await vault.current_key_id(TABLE))
    assert len(current) == 1
    assert await db.fetchval(COUNT_KEYS) == 5


async def test_keep_fresh_follows_a_rotation_elsewhere(db, master, vault):
    other = Vault(DataKeyTable(db), MasterKeys([master]))
    await vault.prepare(TABLE)
    await other.prepare(TABLE)
    new = await vault.rotate_data_key(TABLE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: other.keep_fresh(every_seconds=0.01))
        with trio.fail_after(60):
            while await other.current_key_id(TABLE) != new:
                await db.fetchval(COUNT_KEYS)
        nursery.cancel_scope.cancel()


async def test_a_daemon_that_misses_the_new_master_key_serves_on_and_says_so(db, master, vault):
    sealed = await vault.seal(TABLE, COLUMN, "1", PLAINTEXT)
    await rotate_master(db, MasterKeys([MasterKey.make(), master]))
    newer = MasterKey.make()
    other = Vault(DataKeyTable(db), MasterKeys([newer]))
    await other.prepare("wharfd.other")
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: vault.keep_fresh(every_seconds=0.01))
            with trio.fail_after(60):
                while not logs:
                    await db.fetchval(COUNT_KEYS)
            nursery.cancel_scope.cancel()
    assert f"wrapped with master key {newer.id}, but configured is {master.id}" in logs[0]["reason"]
    assert await vault.open(TABLE, COLUMN, "1", sealed) == PLAINTEXT


# -- rights and dumps ---------------------------------------------------------------------------------


async def test_the_app_role_cannot_delete_keys(db, vault):
    await vault.prepare(TABLE)
    for text in ("DELETE FROM wharfd.data_keys", "TRUNCATE wharfd.data_keys"):
        with pytest.raises(Exception, match="permission denied"):
            await db.execute(sql("remove_keys", text))


async def test_a_dump_of_the_database_shows_no_plaintext_and_no_key(
    accounts, db, postgres, database_settings, vault, master
):
    await fill(db, vault, 3)
    name = database_settings.url.split("@/")[1].split("?")[0]
    with trio.fail_after(60):
        finished = await trio.run_process(
            [str(postgres.bin / "pg_dump"), "-h", str(postgres.folder), "-U", "postgres", name],
            capture_stdout=True,
        )
    dump = finished.stdout
    assert dump.count(b"\\\\x01") >= 3  # the sealed values are there
    for secret in (PLAINTEXT, *(key.secret.reveal_bytes() for key in (*vault._ring.opened.values(), master))):
        for form in (secret, secret.hex().encode(), Secret(secret).reveal_bytes()[:12]):
            assert form not in dump
    assert PLAINTEXT[:10] not in dump
