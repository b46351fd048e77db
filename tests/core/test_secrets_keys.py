"""Cipher, sealed form, master keys and data keys: what opens, and what is refused."""

import base64
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd.errors import DamagedSecret, MasterKeyError, MisplacedSecret, SecretError
from wharfd.secrets import Secret, cipher
from wharfd.secrets.keyfile import load_or_make_master_key
from wharfd.secrets.keys import DataKey, MasterKey, MasterKeys
from wharfd.secrets.sealed import MAX_PLAINTEXT_BYTES, OVERHEAD_BYTES, Place, key_id_of, open_sealed, seal

KEY = bytes(range(32))
PLACE = Place("hello.accounts", "token", "acc_1")


@pytest.mark.parametrize(
    ("key", "associated", "expected"),
    [
        (b"\x01" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (b"\x03" * 32, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ],
)
def test_the_cipher_gives_the_published_vectors(key, associated, expected):
    nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX"
    sealed = cipher.encrypt(key, b"XAES-256-GCM", associated, nonce=nonce)
    assert sealed == nonce + bytes.fromhex(expected)
    assert cipher.decrypt(key, sealed, associated) == b"XAES-256-GCM"
    assert cipher.decrypt(key, sealed, associated + b"x") is None
    assert cipher.decrypt(key, sealed[:39], associated) is None


@given(st.binary(max_size=300))
def test_what_was_sealed_opens_in_its_place(plaintext):
    sealed = seal(7, KEY, PLACE, plaintext)
    assert len(sealed) == len(plaintext) + OVERHEAD_BYTES
    assert key_id_of(sealed, PLACE) == 7
    assert open_sealed(KEY, PLACE, sealed) == plaintext


@given(st.binary(max_size=60), st.data())
def test_any_flipped_bit_is_refused(plaintext, data):
    sealed = bytearray(seal(7, KEY, PLACE, plaintext))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((DamagedSecret, MisplacedSecret)):
        open_sealed(KEY, PLACE, bytes(sealed))


@given(st.binary(max_size=60), st.data())
def test_any_cut_or_addition_is_refused(plaintext, data):
    sealed = seal(7, KEY, PLACE, plaintext)
    cut = sealed[: data.draw(st.integers(0, len(sealed) - 1))]
    for changed in (cut, sealed + b"\0"):
        with pytest.raises(DamagedSecret):
            open_sealed(KEY, PLACE, changed)


names = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
places = st.builds(
    Place, st.builds("{}.{}".format, names, names), names, st.text("ab.1:", min_size=1, max_size=5)
)


@given(places, places)
def test_a_value_opens_in_its_own_place_only(one, other):
    sealed = seal(7, KEY, one, b"secret")
    if one == other:
        assert open_sealed(KEY, other, sealed) == b"secret"
    else:
        with pytest.raises(MisplacedSecret):
            open_sealed(KEY, other, sealed)


def test_a_forged_place_in_the_header_is_refused_by_the_tag():
    other = Place("hello.accounts", "token", "acc_2")
    sealed = bytearray(seal(7, KEY, PLACE, b"secret"))
    sealed[9:17] = other.digest()
    with pytest.raises(DamagedSecret):
        open_sealed(KEY, other, bytes(sealed))


def test_another_key_id_in_the_header_is_refused_by_the_tag():
    sealed = bytearray(seal(7, KEY, PLACE, b"secret"))
    sealed[1:9] = (8).to_bytes(8, "big")
    with pytest.raises(DamagedSecret):
        open_sealed(KEY, PLACE, bytes(sealed))


@pytest.mark.parametrize(
    ("table", "column", "row"),
    [("accounts", "a", "1"), ("A.b", "a", "1"), ("a.b", "A", "1"), ("a.b", "a", ""), ("a.b\n", "a", "1")],
)
def test_a_place_that_is_none_is_refused(table, column, row):
    with pytest.raises(ValueError, match=r"not|empty"):
        Place(table, column, row)


def test_a_secret_is_bounded():
    with pytest.raises(SecretError, match="above the"):
        seal(7, KEY, PLACE, b"x" * (MAX_PLAINTEXT_BYTES + 1))


def test_master_keys_are_read_one_per_line_the_current_first():
    first, second = MasterKey.make(), MasterKey.make()
    keys = MasterKeys.parse(Secret(f"# note\n{first.text()}  # new\n\n{second.text()}\n"))
    assert keys.current == first
    assert keys.get(second.id) == second
    assert [k.id for k in keys] == [first.id, second.id]
    for shown in (repr(keys), repr(first), str(first)):
        assert first.text() not in shown
        assert first.id in shown


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no key; make one with"),
        ("# nothing\n", "holds no key; make one with"),
        ("!!!!", "line 1: not base64"),
        ("\n" + base64.b64encode(b"x" * 31).decode(), "line 2: a master key has 32 bytes, this one 31"),
    ],
)
def test_a_malformed_master_key_says_how_to_make_one(text, says):
    with pytest.raises(MasterKeyError) as caught:
        MasterKeys.parse(Secret(text))
    assert says in str(caught.value)
    assert caught.value.exit_code == 78


