"""The endpoints: old shapes, limits, owners, moderation, caches."""

from contextlib import asynccontextmanager
from types import ModuleType

import pytest

import wharfd_feedback
from wharfd import Provides, Subscription, hookimpl, sql
from wharfd.contracts.access import AUTHENTICATOR, Identity

BASE = "/api/v1/feedback"
AUDIT = sql(
    "test.audit",
    "SELECT action, actor, owner, detail FROM wharfd.audit WHERE action LIKE 'feedback.%' ORDER BY recorded_at",
)
OLDER = sql("test.older", "UPDATE feedback.feedback SET flagged_at = flagged_at - interval '4 days'")
AS = {
    "a": Identity("key_a", "key", "a", frozenset({"feedback:*", "moderation:*"})),
    "b": Identity("key_b", "key", "b", frozenset({"feedback:*", "moderation:*"})),
    "r": Identity("key_r", "key", "a", frozenset({"feedback:read"})),
}


class Neighbour:
    """Knows the callers, and hears the events."""

    def __init__(self):
        self.heard = []
        self.module = ModuleType("neighbour")

        class Known:
            async def authenticate(self, credentials):
                return AS.get(credentials.bearer)

            async def observe(self, identity, *, endpoint, status, seconds):
                return None

        async def hear(ctx, envelope):
            self.heard.append((envelope.type, envelope.owner, envelope.data))

        @hookimpl
        def register_services(settings):
            return [Provides(AUTHENTICATOR, lambda ctx: Known())]

        @hookimpl
        def register_subscriptions(settings):
            return [Subscription("feedback.*", hear, name="hear")]

        self.module.register_services = register_services
        self.module.register_subscriptions = register_subscriptions


@pytest.fixture
def feedback(daemon):
    @asynccontextmanager
    async def start(config=""):
        neighbour = Neighbour()
        plugins = {"feedback": wharfd_feedback, "neighbour": neighbour.module}
        async with daemon(plugins=plugins, config=f"[plugins.feedback]\n{config}") as d:
            d.heard = neighbour.heard
            yield d

    return start


def rating(number=4, user="u1", insight="i1", **more):
    return {"insight_id": insight, "rating": number, "user_id": user, **more}


async def test_the_old_shapes(feedback):
    async with feedback() as d:
        made = await d.post(f"{BASE}/rate", rating(4, comment="good"))
        assert made.status == 200, made.body
        old = (
            "id",
            "insight_id",
            "user_id",
            "rating",
            "comment",
            "flag_type",
            "flag_reason",
            "created_at",
            "updated_at",
        )
        assert set(old) <= set(made.json())
        assert made.json()["id"].startswith("fb_")
        await d.post(f"{BASE}/rate", rating(2))
        await d.post("/api/feedback/comment", {"insight_id": "i1", "comment": "zwei", "user_id": "u2"})
        flagged = {"insight_id": "i1", "flag_type": "spam", "flag_reason": "ads", "user_id": "u2"}
        assert (await d.post(f"{BASE}/flag", flagged)).json()["flag_type"] == "spam"
        assert (await d.get(f"{BASE}/stats?insight_id=i1")).json() == {
            "insight_id": "i1",
            "total_ratings": 1,
            "average_rating": 2.0,
            "rating_distribution": {"1": 0, "2": 1, "3": 0, "4": 0, "5": 0},
            "total_comments": 2,
            "total_flags": 1,
            "flag_types": {"spam": 1},
        }
        comments = (await d.get(f"{BASE}/comments?insight_id=i1")).json()
        assert [c["comment"] for c in comments["comments"]] == ["zwei", "good"]
        assert (comments["total"], comments["limit"], comments["offset"]) == (2, 20, 0)
        mine = (await d.get(f"{BASE}/user?user_id=u2")).json()
        assert (mine["user_id"], mine["total"], mine["limit"]) == ("u2", 1, 50)
        assert mine["feedback"][0]["flag_reason"] == "ads"


