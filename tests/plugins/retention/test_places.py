"""Encrypted archives in a folder and in a bucket: read, lost, mended."""

from wharfd import make_identity, sql
from wharfd_retention import watching

TROUBLE = sql("trouble", "SELECT count(*) FROM retention.units WHERE trouble IS NOT NULL")
NOTES = {
    "table": "shop.notes",
    "first": "2020-01-01T00:00:00Z",
    "last": "2090-01-01T00:00:00Z",
    "limit": 1000,
}


async def test_an_encrypted_archive_is_kept_whole_in_a_folder_and_a_bucket(shop, s3):
    import obstore
    from obstore.store import S3Store

    identity, recipient = make_identity()
    more = f'dry_run_first = false\nrecipients = ["{recipient}"]\nidentity = "{identity}"\n'
    async with shop(more, second=s3.toml) as s:
        done = await s.run()
        assert done["rules"]["shop.notes"]["deleted"] == 370, done["rules"]["shop.notes"]
        (unit,) = (await s.d.get("/api/v1/archive?table=shop.notes")).json()["archives"]
        key = unit["manifest"]["key"]
        first = s.folder / "state/plugins/retention/archive" / key
        assert unit["manifest"]["encrypted"]
        assert first.read_bytes().startswith(b"age-encryption.org/")
        assert b"note 399" not in first.read_bytes()

        store = S3Store(
            s3.bucket, prefix="shop", endpoint=s3.endpoint, region="us-east-1", access_key_id="an-id",
            secret_access_key="a-secret", client_options={"allow_http": True},
        )  # fmt: skip

        def second():
            return bytes(obstore.get(store, key).bytes())

        assert second() == first.read_bytes()
        assert (await s.d.post("/api/v1/archive/query", NOTES)).json()["count"] == 370
        # One copy goes bad: it is made anew from the other.
        whole = first.read_bytes()
        first.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        await s.run()
        assert first.read_bytes() == whole
        obstore.delete(store, key)
        await s.run()
        assert second() == whole
        assert (await s.d.db.fetchval(TROUBLE), await watching.missing(s.ctx)) == (0, [])
        # Both do: somebody is told, and it is not forgotten.
        first.unlink()
        obstore.put(store, key, b"something else")
        for _ in range(2):
            await s.run()
            (finding,) = await watching.missing(s.ctx)
            assert "no copy is whole" in finding.message
            assert finding.key == unit["id"]
        first.write_bytes(whole)
        await s.run()
        assert second() == whole
        assert await watching.missing(s.ctx) == []