def test_a_wrapped_key_opens_with_its_master_key_only():
    old, new = MasterKey.make(), MasterKey.make()
    key = DataKey.make("hello.accounts", "seal")
    wrapped = key.wrap(old)
    assert wrapped.unwrap(MasterKeys([new, old])) == key
    with pytest.raises(
        MasterKeyError,
        match=f"wrapped with master key {old.id}, but configured is {new.id}; put {old.id} back",
    ):
        wrapped.unwrap(MasterKeys([new]))
    assert key.secret.reveal_bytes() not in wrapped.wrapped
    assert "secret" not in repr(key)


@pytest.mark.parametrize(
    "change", [{"id": 5}, {"purpose": "hello.other"}, {"kind": "index"}, {"wrapped": bytes(72)}]
)
def test_a_changed_row_of_a_wrapped_key_is_refused(change):
    master = MasterKey.make()
    wrapped = DataKey.make("hello.accounts", "seal").wrap(master)
    forged = type(wrapped)(**{**{f: getattr(wrapped, f) for f in wrapped.__dataclass_fields__}, **change})
    with pytest.raises(DamagedSecret, match="was changed"):
        forged.unwrap(MasterKeys([master]))


def test_the_key_file_is_made_once_private_and_kept(tmp_path):
    path = tmp_path / "master.key"
    made = load_or_make_master_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_make_master_key(path).current == made.current
    assert os.listdir(tmp_path) == ["master.key"]


def test_of_many_that_make_the_key_file_at_once_all_get_the_same(tmp_path):
    path, found, together = tmp_path / "master.key", [], threading.Barrier(8)

    def one():
        together.wait(10)
        found.append(load_or_make_master_key(path).current.id)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert os.listdir(tmp_path) == ["master.key"]


def test_a_key_file_open_to_others_is_refused(tmp_path):
    path = tmp_path / "master.key"
    load_or_make_master_key(path)
    path.chmod(0o640)
    with pytest.raises(MasterKeyError, match=r"open to others \(mode 0640\); run `chmod 600"):
        load_or_make_master_key(path)


@pytest.mark.parametrize("place", ["missing/master.key", "folder"])
def test_a_key_file_that_cannot_be_made_or_read_is_one_sentence(tmp_path, place):
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises(MasterKeyError, match=r"cannot be made|not a regular file|cannot be read"):
        load_or_make_master_key(tmp_path / place)


def test_a_broken_link_is_not_written_through(tmp_path):
    (tmp_path / "master.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MasterKeyError, match="is missing"):
        load_or_make_master_key(tmp_path / "master.key")
    assert not (tmp_path / "elsewhere").exists()