async def test_lists_by_cursor_and_by_offset(feedback):
    async with feedback() as d:
        for n in range(7):
            await d.post(f"{BASE}/rate", rating(5, user=f"u{n}", comment=f"c{n}"))
        wanted = [f"c{n}" for n in reversed(range(7))]
        seen, cursor = [], ""
        while cursor is not None:
            page = (await d.get(f"{BASE}/comments?insight_id=i1&limit=3&cursor={cursor}")).json()
            seen += [c["comment"] for c in page["comments"]]
            cursor = page["next_cursor"]
        assert seen == wanted
        page = (await d.get(f"{BASE}/comments?insight_id=i1&limit=3&offset=2")).json()
        assert [c["comment"] for c in page["comments"]] == wanted[2:5]
        assert page["total"] == 7
        both = await d.get(f"{BASE}/comments?insight_id=i1&offset=2&cursor={page['next_cursor']}")
        assert both.status == 400


BAD = [
    ("/rate", rating(0), 422),
    ("/rate", rating(6), 422),
    ("/rate", rating("5"), 422),
    ("/rate", rating(4.5), 422),
    ("/rate", {"insight_id": "i1", "user_id": "u"}, 422),
    ("/rate", rating(insight=""), 422),
    ("/rate", rating(insight="x" * 201), 422),
    ("/rate", rating(user=" "), 422),
    ("/rate", rating(user="u\0"), 422),
    ("/rate", rating(comment=" "), 422),
    ("/rate", rating(version=-1), 422),
    ("/rate", rating(more=1), 422),
    ("/comment", {"insight_id": "i1", "user_id": "u", "comment": "x" * 5001}, 422),
    ("/comment", {"insight_id": "i1", "user_id": "u", "comment": "x" * 1_000_000}, 413),
    ("/comment", {"insight_id": "i1", "user_id": "u", "comment": "a\x07"}, 422),
    ("/flag", {"insight_id": "i1", "user_id": "u", "flag_type": "rude", "flag_reason": "r"}, 422),
    ("/flag", {"insight_id": "i1", "user_id": "u", "flag_type": "spam", "flag_reason": ""}, 422),
    ("/flags/fb_none", {"state": "upheld"}, 404),
    ("/flags/fb_none", {"state": "gone"}, 422),
]
BAD_QUERIES = [
    "/stats",
    "/stats?insight_id=",
    "/comments?insight_id=i1&limit=0",
    "/comments?insight_id=i1&limit=201",
    "/comments?insight_id=i1&offset=-1",
    "/comments?insight_id=i1&cursor=forged",
    "/user?user_id=%00",
    "/flags?state=gone",
]


async def test_bad_input(feedback):
    async with feedback() as d:
        for path, body, status in BAD:
            answer = await d.post(BASE + path, body)
            assert answer.status == status, (path, str(body)[:80], answer.body)
            assert answer.json()["detail"]
        for query in BAD_QUERIES:
            assert (await d.get(BASE + query)).status == 422, query
        assert (await d.get(f"{BASE}/stats?insight_id=i1")).json()["total_ratings"] == 0


async def test_an_insight_nobody_spoke_of_has_empty_statistics(feedback):
    async with feedback() as d:
        shown = (await d.get(f"{BASE}/stats?insight_id=never")).json()
        assert (shown["total_ratings"], shown["average_rating"], shown["flag_types"]) == (0, 0.0, {})


async def test_a_change_of_an_old_version_is_refused(feedback):
    async with feedback() as d:
        refused = await d.post(f"{BASE}/rate", rating(version=3))
        assert (refused.status, refused.json()["version"]) == (409, 0)
        assert (await d.get(f"{BASE}/user?user_id=u1")).json()["total"] == 0, "and leaves nothing"
        first = (await d.post(f"{BASE}/rate", rating(1, version=0))).json()
        assert first["version"] == 1
        assert (await d.post(f"{BASE}/rate", rating(2, version=0))).status == 409
        assert (await d.post(f"{BASE}/rate", rating(2, version=1))).json()["version"] == 2
        assert (await d.post(f"{BASE}/rate", rating(3, version=1))).status == 409


