"""What comes in: bodies, queries, limits, streams; and what is said when it is wrong."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from wharfd.declare import Route
from wharfd.http import FieldError, Invalid, struct_of_text
from wharfd.http.decoding import BodyDecoder, QueryDecoder
from wharfd.http.settings import HttpSettings
from wharfd.testing.api import serve_routes


class Item(msgspec.Struct, forbid_unknown_fields=True):
    amount: Annotated[int, msgspec.Meta(ge=1)]
    currency: str


class Order(msgspec.Struct):
    items: list[Item]
    note: Annotated[str, msgspec.Meta(max_length=3)] | None = None
    first: Item | None = None


class Color(enum.Enum):
    RED = "red"


class Query(msgspec.Struct, rename="camel"):
    page_size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    color: Color | None = None
    since: dt.datetime | None = None
    ids: list[int] = []
    exact: bool = False


async def echo(ctx, request):
    return {"body": request.body, "query": request.query}


def post(body: Any = Order, **more):
    return Route(method="POST", path="/x", handler=echo, scope="test:x", body=body, **more)


async def test_a_body_arrives_as_its_type():
    async with serve_routes([post()]) as api:
        answer = await api.post("/x", {"items": [{"amount": 5, "currency": "EUR"}]})
    assert answer.status == 200
    assert answer.json()["body"]["items"] == [{"amount": 5, "currency": "EUR"}]


async def test_every_wrong_value_is_named_at_once():
    body = {"items": [{"amount": 0}, {"amount": 1, "currency": "x", "z": 1}], "note": "long", "first": "no"}
    async with serve_routes([post()]) as api:
        answer = await api.post("/x", body)
    assert answer.status == 422
    problem = answer.json()
    assert [(error["field"], error["message"]) for error in problem["errors"]] == [
        ("items[0].amount", "expected int >= 1"),
        ("items[0].currency", "is missing"),
        ("items[1].z", "is not a known field"),
        ("note", "expected str of length <= 3"),
        ("first", "expected object | null, got str"),
    ]
    assert {error["in"] for error in problem["errors"]} == {"body"}
    assert problem["detail"] == "items[0].amount: expected int >= 1 (and 4 more)"
    assert problem["success"] is False


async def test_a_body_that_may_be_missing_may_be_missing():
    async with serve_routes([post(Order | None)]) as api:
        assert (await api.request("POST", "/x")).json()["body"] is None
        assert (await api.post("/x", {"items": []})).json()["body"]["items"] == []
        assert (await api.request("POST", "/x", body=b"{")).status == 400


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b'{"items":[],"note":NaN}', b"[" * 100_000])
async def test_what_is_not_json_is_400(body):
    async with serve_routes([post()]) as api:
        answer = await api.request("POST", "/x", body=body)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_deep_nesting_is_refused_where_anything_is_taken():
    with pytest.raises(Exception, match="nested too deeply"):
        BodyDecoder(Any).decode(b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({"Content-Type": "application/vnd.x+json"}, 200),
        ({}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
    ],
)
async def test_the_kind_of_body_is_checked(headers, status):
    async with serve_routes([post()]) as api:
        answer = await api.request("POST", "/x", body=b'{"items":[]}', headers=headers)
    assert answer.status == status


def test_a_query_becomes_numbers_dates_enums_and_lists():
    query = b"pageSize=3&ids=1&ids=2&color=red&since=2024-01-01T00:00:00Z&exact=true"
    assert QueryDecoder(Query).decode(query) == Query(
        3, Color.RED, dt.datetime(2024, 1, 1, tzinfo=dt.UTC), [1, 2], True
    )


def test_an_empty_parameter_is_as_if_it_was_not_sent():
    assert QueryDecoder(Query).decode(b"color=&pageSize=") == Query()


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        (
            b"pageSize=900&color=blue",
            [("pageSize", "expected int <= 100"), ("color", "must be one of red")],
        ),
        (b"ids=1&ids=x", [("ids[1]", "expected int, got str")]),
        (b"color=red&color=red", [("color", "is given more than once")]),
    ],
)
def test_wrong_parameters_are_named(query, errors):
    with pytest.raises(Invalid) as caught:
        QueryDecoder(Query).decode(query)
    assert list(caught.value.errors) == [FieldError(name, message, "query") for name, message in errors]


def test_a_parameter_nobody_knows_is_refused_with_those_that_are_known():
    with pytest.raises(Invalid) as caught:
        QueryDecoder(Query).decode(b"colour=red&pageSize=900&_=1732190000")
    known = "is not known here; known are " + ", ".join(f.encode_name for f in msgspec.structs.fields(Query))
    assert [(one.field, one.message) for one in caught.value.errors] == [
        ("pageSize", "expected int <= 100"),
        ("colour", known),
    ]
    assert QueryDecoder(Query).decode(b"color=red&_=1732190000") == Query(color=Color.RED)


async def test_on_a_kept_path_callers_of_an_old_system_may_send_more():
    route = Route(
        method="GET", path="/api/v1/x", aliases=("/api/x",), kept=("/api/x",), handler=echo, scope="test:x",
        query=Query,
    )  # fmt: skip
    async with serve_routes([route]) as api:
        old, new = await api.get("/api/x?sort=up&sort=down"), await api.get("/api/v1/x?sort=up")
    assert (old.status, new.status) == (200, 422)
    assert new.json()["errors"][0]["field"] == "sort"


def test_a_kept_path_is_one_of_the_routes_own():
    with pytest.raises(ValueError, match="neither the path nor"):
        Route(method="GET", path="/x", kept=("/y",), handler=echo, scope="test:x")


async def test_a_query_of_any_text_never_breaks_the_server():
    async with serve_routes(
        [Route(method="GET", path="/x", handler=echo, scope="test:x", query=Query)]
    ) as api:
        for query in ("%ff=1", "a=%ff", "&&&=", "ids=" + "9" * 4000, "&".join(f"a{n}=1" for n in range(300))):
            assert (await api.get(f"/x?{query}")).status in (200, 400, 422)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_a_body_is_taken_or_explained_whatever_it_holds(value):
    raw = msgspec.json.encode(value)
    named = ()
    try:
        taken = BodyDecoder(Order).decode(raw)
    except Invalid as problem:
        taken, named = None, problem.errors
    assert isinstance(taken, Order) or named


class Streamed:
    def __init__(self):
        self.seen = 0
        self.pieces = 0

    async def handler(self, ctx, request):
        async for piece in request.stream():
            self.seen += len(piece)
            self.pieces += 1
        return {"seen": self.seen}


def streaming(handler, limit=1 << 30):
    return Route(
        method="POST", path="/up", handler=handler, scope="test:x", stream=True, max_body_bytes=limit
    )


async def pieces(count, size=65536):
    for _ in range(count):
        yield b"x" * size


async def test_a_streamed_body_arrives_in_pieces():
    streamed = Streamed()
    async with serve_routes([streaming(streamed.handler)]) as api:
        answer = await api.request("POST", "/up", body=pieces(100))
    assert answer.json() == {"seen": 100 * 65536}
    assert streamed.pieces >= 100


async def test_a_slow_reader_holds_the_sender_back():
    """The body is not taken in faster than the handler reads it: memory stays constant."""
    release, sent = trio.Event(), 0

    async def handler(ctx, request):
        await release.wait()
        return {"seen": sum([len(piece) async for piece in request.stream()])}

    async with serve_routes([streaming(handler)]) as api, await api.open() as stream:
        head = f"POST /up HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.admin_token}\r\n"
        await stream.send_all(f"{head}Content-Length: {64 << 20}\r\n\r\n".encode())
        stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 65536)
        with trio.move_on_after(1) as scope:
            while True:
                sent += await stream.socket.send(b"x" * 65536)
        assert scope.cancelled_caught
        assert sent < 16 << 20  # the sockets' buffers and a few pieces, not the 64 MiB announced
        release.set()


@pytest.mark.parametrize("announced", [True, False])
async def test_too_large_a_body_is_413_and_the_sender_gets_to_read_it(announced):
    async def body():
        async for piece in pieces(40):
            yield piece

    async with serve_routes([post(max_body_bytes=1000)]) as api:
        raw = b"x" * (40 * 65536) if announced else body()
        answer = await api.request("POST", "/x", body=raw)
        assert answer.status == 413
        assert answer.json()["limit"] == 1000
        assert (await api.post("/x", {"items": []})).status == 200


async def test_a_stream_is_cut_off_at_its_limit():
    streamed = Streamed()
    async with serve_routes([streaming(streamed.handler, limit=100_000)]) as api:
        answer = await api.request("POST", "/up", body=pieces(50))
    assert answer.status == 413
    assert streamed.seen <= 100_000


async def test_refusing_a_huge_body_does_not_tie_up_the_connection():
    """More than the server's queue holds is on its way when the answer is sent."""
    async with serve_routes([post(max_body_bytes=1000)], settings=HttpSettings(bind=("127.0.0.1:0",))) as api:
        async with await api.open() as stream:
            await stream.send_all(
                f"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 30}\r\n\r\n".encode()
            )
            with pytest.raises(trio.BrokenResourceError), trio.fail_after(60):
                while True:
                    await stream.send_all(b"x" * 65536)
        with trio.fail_after(60):
            await api.server.wait_empty()


