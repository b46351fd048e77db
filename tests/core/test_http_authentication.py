"""Who may call: tokens, sessions, API keys, scopes, guessing, proxies."""

from __future__ import annotations

import hmac
import os
import stat
from dataclasses import replace
from ipaddress import ip_address

import pytest
from structlog import get_logger
from structlog.testing import capture_logs

from wharfd.contracts.access import Identity, Refused
from wharfd.declare import Route
from wharfd.errors import ServiceUnavailable
from wharfd.http import BoundRoute
from wharfd.http.clients import TrustedProxies
from wharfd.http.headers import Headers
from wharfd.http.settings import HttpSettings
from wharfd.http.throttle import FailureThrottle
from wharfd.http.token_file import TokenFile
from wharfd.testing.api import serve_routes


async def who(ctx, request):
    return {"subject": request.identity.subject, "owner": request.owner, "client": str(request.client)}


READ = Route(method="GET", path="/read", handler=who, scope="things:read")
WRITE = Route(method="POST", path="/write", handler=who, scope="things:write")
OPEN = Route(method="GET", path="/open", handler=who, scope=None)
ROUTES = [READ, WRITE, OPEN]


class Keys:
    """An Authenticator with two keys."""

    def __init__(self):
        self.asked = []
        self.observed = []

    async def authenticate(self, credentials):
        self.asked.append(credentials)
        if credentials.bearer == "reader-key":
            return Identity("key_1", "key", owner="ann", scopes=frozenset({"things:read"}))
        if credentials.headers.get("x-signature") == "good" and credentials.body == b"signed":
            return Identity("key_2", "key", owner="bob", scopes=frozenset({"things:*"}))
        if credentials.bearer == "elsewhere-key":
            return Refused("this key may not be used from this address", 403)
        return None

    async def observe(self, identity, *, endpoint, status, seconds):
        self.observed.append((identity.subject, endpoint, status))


async def test_the_admin_token_is_made_once_for_its_owner_alone(tmp_path):
    async with serve_routes(ROUTES, state_dir=tmp_path) as api:
        first = api.admin_token
        assert (await api.get("/read")).json()["subject"] == "admin"
    assert stat.S_IMODE((tmp_path / "admin.token").stat().st_mode) == 0o600
    assert len(first) > 40
    async with serve_routes(ROUTES, state_dir=tmp_path) as api:
        assert api.admin_token == first


async def test_a_replaced_admin_token_counts_at_once_and_a_removed_one_too(tmp_path):
    async with serve_routes(ROUTES, state_dir=tmp_path) as api:
        old = api.admin_token
        assert (await api.get("/read", token=old)).status == 200
        fresh = tmp_path / "fresh"
        fresh.write_text("n" * 40)
        fresh.chmod(0o600)
        fresh.replace(tmp_path / "admin.token")
        assert (await api.get("/read", token=old)).status == 401
        assert (await api.get("/read", token="n" * 40)).status == 200
        (tmp_path / "admin.token").unlink()
        assert (await api.get("/read", token="n" * 40)).status == 401


async def test_a_token_file_that_is_too_short_or_open_to_others_is_told(tmp_path):
    (tmp_path / "admin.token").write_text("short")
    (tmp_path / "admin.token").chmod(0o644)
    async with serve_routes(ROUTES, state_dir=tmp_path) as api:
        with capture_logs() as logs:
            assert (await api.get("/read", token="short")).status == 401
    events = {entry["event"] for entry in logs}
    assert {"token_too_short", "token_file_open_to_others"} <= events


async def test_without_credentials_it_is_401_and_says_how():
    async with serve_routes(ROUTES) as api:
        answer = await api.get("/read", token=None)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await api.get("/open", token=None)).status == 200


@pytest.mark.parametrize("value", ["Bearer", "Basic YTpi", "bearer é", "Bearer " + "x" * 5000])
async def test_strange_credentials_are_401(value):
    async with serve_routes(ROUTES) as api:
        assert (await api.get("/read", token=None, headers={"Authorization": value})).status == 401


async def test_the_operator_reads_and_does_not_write(tmp_path):
    (tmp_path / "operator.token").write_text("o" * 40)
    (tmp_path / "operator.token").chmod(0o600)
    async with serve_routes(ROUTES, state_dir=tmp_path) as api:
        assert (await api.get("/read", token="o" * 40)).json()["subject"] == "operator"
        refused = await api.post("/write", {}, token="o" * 40)
    assert refused.status == 403
    assert refused.json()["scope"] == "things:write"
    assert "things:write" in refused.headers["www-authenticate"]