async def test_owners_do_not_see_each_other(feedback):
    async with feedback() as d:
        for token, number in (("a", 1), ("b", 5)):
            assert (await d.post(f"{BASE}/rate", rating(number, comment=token), token=token)).status == 200
            flagged = {"insight_id": "i1", "flag_type": "spam", "flag_reason": token, "user_id": "u1"}
            await d.post(f"{BASE}/flag", flagged, token=token)
        for token, average in (("a", 1.0), ("b", 5.0), ("", 3.0)):
            assert (await d.get(f"{BASE}/stats?insight_id=i1", token=token)).json()[
                "average_rating"
            ] == average
            many = 2 if token == "" else 1
            comments = (await d.get(f"{BASE}/comments?insight_id=i1", token=token)).json()
            assert (len(comments["comments"]), comments["total"]) == (many, many)
            assert (await d.get(f"{BASE}/user?user_id=u1", token=token)).json()["total"] == many
            assert len((await d.get(f"{BASE}/flags", token=token)).json()["items"]) == many
        (flag,) = (await d.get(f"{BASE}/flags", token="b")).json()["items"]
        assert (await d.post(f"{BASE}/flags/{flag['id']}", {"state": "upheld"}, token="a")).status == 404
        assert (await d.post(f"{BASE}/rate", rating(), token="r")).status == 403
        assert (await d.get(f"{BASE}/flags", token="r")).status == 403
        assert (await d.get(f"{BASE}/stats?insight_id=i1", token=None)).status == 401


async def test_flags_are_moderated_and_audited(feedback):
    async with feedback() as d:
        said = {"insight_id": "i1", "flag_type": "misleading", "flag_reason": "wrong", "user_id": "u1"}
        flag = (await d.post(f"{BASE}/flag", said, token="a")).json()
        await d.post(f"{BASE}/rate", rating(user="u2"), token="a")
        done = await d.post(f"{BASE}/flags/{flag['id']}", {"state": "dismissed", "note": "it is right"})
        assert done.status == 200, done.body
        assert (done.json()["flag_state"], done.json()["moderated_by"]) == ("dismissed", "admin")
        assert (await d.get(f"{BASE}/stats?insight_id=i1", token="a")).json()["total_flags"] == 0
        same = await d.post(f"{BASE}/flags/{flag['id']}", {"state": "dismissed"})
        assert same.status == 200
        rows = [dict(row) for row in await d.db.fetch(AUDIT)]
        assert [(r["action"], r["actor"], r["owner"]) for r in rows] == [
            ("feedback.flag_dismissed", "admin", "a")
        ]
        assert rows[0]["detail"]["note"] == "it is right"
        other = (await d.get(f"{BASE}/user?user_id=u2")).json()["feedback"][0]
        assert (await d.post(f"{BASE}/flags/{other['id']}", {"state": "upheld"})).status == 409
        await d.drain()
        assert [kind for kind, _, _ in d.heard] == ["feedback.flagged", "feedback.moderated"]
        assert d.heard[0][1] == "a"


async def test_statistics_are_cached_and_thrown_away_by_writes(feedback):
    async with feedback() as d:
        await d.post(f"{BASE}/rate", rating(4))
        names = d.context("feedback").cache.statistics
        for _ in range(3):
            assert (await d.get(f"{BASE}/stats?insight_id=i1")).json()["average_rating"] == 4.0
        counted = names().names["statistics"]
        assert (counted.local_hits, counted.misses) == (2, 1)
        await d.post(f"{BASE}/rate", rating(2), token="a")
        assert (await d.get(f"{BASE}/stats?insight_id=i1")).json()["average_rating"] == 3.0
        assert (await d.get(f"{BASE}/stats?insight_id=i2")).json()["total_ratings"] == 0


async def test_a_user_who_says_too_much_has_to_wait(feedback):
    async with feedback("changes_per_user = 3") as d:
        statuses = [(await d.post(f"{BASE}/rate", rating(n % 5 + 1))).status for n in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        limited = await d.post(f"{BASE}/rate", rating())
        assert int(limited.headers["retry-after"]) > 0
        assert (await d.post(f"{BASE}/rate", rating(user="u2"))).status == 200


async def test_a_caller_who_sends_too_much_has_to_wait(feedback):
    async with feedback("changes_per_minute = 2") as d:
        answers = [await d.post(f"{BASE}/rate", rating(user=f"u{n}"), token="a") for n in range(4)]
        assert [a.status for a in answers] == [200, 200, 429, 429]
        assert answers[0].headers["x-ratelimit-limit"] == "2"


async def test_flags_that_wait_are_found(feedback):
    async with feedback() as d:
        said = {"insight_id": "i1", "flag_type": "spam", "flag_reason": "ads", "user_id": "u1"}
        await d.post(f"{BASE}/flag", said)
        ctx = d.context("feedback")
        assert await wharfd_feedback._find_waiting_flags(ctx) == []
        await d.db.execute(OLDER)
        (finding,) = await wharfd_feedback._find_waiting_flags(ctx)
        assert finding.message == "1 flags wait for more than 3 days"