async def test_a_body_that_stops_arriving_is_408():
    settings = HttpSettings(bind=("127.0.0.1:0",), body_timeout_seconds=0.2)
    async with serve_routes([post()], settings=settings) as api, await api.open() as stream:
        head = f"POST /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.admin_token}\r\n"
        await stream.send_all(f"{head}Content-Length: 100\r\n\r\nabc".encode())
        with trio.fail_after(60):
            answer = await stream.receive_some(65536)
    assert answer.startswith(b"HTTP/1.1 408")


async def test_who_is_nobody_does_not_get_to_send_a_body():
    async with serve_routes([post(max_body_bytes=1 << 30)]) as api, await api.open() as stream:
        await stream.send_all(f"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 29}\r\n\r\n".encode())
        with trio.fail_after(60):
            answer = await stream.receive_some(65536)
    assert answer.startswith(b"HTTP/1.1 401")


async def test_a_write_goes_on_when_its_caller_hangs_up():
    begun, hung_up, done = trio.Event(), trio.Event(), trio.Event()

    async def handler(ctx, request):
        begun.set()
        await hung_up.wait()
        await trio.lowlevel.checkpoint()
        done.set()

    route = Route(method="POST", path="/x", handler=handler, scope="test:x")
    async with serve_routes([route]) as api:
        stream = await api.open()
        head = f"POST /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.admin_token}\r\n"
        await stream.send_all(f"{head}Content-Length: 0\r\n\r\n".encode())
        with trio.fail_after(60):
            await begun.wait()
            await stream.aclose()
            hung_up.set()
            await done.wait()


