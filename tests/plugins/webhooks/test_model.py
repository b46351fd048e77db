"""The pure part, against tables, published vectors and invented input."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

import wharfd_webhooks
from wharfd.contracts.webhooks import DeliveryExhausted
from wharfd_webhooks.model import schemas
from wharfd_webhooks.model.actions import action_for, table_as_markdown
from wharfd_webhooks.model.filters import FilterError, compile_filter
from wharfd_webhooks.model.health import Health, Limits, after_failure, after_success
from wharfd_webhooks.model.keys import new_key, read_key
from wharfd_webhooks.model.never import never_problems
from wharfd_webhooks.model.patterns import asking_for, matches, pattern_problem
from wharfd_webhooks.model.schedule import LONGEST_RETRY_AFTER, Policy, next_delay, read_retry_after
from wharfd_webhooks.model.signing import RESERVED_HEADERS, delivery_headers, sign
from wharfd_webhooks.model.verdicts import Answer, judge

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PAYLOAD = {
    "type": "order.created",
    "data": {"amount": 7, "currency": "EUR", "test": False, "lines": [{"sku": "a"}]},
}
DOCS = Path(wharfd_webhooks.__file__).parents[2] / "docs" / "webhooks.md"


# -- signatures ----------------------------------------------------------------------------------------


def test_the_published_vector_of_standard_webhooks():
    key = read_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key])
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(max_size=500), st.integers(0, 2**40))
def test_an_ed25519_signature_verifies_with_the_public_half(body, at):
    key = new_key("v1a")
    kind, _, text = sign("evt_1", at, body, [key]).partition(",")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public.removeprefix("whpk_")))
    public.verify(base64.b64decode(text), f"evt_1.{at}.".encode() + body)
    assert kind == "v1a"


def test_all_overlapping_keys_sign_and_none_is_refused():
    keys = [new_key(), new_key(), new_key("v1a")]
    kinds = [part.partition(",")[0] for part in sign("evt_1", 1, b"", keys).split(" ")]
    assert kinds == ["v1", "v1", "v1a"]
    with pytest.raises(ValueError, match="without a secret"):
        sign("evt_1", 1, b"", [])
    with pytest.raises(ValueError, match="dot"):
        sign("evt.1", 1, b"", keys)


@given(st.binary(max_size=90))
def test_keys_have_24_to_64_bytes(raw):
    text = "whsec_" + base64.b64encode(raw).decode()
    if 24 <= len(raw) <= 64:
        assert read_key(text).raw == raw
    else:
        with pytest.raises(ValueError, match="bytes"):
            read_key(text)


def test_a_key_never_shows_itself():
    key = new_key()
    assert key.text not in repr(key)
    assert key.text.removeprefix("whsec_")[:12] not in repr(key)


@given(st.dictionaries(st.sampled_from(sorted(RESERVED_HEADERS)), st.just("evil"), max_size=5))
def test_custom_headers_never_replace_ours(custom):
    headers = delivery_headers(
        message_id="evt_1", delivery_id="dlv_1", event_type="a.b", timestamp=1, body=b"{}",
        keys=[new_key()], custom={**custom, "X-Mine": "1"}, legacy="x-webhook",
    )  # fmt: skip
    assert "evil" not in [value for _, value in headers]
    assert ("X-Mine", "1") in headers
    assert len({name.lower() for name, _ in headers}) == len(headers)


# -- the table -----------------------------------------------------------------------------------------

TABLE = [
    (200, "success"), (204, "success"), (299, "success"), (199, "retry"), (301, "retry"), (302, "retry"),
    (304, "retry"), (400, "reject"), (401, "reject"), (403, "reject"), (404, "reject"), (408, "retry"),
    (409, "retry"), (410, "gone"), (413, "reject"), (422, "reject"), (425, "retry"), (429, "slow_down"),
    (500, "retry"), (502, "retry"), (503, "slow_down"), (504, "retry"), (599, "retry"), (600, "retry"),
    (999, "retry"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), TABLE)
def test_what_a_status_means(status, kind):
    assert action_for(status).kind == kind


@given(st.integers(100, 999))
def test_only_2xx_is_success(status):
    assert (action_for(status).kind == "success") == (200 <= status < 300)


def test_a_body_that_did_not_end_is_no_success():
    assert action_for(200, "timeout").kind == "retry"


def test_the_docs_publish_this_very_table():
    assert table_as_markdown() in DOCS.read_text(encoding="utf-8")


# -- the schedule --------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1e9)))
def test_a_delay_lies_within_its_jitter_and_is_only_lengthened(tries, chance, asked):
    policy = Policy()
    delay = next_delay(policy, tries, retry_after=asked, chance=chance)
    if tries > len(policy.delays):
        assert delay is None
        return
    plain = next_delay(policy, tries, chance=chance)
    planned = policy.delays[tries - 1]
    assert 0.8 * planned <= plain <= 1.2 * planned
    assert delay >= plain
    assert delay <= max(plain, LONGEST_RETRY_AFTER)


@given(st.integers(1, 60), st.integers(1, 50))
def test_a_budget_is_what_a_person_asked_for(tries, budget):
    assert (next_delay(Policy(), tries, budget=budget) is None) == (tries >= budget)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120), (" 7 ", 7), ("0", 0), ("-5", None), ("1e9", None), ("soon", None), ("", None), (None, None),
        ("999999999", LONGEST_RETRY_AFTER), ("Thu, 01 Jan 2026 12:01:00 GMT", 60),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0), ("Fri, 01 Jan 2027 12:00:00 GMT", LONGEST_RETRY_AFTER),
        ("Thu, 99 Jan 2026 12:01:00 GMT", None), ("1.5", 1.5),
    ],
)  # fmt: skip
def test_both_forms_of_retry_after(value, seconds):
    assert read_retry_after(value, NOW) == seconds


@given(st.text(max_size=60))
def test_retry_after_survives_anything(text):
    found = read_retry_after(text, NOW)
    assert found is None or 0 <= found <= LONGEST_RETRY_AFTER


def test_a_refusal_follows_the_short_schedule():
    policy = Policy(delays=(1,) * 10, reject_delays=(1, 2), jitter=0)
    ends = [judge(Answer(404), tries, policy, now=NOW).end for tries in (1, 2, 3)]
    assert ends == ["again", "again", "exhausted"]
    assert judge(Answer(404), 1, Policy(reject_delays=()), now=NOW).end == "exhausted"
    assert judge(Answer(410), 1, policy, now=NOW).end == "gone"
    assert judge(Answer(503, retry_after="90"), 1, policy, now=NOW).rest_seconds == 90


# -- patterns ------------------------------------------------------------------------------------------

word = st.text("abc", min_size=1, max_size=3)
types = st.lists(word, min_size=1, max_size=4).map(".".join)


@given(types, st.one_of(types, types.map(lambda t: t + ".*"), st.just("*")))
def test_the_query_finds_exactly_the_patterns_that_match(event_type, pattern):
    assert (pattern in asking_for(event_type)) == matches(pattern, event_type)


@pytest.mark.parametrize(
    "pattern", ["", "*.x", "a.*.b", "A.b", "a..b", "a.", ".a", "a b", "a.**", "a*", "x" * 200]
)
def test_a_bad_pattern_is_refused(pattern):
    assert pattern_problem(pattern) is not None


# -- filters -------------------------------------------------------------------------------------------

FILTERS = [
    ({"data.amount": 7}, True),
    ({"data.amount": {"gte": 7, "lt": 8}}, True),
    ({"data.amount": {"gt": 7}}, False),
    ({"data.amount": {"gt": "6"}}, False),
    ({"data.currency": {"in": ["USD", "EUR"]}}, True),
    ({"data.currency": {"nin": ["USD"]}}, True),
    ({"data.currency": {"prefix": "EU"}}, True),
    ({"data.test": False}, True),
    ({"data.test": 0}, False),
    ({"data.lines.0.sku": "a"}, True),
    ({"data.lines.1.sku": "a"}, False),
    ({"data.missing": {"exists": False}}, True),
    ({"data.missing": {"ne": 1}}, True),
    ({"data.missing": None}, False),
    ({"or": [{"data.amount": 1}, {"data.amount": 7}]}, True),
    ({"and": [{"data.amount": 1}, {"data.amount": 7}]}, False),
    ({"not": {"data.amount": 1}}, True),
    ({"data.amount": 7, "data.currency": "USD"}, False),
]


@pytest.mark.parametrize(("filter_", "passes"), FILTERS, ids=[str(i) for i in range(len(FILTERS))])
def test_a_filter(filter_, passes):
    assert compile_filter(filter_)(PAYLOAD) is passes


DEEP: dict = {"a": 1}
for _ in range(12):
    DEEP = {"not": DEEP}


@pytest.mark.parametrize(
    "filter_",
    [None, [], "x", {}, {"a": {}}, {"a": {"like": 1}}, {"a": {"in": []}}, {"a": {"in": [[1]]}}, {"or": {}},
     {"a": {"exists": 1}}, {"a": {"prefix": ""}}, {"a": {"gt": True}}, {"a": [1]}, {"a..b": 1}, {"": 1}, DEEP,
     {"and": [{f"a{i}": 1} for i in range(51)]}, {"a": {"in": list(range(201))}}, {"a": "x" * 1025}],
)  # fmt: skip
def test_a_bad_filter_is_refused_with_its_place(filter_):
    with pytest.raises(FilterError) as error:
        compile_filter(filter_)
    assert error.value.field.startswith("filter")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values)
def test_a_filter_never_fails_on_any_payload(filter_, payload):
    try:
        test = compile_filter(filter_)
    except FilterError:
        return
    assert test(payload) in (True, False)


# -- schemas -------------------------------------------------------------------------------------------


def test_a_declared_event_fits_its_own_schema():
    event = DeliveryExhausted(delivery_id="d", endpoint_id="e", message_id="m", event_type="a.b", attempts=1)
    schema = schemas.schema_of(DeliveryExhausted)
    assert schemas.problems(schema, msgspec.to_builtins(event)) == []
    assert ("data.attempts", "is missing") in schemas.problems(schema, {})


SCHEMAS = [
    ({"type": "string"}, 1, "must be of type string"),
    ({"type": ["string", "null"]}, 1, "must be of type string or null"),
    ({"type": "integer"}, True, "must be of type integer"),
    ({"enum": [1, "a"]}, 2, 'must be one of 1, "a"'),
    ({"const": True}, 1, "must be true"),
    ({"minLength": 2}, "a", "must have at least 2 characters"),
    ({"format": "date-time"}, "yesterday", "must be a date-time as ISO 8601 writes it"),
    ({"maximum": 5}, 6, "must be at most 5"),
    ({"exclusiveMinimum": 5}, 5, "must be above 5"),
    ({"items": {"type": "string"}, "maxItems": 1}, ["a", "b"], "must have at most 1 items"),
    ({"uniqueItems": True}, [{"a": 1}, {"a": 1}], "must not hold an item twice"),
    (
        {"oneOf": [{"type": "string"}, {"minLength": 0}]},
        "a",
        "must fit exactly one of the shapes it may have, and fits 2",
    ),
    ({"not": {"type": "string"}}, "a", "has a shape that is excluded"),
    ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "null"}}}, 1, "must be of type null"),
]


@pytest.mark.parametrize(("schema", "value", "message"), SCHEMAS)
def test_what_does_not_fit(schema, value, message):
    schemas.check_schema(schema)
    assert message in [sentence for _, sentence in schemas.problems(schema, value)]


@pytest.mark.parametrize(
    "schema",
    [[], {"pattern": "(a+)+$"}, {"type": "strnig"}, {"$ref": "http://x"}, {"$ref": "#/$defs/no"}, {"enum": []},
     {"minLength": -1}, {"properties": []}, {"allOf": []}, {"required": "a"}, {"type": "object", "typ": 1}],
)  # fmt: skip
def test_a_schema_we_do_not_understand_is_refused(schema):
    with pytest.raises(schemas.SchemaError):
        schemas.check_schema(schema)


def test_a_schema_that_refers_to_itself_ends():
    schema = {"$defs": {"x": {"$ref": "#/$defs/x"}}, "$ref": "#/$defs/x"}
    schemas.check_schema(schema)
    assert schemas.problems(schema, 1) == [("data", "is too deep or too large to be checked")]


# -- health --------------------------------------------------------------------------------------------

LIMITS = Limits(
    open_after=3,
    pause_seconds=10,
    longest_pause_seconds=40,
    disable_after=timedelta(hours=1),
    disable_count=10,
)


def test_the_breaker_opens_probes_and_rests_longer_each_time():
    health, now = Health(), NOW
    for _ in range(3):
        change = after_failure(health, now, LIMITS)
        health = change.health
    assert change.opened
    assert health.state(now) == "open"
    rests = []
    for _ in range(4):
        now = health.open_until
        assert health.state(now) == "half_open"
        health = after_failure(health, now, LIMITS).health
        rests.append((health.open_until - now).total_seconds())
    assert rests == [20, 40, 40, 40]
    change = after_success(health)
    assert change.closed
    assert change.health == Health()


def test_failures_that_were_under_way_when_it_opened_do_not_lengthen_the_rest():
    health = Health()
    for _ in range(20):
        health = after_failure(health, NOW, LIMITS).health
    assert (health.open_until - NOW).total_seconds() == 10
    assert health.failures == 20


def test_it_is_disabled_by_time_and_count_with_warnings_on_the_way():
    health, told, now = Health(), [], NOW
    for minute in range(70):
        now = NOW + timedelta(minutes=minute)
        change = after_failure(health, now, LIMITS)
        health = change.health
        if change.warning is not None:
            told.append((minute, change.warning))
        if change.disable:
            break
    assert told == [(30, 50), (42, 70), (54, 90)]
    assert minute == 60
    fast = Health()
    for _ in range(1000):
        fast = after_failure(fast, NOW, LIMITS).health
    assert not after_failure(fast, NOW, LIMITS).disable


def test_what_does_not_count_only_rests():
    change = after_failure(Health(), NOW, LIMITS, sick=False, rest_seconds=60)
    assert change.health.failures == 0
    assert change.health.failing_since is None
    assert change.health.state(NOW) == "open"


@given(st.lists(st.tuples(st.sampled_from(["ok", "bad", "slow"]), st.integers(0, 5000)), max_size=60))
def test_health_holds_its_promises_over_any_history(history):
    health, now = Health(), NOW
    for what, seconds in history:
        now += timedelta(seconds=seconds)
        before = health
        if what == "ok":
            health = after_success(health).health
            assert health == Health()
            continue
        change = after_failure(
            health, now, LIMITS, sick=what == "bad", rest_seconds=30.0 if what == "slow" else 0.0
        )
        health = change.health
        assert health.failures >= before.failures
        if health.open_until is not None and before.open_until is not None:
            assert health.open_until >= before.open_until
        if what == "bad" and health.open_until is not None:
            assert (health.open_until - now).total_seconds() <= 40


def test_the_docs_name_every_reserved_header_we_set():
    text = DOCS.read_text(encoding="utf-8").lower()
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature", "x-webhook-signature"):
        assert re.search(rf"\b{name}\b", text)


NEVER = [
    ({"data.x": {"gt": 5, "lt": 3}}, "filter.data.x"),
    ({"data.x": {"gte": 5, "lt": 5}}, "filter.data.x"),
    ({"data.x": {"gt": 5, "lt": "9"}}, "filter.data.x"),
    ({"data.x": {"prefix": "a", "gt": 5}}, "filter.data.x"),
    ({"data.x": {"eq": 1, "ne": 1}}, "filter.data.x"),
    ({"data.x": {"eq": 3, "gt": 5}}, "filter.data.x"),
    ({"data.x": {"exists": False, "eq": 1}}, "filter.data.x"),
    ({"data.x": {"exists": False, "gt": 1}}, "filter.data.x"),
    ({"data.x": {"in": ["a", "b"], "nin": ["b", "a"]}}, "filter.data.x"),
    ({"and": [{"data.x": 1}, {"data.x": 2}]}, "filter.and[0].data.x"),
    ({"data.x": 1, "and": [{"data.x": 2}]}, "filter.data.x"),
    ({"or": [{"data.x": {"eq": 1, "ne": 1}}, {"total": 1}]}, "filter.or[0].data.x"),
    ({"total": {"gt": 1}}, "filter.total"),
]
SOMETIMES = [
    {"data.x": {"gte": 5, "lte": 5}},
    {"data.x": {"gt": "a", "lt": "b"}},
    {"data.x": {"eq": None}},
    {"data.x": {"exists": False, "ne": 1}},
    {"data.x": {"in": ["a", "b"], "ne": "a"}},
    {"or": [{"data.x": 1}, {"data.x": 2}]},
    {"or": [{"data.x": {"eq": 1, "ne": 1}}, {"type": "a.b"}]},
    {"not": {"data.x": {"gt": 5, "lt": 3}}},
]


@pytest.mark.parametrize(("filter_", "field"), NEVER)
def test_a_filter_that_never_matches_is_found(filter_, field):
    compile_filter(filter_)
    assert field in [found for found, _ in never_problems(filter_)]


@pytest.mark.parametrize("filter_", SOMETIMES)
def test_a_filter_that_may_match_is_left_alone(filter_):
    assert never_problems(filter_) == []
