"""What is taken out of log fields and audit details, and that anything at all can be handed in."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd.redaction import HIDDEN, MAX_TEXT, names_a_secret, redact_fields, redact_text, redact_value
from wharfd.secrets import Secret


@pytest.mark.parametrize(
    "name",
    [
        *("password", "PASSWORD", "db_password", "passwd", "client_secret", "clientSecret", "webhook-secret"),
        *(
            "token",
            "accessToken",
            "Authorization",
            "X-Signature",
            "webhook-signature",
            "api_key",
            "apiKey",
            "key",
        ),
        *("private_key", "x-api-key", "Cookie", "set-cookie", "credentials", "mnemonic", "API_KEY", "apikey"),
    ],
)
def test_these_names_hold_secrets(name):
    assert names_a_secret(name)
    assert redact_fields({name: "s3cret"}) == {name: HIDDEN}
    assert redact_fields({"request": {"headers": [{name: 1234}]}}) == {
        "request": {"headers": [{name: HIDDEN}]}
    }


@pytest.mark.parametrize(
    "name",
    [
        *(
            "event",
            "owner",
            "key_id",
            "secret_name",
            "token_count",
            "password_file",
            "row_key",
            "cache_key",
            "monkey",
        ),
        *(
            "keyboard",
            "tokenizer",
            "author",
            "idempotency_key",
            "signature_scheme",
            "public_key",
            "expires_at",
        ),
    ],
)
def test_these_names_do_not(name):
    assert not names_a_secret(name)
    assert redact_fields({name: "shown"}) == {name: "shown"}


def test_whether_there_is_a_secret_is_none():
    assert redact_fields({"password": None, "token": True}) == {"password": None, "token": True}


def test_header_pairs_are_named_by_their_first_half():
    headers = [(b"Authorization", b"Bearer abc"), ("X-Request-Id", "r1")]
    assert redact_value(headers) == [["Authorization", HIDDEN], ["X-Request-Id", "r1"]]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://app:s3cret@db/x", f"postgresql://app:{HIDDEN}@db/x"),
        ("redis://:s3cret@h:6379 refused", f"redis://:{HIDDEN}@h:6379 refused"),
        ("postgresql://app:p@ss:w@db/x", f"postgresql://app:{HIDDEN}@db/x"),
        ("https://host:8443/a@b", "https://host:8443/a@b"),
        ("sent Bearer abcdefghijklmnop1234", f"sent Bearer {HIDDEN}"),
        ("the bearer of this", "the bearer of this"),
    ],
)
def test_text_loses_url_passwords_and_bearer_tokens(text, shown):
    assert redact_text(text) == shown


def test_size_and_depth_are_bounded():
    deep = value = {}
    for _ in range(50):
        value["a"] = {}
        value = value["a"]
    assert len(repr(redact_value(deep))) < 200
    assert len(redact_text("x" * 100_000)) < MAX_TEXT + 50
    assert len(redact_value(list(range(1000)))) == 101
    assert len(redact_fields({str(n): n for n in range(1000)})) == 101


class Unprintable:
    def __str__(self):
        raise RuntimeError("no")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.just(Unprintable())
    | st.just(Secret("hunter2"))
    | st.just(b"\xff")
    | st.just("\ud800"),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.binary(), inner),
)


@given(anything)
def test_whatever_goes_in_plain_data_comes_out(value):
    encoded = msgspec.json.encode(redact_fields({"value": value}))
    assert b"hunter2" not in encoded
