"""A Secret shows itself to reveal() and to nothing else."""

import copy
import json
import pickle
import traceback
from dataclasses import asdict, dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd.errors import SecretError, SecretUnreadable
from wharfd.secrets import Secret

HIDDEN = "hunter2-of-the-deep"


@dataclass(frozen=True)
class Settings:
    password: Secret


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{:>40}".format,
        "{!r}".format,
        lambda s: f"{s} {s!r} {s!s}",
        lambda s: repr(Settings(s)),
        lambda s: repr([s, {"a": s}]),
        lambda s: repr(asdict(Settings(s))),
        lambda s: json.dumps({"a": s}, default=repr),
    ],
)
def test_no_way_of_printing_shows_it(show):
    shown = show(Secret(HIDDEN))
    assert "redacted" in shown
    assert HIDDEN not in shown


def test_it_is_not_pickled_nor_encoded():
    for write in (pickle.dumps, json.dumps, msgspec.json.encode, msgspec.msgpack.encode):
        with pytest.raises(TypeError) as caught:
            write(Secret(HIDDEN))
        assert HIDDEN not in "".join(traceback.format_exception(caught.value))


def test_one_that_cannot_be_read_here_says_why_and_only_when_asked():
    secret = Secret.unread(SecretUnreadable("credential 'key' is not here", "name its folder"))
    assert secret
    assert secret != Secret("")
    assert {secret: 1}[secret] == 1
    for ask in (secret.reveal, secret.reveal_bytes, lambda: secret.matches("")):
        with pytest.raises(SecretUnreadable, match="is not here; name its folder") as first:
            ask()
        with pytest.raises(SecretUnreadable) as second:
            ask()
        assert second.value is not first.value, "its traceback would grow, and hold what it passed"


def test_it_cannot_be_changed_and_a_copy_is_itself():
    secret = Secret(HIDDEN)
    assert copy.deepcopy(secret) is copy.copy(secret) is secret
    with pytest.raises(AttributeError):
        secret._value = b"other"
    with pytest.raises(AttributeError):
        secret.more = 1
    with pytest.raises(AttributeError):
        del secret._value
    assert not hasattr(secret, "__dict__")


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_equality_is_that_of_the_values(one, other):
    assert (Secret(one) == Secret(other)) == (one == other)
    assert Secret(one).matches(other) == (one == other)
    assert Secret(one).reveal() == one
    assert (hash(Secret(one)) == hash(Secret(other))) or one != other


def test_a_secret_is_not_equal_to_its_text():
    assert Secret(HIDDEN) != HIDDEN
    assert bool(Secret("")) is False


def test_bytes_that_are_not_text_are_refused_without_showing_them():
    with pytest.raises(SecretError, match="not UTF-8") as caught:
        Secret(b"\xff\xfe" + HIDDEN.encode()).reveal()
    assert HIDDEN not in "".join(traceback.format_exception(caught.value))
    assert Secret(b"\xff\xfe").reveal_bytes() == b"\xff\xfe"