async def test_a_read_is_cancelled_when_its_caller_hangs_up():
    begun, cancelled = trio.Event(), trio.Event()

    async def handler(ctx, request):
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    route = Route(method="GET", path="/x", handler=handler, scope="test:x")
    async with serve_routes([route]) as api:
        stream = await api.open()
        head = f"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.admin_token}\r\n\r\n"
        await stream.send_all(head.encode())
        with trio.fail_after(60):
            await begun.wait()
            await stream.aclose()
            await cancelled.wait()


def test_texts_become_a_struct_or_name_every_wrong_field():
    item = struct_of_text({"amount": "7", "currency": "EUR"}, Item)
    assert item == Item(7, "EUR")
    with pytest.raises(Invalid) as told:
        struct_of_text({"amount": "x", "colour": "red"}, Item)
    assert {one.field for one in told.value.errors} == {"amount", "currency", "colour"}


def test_the_character_that_postgresql_keeps_nowhere_is_refused_by_name():
    body = rb'{"items": [{"amount": 1, "currency": "\u0000"}], "more": {"x\u0000": "\u0000"}, "note": "a"}'
    with pytest.raises(Invalid) as raised:
        BodyDecoder(Order).decode(body)
    found = [error.field for error in raised.value.errors]
    assert found == ["items[0].currency", "more.x\0", "more.x\0"]
    assert BodyDecoder(list[str]).decode(rb'["\\u0000"]') == [r"\u0000"]  # a backslash and letters


def test_a_query_is_refused_that_holds_it():
    for type_ in (Query, None):
        with pytest.raises(Invalid) as raised:
            QueryDecoder(type_).decode(b"color=red%00&exact=1")
        assert [(error.field, error.where) for error in raised.value.errors] == [("color", "query")]
    assert QueryDecoder(None).decode(b"a=%2500") == {"a": "%00"}


@pytest.mark.parametrize(
    "type_", [Literal["a", "b"], Literal["a", "b"] | None, Annotated[Literal["a", "b"], 1]]
)
def test_a_word_that_is_none_of_some_is_answered_with_those(type_):
    shape = msgspec.defstruct("Shape", [("kind", type_)])
    for decode, wrong in (
        (BodyDecoder(shape).decode, b'{"kind": "c"}'),
        (QueryDecoder(shape).decode, b"kind=c"),
    ):
        with pytest.raises(Invalid) as raised:
            decode(wrong)
        assert [error.message for error in raised.value.errors] == ["must be one of a, b"]