async def test_api_keys_are_checked_by_the_authenticator():
    keys = Keys()
    async with serve_routes(ROUTES, authenticator=lambda: keys) as api:
        assert (await api.get("/read", token="reader-key")).json()["owner"] == "ann"
        assert (await api.get("/read", token=None, headers={"X-API-Key": "reader-key"})).status == 200
        missing = await api.post("/write", {}, token="reader-key")
        assert (missing.status, missing.json()["scope"]) == (403, "things:write")
        elsewhere = await api.get("/read", token="elsewhere-key")
        assert (elsewhere.status, "address" in elsewhere.json()["detail"]) == (403, True)
        assert (await api.get("/read", token="unknown-key")).status == 401
    assert ("key_1", "/read", 200) in keys.observed
    assert ("key_1", "/write", 403) in keys.observed


async def test_what_belongs_to_the_house_is_not_there_for_a_key_of_one_owner():
    keys = Keys()
    whole = replace(READ, path="/whole", house=True)
    async with serve_routes([whole], authenticator=lambda: keys) as api:
        assert (await api.get("/whole")).status == 200
        refused = await api.get("/whole", token="reader-key")
    assert (refused.status, "sees one owner's rows" in refused.json()["detail"]) == (404, True)


async def test_a_signed_request_is_checked_with_its_body():
    keys = Keys()
    async with serve_routes(ROUTES, authenticator=lambda: keys) as api:
        good = await api.request(
            "POST", "/write", body=b"signed", token=None, headers={"X-Signature": "good"}
        )
        bad = await api.request("POST", "/write", body=b"other", token=None, headers={"X-Signature": "good"})
    assert (good.status, bad.status) == (200, 401)


async def test_while_the_authenticator_is_down_keys_are_503_and_the_admin_is_not():
    def down():
        raise ServiceUnavailable

    async with serve_routes(ROUTES, authenticator=down) as api:
        answer = await api.get("/read", token="reader-key")
        assert (answer.status, "retry-after" in answer.headers) == (503, True)
        assert (await api.get("/read")).status == 200
        assert (await api.get("/health/ready", token="reader-key")).status == 200


async def test_an_authenticator_that_crashes_lets_nobody_in():
    class Broken:
        async def authenticate(self, credentials):
            raise RuntimeError("reader-key")

    async with serve_routes(ROUTES, authenticator=Broken) as api:
        answer = await api.get("/read", token="reader-key")
    assert answer.status == 500
    assert b"reader-key" not in answer.body


