"""A bucket of a real S3-compatible store: whole objects or none, conditional creation, errors as sentences."""

import hashlib
import urllib.request
from dataclasses import replace

import pytest

from wharfd import Folder, StorageError, copy_object, open_place, read_object


@pytest.fixture
def bucket(s3):
    return open_place(s3.place)


def test_what_is_put_is_read_back_listed_and_removed(bucket, tmp_path):
    path = tmp_path / "one"
    path.write_bytes(b"x" * 100_000)
    bucket.put("backups/one.zst", path)
    bucket.put("backups/two.zst", path)
    assert bucket.size("backups/one.zst") == 100_000
    assert bucket.size("backups/none") is None
    assert read_object(bucket, "backups/one.zst") == path.read_bytes()
    assert [one.key for one in bucket.list("backups/o")] == ["backups/one.zst"]
    assert [(one.key, one.size) for one in bucket.list("")] == [
        ("backups/one.zst", 100_000),
        ("backups/two.zst", 100_000),
    ]
    bucket.delete("backups/one.zst")
    bucket.delete("backups/one.zst")
    assert [one.key for one in bucket.list("backups/")] == ["backups/two.zst"]
    with pytest.raises(FileNotFoundError, match=r"backups/one.zst is not in s3://"):
        bucket.open("backups/one.zst")


def test_an_object_of_several_parts_comes_back_whole(bucket, tmp_path):
    folder, data = Folder(tmp_path), bytes(range(256)) * (1 << 12) * 20  # 20 MiB, two parts
    with folder.writing("backups/large") as file:
        file.write(data)
    sha256 = hashlib.sha256(data).hexdigest()
    copy_object(folder, bucket, "backups/large", size=len(data), sha256=sha256)
    assert bucket.size("backups/large") == len(data)
    with pytest.raises(StorageError, match="is not what was written there"):
        copy_object(folder, bucket, "backups/large", size=len(data), sha256="0" * 64)


def test_an_entry_is_created_once(bucket):
    bucket.create("catalogue/a.json", b"first")
    with pytest.raises(FileExistsError, match="already"):
        bucket.create("catalogue/a.json", b"second")
    assert read_object(bucket, "catalogue/a.json") == b"first"


def test_the_prefix_keeps_two_users_of_a_bucket_apart(s3, bucket):
    other = open_place(replace(s3.place, prefix="other"))
    bucket.create("a", b"1")
    assert list(other.list("")) == []
    with urllib.request.urlopen(f"{s3.endpoint}/{s3.bucket}?list-type=2") as answer:
        assert b"<Key>shop/a</Key>" in answer.read()


def test_a_bucket_that_is_not_there_is_an_error_without_a_url(s3):
    gone = open_place(replace(s3.place, bucket="no-such-bucket"))
    with pytest.raises((StorageError, FileNotFoundError)) as raised:
        gone.create("a", b"1")
    assert "no-such-bucket" in str(raised.value)
    assert "a-secret" not in str(raised.value)
    assert "http" not in str(raised.value)
