"""A server that others run, over TLS, with an S3-compatible store as second place: dumped, and tried for real."""

import ssl

import pytest
import trio

from wharfd import StorageError, open_place
from wharfd_backups.engine import preloading, taking
from wharfd_backups.engine.preloading import NoTls
from wharfd_backups.engine.programs import ProgramFailed
from wharfd_backups.engine.storehouse import Storehouse
from wharfd_backups.model.targets import LATEST
from wharfd_backups.restoring.drilling import Aim, drill, verify_place

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


async def serve_tls(server, authority, folder, task_status):
    """A PostgreSQL that takes nothing but TLS, in front of one that cannot do it."""
    pair = authority.issue("localhost")
    (folder / "cert.pem").write_text(pair.certificate)
    (folder / "key.pem").write_text(pair.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    async def pass_on(source, target):
        try:
            while data := await source.receive_some(65536):
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await target.aclose()

    async def serve(stream):
        if await stream.receive_some(8) != SSL_REQUEST:
            await stream.aclose()
            return
        await stream.send_all(b"S")
        client = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        behind = await trio.open_unix_socket(f"{server.socket_dir}/.s.PGSQL.5432")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pass_on, client, behind)
            nursery.start_soon(pass_on, behind, client)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(serve, listeners)


async def test_a_managed_server_is_dumped_over_tls_into_a_bucket_and_restored(
    world, short, s3, authority, monkeypatch
):
    (short / "ca.pem").write_text(authority.pem)
    bucket = open_place(s3.place)
    house = Storehouse(world.first, bucket)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_tls, world.server._server, authority, short)
        url = f"postgresql://wharfd_owner@localhost:{port}/wharfd?sslmode=verify-full&sslrootcert={short}/ca.pem"
        world.house = house
        entry = await world.back_up("logical", dsn=url)
        # a certificate of somebody else, no library that can do TLS, a store that is away
        (short / "ca.pem").write_text(type(authority)().pem)
        with pytest.raises(ProgramFailed, match="SSL error"):
            await world.programs.value(url, "SELECT 1")
        monkeypatch.setattr(preloading, "libpq_with_tls", lambda: None)
        with pytest.raises(NoTls, match="install psycopg-binary"):
            await world.programs.value(url, "SELECT 1")
        nursery.cancel_scope.cancel()
    assert [one.id for one in house.entries(bucket)[0]] == [entry.id]
    await verify_place(world.source(bucket), entry)
    aim = Aim(entry=entry, target=LATEST, marker=entry.marker)
    report = await drill(world.source(bucket), short / "drills" / "d", short / "drills", aim)
    assert report.passed, report
    assert report.place.startswith("s3://")
    assert {c.name: c.outcome for c in report.checks}["counts_as_marked"] == "passed"
    assert list((short / "drills").iterdir()) == []
    house.forget(entry)
    assert list(bucket.list("")) == []


async def test_a_backup_that_does_not_reach_the_bucket_counts_nowhere(world, s3, monkeypatch):
    """The server hashes its files itself, as one that is reached over a network does."""
    monkeypatch.setattr(taking, "hashes_here", lambda facts, dsn: False)
    with pytest.raises((StorageError, FileNotFoundError)):
        gone = open_place(type(s3)(s3.endpoint, "no-such-bucket").place)
        await world.back_up(house=Storehouse(world.first, gone))
    assert world.house.entries(world.first) == ([], [])
    # the log and a base backup in the bucket lead back to the last commit
    bucket = open_place(s3.place)
    world.house = Storehouse(world.first, bucket)
    world.second = bucket
    async with world.receiving() as receiver:
        assert not (await world.back_up()).has("sums")
        await world.sql("INSERT INTO shop.orders DEFAULT VALUES")
        await world.archived(receiver, await world.lsn())
    async with world.restored(LATEST, place=bucket) as done:
        assert await done.scratch.ask("SELECT count(*) FROM shop.orders", "wharfd") == [["2001"]]
