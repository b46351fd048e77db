"""The API server through a real socket: routing, problems, ids, containment."""

from __future__ import annotations

import sys

import msgspec
import pytest
import trio
from structlog.testing import capture_logs

from wharfd.declare import Route
from wharfd.http import BoundRoute, Conflict, NotFound, Reply
from wharfd.testing.api import serve_routes


class Thing(msgspec.Struct):
    id: str
    size: int = 1


async def show(ctx, request):
    return Thing(request.path["id"])


SHOW = Route(method="GET", path="/api/v1/things/{id}", handler=show, scope="things:read", returns=Thing)


def route(handler, *, method="GET", path="/x", **more):
    return Route(method=method, path=path, handler=handler, scope=more.pop("scope", "test:x"), **more)


async def test_a_struct_becomes_json():
    async with serve_routes([SHOW]) as api:
        answer = await api.get("/api/v1/things/a%2Fb")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"id": "a/b", "size": 1}


@pytest.mark.parametrize(
    ("returned", "status", "body", "kind"),
    [
        ({"a": 1}, 200, b'{"a":1}', "application/json"),
        ([1, 2], 200, b"[1,2]", "application/json"),
        (None, 204, b"", None),
        (Reply(201, "made", {"Location": "/x/1"}), 201, b"made", "text/plain; charset=utf-8"),
        (Reply(200, b"\x00", content_type="image/png"), 200, b"\x00", "image/png"),
        (Reply(202, Thing("q")), 202, b'{"id":"q","size":1}', "application/json"),
    ],
)
async def test_what_a_handler_may_return(returned, status, body, kind):
    async def handler(ctx, request):
        return returned

    async with serve_routes([route(handler)]) as api:
        answer = await api.get("/x")
    assert (answer.status, answer.body, answer.headers.get("content-type")) == (status, body, kind)


async def test_an_unknown_path_is_a_problem_that_both_kinds_of_caller_read():
    async with serve_routes() as api:
        answer = await api.get("/nowhere?secret=1", headers={"X-Request-Id": "caller-id-1"})
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "there is nothing at this path",
        "instance": "/nowhere",
        "success": False,
        "message": "there is nothing at this path",
        "request_id": "caller-id-1",
    }


async def test_another_method_is_405_with_allow():
    async with serve_routes([SHOW]) as api:
        answer = await api.post("/api/v1/things/1", {})
        assert answer.status == 405
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
        options = await api.request("OPTIONS", "/api/v1/things/1", token=None)
        assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


async def test_head_is_answered_like_get_without_the_body():
    async with serve_routes([SHOW]) as api:
        got, head = await api.get("/api/v1/things/1"), await api.request("HEAD", "/api/v1/things/1")
    assert head.status == 200
    assert head.body == b""
    assert head.headers["content-length"] == str(len(got.body))
    assert head.headers["etag"] == got.headers["etag"]


@pytest.mark.parametrize("path", ["/api/v1/things/%ff", "/api/v1/things/a%00b"])
async def test_a_path_that_is_not_clean_text_is_400(path):
    async with serve_routes([SHOW]) as api:
        assert (await api.get(path)).status == 400


async def test_a_problem_raised_in_a_nursery_of_the_handler_is_still_that_problem():
    async def handler(ctx, request):
        async def part():
            raise NotFound("no such thing")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(part)

    async with serve_routes([route(handler)]) as api:
        answer = await api.get("/x")
    assert (answer.status, answer.json()["detail"]) == (404, "no such thing")


async def fail_plainly(ctx, request):
    raise RuntimeError("password=hunter2")


async def fail_in_a_group(ctx, request):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_plainly, None, None)
        nursery.start_soon(fail_plainly, None, None)


async def leave(ctx, request):
    sys.exit("password=hunter2")


async def leave_in_a_group(ctx, request):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave, None, None)
        nursery.start_soon(fail_plainly, None, None)


async def return_nonsense(ctx, request):
    return object()


