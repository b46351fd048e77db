"""ETag, 304, kept answers, cursors and rate-limit fields."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd.cache import Cache
from wharfd.contracts.access import Identity
from wharfd.declare import CacheFor, Rate, Route
from wharfd.http import (
    Headers,
    Invalid,
    NotFound,
    Reply,
    Request,
    decode_cursor,
    encode_cursor,
    page_of,
    paginate,
)
from wharfd.http.conditional import etag_of, is_known
from wharfd.http.paging import offset_of
from wharfd.http.signing import Signer
from wharfd.testing.api import FixedLimits, serve_routes


class Query(msgspec.Struct):
    status: str = "all"
    limit: int = 10


class Counting:
    def __init__(self, answer=None):
        self.runs = 0
        self._answer = answer

    async def handler(self, ctx, request):
        self.runs += 1
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer or {"run": self.runs, "owner": request.owner}


def get(handler, **more):
    return Route(method="GET", path="/x", handler=handler, scope="test:x", **more)


class Owners:
    async def authenticate(self, credentials):
        return Identity(credentials.bearer, "key", owner=credentials.bearer, scopes=frozenset({"*"}))

    async def observe(self, identity, **facts):
        return


async def test_what_the_caller_has_is_not_sent_again():
    async def handler(ctx, request):
        return {"a": 1}

    async with serve_routes([get(handler)]) as api:
        first = await api.get("/x")
        etag = first.headers["etag"]
        again = await api.get("/x", headers={"If-None-Match": f'"other", W/{etag}'})
        changed = await api.get("/x", headers={"If-None-Match": '"other"'})
    assert etag == etag_of(first.body)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    assert "content-type" not in again.headers
    assert changed.status == 200


@pytest.mark.parametrize(
    ("field", "known"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"b"', False),
        ("a", False),
        ("", False),
        (None, False),
    ],
)
def test_if_none_match(field, known):
    assert is_known('"a"', field) is known


async def test_a_kept_answer_is_kept_by_owner_and_query():
    counting = Counting()
    route = get(counting.handler, query=Query, cache=CacheFor(60, tags=("things",)))
    cache = Cache(None, namespace="test")
    async with serve_routes([route], cache=cache, authenticator=Owners) as api:
        ann = [(await api.get("/x?status=a&limit=1", token="ann")).json() for _ in range(2)]
        assert (await api.get("/x?limit=1&status=a", token="ann")).json() == ann[0] == ann[1]
        bob = (await api.get("/x?status=a&limit=1", token="bob")).json()
        other = (await api.get("/x?status=b&limit=1", token="ann")).json()
        everybody = (await api.get("/x?status=a&limit=1")).json()
        assert [ann[0]["owner"], bob["owner"], other["owner"], everybody["owner"]] == [
            "ann",
            "bob",
            "ann",
            None,
        ]
        assert counting.runs == 4
        await cache.named("test").invalidate("things")  # as ctx.cache of the plugin does
        assert (await api.get("/x?status=a&limit=1", token="ann")).json()["run"] == 5


async def test_a_kept_answer_is_for_those_who_may_see_it():
    counting = Counting()
    async with serve_routes([get(counting.handler, cache=CacheFor(60))]) as api:
        assert (await api.get("/x")).status == 200
        assert (await api.get("/x", token=None)).status == 401


@pytest.mark.parametrize("answer", [NotFound("no"), RuntimeError("boom"), Reply(202, {})])
async def test_only_good_answers_are_kept(answer):
    counting = Counting(answer)
    async with serve_routes([get(counting.handler, cache=CacheFor(60))]) as api:
        first, second = await api.get("/x"), await api.get("/x")
    assert first.status == second.status != 200
    assert counting.runs == 2


async def test_kept_bytes_come_back_as_they_were():
    counting = Counting(Reply(200, b"\xff\x00", content_type="image/png"))
    async with serve_routes([get(counting.handler, cache=CacheFor(60))]) as api:
        first, second = await api.get("/x"), await api.get("/x")
    assert first.body == second.body == b"\xff\x00"
    assert second.headers["content-type"] == "image/png"
    assert counting.runs == 1


async def test_the_rate_is_told_and_kept():
    counting = Counting()
    async with serve_routes([get(counting.handler, rate=Rate(2, 60))], limits=FixedLimits()) as api:
        first = await api.get("/x")
        await api.get("/x")
        refused = await api.get("/x")
    assert first.headers["ratelimit-policy"] == '"route";q=2;w=60'
    assert first.headers["ratelimit"] == '"route";r=1;t=60'
    assert first.headers["x-ratelimit-limit"] == "2"
    assert first.headers["x-ratelimit-remaining"] == "1"
    assert first.headers["x-ratelimit-reset"] == "60"
    assert refused.status == 429
    assert refused.headers["retry-after"] == "60"
    assert refused.headers["ratelimit"] == '"route";r=0;t=60'
    assert refused.json()["type"].endswith("#quota-exceeded")
    assert counting.runs == 2


async def test_a_caller_has_a_rate_of_its_own_beside_the_routes():
    class Slow(Owners):
        async def authenticate(self, credentials):
            found = await super().authenticate(credentials)
            return Identity(found.subject, "key", owner=found.owner, scopes=found.scopes, rate_per_minute=1)

    counting = Counting()
    async with serve_routes([get(counting.handler, rate=Rate(50, 60))], authenticator=Slow) as api:
        first = await api.get("/x", token="ann")
        assert first.headers["ratelimit-policy"] == '"route";q=50;w=60, "caller";q=1;w=60'
        assert first.headers["x-ratelimit-remaining"] == "0"
        refused = await api.get("/x", token="ann")
        assert (refused.status, refused.json()["violated-policies"]) == (429, ["caller"])
        assert (await api.get("/x", token="bob")).status == 200


def at(route="/list", owner="ann"):
    return Request(route=route, identity=Identity("k", "key", owner=owner), signer=Signer(b"k"))


@given(st.text(), st.integers(-(2**63), 2**63 - 1), st.none() | st.datetimes(timezones=st.just(dt.UTC)))
def test_a_cursor_gives_back_its_key(text, number, when):
    cursor = encode_cursor(at(), text, number, when)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert decode_cursor(at(), cursor, str, int, dt.datetime | None) == (text, number, when)


@given(st.integers(min_value=0), st.sampled_from("ABCxyz019-_"))
def test_a_changed_cursor_is_refused(place, letter):
    cursor = encode_cursor(at(), "abc", 5)
    place %= len(cursor) - 1  # the last letter holds bits that stand for nothing
    changed = cursor[:place] + letter + cursor[place + 1 :]
    if changed != cursor:
        with pytest.raises(Invalid):
            decode_cursor(at(), changed, str, int)


@pytest.mark.parametrize(
    "other", [at(route="/other"), at(owner="bob"), Request(route="/list", signer=Signer(b"z"))]
)
def test_a_cursor_is_good_for_its_own_list_and_owner_only(other):
    with pytest.raises(Invalid, match="not a cursor of this list"):
        decode_cursor(other, encode_cursor(at(), 1), int)


@pytest.mark.parametrize("cursor", ["x", "é", "a" * 5000, "===="])
def test_nonsense_is_no_cursor(cursor):
    with pytest.raises(Invalid):
        decode_cursor(at(), cursor, int)


def test_no_cursor_is_the_first_page():
    assert decode_cursor(at(), None, int) is None
    assert decode_cursor(at(), "", int) is None


@given(st.integers(0, 30), st.integers(1, 10))
def test_pages_follow_each_other_until_the_end(total, limit):
    rows, seen, cursor = list(range(total)), [], None
    for _ in range(total + 2):
        last = decode_cursor(at(), cursor, int)
        after = rows if last is None else [row for row in rows if row > last[0]]
        page = page_of(at(), after[: limit + 1], limit, item=lambda row: row, key=lambda row: (row,))
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == rows


def test_page_numbers_for_older_callers():
    described = paginate(2, 10, 25)
    assert msgspec.to_builtins(described) == {
        "page": 2, "limit": 10, "total": 25, "totalPages": 3, "hasNext": True, "hasPrevious": True,
    }  # fmt: skip
    assert offset_of(3, 10) == 20
    for page in (0, 10_002):
        with pytest.raises(Invalid):
            offset_of(page, 10)


def test_headers_are_found_whatever_their_case():
    headers = Headers([(b"Accept", b"a"), (b"ACCEPT", b"b"), (b"cookie", b"x=1"), (b"Cookie", b"y=2")])
    assert (headers["accept"], headers["COOKIE"], headers.get("nothing")) == ("a, b", "x=1; y=2", None)
    assert ("Accept" in headers, len(headers), list(headers)) == (True, 2, ["accept", "cookie"])