async def test_whoever_guesses_has_to_wait_and_a_good_key_beside_does_not():
    keys = Keys()
    async with serve_routes(ROUTES, authenticator=lambda: keys) as api:
        assert (await api.get("/read", token="reader-key")).status == 200
        statuses = [(await api.get("/read", token=f"guess-{n}")).status for n in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        slowed = await api.get("/read", token="elsewhere-key")
        assert (slowed.status, int(slowed.headers["retry-after"]) >= 1) == (429, True)
        assert (await api.get("/read", token="reader-key")).status == 200
    assert len(keys.asked) == 12


def test_the_throttle_forgets_with_time_and_stays_small():
    now = [0.0]
    throttle = FailureThrottle(allowed=3, seconds=30, most=5, clock=lambda: now[0])
    for _ in range(20):
        throttle.failed("a")
    assert 0 < throttle.wait_seconds("a", "x") <= 10
    now[0] += 10.1
    assert throttle.wait_seconds("a", "x") == 0
    for n in range(100):
        throttle.failed(f"caller-{n}")
        throttle.passed(f"token-{n}")
    assert len(throttle._busy_until) == len(throttle._good) == 5


async def sign_in(api, token=None):
    return await api.post("/api/v1/session", {"token": token or api.admin_token}, token=None)


@pytest.mark.parametrize("guess", ["", "x", "wharfd_admin_" + "x" * 43, "ü" * 5000, "\udcff"])
def test_a_guess_is_compared_in_constant_time_whatever_its_length(tmp_path, monkeypatch, guess):
    compared = []

    def compare(ours, theirs):
        compared.append((len(ours), len(theirs)))
        return False

    path = tmp_path / "admin.token"
    path.write_text("n" * 40)
    path.chmod(0o600)
    monkeypatch.setattr(hmac, "compare_digest", compare)
    # What our compare says is what counts: nothing before it or behind it looks at the token.
    assert not TokenFile(path, get_logger()).matches(guess)
    assert not TokenFile(path, get_logger()).matches("n" * 40)
    assert compared == [(32, 32)] * 2


async def test_a_session_reads_by_cookie_and_writes_with_the_csrf_token(db, tmp_path):
    async with serve_routes(ROUTES, db=db, state_dir=tmp_path) as api:
        begun = await sign_in(api)
        assert begun.status == 201
        cookie = begun.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Secure" not in cookie
        assert api.admin_token not in cookie
        with_cookie = {"Cookie": cookie.partition(";")[0]}
        assert (await api.get("/read", token=None, headers=with_cookie)).json()["subject"] == "admin"
        info = (await api.get("/api/v1/session", token=None, headers=with_cookie)).json()
        assert info["csrf_token"] == begun.json()["csrf_token"]

        refused = await api.post("/write", {}, token=None, headers=with_cookie)
        assert (refused.status, "X-CSRF-Token" in refused.json()["detail"]) == (403, True)
        proven = with_cookie | {"X-CSRF-Token": info["csrf_token"]}
        assert (await api.post("/write", {}, token=None, headers=proven)).status == 200
        ended = await api.request("DELETE", "/api/v1/session", token=None, headers=proven)
        assert (ended.status, "Max-Age=0" in ended.headers["set-cookie"]) == (204, True)
        # A copy of the cookie is worth nothing after that; another session goes on.
        assert (await api.get("/read", token=None, headers=with_cookie)).status == 401
        other = {"Cookie": (await sign_in(api)).headers["set-cookie"].partition(";")[0]}
        assert (await api.get("/read", token=None, headers=other)).status == 200
    # Nor at another daemon, or at this one after a restart.
    async with serve_routes(ROUTES, db=db, state_dir=tmp_path) as api:
        assert (await api.get("/read", token=None, headers=with_cookie)).status == 401
        told = await api.get("/api/v1/session", token=None, headers=with_cookie)
        assert told.status == 401, told.body
        assert (await api.get("/read", token=None, headers=other)).status == 200


async def test_a_session_ends_with_its_token_its_time_and_any_change(db, tmp_path):
    settings = HttpSettings(bind=("127.0.0.1:0",), session_seconds=0)
    async with serve_routes(ROUTES, db=db, state_dir=tmp_path, settings=settings) as api:
        over = (await api.post("/api/v1/session", {"token": api.admin_token}, token=None)).headers[
            "set-cookie"
        ]
        assert (await api.get("/read", token=None, headers={"Cookie": over.partition(";")[0]})).status == 401
    async with serve_routes(ROUTES, db=db, state_dir=tmp_path) as api:
        cookie = (await api.post("/api/v1/session", {"token": api.admin_token}, token=None)).headers[
            "set-cookie"
        ]
        value = cookie.partition(";")[0]
        assert (await api.get("/read", token=None, headers={"Cookie": value})).status == 200
        changed = value[:-3] + ("A" if value[-3] != "A" else "B") + value[-2:]
        assert (await api.get("/read", token=None, headers={"Cookie": changed})).status == 401
        (tmp_path / "admin.token").write_text("n" * 40)
        assert (await api.get("/read", token=None, headers={"Cookie": value})).status == 401


async def test_signing_in_with_a_wrong_token_is_401_and_slows_down():
    async with serve_routes(ROUTES) as api:
        statuses = [
            (await api.post("/api/v1/session", {"token": f"guess{n}"}, token=None)).status for n in range(11)
        ]
    assert statuses == [401] * 10 + [429]


async def test_any_known_caller_may_see_a_signed_in_route():
    keys = Keys()
    bound = BoundRoute(OPEN, "test", object, signed_in=True)
    async with serve_routes([bound], authenticator=lambda: keys) as api:
        assert (await api.get("/open", token="reader-key")).status == 200
        assert (await api.get("/open", token=None)).status == 401


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ((), "10.0.0.1", "1.2.3.4", "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", "1.2.3.4", "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.9", "1.2.3.4"),
        (("10.0.0.0/8",), "9.9.9.9", "1.2.3.4", "9.9.9.9"),
        (("10.0.0.0/8",), "10.0.0.1", "nonsense", "10.0.0.1"),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        (("unix",), None, "1.2.3.4", "1.2.3.4"),
    ],
)
def test_the_client_is_seen_through_trusted_proxies_only(trusted, peer, forwarded, client):
    headers = Headers.of({"X-Forwarded-For": forwarded, "X-Forwarded-Proto": "https"})
    address, secure = TrustedProxies(trusted).resolve(peer, "http", headers)
    assert address == ip_address(client)
    assert secure == (str(address) != str(peer) or forwarded == "nonsense")


def test_secrets_do_not_show_in_a_repr():
    headers = Headers.of({"Authorization": "Bearer hunter2", "Cookie": "a=hunter2", "X-API-Key": "hunter2"})
    assert "hunter2" not in repr(headers)


def test_a_half_written_token_file_is_made_anew(tmp_path):
    import structlog

    from wharfd.http.token_file import TokenFile

    (tmp_path / "admin.token").touch()
    file = TokenFile(tmp_path / "admin.token", structlog.get_logger())
    assert file.create("wharfd_admin")
    assert not file.create("wharfd_admin")
    assert os.listdir(tmp_path) == ["admin.token"]
