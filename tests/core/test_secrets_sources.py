"""Where a configured secret may come from, and what is said when it cannot be read."""

import os
from pathlib import Path

import pytest

from wharfd.errors import SecretUnreadable
from wharfd.secrets import Secret, read_secret, resolve_secret
from wharfd.secrets.sources import MAX_SECRET_BYTES


def resolve(value, environ=None, credentials_dir=None):
    return resolve_secret(value, environ=environ or {}, credentials_dir=credentials_dir)


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_each_form_gives_the_secret(tmp_path):
    path = write(tmp_path / "pw", b"s3cret\n")
    assert resolve("s3cret") == Secret("s3cret")
    assert resolve({"file": str(path)}) == Secret("s3cret")
    assert resolve({"env": "PW"}, environ={"PW": "s3cret"}) == Secret("s3cret")
    assert resolve({"credential": "pw"}, credentials_dir=tmp_path) == Secret("s3cret")
    assert resolve(Secret("s3cret")) == Secret("s3cret")


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"a\n", b"a"),
        (b"a\r\n", b"a"),
        (b"a\n\n", b"a\n"),
        (b" a ", b" a "),
        (b"a\r", b"a\r"),
        (b"\x00\xff", b"\x00\xff"),
    ],
)
def test_exactly_one_trailing_newline_goes(tmp_path, content, kept):
    assert resolve({"file": str(write(tmp_path / "f", content))}).reveal_bytes() == kept


@pytest.mark.parametrize(
    ("mode", "worrying"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o620, True)]
)
def test_a_file_open_to_others_is_a_worry(tmp_path, mode, worrying):
    path = write(tmp_path / "f", b"a", mode)
    reading = read_secret({"file": str(path)}, environ={}, credentials_dir=None)
    assert bool(reading.worry) == worrying
    if worrying:
        assert f"chmod 600 {path}" in reading.worry


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "the text is empty"),
        (5, "not a secret; write"),
        ({}, "not a secret; write"),
        ({"file": "/a", "env": "B"}, "not a secret; write"),
        ({"vault": "x"}, "vault is not a place a secret can come from; write"),
        ({"file": ""}, "file: expected a name"),
        ({"file": 1}, "file: expected a name"),
        ({"file": "a\0b"}, "file: expected a name"),
        ({"file": "relative"}, "file 'relative' is relative; write its whole path"),
        ({"file": "/no/such/file"}, "file '/no/such/file' does not exist; create it"),
        ({"file": "/dev/null"}, "file '/dev/null' is not a regular file"),
        ({"file": "/"}, "file '/' is not a regular file"),
        ({"env": "NO_SUCH"}, "environment variable NO_SUCH is not set; set it"),
        ({"env": "BLANK"}, "environment variable BLANK is empty; put"),
        ({"credential": "key"}, "wharfd was started without credentials; add LoadCredential=key:"),
        ({"credential": "../key"}, "credential '../key' is not a plain name"),
        ({"credential": ".."}, "credential '..' is not a plain name"),
    ],
)
def test_what_cannot_be_read_names_the_place_and_the_way_out(value, says):
    with pytest.raises(SecretUnreadable) as caught:
        resolve(value, environ={"BLANK": ""})
    assert says in str(caught.value)
    assert caught.value.what in str(caught.value)


def test_a_credential_that_was_not_handed_over(tmp_path):
    with pytest.raises(
        SecretUnreadable, match="'key' was not handed to wharfd by systemd; add LoadCredential=key:"
    ):
        resolve({"credential": "key"}, credentials_dir=tmp_path)


def test_a_credential_in_a_folder_that_is_closed_or_none(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(SecretUnreadable, match="was not handed to wharfd by systemd"):
        resolve({"credential": "key"}, credentials_dir=tmp_path / "file")

    def closed(path, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", closed)
    monkeypatch.setattr(Path, "exists", lambda path: False)  # as newer Pythons answer
    with pytest.raises(SecretUnreadable, match="only the daemon itself can read it"):
        resolve({"credential": "key"}, credentials_dir=tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(SecretUnreadable, match="not a regular file"):
        resolve({"file": str(tmp_path / "pipe")})


def test_the_size_is_bounded(tmp_path):
    assert resolve({"file": str(write(tmp_path / "fits", b"x" * MAX_SECRET_BYTES))})
    with pytest.raises(SecretUnreadable, match="is longer than"):
        resolve({"file": str(write(tmp_path / "big", b"x" * (MAX_SECRET_BYTES + 1)))})
    with pytest.raises(SecretUnreadable, match="is longer than"):
        resolve({"env": "BIG"}, environ={"BIG": "x" * (MAX_SECRET_BYTES + 1)})


def test_an_environment_value_that_is_not_utf8_is_kept(monkeypatch):
    monkeypatch.setitem(os.environb, b"WHARFD_TEST_RAW", b"\xff1")
    assert resolve({"env": "WHARFD_TEST_RAW"}, environ=os.environ).reveal_bytes() == b"\xff1"
