"""The API from inside: the same routes with the same rights; and pages that send a browser to sign in."""

from types import ModuleType

import msgspec
import pytest

from wharfd import Forbidden, HttpProblem, Invalid, NotFound, Reply, Route, hookimpl
from wharfd.contracts.access import ANONYMOUS, Identity
from wharfd.contracts.daemon import API

ADMIN, OPERATOR = Identity("admin", "admin"), Identity("operator", "operator")
SHOP = Identity("shop", "key", owner="ann", scopes=frozenset({"things:read"}))


class Query(msgspec.Struct):
    limit: int = 5


class Thing(msgspec.Struct, rename="camel"):
    its_name: str
    owner: str | None


async def show(ctx, request):
    return {
        "thing": Thing(request.path["name"], request.owner),
        "limit": request.query.limit,
        "at": ctx.now(),
    }


async def page(ctx, request):
    return Reply(200, "a page", content_type="text/html")


ROUTES = [
    Route(method="GET", path="/api/v1/things/{name}", handler=show, scope="things:read", query=Query),
    Route(method="GET", path="/house", handler=page, scope="things:read", page=True, sign_in="/door"),
]


def things():
    module = ModuleType("wharfd_things")
    module.__doc__ = "Things."

    @hookimpl
    def register_routes():
        return ROUTES

    module.register_routes = register_routes
    return module


async def test_it_answers_as_the_api_does(daemon):
    async with daemon(plugins={"things": things()}) as d:
        api = d.context("things").services.get(API)
        found = await api.get(SHOP, "/api/v1/things/a%2Fb", {"limit": 7, "nothing": None})
        assert found["thing"] == {"itsName": "a/b", "owner": "ann"}
        assert found["limit"] == 7
        assert found["at"].tzinfo is not None
        status = await api.get(OPERATOR, "/api/v1/status")
        assert [one["name"] for one in status["plugins"]] == ["things"]


async def test_it_grants_nothing_that_the_api_would_not(daemon):
    async with daemon(plugins={"things": things()}) as d:
        api = d.context("things").services.get(API)
        for identity, path, problem in (
            (SHOP, "/api/v1/status", Forbidden),
            (ANONYMOUS, "/api/v1/things/a", Forbidden),
            (ADMIN, "/api/v1/nothing", NotFound),
            (ADMIN, "/api/v1/work/core.schedules/pause", NotFound),
            (ADMIN, "/api/v1/work/nobody.nothing/buried", NotFound),
        ):
            with pytest.raises(problem):
                await api.get(identity, path)
        with pytest.raises(HttpProblem) as refused:
            await api.get(ADMIN, "/api/v1/things/a", {"limit": "many"})
        assert refused.value.status in (400, Invalid.status)


async def test_a_browser_is_sent_to_sign_in_and_a_program_is_refused(daemon):
    async with daemon(plugins={"things": things()}) as d:
        html = {"Accept": "text/html"}
        sent = await d.get("/house?room=1", token=None, headers=html)
        assert (sent.status, sent.headers["location"]) == (303, "/door?next=%2Fhouse%3Froom%3D1")
        assert (await d.get("/house", token=None)).status == 401
        assert (await d.get("/house", token="wharfd_admin_wrong", headers=html)).status == 401
        assert (await d.get("/house", headers=html)).body == b"a page"
        assert "/house" not in (await d.get("/openapi.json")).json()["paths"]


@pytest.mark.parametrize("wrong", [{"page": False}, {"sign_in": "https://elsewhere"}, {"method": "POST"}])
def test_sign_in_is_for_pages(wrong):
    declared = {
        "method": "GET",
        "path": "/x",
        "handler": page,
        "scope": "a:read",
        "page": True,
        "sign_in": "/door",
    }
    with pytest.raises(ValueError, match="sign_in"):
        Route(**declared | wrong)