@pytest.mark.parametrize("handler", [fail_plainly, fail_in_a_group, leave, leave_in_a_group, return_nonsense])
async def test_whatever_a_handler_does_is_a_500_that_tells_nothing(handler):
    async with serve_routes([route(handler, path="/bad"), SHOW]) as api:
        with capture_logs() as logs:
            answer = await api.get("/bad", headers={"X-Request-Id": "caller-id-1"})
        assert (await api.get("/api/v1/things/1")).status == 200
    assert answer.status == 500
    assert b"hunter2" not in answer.body
    assert answer.json()["request_id"] == "caller-id-1"
    failures = [entry for entry in logs if entry["event"] == "handler_failed"]
    assert len(failures) == 1
    assert failures[0]["plugin"] == "test"
    assert failures[0]["route"] == "/bad"


async def test_a_handler_that_takes_too_long_is_504():
    async def handler(ctx, request):
        await trio.sleep_forever()

    async with serve_routes([route(handler, timeout_seconds=0.05)]) as api:
        answer = await api.get("/x")
    assert (answer.status, answer.json()["detail"]) == (504, "the answer was not ready within 0.05 s")


@pytest.mark.parametrize("context", [lambda: None, pytest.param(None, id="raises")])
async def test_a_plugin_that_is_not_running_is_503_and_named(context):
    from wharfd.errors import ServiceUnavailable

    def down():
        raise ServiceUnavailable

    bound = BoundRoute(SHOW, "things", context or down)
    async with serve_routes([bound]) as api:
        answer = await api.get("/api/v1/things/1")
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["plugin"] == "things"
    assert "things is not running" in answer.json()["detail"]


async def test_members_of_a_problem_are_told_but_never_replace_the_standard_ones():
    async def handler(ctx, request):
        raise Conflict("taken", holder="someone", success=True)

    async with serve_routes([route(handler)]) as api:
        problem = (await api.get("/x")).json()
    assert problem["holder"] == "someone"
    assert problem["success"] is False


async def test_request_and_trace_ids():
    async def handler(ctx, request):
        return {"id": request.id, "trace": request.trace_id}

    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with serve_routes([route(handler)]) as api:
        given = await api.get(
            "/x", headers={"X-Request-Id": "abcdefgh-1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        )
        bad = await api.get("/x", headers={"X-Request-Id": "short", "traceparent": f"00-{'0' * 32}-1-01"})
    assert given.json() == {"id": "abcdefgh-1", "trace": trace}
    assert given.headers["x-request-id"] == "abcdefgh-1"
    assert bad.json()["id"].startswith("req_")
    assert bad.json()["trace"] is None


async def test_the_access_line_has_the_template_and_no_secret():
    from wharfd.http.settings import HttpSettings

    settings = HttpSettings(bind=("127.0.0.1:0",), access_log="info")
    with capture_logs() as logs:  # the line is written after the answer is sent
        async with serve_routes([SHOW], settings=settings) as api:
            await api.get("/api/v1/things/42?token=hunter2")
            token = api.admin_token
    [line] = [entry for entry in logs if entry["event"] == "request_answered"]
    assert line["route"] == "/api/v1/things/{id}"
    assert (line["status"], line["subject"], line["client"]) == (200, "admin", "127.0.0.1")
    assert "hunter2" not in str(logs)
    assert token not in str(logs)


async def test_every_answer_carries_the_protective_fields():
    async with serve_routes([SHOW]) as api:
        good, bad = await api.get("/api/v1/things/1"), await api.get("/nowhere")
    for answer in (good, bad):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
    assert good.headers["cache-control"] == "private, no-cache"
    assert bad.headers["cache-control"] == "no-store"


async def test_a_line_break_in_a_header_of_an_answer_is_refused():
    async def handler(ctx, request):
        return Reply(200, b"", {"X-Note": "a\r\nSet-Cookie: b"})

    async with serve_routes([route(handler)]) as api:
        answer = await api.get("/x")
    assert answer.status == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "set-cookie" not in answer.headers
