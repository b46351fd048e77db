"""The OpenAPI document and the page that shows it."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re

import msgspec

from wharfd.declare import Rate, Route
from wharfd.http import BoundRoute, EventStream, IngestMount, Page, Stream
from wharfd.http.openapi import build_document
from wharfd.http.settings import HttpSettings
from wharfd.testing.api import serve_routes


class Created(msgspec.Struct, rename="camel"):
    order_id: str
    made_at: dt.datetime | None = None


class NewOrder(msgspec.Struct):
    amount: int


class Filter(msgspec.Struct):
    status: str
    limit: int = 20


class Odd:
    """A type that msgspec has no schema for."""


class Lost(msgspec.Struct):
    """A type with an annotation that leads nowhere."""

    what: Nowhere  # noqa: F821


async def make(ctx, request):
    """Make an order.

    Not part of the summary.
    """


READS, WRITES = "orders:read", "orders:write"
ROUTES = [
    Route(
        method="POST", path="/api/v1/orders", aliases=("/api/orders",), handler=make, scope=WRITES,
        body=NewOrder, returns=Created, status=201, idempotent=True, rate=Rate(10),
    ),
    Route(
        method="GET", path="/api/v1/orders/{id}/events", handler=make, scope=READS, returns=EventStream
    ),
    Route(
        method="GET", path="/api/v1/orders", handler=make, scope=READS, query=Filter, returns=Page[Created]
    ),
    Route(method="POST", path="/up", handler=make, scope=WRITES, stream=True, returns=Odd),
    Route(method="GET", path="/down/{name:path}", handler=make, scope=None, returns=Stream, deprecated=True),
    Route(method="DELETE", path="/api/v1/orders/{id}", handler=make, scope=WRITES, status=204),
]  # fmt: skip


def document(**more):
    bound = [BoundRoute(route, "shop", object) for route in ROUTES]
    mounts = [IngestMount("netbanx", ("/api/webhooks/netbanx",), make)]
    return build_document(bound, mounts, version="1.2.3")


def test_every_path_and_alias_is_there():
    assert set(document()["paths"]) == {
        "/api/v1/orders", "/api/orders", "/api/v1/orders/{id}/events", "/up", "/down/{name}",
        "/api/v1/orders/{id}", "/api/webhooks/netbanx",
    }  # fmt: skip
    assert document()["paths"]["/api/orders"]["post"]["x-alias-of"] == "/api/v1/orders"


def test_a_write_says_what_it_takes_and_what_can_go_wrong():
    post = document()["paths"]["/api/v1/orders"]["post"]
    assert post["summary"] == "Make an order"
    assert post["x-scope"] == "orders:write"
    assert post["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/NewOrder"
    }
    assert set(post["responses"]) == {"201", "400", "401", "403", "413", "422", "429", "503"}
    assert post["parameters"][0]["name"] == "Idempotency-Key"
    assert post["security"] == [{"bearer": []}, {"apiKey": []}, {"session": []}]


def test_queries_paths_and_streams_are_described():
    paths = document()["paths"]
    listed = {one["name"]: one for one in paths["/api/v1/orders"]["get"]["parameters"]}
    assert (listed["status"]["required"], listed["limit"]["required"]) == (True, False)
    assert listed["limit"]["schema"] == {"type": "integer", "default": 20}
    events = paths["/api/v1/orders/{id}/events"]["get"]
    assert events["parameters"] == [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    ]
    assert "text/event-stream" in events["responses"]["200"]["content"]
    assert paths["/up"]["post"]["responses"]["200"]["content"]["application/json"]["schema"] == {}
    assert paths["/down/{name}"]["get"]["deprecated"] is True
    assert paths["/down/{name}"]["get"]["security"] == []
    assert "content" not in paths["/api/v1/orders/{id}"]["delete"]["responses"]["204"]


def test_a_type_that_cannot_be_described_is_anything_and_spoils_nothing():
    lost = Route(method="PUT", path="/lost", handler=make, scope=WRITES, body=Lost)
    bound = [BoundRoute(route, "shop", object) for route in [*ROUTES, lost]]
    found = build_document(bound, [], version="1")
    assert found["paths"]["/lost"]["put"]["requestBody"]["content"]["application/json"]["schema"] == {}
    assert "NewOrder" in found["components"]["schemas"]


def test_every_reference_leads_somewhere_and_every_operation_has_its_own_id():
    found = document()
    text = msgspec.json.encode(found).decode()
    names = set(re.findall(r"#/components/schemas/([^\"]+)", text))
    assert {"NewOrder", "Created", "Problem"} <= names
    assert names <= set(found["components"]["schemas"])
    ids = [one["operationId"] for methods in found["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))
    assert found["components"]["schemas"]["Created"]["properties"]["orderId"] == {"type": "string"}


async def test_everything_served_is_described_to_those_who_may_call():
    async with serve_routes(ROUTES[:1]) as api:
        assert (await api.get("/openapi.json", token=None)).status == 401
        answer = await api.get("/openapi.json")
        assert (
            await api.get("/openapi.json", headers={"If-None-Match": answer.headers["etag"]})
        ).status == 304
        paths = set(answer.json()["paths"])
        described = {path for bound in api.server.routes for path in bound.route.paths}
    assert paths == described
    assert {"/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json", "/api/v1/session"} <= paths
    async with serve_routes(settings=HttpSettings(bind=("127.0.0.1:0",), open_docs=True)) as api:
        assert (await api.get("/openapi.json", token=None)).status == 200


async def test_the_page_needs_nothing_from_elsewhere_and_its_policy_fits_its_script():
    async with serve_routes() as api:
        answer = await api.get("/docs", token=None)
    page = answer.body.decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        [inline] = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert " style=" not in page
    assert "onclick" not in page
